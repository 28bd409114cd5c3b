//! The seam between the packet engine and its tables: BPF maps in the kernel, collections in host tests.

use core::ops::DerefMut;

use crate::{
    abi::{
        Acked, Addr, AllowKey, Arrival, Backend, ClientKey, Counter, CtEntry, DatagramHead, DatagramKey,
        DestinationKey, EntryFlags, EntryView, Event, FlowEnd, FlowKey, HairpinKey, Interface, LinkAddresses,
        Listener, ListenerKey, OwnedAddress, Place, Pool, RingKey, Seen, Settings, State, TenantId,
        TenantSettings, TenantSource,
    },
    drop_reason::DropReason,
    forward::Plan,
};

/// The two tables of tracked flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowTable {
    /// Flows whose both ends have spoken. Nothing is ever evicted from it.
    Established,
    /// Flows that one end has opened. Bounded, and all that a flood can fill.
    HalfOpen,
}

/// What happened to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowChange {
    /// It was opened.
    Opened,
    /// It ended.
    Ended(FlowEnd),
}

/// The outcome of an insertion that must not replace anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Insertion {
    /// It was inserted.
    Inserted,
    /// The key exists; the table is unchanged.
    Exists,
    /// The table is full, or memory was short; the table is unchanged.
    Full,
}

/// A question to the kernel's routing table (FIB).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteQuery {
    /// Source address after translation.
    pub src: Addr,
    /// Destination address after translation.
    pub dst: Addr,
    /// Number of the IP protocol, for policy routing.
    pub protocol: u8,
    /// Type of service.
    pub tos: u8,
    /// Length of the IP packet, for the MTU check; 0 for none where the kernel does not know the packet.
    pub total_len: u16,
    /// Interface that the packet came in by.
    pub ingress_ifindex: u32,
}

/// The kernel's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Send it out of this interface with these link addresses.
    Forward {
        /// Outgoing interface as the routing table names it.
        ifindex: u32,
        /// Link addresses: to the next hop, from the outgoing interface.
        link: LinkAddresses,
    },
    /// The route is known, the next hop's link address is not.
    Unresolved {
        /// Outgoing interface.
        ifindex: u32,
        /// The next hop.
        next_hop: Addr,
    },
    /// The packet is too large for the link.
    TooLarge {
        /// Outgoing interface.
        ifindex: u32,
        /// The largest IP packet that it takes, in bytes.
        mtu: u16,
    },
    /// No route, or one that refuses.
    None,
    /// Forwarding is switched off on the incoming interface.
    Disabled,
}

/// How fast a tenant may open flows, or how many ICMP errors a host gets: the generic cell rate algorithm (ITU-T I.371), which
/// is a token bucket in one number, the time at which the bucket will be full again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Time between two at the limit.
    pub interval_ns: u64,
    /// How far ahead of that pace one may get: its burst, times the interval.
    pub credit_ns: u64,
    /// Now; `CLOCK_MONOTONIC`.
    pub now_ns: u64,
}

impl Pace {
    /// When the bucket will be full again after one more; `None` when there is no token.
    ///
    /// Over any stretch of time no more are admitted than its length divided by the interval, and the burst.
    #[inline(always)]
    pub const fn after_one_more(&self, full_at_ns: u64) -> Option<u64> {
        let full_at_ns = if full_at_ns < self.now_ns { self.now_ns } else { full_at_ns };
        if full_at_ns - self.now_ns + self.interval_ns > self.credit_ns {
            return None;
        }
        Some(full_at_ns + self.interval_ns)
    }
}

/// An entry of a flow table, in place.
pub trait FlowSlot {
    /// What a packet needs to know of the entry, or `None` when the element was recycled for another key while we
    /// held it.
    fn view(&self, key: &FlowKey) -> Option<EntryView>;

    /// Copies the key of the other direction; false when the element was recycled.
    #[must_use]
    fn copy_pair_to(&self, key: &FlowKey, pair: &mut FlowKey) -> bool;

    /// Copies the whole entry; false when the element was recycled.
    #[must_use]
    fn copy_to(&self, key: &FlowKey, copy: &mut CtEntry) -> bool;

    /// Writes the time of the last packet.
    fn set_last_seen(&self, now_ns: u64);

    /// Writes how far the direction has acknowledged the other. What a recycled element gets by that the next packet repairs.
    fn set_acked(&self, acked: Acked);

    /// Writes where its packets come in, unless the element was recycled for another key.
    fn set_arrival(&self, key: &FlowKey, arrival: Arrival);

    /// Writes the record of segments and the cached state, unless the element was recycled for another key.
    fn set_progress(&self, key: &FlowKey, seen: Seen, state: State);

    /// Ends the flow at this moment, for this reason, unless the element was recycled for another key.
    fn end(&self, key: &FlowKey, reason: EntryFlags, now_ns: u64);
}

/// A ring of half-open flows, in place. Several CPUs may use it at once.
pub trait RingSlot {
    /// Takes the next place for a flow, and returns which flow had it.
    fn take(&self, place: Place) -> Option<Place>;

    /// The flow that took its place `back` places ago.
    fn recent(&self, back: u32) -> Option<Place>;

    /// Until when new clients are challenged; `CLOCK_MONOTONIC` nanoseconds.
    fn challenging_until_ns(&self) -> u64;

    /// Changes that.
    fn challenge_until(&self, until_ns: u64);
}

/// What has come of a datagram in parts, in place.
pub trait DatagramSlot {
    /// Is it the datagram with this destination, identification and protocol, and are its parts not yet too late?
    fn is_of(&self, datagram: (Addr, u16, u8), now_ns: u64) -> bool;

    /// When its parts are too late.
    fn deadline_ns(&self) -> u64;

    /// Changes that.
    fn set_deadline_ns(&self, deadline_ns: u64);

