//! How large a configuration may be, and the ranges of its numbers.
//!
//! A file beyond one of these is refused as a whole, with an error that names the limit and the first entry
//! beyond it; the configuration that is already running stays in force.

use super::bounded::Bounds;
use super::tenant_limits::{PLACES, PLACES_RESERVED_MAX};
use gateway_common::port_slice::SLICES;

/// Largest configuration file, in bytes. A file at every limit below takes about 25 MiB; more than this is a
/// mistake (`/dev/zero`, a log) and would only cost memory.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// Most tenants. 1.6 times the 10,000 of the performance targets (DESIGN section 6). The data path has 16,384
/// places, the first of which means "no tenant".
pub const MAX_TENANTS: usize = 16_383;

/// Most listeners and addressed egress entries together. One address has 65,535 ports a protocol, so this is
/// all of the ingress VIP's TCP, and four of them for each of [`MAX_TENANTS`].
pub const MAX_LISTENERS: usize = 65_536;

/// Most backends of all pools together: the largest number the performance targets are measured with.
pub const MAX_BACKENDS: usize = 100_000;

/// Most backends of one pool. A Maglev table of 131,071 slots then still gives each one 64 slots, which keeps
/// their shares within a few per cent of their weights.
pub const MAX_BACKENDS_PER_POOL: usize = 1_024;

/// Most network interfaces that the gateway attaches to: bonds, VLANs and pod links of one host, with room to
/// spare.
pub const MAX_INTERFACES: usize = 64;

/// Most routes that the daemon looks after. More is the work of a routing daemon.
pub const MAX_ROUTES: usize = 4_096;

/// Most prefixes in the `allow` list of one listener. More is a routing table rather than an allow-list.
pub const MAX_PREFIXES_PER_LISTENER: usize = 4_096;

/// Most prefixes of the whole file: `sources` and `allow` of all tenants. Sizes the longest-prefix tables.
pub const MAX_PREFIXES: usize = 65_536;

/// Most endpoints of one peer group. NPCI publishes a handful a product and site.
pub const MAX_ENDPOINTS_PER_GROUP: usize = 4_096;

/// Most endpoints of all peer groups together; bounds the time that checking a hostile file takes.
pub const MAX_ENDPOINTS: usize = 65_536;

/// Most (tenant, endpoint) pairs: an endpoint counts once for every tenant that names its group. Sizes the
/// table of allowed destinations.
pub const MAX_DESTINATIONS: usize = 262_144;

/// Most pairs of a tenant and another one that it may call. The table of them has twice the room, so that a change never
/// meets a full one.
pub const MAX_HAIRPINS: usize = 8_192;

/// Range of `limits.flows`. The smallest test bench needs about a thousand; the largest is 16 times the
/// million flows of the performance targets, 8 GiB of map memory at 256 bytes a flow and direction.
pub(super) enum FlowCount {}

impl Bounds for FlowCount {
    const MIN: u32 = 1_024;
    const MAX: u32 = 16_777_216;
    const BECAUSE: &str = "the flow tables are allocated at start, 256 bytes a flow and direction";
}

/// Range of `node.id`: 63 port slices can be shared by at most 63 nodes, and 0 means "no node" in a flow
/// entry.
pub(super) enum NodeIds {}

impl Bounds for NodeIds {
    const MIN: u32 = 1;
    const MAX: u32 = 63;
    const BECAUSE: &str = "63 port slices can be shared by at most 63 nodes";
}

/// Range of a backend's `weight`; 0 keeps its flows and gives it no new ones.
pub(super) enum Weights {}

impl Bounds for Weights {
    const MIN: u32 = 0;
    const MAX: u32 = 1_000;
    const BECAUSE: &str = "a weight is a share relative to the other backends of the pool";
}

/// Range of `timeouts.tcp_established_secs`. RFC 5382 REQ-5: not less than 2 hours 4 minutes. The upper end
/// is the 24 hours that DESIGN section 3 allows a payment socket to be idle.
pub(super) enum TcpEstablishedSecs {}

