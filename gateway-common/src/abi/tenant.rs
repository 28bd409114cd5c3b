//! What holds for one tenant alone.

use super::{Addr, TenantId};
use crate::port_slice::PortShare;
use bytemuck::{Pod, Zeroable};

/// Value of the tenant table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct TenantSettings {
    /// Its NAT IP: errors that the gateway itself sends to the tenant come from it.
    pub nat: Addr,
    /// Largest TCP segment that its connections may agree on, in bytes (the MSS option); 0 leaves them alone.
    pub mss: u16,
    /// How it is treated.
    pub flags: TenantFlags,
    /// Idle timeout of its established TCP connections in seconds; 0 for the node's.
    pub tcp_established_secs: u32,
    /// Idle timeout of its UDP flows in seconds; 0 for the node's.
    pub udp_secs: u32,
    /// Flows that it may have at a time; 0 for any number.
    pub flows_max: u32,
    /// The ports of the egress VIP that its own calls may take.
    pub ports: PortShare,
    /// Time between two new flows at its limit, in nanoseconds; 0 for no limit.
    pub new_flow_interval_ns: u64,
    /// How far ahead of that pace it may get, in nanoseconds: its burst, times the interval.
    pub new_flow_credit_ns: u64,
}

/// What a tenant uses at the moment, counted by the data path alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Pod, Zeroable)]
#[repr(C)]
pub struct TenantUse {
    /// Its flows, established and half-open.
    pub flows: i64,
    /// When it may again open as many flows at once as ever; see [`crate::tables::Pace`].
    pub full_at_ns: u64,
}

/// Key of the table of tenants that may call other tenants' listeners (hairpinning). What is not in it is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct HairpinKey {
    /// Who calls.
    pub from: TenantId,
    /// Whose listener is called.
    pub to: TenantId,
}

/// How a tenant is treated, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct TenantFlags(pub u16);

impl TenantFlags {
    /// Its packets may come in by other interfaces than those that lead to it.
    pub const LOOSE_SOURCE: Self = Self(1);

    /// Does it contain the flag?
    #[inline(always)]
    pub const fn contains(self, flag: Self) -> bool {
        self.0 & flag.0 == flag.0
    }
}