    /// What its first part said.
    fn head(&self) -> DatagramHead;

    /// Notes that the units from `first` up to `end` have come; false when some of them had come before.
    #[must_use]
    fn claim(&self, first: u16, end: u16) -> bool;

    /// Notes how many units there are.
    fn set_total(&self, units: u16);

    /// Have all parts come?
    fn is_complete(&self) -> bool;
}

/// Everything that the engine reads and writes besides the packet.
pub trait Tables {
    /// An entry in place.
    type Slot: FlowSlot;

    /// A datagram in parts, in place.
    type Datagram: DatagramSlot;

    /// Room for an entry that is being made.
    type Scratch: DerefMut<Target = CtEntry>;

    /// See [`RingSlot`].
    type Ring: RingSlot;

    /// Room for an entry; in the kernel each CPU has one, so that the stack need not hold it. What is in it is of no
    /// meaning, and it may be borrowed once at a time.
    fn scratch(&self) -> Option<Self::Scratch>;

    /// See [`Tables::plan`].
    type PlanRoom<'a>: DerefMut<Target = Plan>
    where
        Self: 'a;

    /// The room for a plan; in the kernel each CPU has one. It may be borrowed once at a time.
    fn plan(&self) -> Option<Self::PlanRoom<'_>>;

    /// Node-wide settings; `None` while the daemon has not filled them.
    fn settings(&self) -> Option<&Settings>;
    /// What a local address is.
    fn address(&self, address: Addr) -> Option<OwnedAddress>;
    /// The listener on an address, protocol and port.
    fn listener(&self, key: &ListenerKey) -> Option<Listener>;
    /// Does an allow-list contain the source? Longest prefix match.
    fn allows(&self, key: &AllowKey) -> bool;
    /// Whose a source address is. Longest prefix match.
    fn source(&self, source: Addr) -> Option<TenantSource>;
    /// May the tenant call this destination on exactly this port (0: any port)? Longest prefix match.
    fn reaches(&self, key: &DestinationKey) -> bool;
    /// May a tenant call another's listeners?
    fn allows_hairpin(&self, key: &HairpinKey) -> bool;
    /// What holds for a tenant alone.
    fn tenant(&self, tenant: TenantId) -> Option<TenantSettings>;
    /// A pool.
    fn pool(&self, pool: u32) -> Option<Pool>;
    /// The backend number in a slot of the Maglev tables.
    fn maglev(&self, slot: u32) -> Option<u32>;
    /// A backend.
    fn backend(&self, backend: u32) -> Option<Backend>;
    /// An interface of the gateway.
    fn interface(&self, ifindex: u32) -> Option<Interface>;
    /// Asks the kernel's routing table.
    fn route(&self, query: &RouteQuery) -> Route;

    /// Finds an entry.
    fn flow(&self, table: FlowTable, key: &FlowKey) -> Option<Self::Slot>;
    /// Inserts an entry under its own key, never replacing one.
    fn insert(&self, table: FlowTable, entry: &CtEntry) -> Insertion;
    /// Deletes an entry; false when it was not there, so that of two who delete it one knows that it was them.
    fn remove(&self, table: FlowTable, key: &FlowKey) -> bool;

    /// Counts one more flow of a tenant, and returns how many there were.
    fn add_flow(&self, tenant: TenantId) -> i64;
    /// Counts one flow less.
    fn remove_flow(&self, tenant: TenantId);
    /// Takes a token for a new flow of a tenant; false when there is none.
    #[must_use]
    fn take_turn(&self, tenant: TenantId, pace: &Pace) -> bool;

    /// Takes a token for an ICMP error out of a bucket, one of [`crate::limits::ERROR_PACES`]; false when there is none.
    #[must_use]
    fn take_error_turn(&self, bucket: u32, pace: &Pace) -> bool;

    /// Finds the ring of half-open flows of a listener or tenant, made if it is not there; `None` when there are too many.
    fn ring(&self, key: &RingKey) -> Option<Self::Ring>;
    /// Until when a client's answer to a challenge counts; `CLOCK_MONOTONIC` nanoseconds.
    fn client(&self, key: &ClientKey) -> Option<u64>;
    /// Notes a client's answer to a challenge.
    fn welcome(&self, key: &ClientKey, until_ns: u64);

    /// Finds what has come of a source's datagrams in parts.
    fn datagram(&self, key: &DatagramKey) -> Option<Self::Datagram>;
    /// Enters a datagram of which nothing has come, in place of what was there; false when memory was short.
    #[must_use]
    fn begin_datagram(&self, key: &DatagramKey, head: &DatagramHead) -> bool;
    /// Forgets a datagram.
    fn forget_datagram(&self, key: &DatagramKey);

    /// Adds to a node-wide counter.
    fn count(&self, counter: Counter, by: u64);
    /// Counts a dropped packet, for its tenant too when that is known.
    fn count_drop(&self, reason: DropReason, tenant: TenantId);
    /// Counts a translated packet of a tenant.
    fn count_translated(&self, tenant: TenantId, to_external: bool, bytes: u64);
    /// Counts a flow that a tenant opened or got.
    fn count_opened(&self, tenant: TenantId);
    /// The tenant that a source address belongs to.
    #[inline(always)]
    fn tenant_of(&self, source: Addr) -> Option<TenantId> {
        self.source(source).map(TenantSource::tenant)
    }

    /// Tells the daemon something rare. May be lost.
    fn report(&self, event: &Event);

    /// Tells whoever watches that a flow of `tenant` began or ended; `keys` are its opener's and the answers'. Nobody does
    /// in most tables.
    #[inline(always)]
    fn flow_changed(&self, _change: FlowChange, _tenant: TenantId, _keys: [&FlowKey; 2]) {}
}
