//! The maps, and the packet engine's [`Tables`] on top of them.

use crate::route::Hook;
use aya_ebpf::{
    bindings::BPF_NOEXIST,
    macros::map,
    maps::{Array, HashMap, LpmTrie, PerCpuArray, RingBuf, lpm_trie::Key},
};
use core::{
    ffi::c_void,
    marker::PhantomData,
    sync::atomic::{Ordering, compiler_fence},
};
use gateway_common::{
    abi::{
        ALLOW_KEY_BITS, Addr, AllowKey, Backend, Counter, CtEntry, DESTINATION_KEY_BITS, DestinationKey,
        EntryView, Event, FlowKey, Interface, Listener, ListenerKey, OwnedAddress, Pool, Seen, Settings,
        State, TenantId, TenantLabel, TenantSource, TenantStats,
    },
    drop_reason::DropReason,
    limits,
    tables::{FlowSlot, FlowTable, Insertion, Route, RouteQuery, Tables},
};

/// Errno of an update that must not replace an entry.
const EEXIST: i32 = 17;
/// Entries are allocated when they are made: these tables are sized for the largest configuration.
const NO_PREALLOC: u32 = aya_ebpf::bindings::BPF_F_NO_PREALLOC;
/// Length of an address prefix that is a single address.
const ADDRESS_BITS: u32 = 32;

#[map]
static SETTINGS: Array<Settings> = Array::pinned(1, 0);
#[map]
static ADDRESSES: HashMap<Addr, OwnedAddress> = HashMap::pinned(limits::ADDRESSES_MAX, NO_PREALLOC);
#[map]
static LISTENERS: HashMap<ListenerKey, Listener> = HashMap::pinned(limits::LISTENERS_MAX, NO_PREALLOC);
#[map]
static ALLOW_LISTS: LpmTrie<AllowKey, u32> = LpmTrie::pinned(limits::ALLOW_PREFIXES_MAX, NO_PREALLOC);
#[map]
static TENANT_SOURCES: LpmTrie<Addr, u32> = LpmTrie::pinned(limits::SOURCE_PREFIXES_MAX, NO_PREALLOC);
#[map]
static DESTINATIONS: LpmTrie<DestinationKey, u32> = LpmTrie::pinned(limits::DESTINATIONS_MAX, NO_PREALLOC);
#[map]
static POOLS: HashMap<u32, Pool> = HashMap::pinned(limits::POOLS_MAX, NO_PREALLOC);
#[map]
static MAGLEV: Array<u32> = Array::pinned(limits::MAGLEV_SLOTS_MAX, 0);
#[map]
static BACKENDS: HashMap<u32, Backend> = HashMap::pinned(limits::BACKENDS_MAX, NO_PREALLOC);
#[map]
static INTERFACES: HashMap<u32, Interface> = HashMap::pinned(limits::INTERFACES_MAX, 0);
#[map]
static FLOWS: HashMap<FlowKey, CtEntry> = HashMap::pinned(limits::FLOW_ENTRIES_DEFAULT, 0);
#[map]
static HALF_OPEN: HashMap<FlowKey, CtEntry> = HashMap::pinned(limits::HALF_OPEN_ENTRIES_DEFAULT, 0);
#[map]
static TENANT_STATS: PerCpuArray<TenantStats> = PerCpuArray::pinned(limits::TENANTS_MAX, 0);
#[map]
static TENANT_LABELS: HashMap<u32, TenantLabel> = HashMap::pinned(limits::TENANTS_MAX, NO_PREALLOC);
#[map]
static DROPS: PerCpuArray<u64> = PerCpuArray::pinned(DropReason::COUNT, 0);
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::pinned(Counter::COUNT, 0);
#[map]
static EVENTS: RingBuf = RingBuf::pinned(limits::EVENTS_BYTES, 0);

/// The maps, and the context that the kernel's routing table wants to see.
pub struct KernelTables<H> {
    ctx: *mut c_void,
    hook: PhantomData<H>,
}

impl<H: Hook> KernelTables<H> {
    /// For the run of a program with this XDP or TC context.
    #[inline(always)]
    pub const fn new(ctx: *mut c_void) -> Self {
        Self { ctx, hook: PhantomData }
    }
}

/// An entry in place. Concurrent writers store whole bytes or words, and every field can be repaired by a later packet.
pub struct Slot(*mut CtEntry);

impl Slot {
    /// Is the element still the entry of `key`? The kernel may recycle it for another flow while we read. It writes
    /// values from the front, where the key is: fields that were read before the key still matched are the flow's.
    #[inline(always)]
    fn is_still(&self, key: &FlowKey) -> bool {
        compiler_fence(Ordering::SeqCst);
        // SAFETY: as in `view`.
        unsafe { (&raw const (*self.0).key).read_volatile() == *key }
    }
}

impl FlowSlot for Slot {
    #[inline(always)]
    fn view(&self, key: &FlowKey) -> Option<EntryView> {
        // SAFETY: a map value stays mapped for the run of the program, and any bytes are a valid entry.
        let view = EntryView::from(unsafe { &*self.0 });
        self.is_still(key).then_some(view)
    }

    #[inline(always)]
    fn copy_pair_to(&self, key: &FlowKey, pair: &mut FlowKey) -> bool {
        // SAFETY: as in `view`.
        *pair = unsafe { (&raw const (*self.0).pair).read() };
        self.is_still(key)
    }

    #[inline(always)]
    fn copy_to(&self, key: &FlowKey, copy: &mut CtEntry) -> bool {
        // SAFETY: as in `view`.
        *copy = unsafe { self.0.read() };
        self.is_still(key)
    }

