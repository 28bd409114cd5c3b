//! Every capacity of the data path: what it bounds, why this number, what happens when it is reached.

/// Version of the map layout. It is part of the pin path, so a daemon never adopts maps of another layout by mistake.
/// Raise it with every change in [`crate::abi`], and the numbers of the maps that change in [`crate::layout`].
pub const ABI_VERSION: u32 = 3;

/// Tenants. Per-tenant counters are a per-CPU array of this size (48 B a tenant and CPU); id 0 means "no tenant".
/// The configuration refuses more.
pub const TENANTS_MAX: u32 = 16_384;

/// Addresses that the gateway knows: both VIPs, one NAT IP a tenant, the host's own. The configuration refuses more.
pub const ADDRESSES_MAX: u32 = 2 * TENANTS_MAX;

/// Listeners and addressed egress mappings together: twice what the configuration allows, since in a change that moves
/// all of them the new ones come before the old ones go.
pub const LISTENERS_MAX: u32 = 131_072;

/// Pools: one a backend at most (100,000), and one an egress mapping (65,536); they keep their numbers, so few are there
/// twice in a change.
pub const POOLS_MAX: u32 = 262_144;

/// Backends over all pools, egress mappings included; twice, as listeners.
pub const BACKENDS_MAX: u32 = 524_288;

/// Slots of all Maglev tables together. The kernel rounds an array's elements up to 8 B, so they take 128 MiB of its
/// memory. [`crate::maglev::table_size`] divides them: 10,000 pools of ten backends take 10.2 million. The daemon refuses
/// a configuration that needs more before it changes anything.
pub const MAGLEV_SLOTS_MAX: u32 = 16_777_216;

/// Prefixes in the allow-lists of all listeners: twice what the configuration allows, as listeners.
pub const ALLOW_PREFIXES_MAX: u32 = 131_072;

/// Source prefixes of all tenants: twice what the configuration allows, as listeners.
pub const SOURCE_PREFIXES_MAX: u32 = 131_072;

/// (tenant, endpoint) pairs of all peer groups: twice what the configuration allows, as listeners.
pub const DESTINATIONS_MAX: u32 = 524_288;

/// Network interfaces, VLAN devices on them included.
pub const INTERFACES_MAX: u32 = 256;

/// Entries of the established table by default: two for each flow. A full table refuses new flows
/// (`flow_table_full`) and evicts none.
pub const FLOW_ENTRIES_DEFAULT: u32 = 2 * 262_144;

/// Entries of the half-open table by default: two for each flow. A full table refuses new flows
/// (`half_open_table_full`); established flows never live in it.
pub const HALF_OPEN_ENTRIES_DEFAULT: u32 = 2 * 65_536;

/// Half-open flows of one listener, or calls of one tenant, at a time: what fits a page of memory. The one more that is
/// opened takes the place of the oldest, which is forgotten if nobody has answered it yet.
pub const HALF_OPEN_PLACES: u32 = 480;

/// Listeners and tenants whose half-open flows are bounded each for itself; they take 4 KiB each when they first open a
/// flow. What is opened beyond them shares the bound of the table alone.
pub const HALF_OPEN_RINGS_MAX: u32 = 16_384;

/// Clients, and connections of clients, that have answered a challenge. Where more do, those that came back least recently
/// are asked again.
pub const CLIENTS_MAX: u32 = 65_536;

/// How long the answer to a challenge counts.
pub const CLIENT_LIFETIME_NS: u64 = 300_000_000_000;

/// How long clients are challenged after a listener had too many half-open flows: as long as flows that nobody answers
/// stay (`tcp_half_open`), so that a flood does not switch it off and on.
pub const CHALLENGE_LINGER_NS: u64 = 30_000_000_000;

/// Pairs of tenants of which one may call the other's listeners.
pub const HAIRPINS_MAX: u32 = 16_384;

/// Buckets in which the ICMP errors of the gateway's own are limited, by a hash of who gets them.
pub const ERROR_PACES: u32 = 1_024;

/// Time between two of them to one host at the limit: 1,000 a second, since a host may be a whole network behind a NAT. What is
/// beyond is not sent, and counted (`gateway_icmp_errors_limited_total`).
pub const ERROR_INTERVAL_NS: u64 = 1_000_000;

/// How far ahead of that pace a host may get: 1,000 at once.
pub const ERROR_CREDIT_NS: u64 = 1_000_000_000;

/// Ports tried for one new flow before it is refused (`ports_exhausted`). More than about 25 tries gain nothing
/// measurable (cilium PR #37389), and the loop has to end for the verifier.
pub const PORT_TRIES_MAX: u32 = 32;

/// Datagrams in parts that are under way at a time, over all sources. They are there for a moment each; where more come,
/// those that were heard of least recently are forgotten, and their later parts dropped (`fragment_unmatched`).
pub const DATAGRAMS_MAX: u32 = 8_192;

