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

    /// The same tenant, protocol and port with another address.
    #[must_use]
    pub const fn with_address(mut self, address: Addr) -> Self {
        self.address = address;
        self
    }
}
