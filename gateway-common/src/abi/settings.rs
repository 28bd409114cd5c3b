//! Node-wide settings that the data path reads.

use super::Addr;
use crate::port_slice::PortSlices;
use bytemuck::{Pod, Zeroable};

/// Idle timeouts in seconds, by what the flow is doing. See [`crate::conntrack::lifetime_ns`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Timeouts {
    /// TCP, established or half-closed. RFC 5382 REQ-5: at least 7,440 s.
    pub tcp_established_secs: u32,
    /// TCP, closing or reset. RFC 5382 REQ-5: at least 240 s.
    pub tcp_transitory_secs: u32,
    /// TCP, three-way handshake unfinished.
    pub tcp_half_open_secs: u32,
    /// UDP. RFC 4787 REQ-5: at least 120 s.
    pub udp_secs: u32,
    /// ICMP echo. RFC 5508 REQ-1: at least 60 s.
    pub icmp_secs: u32,
    /// Explicit padding.
    pub pad: u32,
}

impl Timeouts {
    /// The defaults of the configuration.
    pub const DEFAULT: Self = Self {
        tcp_established_secs: 7_440,
        tcp_transitory_secs: 240,
        tcp_half_open_secs: 30,
        udp_secs: 300,
        icmp_secs: 60,
        pad: 0,
    };
}

/// The one value of the settings table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Settings {
    /// Flows may be opened and addresses announced while now is below this; `CLOCK_MONOTONIC` nanoseconds.
    pub lease_until_ns: u64,
    /// Seed of the flow hash; the same on every node, so that all choose the same backend.
    pub hash_seed: u64,
    /// The ports that this node may take.
    pub slices: PortSlices,
    /// Idle timeouts.
    pub timeouts: Timeouts,
    /// The address that NPCI calls.
    pub ingress_vip: Addr,
    /// The address that NPCI is called from.
    pub egress_vip: Addr,
    /// Ownership epoch that new flows are born with.
    pub epoch: u32,
    /// Generation of the configuration in the tables.
    pub generation: u32,
    /// This node's number (1..=63); 0 means that the tables are not filled yet.
    pub node: u8,
    /// Explicit padding.
    pub pad: [u8; 7],
}