/// How long the parts of a datagram may take. Hosts wait 15 s and more for them (RFC 1122 section 3.3.2), but an
/// identification may be used again soon (RFC 6864), so this is not longer.
pub const DATAGRAM_LIFETIME_NS: u64 = 15_000_000_000;

/// How long a datagram is remembered after all its parts have come, so that a part that comes twice is refused. Copies
/// come within milliseconds; a host that sends 65,536 datagrams in this time to one destination uses one again.
pub const DATAGRAM_LINGER_NS: u64 = 100_000_000;

/// Bytes of the ring buffer through which parts that came too early reach the daemon: room for 2,048. When it is full they
/// are dropped (`fragment_unmatched`). The daemon maps it twice, so it counts twice as its memory.
pub const HELD_BYTES: u32 = 4 * 1024 * 1024;

/// Longest frame that can be kept for a moment, in bytes; longer ones are dropped (`fragment_unmatched`).
pub const HELD_FRAME_MAX: usize = 2_032;

/// Parts that the daemon takes out of that ring at once. Where there are as many it rests for [`HELD_REST_MS`], so that a
/// flood of them gets 51,200 tries a second and no more of a CPU; what the ring has no room for meanwhile is dropped.
pub const HELD_BATCH: usize = 256;

/// How long the daemon rests then, in milliseconds. The ring fills in that time if more than 400,000 a second come.
pub const HELD_REST_MS: u64 = 5;

/// What the programs that send kept parts on return: it was sent.
pub const RESUME_SENT: i32 = 1;
/// Its first part is not known yet.
pub const RESUME_UNMATCHED: i32 = 2;
/// It was dropped, and counted.
pub const RESUME_DROPPED: i32 = 3;

/// Sequence numbers from the one that the receiver expects next within which a reset counts: the largest window without window
/// scaling (RFC 9293 section 3.1), since who forges resets has to hit it. What lies outside is counted
/// (`gateway_resets_not_believed_total`). A host that aborts with more than this under way sends such a reset as well; the
/// answer of its closed port to what still comes is exact. If nothing comes, the flow is kept until it has been idle for long.
pub const RESET_WINDOW: u32 = 65_536;

/// How far before that a reset may lie: hosts that have sent a FIN reset from the number of the FIN (macOS; Linux accepts it,
/// `tcp_reset_check`).
pub const RESET_BEHIND: u32 = 1;

/// How far ahead a FIN may lie: the largest window that there is (RFC 7323 section 2.3). Who forges one gets a connection
/// that is open in one direction only to be forgotten sooner, and nothing else.
pub const FIN_AHEAD: u32 = 1 << 30;

/// How far before that a segment with a FIN may begin: one that repeats bytes that have arrived.
pub const FIN_BEHIND: u32 = 65_536;

/// A flow's last-seen time is written at most this often, so that packets on several CPUs do not fight for its
/// cache line. Timeouts are exact to this.
pub const LAST_SEEN_GRANULARITY_NS: u64 = 1_000_000_000;

/// Keys that one call of the expiry program re-checks. The verifier follows every turn of the loop: with eight turns that of
/// Linux 6.1 gives up at its limit of a million instructions.
pub const EXPIRE_BATCH: usize = 2;

/// Bytes of the events ring buffer. When the daemon is too slow to empty it events are lost, packets are not.
pub const EVENTS_BYTES: u32 = 64 * 1024;

/// Bytes of the ring buffer through which the data path tells those who watch it, and hands over captured frames. When it
/// is full, records are lost and counted, packets are not. At 192 bytes of each frame it holds 4,500 packets, before and
/// after translation.
pub const TAP_BYTES: u32 = 2 * 1024 * 1024;

/// Bytes of a frame that can be captured.
pub const TAP_FRAME_MAX: usize = 4_064;

/// Bytes of a frame that hold all headers that anybody can want to see: tagged Ethernet, IPv4 and TCP with all options, or
/// an ICMP error with the headers that it quotes.
pub const TAP_HEADERS_LEN: u32 = 192;

/// Drops told of in a second by each CPU; more are left out and counted. So a flood costs its watcher a bounded effort.
pub const TAP_DROPS_PER_SECOND: u32 = 250;

/// The same for flows that begin and end.
pub const TAP_FLOWS_PER_SECOND: u32 = 1_000;

const _: () = assert!(TENANTS_MAX <= u16::MAX as u32, "TenantId is 16 bits wide");
const _: () = assert!(HELD_BYTES.is_power_of_two(), "the kernel wants a power of two");
const _: () = assert!(TAP_BYTES.is_power_of_two(), "the kernel wants a power of two");
const _: () = assert!(EVENTS_BYTES.is_power_of_two(), "the kernel wants a power of two");
