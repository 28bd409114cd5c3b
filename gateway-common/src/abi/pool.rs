//! Pools and backends.

use super::{Addr, Port, TenantId};
use bytemuck::{Pod, Zeroable};

/// Value of the pool table: where its Maglev table lies. Replacing this one value swaps the table atomically.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Pool {
    /// First slot.
    pub maglev_offset: u32,
    /// Number of slots; 0 when no backend takes new flows.
    pub maglev_len: u32,
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