impl Bounds for TcpEstablishedSecs {
    const MIN: u32 = 7_440;
    const MAX: u32 = 86_400;
    const BECAUSE: &str =
        "RFC 5382 REQ-5: an established connection may be idle for 2 hours 4 minutes at least";
}

/// Range of `timeouts.tcp_transitory_secs`. RFC 5382 REQ-5: not less than 4 minutes. Never longer than the
/// shortest established timeout, because RST and FIN may only shorten it.
pub(super) enum TcpTransitorySecs {}

impl Bounds for TcpTransitorySecs {
    const MIN: u32 = 240;
    const MAX: u32 = 7_440;
    const BECAUSE: &str = "RFC 5382 REQ-5: a closing connection is kept for 4 minutes at least";
}

/// Range of `timeouts.tcp_half_open_secs`. RFC 7857 section 2 lets a configured timeout of partially open
/// connections be less than the 4 minutes of RFC 5382 for the sake of security; 6 s is what RFC 5382 REQ-4
/// keeps a lone SYN.
pub(super) enum TcpHalfOpenSecs {}

impl Bounds for TcpHalfOpenSecs {
    const MIN: u32 = 6;
    const MAX: u32 = 240;
    const BECAUSE: &str = "RFC 5382 REQ-4 keeps a lone SYN for 6 seconds, REQ-5 a handshake for 4 minutes";
}

/// Range of `timeouts.udp_secs`. RFC 4787 REQ-5: not less than 2 minutes, 5 minutes or more recommended.
pub(super) enum UdpSecs {}

impl Bounds for UdpSecs {
    const MIN: u32 = 120;
    const MAX: u32 = 86_400;
    const BECAUSE: &str = "RFC 4787 REQ-5: a UDP mapping is kept for 2 minutes at least";
}

/// Range of `timeouts.icmp_secs`. RFC 5508 REQ-2: not less than 60 seconds.
pub(super) enum IcmpSecs {}

impl Bounds for IcmpSecs {
    const MIN: u32 = 60;
    const MAX: u32 = 3_600;
    const BECAUSE: &str = "RFC 5508 REQ-2: an ICMP query session is kept for 60 seconds at least";
}

/// Range of `timeouts.quarantine_secs`. RFC 6888 REQ-8 asks for 120 seconds; 0 is for who has too few ports for that.
pub(super) enum QuarantineSecs {}

impl Bounds for QuarantineSecs {
    const MIN: u32 = 0;
    const MAX: u32 = 3_600;
    const BECAUSE: &str = "RFC 6888 REQ-8 asks for 120 seconds; ports in quarantine are of no use to anybody";
}

/// Range of `limits.challenge_above`. A listener has 480 places for half-open flows: some must be left for who has shown
/// where it is.
pub(super) enum ChallengeAbove {}

impl Bounds for ChallengeAbove {
    const MIN: u32 = 0;
    const MAX: u32 = 470;
    const BECAUSE: &str = "a listener has 480 places for half-open flows";
}

/// Range of `mss_clamp`. RFC 9293 section 3.7.1: 536 is what every IPv4 host takes; above 9,140 are no Ethernet frames.
pub(super) enum SegmentBytes {}

impl Bounds for SegmentBytes {
    const MIN: u32 = 536;
    const MAX: u32 = 9_140;
    const BECAUSE: &str =
        "every IPv4 host takes 536, and jumbo frames have room for 9,140; 0 leaves it alone";
}

/// Range of `tenant.max_flows`: that of the table.
pub(super) enum TenantFlowCount {}

impl Bounds for TenantFlowCount {
    const MIN: u32 = 1;
    const MAX: u32 = FlowCount::MAX;
    const BECAUSE: &str = "the flow tables hold no more; 0 is any number";
}

/// Range of `tenant.new_flows_per_second` and `tenant.new_flows_burst`. At the upper end the interval between two flows is
/// 1,000 ns, and whole nanoseconds are exact to 0.1 %.
pub(super) enum NewFlowCount {}

