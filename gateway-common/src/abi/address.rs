//! Addresses and ports as they stand on the wire.

use bytemuck::{Pod, Zeroable};
use core::fmt;

/// An IPv4 address, network byte order in memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct Addr(u32);

impl Addr {
    /// 0.0.0.0.
    pub const UNSPECIFIED: Self = Self(0);

    /// From the four octets in written order.
    pub const fn new(octets: [u8; 4]) -> Self {
        Self(u32::from_ne_bytes(octets))
    }

    /// The four octets in written order.
    pub const fn octets(self) -> [u8; 4] {
        self.0.to_ne_bytes()
    }

    /// The bytes as they stand in memory, for checksums and the kernel's `__be32`.
    pub const fn to_be(self) -> u32 {
        self.0
    }

    /// From the kernel's `__be32`.
    pub const fn from_be(raw: u32) -> Self {
        Self(raw)
    }

    /// 224.0.0.0/4, or 255.255.255.255. A router never forwards these by unicast routes.
    pub const fn is_multicast_or_broadcast(self) -> bool {
        self.0 == u32::MAX || self.octets()[0] & 0xf0 == 224
    }

    /// Can it be one host's? Not 0.0.0.0/8, 127.0.0.0/8, nor anything from 224.0.0.0 on.
    #[inline(always)]
    pub const fn is_single_host(self) -> bool {
        !matches!(self.octets()[0], 0 | 127 | 224..)
    }
}

impl From<core::net::Ipv4Addr> for Addr {
    fn from(address: core::net::Ipv4Addr) -> Self {
        Self::new(address.octets())
    }
}

impl From<Addr> for core::net::Ipv4Addr {
    fn from(address: Addr) -> Self {
        Self::from(address.octets())
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&core::net::Ipv4Addr::from(*self), f)
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A transport port, or an ICMP echo identifier; network byte order in memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct Port(u16);

impl Port {
    /// The port that an ICMP echo does not have.
    pub const NONE: Self = Self(0);

    /// From a number such as 443.
    pub const fn new(number: u16) -> Self {
        Self(number.to_be())
    }

    /// The number, such as 443.
    pub const fn number(self) -> u16 {
        u16::from_be(self.0)
    }

    /// The bytes as they stand in memory, for checksums and the kernel's `__be16`.
    pub const fn to_be(self) -> u16 {
        self.0
    }

    /// From the kernel's `__be16`, or from a header as it stands in memory.
    pub const fn from_be(raw: u16) -> Self {
        Self(raw)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.number(), f)
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An Ethernet address, as three half-words that stand in memory as on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct Mac([u16; 3]);

impl Mac {
    /// From the six octets in written order.
    pub const fn new(octets: [u8; 6]) -> Self {
        Self([
            u16::from_ne_bytes([octets[0], octets[1]]),
            u16::from_ne_bytes([octets[2], octets[3]]),
            u16::from_ne_bytes([octets[4], octets[5]]),
        ])
    }

    /// From half-words as they stand in memory.
    #[inline(always)]
    pub const fn from_half_words(half_words: [u16; 3]) -> Self {
        Self(half_words)
    }

    /// As they stand in memory.
    #[inline(always)]
    pub const fn half_words(self) -> [u16; 3] {
        self.0
    }

    /// Is it a group's, or everybody's? The lowest bit of the first octet says so.
    #[inline(always)]
    pub const fn is_group(self) -> bool {
        self.0[0].to_ne_bytes()[0] & 1 != 0
    }

    /// The six octets in written order.
    pub fn octets(self) -> [u8; 6] {
        bytemuck::cast(self.0)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, octet) in self.octets().into_iter().enumerate() {
            let separator = if index == 0 { "" } else { ":" };
            write!(f, "{separator}{octet:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The two Ethernet addresses that a frame begins with, as three words that stand in memory as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkAddresses([u32; 3]);

impl LinkAddresses {
    /// All zero.
    pub const NONE: Self = Self([0; 3]);

    /// From and to.
    #[inline(always)]
    pub const fn new(destination: Mac, source: Mac) -> Self {
        let (Mac([d0, d1, d2]), Mac([s0, s1, s2])) = (destination, source);
        Self([word(d0, d1), word(d2, s0), word(s1, s2)])
    }

    /// As they stand in memory.
    #[inline(always)]
    pub const fn words(self) -> [u32; 3] {
        self.0
    }
}

/// Two half-words that follow each other in memory.
#[inline(always)]
const fn word(first: u16, second: u16) -> u32 {
    if cfg!(target_endian = "little") {
        first as u32 | (second as u32) << 16
    } else {
        (first as u32) << 16 | second as u32
    }
}

/// What an address that the gateway knows is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AddressKind {
    /// NPCI calls it.
    IngressVip = 1,
    /// NPCI sees every tenant's call come from it.
    EgressVip = 2,
    /// Stands for one tenant on the internal side.
    TenantNatIp = 3,
    /// The host's own: its traffic is none of the gateway's business.
    Host = 4,
}

/// Value of the address table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct OwnedAddress {
    kind: u8,
    pad: u8,
    /// The tenant of a NAT IP, else [`super::TenantId::NONE`].
    pub tenant: super::TenantId,
}

impl OwnedAddress {
    /// A VIP or host address.
    pub const fn shared(kind: AddressKind) -> Self {
        Self { kind: kind as u8, pad: 0, tenant: super::TenantId::NONE }
    }

    /// A tenant's NAT IP.
    pub const fn nat_ip(tenant: super::TenantId) -> Self {
        Self { kind: AddressKind::TenantNatIp as u8, pad: 0, tenant }
    }

    /// What it is; `None` for a number that this version does not know.
    pub const fn kind(self) -> Option<AddressKind> {
        match self.kind {
            1 => Some(AddressKind::IngressVip),
            2 => Some(AddressKind::EgressVip),
            3 => Some(AddressKind::TenantNatIp),
            4 => Some(AddressKind::Host),
            _ => None,
        }
    }
}
