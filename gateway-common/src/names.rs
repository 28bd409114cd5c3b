//! Names of maps and programs, shared by the kernel side (as identifiers) and the daemon (as strings).

use crate::forward::Stage;

/// Array of one [`crate::abi::Settings`].
pub const SETTINGS: &str = "SETTINGS";
/// Hash: address to [`crate::abi::OwnedAddress`].
pub const ADDRESSES: &str = "ADDRESSES";
/// Hash: [`crate::abi::ListenerKey`] to [`crate::abi::Listener`].
pub const LISTENERS: &str = "LISTENERS";
/// Trie: [`crate::abi::AllowKey`] to 1.
pub const ALLOW_LISTS: &str = "ALLOW_LISTS";
/// Trie: source address to [`crate::abi::TenantId`].
pub const TENANT_SOURCES: &str = "TENANT_SOURCES";
/// Trie: [`crate::abi::DestinationKey`] to 1: what is in it is allowed.
pub const DESTINATIONS: &str = "DESTINATIONS";
/// Hash: pool number to [`crate::abi::Pool`].
pub const POOLS: &str = "POOLS";
/// Array of backend numbers: all Maglev tables one after another.
pub const MAGLEV: &str = "MAGLEV";
/// Hash: backend number to [`crate::abi::Backend`].
pub const BACKENDS: &str = "BACKENDS";
/// Hash: interface index to [`crate::abi::Interface`].
pub const INTERFACES: &str = "INTERFACES";
/// Hash: [`crate::abi::FlowKey`] to [`crate::abi::CtEntry`], established flows.
pub const FLOWS: &str = "FLOWS";
/// Hash: [`crate::abi::FlowKey`] to [`crate::abi::CtEntry`], half-open flows.
pub const HALF_OPEN: &str = "HALF_OPEN";
/// Per-CPU array of [`crate::abi::TenantStats`], by tenant.
pub const TENANT_STATS: &str = "TENANT_STATS";
/// Per-CPU array of counts, by drop reason.
pub const DROPS: &str = "DROPS";
/// Per-CPU array of counts, by [`crate::abi::Counter`].
pub const COUNTERS: &str = "COUNTERS";
/// Hash: tenant number to [`crate::abi::TenantLabel`], for the daemon alone.
pub const TENANT_LABELS: &str = "TENANT_LABELS";
/// Ring buffer of [`crate::abi::Event`].
pub const EVENTS: &str = "EVENTS";
/// Hash: tenant number to [`crate::abi::TenantSettings`].
pub const TENANTS: &str = "TENANTS";
/// Array of [`crate::abi::TenantUse`], by tenant.
pub const TENANT_USE: &str = "TENANT_USE";
/// Hash: [`crate::abi::HairpinKey`] to 1: what is in it is allowed.
pub const HAIRPINS: &str = "HAIRPINS";
/// Hash: [`crate::abi::RingKey`] to [`crate::abi::HalfOpenRing`].
pub const HALF_OPEN_RINGS: &str = "HALF_OPEN_RINGS";
/// LRU hash: [`crate::abi::ClientKey`] to the time until which its answer to a challenge counts.
pub const CLIENTS: &str = "CLIENTS";
/// LRU hash: [`crate::abi::DatagramKey`] to [`crate::abi::Datagram`].
pub const DATAGRAMS: &str = "DATAGRAMS";
/// Ring buffer of [`crate::abi::HeldFrame`]: parts of datagrams that came before the first.
pub const HELD: &str = "HELD";
/// Per-CPU array of one [`crate::forward::Plan`].
pub const PLAN: &str = "PLAN";
/// Programs of [`crate::forward::Stage`] in XDP, by [`crate::forward::Stage::index`].
pub const STAGES_XDP: &str = "STAGES_XDP";
/// Programs of [`crate::forward::Stage`] in TC.
pub const STAGES_TC: &str = "STAGES_TC";

/// Array of one [`crate::abi::Tap`]: what is watched.
pub const TAP: &str = "TAP";
/// Ring buffer of records that start with a [`crate::abi::TapHead`].
pub const TAP_RING: &str = "TAP_RING";
/// Per-CPU array of one [`crate::abi::TapCounts`].
pub const TAP_COUNTS: &str = "TAP_COUNTS";
/// Programs that take the place of others while somebody watches, in XDP: see [`crate::forward::Stage::tap_index`].
pub const TAPS_XDP: &str = "TAPS_XDP";
/// The same in TC.
pub const TAPS_TC: &str = "TAPS_TC";
/// What the name of such a program has in front of the name of the one that it takes the place of.
pub const TAPPED: &str = "tapped_";

/// XDP program for interfaces on NPCI's side.
pub const XDP_EXTERNAL: &str = "xdp_external";
/// XDP program for interfaces on the tenants' side.
pub const XDP_INTERNAL: &str = "xdp_internal";
/// TC program for interfaces on NPCI's side.
pub const TC_EXTERNAL: &str = "tc_external";
/// TC program for interfaces on the tenants' side.
pub const TC_INTERNAL: &str = "tc_internal";
/// Programs of the stages in XDP, in the order of [`crate::forward::Stage::index`].
pub const STAGE_PROGRAMS_XDP: [&str; Stage::INDICES as usize] = [
    "xdp_quoted_external",
    "xdp_quoted_internal",
    "xdp_first_part_external",
    "xdp_first_part_internal",
    "xdp_later_part_external",
    "xdp_later_part_internal",
    "xdp_tell_external",
    "xdp_tell_internal",
    "xdp_challenge_external",
    "xdp_challenge_internal",
    "xdp_open_external",
    "xdp_open_internal",
    "xdp_handshake_external",
    "xdp_handshake_internal",
    "xdp_enter_external",
    "xdp_enter_internal",
    "xdp_note_external",
    "xdp_note_internal",
    "xdp_source_external",
    "xdp_source_internal",
    "xdp_again_external",
    "xdp_again_internal",
];
/// Programs of the stages in TC, in the same order.
pub const STAGE_PROGRAMS_TC: [&str; Stage::INDICES as usize] = [
    "tc_quoted_external",
    "tc_quoted_internal",
    "tc_first_part_external",
    "tc_first_part_internal",
    "tc_later_part_external",
    "tc_later_part_internal",
    "tc_tell_external",
    "tc_tell_internal",
    "tc_challenge_external",
    "tc_challenge_internal",
    "tc_open_external",
    "tc_open_internal",
    "tc_handshake_external",
    "tc_handshake_internal",
    "tc_enter_external",
    "tc_enter_internal",
    "tc_note_external",
    "tc_note_internal",
    "tc_source_external",
    "tc_source_internal",
    "tc_again_external",
    "tc_again_internal",
];
/// TC program that sends a part on that was kept, as if it came in on NPCI's side; the daemon runs it.
pub const RESUME_EXTERNAL: &str = "resume_external";
/// The same on the tenants' side.
pub const RESUME_INTERNAL: &str = "resume_internal";
/// Program that re-checks and deletes expired flows; the daemon runs it, no packet ever does.
pub const EXPIRE: &str = "expire";
/// Reference for the benchmark: does nothing.
pub const BENCH_EMPTY_XDP: &str = "bench_empty_xdp";
/// Reference for the benchmark: does nothing.
pub const BENCH_EMPTY_TC: &str = "bench_empty_tc";
/// Reference for the benchmark: parses, looks up the FIB and redirects.
pub const BENCH_FORWARD_XDP: &str = "bench_forward_xdp";
/// Reference for the benchmark: parses, looks up the FIB and redirects.
pub const BENCH_FORWARD_TC: &str = "bench_forward_tc";
