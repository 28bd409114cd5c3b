//! Node-wide settings that the data path reads.

use super::{Addr, TenantSettings};
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
    /// How long the ports of a flow that idled out are not used for another one. RFC 6888 REQ-8: 120 s.
    pub quarantine_secs: u32,
}

impl Timeouts {
    /// Those that hold for a tenant which may have its own.
    #[inline(always)]
    #[must_use]
    pub const fn of_tenant(mut self, tenant: &TenantSettings) -> Self {
        if tenant.tcp_established_secs != 0 {
            self.tcp_established_secs = tenant.tcp_established_secs;
            // A connection that is closing is never kept for longer than one that is not.
            if self.tcp_transitory_secs > tenant.tcp_established_secs {
                self.tcp_transitory_secs = tenant.tcp_established_secs;
            }
        }
        if tenant.udp_secs != 0 {
            self.udp_secs = tenant.udp_secs;
        }
        self
    }

    /// The defaults of the configuration.
    pub const DEFAULT: Self = Self {
        tcp_established_secs: 7_440,
        tcp_transitory_secs: 240,
        tcp_half_open_secs: 30,
        udp_secs: 300,
        icmp_secs: 60,
        quarantine_secs: 120,
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
    /// How the gateway behaves.
    pub flags: SettingsFlags,
    /// Half-open flows of one listener above which new clients have to show that they are where they say; 0: never.
    pub challenge_above: u16,
    /// Explicit padding.
    pub pad: [u8; 4],
    /// Key of the challenges' cookies and of the choice of ports: random, drawn by each node for itself.
    pub cookie_key: [u64; 2],
}

/// How the gateway behaves, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct SettingsFlags(pub u8);

impl SettingsFlags {
    /// Both ends of a TCP connection that idled out get a reset.
    pub const RESET_EXPIRED: Self = Self(1);
    /// A tenant or an interface has a largest segment size: SYNs are looked at.
    pub const CLAMPS_MSS: Self = Self(2);

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Does it contain the flag?
    #[inline(always)]
    pub const fn contains(self, flag: Self) -> bool {
        self.0 & flag.0 == flag.0
    }
}