impl Bounds for NewFlowCount {
    const MIN: u32 = 1;
    const MAX: u32 = 1_000_000;
    const BECAUSE: &str = "more cannot be measured exactly; 0 is no limit";
}

/// Range of `tenant.reserved_ports`: what may be reserved in all.
pub(super) enum ReservedPorts {}

impl Bounds for ReservedPorts {
    const MIN: u32 = 1;
    const MAX: u32 = PLACES_RESERVED_MAX as u32 * SLICES as u32;
    const BECAUSE: &str = "a quarter of the ports stays for tenants without reserved ones; 0 reserves none";
}

/// Range of `tenant.ports_per_destination`: all that there are.
pub(super) enum PortsPerDestination {}

impl Bounds for PortsPerDestination {
    const MIN: u32 = 1;
    const MAX: u32 = PLACES as u32 * SLICES as u32;
    const BECAUSE: &str = "the egress VIP has 64,512 ports; 0 is all that are not reserved";
}

/// Range of `tenant.timeouts`. The lower end is that of `allow_short_timeouts`.
pub(super) enum TenantIdleSecs {}

impl Bounds for TenantIdleSecs {
    const MIN: u32 = 1;
    const MAX: u32 = TcpEstablishedSecs::MAX;
    const BECAUSE: &str = "a payment socket is idle for a day at most; 0 is the node's timeout";
}

/// Range of `tenant.pool.slow_start_secs`. More than an hour is a weight rather than a start.
pub(super) enum SlowStartSecs {}

impl Bounds for SlowStartSecs {
    const MIN: u32 = 0;
    const MAX: u32 = 3_600;
    const BECAUSE: &str = "a server is warm after an hour at most";
}

/// Range of `drain_until`: what 32 bits of Unix time hold, to 7 February 2106. Catches milliseconds.
pub(super) enum UnixSecs {}

impl Bounds for UnixSecs {
    const MIN: u32 = 0;
    const MAX: u32 = u32::MAX;
    const BECAUSE: &str = "it is Unix time in seconds, as `date +%s` prints it";
}

/// Range of `tenant.pool.health.interval_ms`. 10 checks a second of one server are enough for any detection time;
/// more than an hour is no check.
pub(super) enum CheckIntervalMs {}

impl Bounds for CheckIntervalMs {
    const MIN: u32 = 100;
    const MAX: u32 = 3_600_000;
    const BECAUSE: &str = "a server is checked at most 10 times a second, and once an hour at least";
}

/// Range of `tenant.pool.health.timeout_ms`; it is at most the interval as well.
pub(super) enum CheckTimeoutMs {}

impl Bounds for CheckTimeoutMs {
    const MIN: u32 = 10;
    const MAX: u32 = 3_600_000;
    const BECAUSE: &str = "a handshake over a network takes some milliseconds";
}

/// Range of `rise` and `fall` of a check.
pub(super) enum CheckCount {}

impl Bounds for CheckCount {
    const MIN: u32 = 1;
    const MAX: u32 = 10;
    const BECAUSE: &str = "with more, a server that died would be noticed too late";
}

/// Range of `tenant.pool.health.jitter_percent`. With half of the interval checks are spread over all of it.
pub(super) enum JitterPercent {}

impl Bounds for JitterPercent {
    const MIN: u32 = 0;
    const MAX: u32 = 50;
    const BECAUSE: &str = "with 50 the checks are spread evenly, more only makes them irregular";
}

/// Range of `store.history`. The smallest lets one look back over an evening of changes.
pub(super) enum HistoryVersions {}

impl Bounds for HistoryVersions {
    const MIN: u32 = 10;
    const MAX: u32 = 100_000;
    const BECAUSE: &str = "each version takes the space of what it changed";
}

/// Range of `reconcile.interval_ms`. A full comparison reads every table.
pub(super) enum ReconcileMs {}

impl Bounds for ReconcileMs {
    const MIN: u32 = 100;
    const MAX: u32 = 60_000;
    const BECAUSE: &str = "damage is to be repaired within a minute, and a comparison reads every table";
}
