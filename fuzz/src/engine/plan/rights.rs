//! What tenants may, and how they are treated: limits, shares of the ports, timeouts, hairpins, segment sizes, challenges.

use std::ops::Range;

use gateway_common::{
    abi::{Side, TenantFlags, TenantSettings},
    port_slice::PortShare,
};

use super::nat;

const SECOND_NS: u64 = 1_000_000_000;

/// Time between two new flows of tenant 1 at its limit, and how many it may open at once; no limit where that is 0.
const PACES: [(u64, u64); 4] = [(0, 0), (SECOND_NS, 1), (SECOND_NS, 4), (60 * SECOND_NS, 2)];

/// Largest segments (0 is any): of tenant 1, of tenant 2, through the external and through the internal interfaces.
const MSS: [[u16; 4]; 4] = [[0; 4], [1_200, 0, 0, 0], [0, 0, 1_300, 1_100], [1_000, 1_440, 1_380, 0]];

/// Ports of each slice that tenant 1 and tenant 2 may take: all, reserved shares, very few, none.
const SHARES: [[Range<u16>; 2]; 4] =
    [[0..1024, 0..1024], [0..64, 64..1024], [1022..1024, 0..1022], [0..0, 1..2]];

/// Rights and limits.
#[derive(Clone, Copy, Debug)]
pub struct Rights {
    /// Flows that tenant 1 may have at a time; 0 for any number.
    flows_max: u32,
    shares: u8,
    pace: u8,
    mss: u8,
    /// Bit 2 * (from - 1) + to - 1.
    hairpins: u8,
    /// Bit tenant - 1: its packets may come in anywhere.
    loose: u8,
    /// Has tenant 2 short timeouts of its own?
    is_hasty: bool,
    /// Of a flow that idled out; 0 for none.
    pub quarantine_secs: u32,
    /// Are ends told that their connection idled out?
    pub resets_expired: bool,
    /// Half-open flows of a listener above which clients are challenged; 0 for never.
    pub challenge_above: u16,
}

impl Rights {
    /// From the last bytes of an input's header.
    pub fn new([limits, pairs, challenge]: [u8; 3]) -> Self {
        Self {
            flows_max: [0, 1, 4, 16][usize::from(limits & 3)],
            shares: limits >> 2 & 3,
            pace: limits >> 4 & 3,
            quarantine_secs: if limits & 64 == 0 { 120 } else { 0 },
            resets_expired: limits & 128 != 0,
            hairpins: pairs & 15,
            mss: pairs >> 4 & 3,
            loose: pairs >> 6,
            is_hasty: challenge & 128 != 0,
            challenge_above: u16::from(challenge & 127),
        }
    }

    /// Flows that the tenant may have at a time.
    pub const fn flows_max(&self, tenant: u8) -> Option<u32> {
        if tenant == 1 && self.flows_max != 0 { Some(self.flows_max) } else { None }
    }

    /// Time between two new flows of the tenant at its limit, and its burst.
    pub fn pace(&self, tenant: u8) -> Option<(u64, u64)> {
        let pace = PACES[usize::from(self.pace)];
        (tenant == 1 && pace.0 != 0).then_some(pace)
    }

    /// The places in each slice whose ports the tenant's calls may take.
    pub fn share(&self, tenant: u8) -> Range<u16> {
        SHARES[usize::from(self.shares)][usize::from(tenant - 1)].clone()
    }

    /// May the first tenant call the second one's listeners?
    pub const fn may_hairpin(&self, from: u8, to: u8) -> bool {
        self.hairpins & 1 << (2 * (from - 1) + to - 1) != 0
    }

    /// May the tenant's packets come in by any interface?
    pub const fn is_loose(&self, tenant: u8) -> bool {
        self.loose & 1 << (tenant - 1) != 0
    }

    /// Is any segment size limited?
    pub fn clamps(&self) -> bool {
        self.mss != 0
    }

    fn tenant_mss(&self, tenant: u8) -> u16 {
        MSS[usize::from(self.mss)][usize::from(tenant - 1)]
    }

    /// The largest segment of connections through the interfaces of a side; 0 is any.
    pub fn interface_mss(&self, side: Side) -> u16 {
        MSS[usize::from(self.mss)][2 + side as usize]
    }

    /// The largest segment that a SYN of this tenant may offer on its way from one side to the other, or the same.
    pub fn mss(&self, tenant: u8, from: Side, to: Side) -> Option<u16> {
        let sizes = [self.tenant_mss(tenant), self.interface_mss(from), self.interface_mss(to)];
        sizes.into_iter().filter(|size| *size != 0).min()
    }

    /// Idle timeouts of the tenant's established TCP connections and of its UDP flows, in seconds, where it has its own.
    pub fn timeouts(&self, tenant: u8) -> Option<(u32, u32)> {
        (tenant == 2 && self.is_hasty).then_some((600, 60))
    }

    /// As the tables say it.
    pub fn settings(&self, tenant: u8) -> TenantSettings {
        let (interval_ns, burst) = self.pace(tenant).unwrap_or_default();
        let (tcp_established_secs, udp_secs) = self.timeouts(tenant).unwrap_or_default();
        let share = self.share(tenant);
        let len = share.end - share.start;
        TenantSettings {
            nat: nat(tenant),
            mss: self.tenant_mss(tenant),
            flags: if self.is_loose(tenant) { TenantFlags::LOOSE_SOURCE } else { TenantFlags::default() },
            tcp_established_secs,
            udp_secs,
            flows_max: self.flows_max(tenant).unwrap_or_default(),
            ports: PortShare { first: share.start, len },
            new_flow_interval_ns: interval_ns,
            new_flow_credit_ns: interval_ns * burst,
        }
    }
}
