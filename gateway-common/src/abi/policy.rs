//! Who is who, and who may talk to whom: tenants, allow-lists, destinations.

use super::{Addr, Port, Protocol};
use bytemuck::{Pod, Zeroable};
use core::fmt;

/// A tenant's number, dense from 1; 0 means none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct TenantId(pub u16);

impl TenantId {
    /// No tenant.
    pub const NONE: Self = Self(0);
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tenant#{}", self.0)
    }
}

/// Value of the source table: whose address it is (low 16 bits), and whether that tenant is draining (bit 16).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct TenantSource(u32);

impl TenantSource {
    /// Bit of a tenant that opens no new flows.
    pub const DRAINING: u32 = 1 << 16;

    /// An address of a tenant that may open flows.
    pub const fn new(tenant: TenantId) -> Self {
        Self(tenant.0 as u32)
    }

    /// The same of a tenant that is draining, or not.
    #[must_use]
    pub const fn with_draining(self, draining: bool) -> Self {
        Self(if draining { self.0 | Self::DRAINING } else { self.0 & !Self::DRAINING })
    }

    /// The tenant.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the tenant is the low half")]
    pub const fn tenant(self) -> TenantId {
        TenantId(self.0 as u16)
    }

    /// Does the tenant open no new flows?
    #[inline(always)]
    pub const fn is_draining(self) -> bool {
        self.0 & Self::DRAINING != 0
    }

    /// As the map holds it.
    pub const fn to_raw(self) -> u32 {
        self.0
    }

    /// From what the map holds.
    #[inline(always)]
    pub const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }
}

/// A tenant's name, padded with zeros. The daemon keeps the numbers of tenants with it, so that a tenant's flows and
/// counters stay its own whatever happens to the others; the data path never reads it.
#[derive(Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct TenantLabel {
    bytes: [u8; 64],
}

impl TenantLabel {
    /// From a name of at most 64 bytes; `None` for a longer one.
    pub fn new(name: &str) -> Option<Self> {
        let mut bytes = [0; 64];
        bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Some(Self { bytes })
    }

    /// The name; empty if the bytes are no text.
    pub fn name(&self) -> &str {
        let len = self.bytes.iter().position(|byte| *byte == 0).unwrap_or(self.bytes.len());
        core::str::from_utf8(&self.bytes[..len]).unwrap_or_default()
    }
}

/// Bits of an [`AllowKey`] before the address: the list's number always matches whole.
pub const ALLOW_KEY_BITS: u32 = 32;

/// Data of an allow-list trie key: longest prefix over (list, address).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct AllowKey {
    list_be: u32,
    /// The source.
    pub address: Addr,
}

impl AllowKey {
    /// The key of a source in a list.
    #[inline(always)]
    pub const fn new(list: u32, address: Addr) -> Self {
        Self { list_be: list.to_be(), address }
    }

    /// The list's number.
    pub const fn list(&self) -> u32 {
        u32::from_be(self.list_be)
    }
}

/// Bits of a [`DestinationKey`] before the address: tenant, protocol and port always match whole.
pub const DESTINATION_KEY_BITS: u32 = 64;

/// Data of a destination trie key: longest prefix over (tenant, protocol, port, address). Port 0 means any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct DestinationKey {
    tenant_be: u16,
    protocol: u8,
    pad: u8,
    port: Port,
    pad2: u16,
    /// The destination.
    pub address: Addr,
}

impl DestinationKey {
    /// The key of a destination of a tenant.
    #[inline(always)]
    pub const fn new(tenant: TenantId, protocol: Protocol, port: Port, address: Addr) -> Self {
        Self { tenant_be: tenant.0.to_be(), protocol: protocol as u8, pad: 0, port, pad2: 0, address }
    }

    /// The tenant.
    pub const fn tenant(&self) -> TenantId {
        TenantId(u16::from_be(self.tenant_be))
    }

    /// The protocol; `None` only for bytes that are no key of ours.
    pub const fn protocol(&self) -> Option<Protocol> {
        Protocol::from_number(self.protocol)
    }

    /// The port; [`Port::NONE`] for any.
    pub const fn port(&self) -> Port {
        self.port
    }

    /// The same tenant, protocol and port with another address.
    #[must_use]
    pub const fn with_address(mut self, address: Addr) -> Self {
        self.address = address;
        self
    }
}