    #[inline(always)]
    fn set_last_seen(&self, now_ns: u64) {
        // SAFETY: as in `view`; an aligned word is written whole.
        unsafe { (&raw mut (*self.0).last_seen_ns).write_volatile(now_ns) }
    }

    #[inline(always)]
    fn set_progress(&self, key: &FlowKey, seen: Seen, state: State) {
        if !self.is_still(key) {
            return;
        }
        // SAFETY: as in `view`; both fields are single bytes.
        unsafe {
            (*self.0).seen = seen;
            (*self.0).set_state(state);
        }
    }
}

#[inline(always)]
const fn flow_table(table: FlowTable) -> &'static HashMap<FlowKey, CtEntry> {
    match table {
        FlowTable::Established => &FLOWS,
        FlowTable::HalfOpen => &HALF_OPEN,
    }
}

/// Adds to a slot of a per-CPU array. Only this CPU writes its copy, and a program is not preempted by itself.
#[inline(always)]
fn add(counters: &PerCpuArray<u64>, index: u32, by: u64) {
    if let Some(counter) = counters.get_ptr_mut(index) {
        // SAFETY: a map value, mapped for the run of the program, written by this CPU alone.
        unsafe { *counter += by }
    }
}

#[inline(always)]
fn tenant_stats(tenant: TenantId, change: impl FnOnce(&mut TenantStats)) {
    if let Some(stats) = TENANT_STATS.get_ptr_mut(u32::from(tenant.0)) {
        // SAFETY: as in `add`.
        change(unsafe { &mut *stats });
    }
}

/// A copy of a hash map's value.
#[inline(always)]
fn copied<K, V: Copy>(map: &HashMap<K, V>, key: &K) -> Option<V> {
    // SAFETY: configuration entries are replaced as a whole; a copy of one that is being recycled is a value that was
    // valid a moment ago, for the length of this one packet.
    unsafe { map.get(key).copied() }
}

impl<H: Hook> Tables for KernelTables<H> {
    type Slot = Slot;

    #[inline(always)]
    fn settings(&self) -> Option<&Settings> {
        SETTINGS.get(0)
    }

    #[inline(always)]
    fn address(&self, address: Addr) -> Option<OwnedAddress> {
        copied(&ADDRESSES, &address)
    }

    #[inline(always)]
    fn listener(&self, key: &ListenerKey) -> Option<Listener> {
        copied(&LISTENERS, key)
    }

    #[inline(always)]
    fn allows(&self, key: &AllowKey) -> bool {
        ALLOW_LISTS.get(Key::new(ALLOW_KEY_BITS + ADDRESS_BITS, *key)).is_some()
    }

    #[inline(always)]
    fn source(&self, source: Addr) -> Option<TenantSource> {
        TENANT_SOURCES.get(Key::new(ADDRESS_BITS, source)).map(|raw| TenantSource::from_raw(*raw))
    }

    #[inline(always)]
    fn reaches(&self, key: &DestinationKey) -> bool {
        DESTINATIONS.get(Key::new(DESTINATION_KEY_BITS + ADDRESS_BITS, *key)).is_some()
    }

    #[inline(always)]
    fn pool(&self, pool: u32) -> Option<Pool> {
        copied(&POOLS, &pool)
    }

    #[inline(always)]
    fn maglev(&self, slot: u32) -> Option<u32> {
        MAGLEV.get(slot).copied()
    }

    #[inline(always)]
    fn backend(&self, backend: u32) -> Option<Backend> {
        copied(&BACKENDS, &backend)
    }

    #[inline(always)]
    fn interface(&self, ifindex: u32) -> Option<Interface> {
        copied(&INTERFACES, &ifindex)
    }

    #[inline(always)]
    fn route(&self, query: &RouteQuery) -> Route {
        H::route(self.ctx, query)
    }

    #[inline(always)]
    fn flow(&self, table: FlowTable, key: &FlowKey) -> Option<Slot> {
        flow_table(table).get_ptr_mut(key).map(Slot)
    }

    #[inline(always)]
    fn insert(&self, table: FlowTable, entry: &CtEntry) -> Insertion {
        match flow_table(table).insert(entry.key, entry, u64::from(BPF_NOEXIST)) {
            Ok(()) => Insertion::Inserted,
            Err(error) if error == -EEXIST => Insertion::Exists,
            Err(_) => Insertion::Full,
        }
    }

    #[inline(always)]
    fn remove(&self, table: FlowTable, key: &FlowKey) {
        // The only error is that the entry is gone already, which is what was wanted.
        let _gone = flow_table(table).remove(key);
    }

    #[inline(always)]
    fn count(&self, counter: Counter, by: u64) {
        add(&COUNTERS, counter as u32, by);
    }

    #[inline(always)]
    fn count_drop(&self, reason: DropReason, tenant: TenantId) {
        add(&DROPS, u32::from(reason as u8), 1);
        if tenant != TenantId::NONE {
            tenant_stats(tenant, |stats| stats.dropped_packets += 1);
        }
    }

    #[inline(always)]
    fn count_translated(&self, tenant: TenantId, to_external: bool, bytes: u64) {
        tenant_stats(tenant, |stats| stats.add_packet(to_external, bytes));
    }

    #[inline(always)]
    fn count_opened(&self, tenant: TenantId) {
        tenant_stats(tenant, |stats| stats.flows_opened += 1);
    }

    #[inline(always)]
    fn report(&self, event: &Event) {
        // A full ring means that the daemon is behind or gone: the packet's fate does not depend on it.
        let _lost = EVENTS.output::<Event>(event, 0);
    }
}
