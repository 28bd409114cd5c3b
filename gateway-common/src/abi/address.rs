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

    /// From the bytes of a header.
    pub const fn from_wire(bytes: [u8; 2]) -> Self {
        Self(u16::from_ne_bytes(bytes))
    }

    /// The bytes for a header.
    pub const fn to_wire(self) -> [u8; 2] {
        self.0.to_ne_bytes()
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

/// An Ethernet address.
pub type Mac = [u8; 6];

/// The two Ethernet addresses of a frame, in words: destination, then source, as a frame begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkAddresses([u32; 3]);

impl LinkAddresses {
    /// From and to.
    #[inline(always)]
    pub const fn new(destination: Mac, source: Mac) -> Self {
        let ([d0, d1, d2, d3, d4, d5], [s0, s1, s2, s3, s4, s5]) = (destination, source);
        Self([
            u32::from_ne_bytes([d0, d1, d2, d3]),
            u32::from_ne_bytes([d4, d5, s0, s1]),
            u32::from_ne_bytes([s2, s3, s4, s5]),
        ])
    }

    /// The first twelve bytes of the frame.
    #[inline(always)]
    pub fn to_wire(self) -> [u8; 12] {
        bytemuck::cast(self.0)
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
