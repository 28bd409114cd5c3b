//! Pools and backends.

use super::{Addr, Port, TenantId};
use bytemuck::{Pod, Zeroable};

/// What a pool does when no backend takes new flows, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct PoolFlags(pub u32);

impl PoolFlags {
    /// The client is told at once (TCP reset, ICMP port unreachable) instead of being left to its timeouts.
    pub const REFUSE: Self = Self(1);

    /// Does it contain the flag?
    #[inline(always)]
    pub const fn contains(self, flag: Self) -> bool {
        self.0 & flag.0 == flag.0
    }
}

/// Value of the pool table: where its Maglev table lies. Replacing this one value swaps the table atomically.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Pool {
    /// First slot.
    pub maglev_offset: u32,
    /// Number of slots; 0 when no backend takes new flows.
    pub maglev_len: u32,
    /// What happens to a new flow then.
    pub flags: PoolFlags,
}

/// Value of the backend table: an inside server, or an endpoint of NPCI's behind an egress mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Backend {
    /// Its address.
    pub address: Addr,
    /// Its port.
    pub port: Port,
    /// The tenant that it serves.
    pub tenant: TenantId,
}
