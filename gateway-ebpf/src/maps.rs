//! The maps, and the packet engine's [`Tables`] on top of them.

use crate::{route, tap};
use aya_ebpf::{
    bindings::BPF_NOEXIST,
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, ProgramArray, RingBuf, lpm_trie::Key},
};
use core::{
    arch::asm,
    ffi::c_void,
    intrinsics::{AtomicOrdering, atomic_cxchg, atomic_or, atomic_xadd, atomic_xchg},
    marker::PhantomData,
    ops::{Deref, DerefMut},
    sync::atomic::{Ordering, compiler_fence},
};
use gateway_common::{
    abi::{
        ALLOW_KEY_BITS, Acked, Addr, AllowKey, Arrival, Backend, ClientKey, Counter, CtEntry,
        DESTINATION_KEY_BITS, Datagram, DatagramHead, DatagramKey, DestinationKey, EntryFlags, EntryView,
        Event, FlowKey, HairpinKey, HalfOpenRing, Interface, Listener, ListenerKey, OwnedAddress, Place,
        Pool, RECEIVED_WORDS, RingKey, Seen, Settings, State, TenantId, TenantLabel, TenantSettings,
        TenantSource, TenantStats, TenantUse,
    },
    drop_reason::DropReason,
    forward::{Plan, Stage},
    limits::{self, HALF_OPEN_PLACES},
    tables::{
        DatagramSlot, FlowChange, FlowSlot, FlowTable, Insertion, Pace, RingSlot, Route, RouteQuery, Tables,
    },
};

/// Errno of an update that must not replace an entry.
const EEXIST: i32 = 17;
/// Entries are allocated when they are made: these tables are sized for the largest configuration.
const NO_PREALLOC: u32 = aya_ebpf::bindings::BPF_F_NO_PREALLOC;
/// Tries to take a token while other CPUs take some of the same bucket: each failure means that another CPU had success.
/// After the last one a flow is refused that may have been within the limit.
const TURN_TRIES: u32 = 8;
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
#[map]
static TENANTS: HashMap<u32, TenantSettings> = HashMap::pinned(limits::TENANTS_MAX, NO_PREALLOC);
#[map]
static TENANT_USE: Array<TenantUse> = Array::pinned(limits::TENANTS_MAX, 0);
#[map]
static HAIRPINS: HashMap<HairpinKey, u32> = HashMap::pinned(limits::HAIRPINS_MAX, NO_PREALLOC);
#[map]
static HALF_OPEN_RINGS: HashMap<RingKey, HalfOpenRing> =
    HashMap::pinned(limits::HALF_OPEN_RINGS_MAX, NO_PREALLOC);
#[map]
static CLIENTS: LruHashMap<ClientKey, u64> = LruHashMap::pinned(limits::CLIENTS_MAX, 0);
#[map]
static DATAGRAMS: LruHashMap<DatagramKey, Datagram> = LruHashMap::pinned(limits::DATAGRAMS_MAX, 0);
#[map]
pub static HELD: RingBuf = RingBuf::pinned(limits::HELD_BYTES, 0);
#[map]
pub static STAGES_XDP: ProgramArray = ProgramArray::pinned(Stage::INDICES, 0);
#[map]
pub static STAGES_TC: ProgramArray = ProgramArray::pinned(Stage::INDICES, 0);

/// A datagram of which nothing has come: too large for the stack.
#[map]
static NEW_DATAGRAM: PerCpuArray<Datagram> = PerCpuArray::with_max_entries(1, 0);

/// A ring that nobody has taken a place of: too large for the stack. Nothing writes to it.
#[map]
static NEW_RING: Array<HalfOpenRing> = Array::with_max_entries(1, 0);

/// A plan that is being made: see [`Plan`]. Pinned, as the stages are: while a daemon puts its stages in the place of another's,
/// one of either makes a plan, and one of either carries it out.
#[map]
static PLAN: PerCpuArray<[u64; PLAN_WORDS]> = PerCpuArray::pinned(1, 0);
/// Words that a plan fits in.
const PLAN_WORDS: usize = size_of::<Plan>().div_ceil(8);
const _: () = assert!(align_of::<Plan>() <= 8, "a map value is aligned to 8 bytes");

/// When each bucket of ICMP errors will be full again; see [`Pace`].
#[map]
static ERROR_TURNS: Array<u64> = Array::with_max_entries(limits::ERROR_PACES, 0);

/// An entry that is being made: the stack is short.
#[map]
static NEW_ENTRY: PerCpuArray<CtEntry> = PerCpuArray::with_max_entries(1, 0);

/// The maps, and the context that the kernel's routing table wants to see. Those that are `TAPPED` also tell whoever
/// watches.
pub struct KernelTables<H, const TAPPED: bool> {
    ctx: *mut c_void,
    hook: PhantomData<H>,
}

impl<H, const TAPPED: bool> KernelTables<H, TAPPED> {
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
        let (stored, wanted) = (self.0.cast::<u32>(), core::ptr::from_ref(key).cast::<u32>());
        // Word by word: a volatile read of the whole key would go through the stack.
        // SAFETY: as in `view`; the key comes first in an entry, and is four words that are aligned as such.
        let differs = |word: usize| unsafe { stored.add(word).read_volatile() != wanted.add(word).read() };
        !(differs(0) || differs(1) || differs(2) || differs(3))
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
        // SAFETY: as in `view`. Not a read and a write: the compiler makes a call to `memmove` of that.
        unsafe { core::ptr::copy_nonoverlapping(self.0, copy, 1) };
        self.is_still(key)
    }

    #[inline(always)]
    fn set_last_seen(&self, now_ns: u64) {
        // SAFETY: as in `view`; an aligned word is written whole.
        unsafe { (&raw mut (*self.0).last_seen_ns).write_volatile(now_ns) }
    }

    #[inline(always)]
    fn set_acked(&self, acked: Acked) {
        // SAFETY: as in `view`; an aligned word is written whole.
        unsafe { (&raw mut (*self.0).acked).write_volatile(acked) }
    }

    #[inline(always)]
    fn set_arrival(&self, key: &FlowKey, arrival: Arrival) {
        if self.is_still(key) {
            // SAFETY: as in `view`; an aligned half-word is written whole.
            unsafe { (&raw mut (*self.0).arrival).write_volatile(arrival) }
        }
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

    #[inline(always)]
    fn end(&self, key: &FlowKey, reason: EntryFlags, now_ns: u64) {
        if !self.is_still(key) {
            return;
        }
        self.set_last_seen(now_ns);
        // SAFETY: as in `view`; a single byte.
        unsafe { (*self.0).flags = (*self.0).flags.with(reason) };
    }
}

/// A ring of half-open flows, in place. Its words are read and written whole, by several CPUs at once.
pub struct RingInPlace(*mut HalfOpenRing);

impl RingInPlace {
    /// The place with this number, counted over all that were ever taken.
    #[inline(always)]
    fn place(&self, number: u64) -> Option<*mut u64> {
        let mut index = HalfOpenRing::index(number);
        // Forgets that this is a remainder: the compiler would leave out the comparison that the verifier wants to see.
        // SAFETY: changes nothing.
        unsafe {
            asm!("{index} = {index}", index = inlateout(reg) index, options(pure, nomem, nostack, preserves_flags));
        }
        if index >= HALF_OPEN_PLACES as usize {
            return None;
        }
        // SAFETY: the index lies within the array; the map value stays mapped for the run of the program.
        Some(unsafe { (&raw mut (*self.0).places).cast::<u64>().add(index) })
    }
}

impl RingSlot for RingInPlace {
    #[inline(always)]
    fn take(&self, place: Place) -> Option<Place> {
        // SAFETY: as in `place`; the word is aligned.
        let number =
            unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::AcqRel }>(&raw mut (*self.0).taken, 1) };
        let at = self.place(number)?;
        // SAFETY: as above.
        let before = unsafe { atomic_xchg::<u64, { AtomicOrdering::AcqRel }>(at, place.0) };
        Place::taken(before)
    }

    #[inline(always)]
    fn recent(&self, back: u32) -> Option<Place> {
        // SAFETY: as in `take`.
        let taken = unsafe { (&raw const (*self.0).taken).read_volatile() };
        let at = self.place(taken.checked_sub(u64::from(back))?)?;
        // SAFETY: as in `take`.
        let place = unsafe { at.read_volatile() };
        Place::taken(place)
    }

    #[inline(always)]
    fn challenging_until_ns(&self) -> u64 {
        // SAFETY: as in `take`.
        unsafe { (&raw const (*self.0).challenging_until_ns).read_volatile() }
    }

    #[inline(always)]
    fn challenge_until(&self, until_ns: u64) {
        // SAFETY: as in `take`.
        unsafe { (&raw mut (*self.0).challenging_until_ns).write_volatile(until_ns) }
    }
}

/// A datagram in parts, in place. Parts may come in on several CPUs at once.
pub struct DatagramInPlace(*mut Datagram);

const _: () = assert!(core::mem::offset_of!(CtEntry, key) == 0 && core::mem::size_of::<FlowKey>() == 16);

/// This CPU's room for an entry. A program is not interrupted by another that uses it.
pub struct Scratch(*mut CtEntry);

impl Deref for Scratch {
    type Target = CtEntry;

    #[inline(always)]
    fn deref(&self) -> &CtEntry {
        // SAFETY: a map value stays mapped for the run of the program, and any bytes are a valid entry.
        unsafe { &*self.0 }
    }
}

impl DerefMut for Scratch {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut CtEntry {
        // SAFETY: as in `deref`; each CPU has its own.
        unsafe { &mut *self.0 }
    }
}

/// This CPU's room for a plan.
pub struct PlanRoom(*mut Plan);

impl Deref for PlanRoom {
    type Target = Plan;

    #[inline(always)]
    fn deref(&self) -> &Plan {
        // SAFETY: as in `deref_mut`.
        unsafe { &*self.0 }
    }
}

impl DerefMut for PlanRoom {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Plan {
        // SAFETY: a map value stays mapped for the run of the program, and each CPU has its own. Before anything is read
        // the whole plan is written; there is nothing to be dropped in what stood there.
        unsafe { &mut *self.0 }
    }
}

/// Words of the bit set that one part can touch: 1,536 units, as of the longest frame that any link has.
const WORDS_OF_A_PART: u16 = 25;

impl DatagramSlot for DatagramInPlace {
    #[inline(always)]
    fn is_of(&self, datagram: (Addr, u16, u8), now_ns: u64) -> bool {
        // SAFETY: as in `head`.
        unsafe { &(*self.0).head }.is_of(datagram, now_ns)
    }

    #[inline(always)]
    fn deadline_ns(&self) -> u64 {
        // SAFETY: as in `head`.
        unsafe { (&raw const (*self.0).head.deadline_ns).read() }
    }

    #[inline(always)]
    fn set_deadline_ns(&self, deadline_ns: u64) {
        // SAFETY: as in `head`; an aligned word is written whole.
        unsafe { (&raw mut (*self.0).head.deadline_ns).write_volatile(deadline_ns) }
    }

    #[inline(always)]
    fn head(&self) -> DatagramHead {
        // SAFETY: a map value stays mapped for the run of the program, and any bytes are a valid head.
        unsafe { (&raw const (*self.0).head).read() }
    }

    #[inline(always)]
    fn claim(&self, first: u16, end: u16) -> bool {
        claim(self.0, first, end) == 0
    }

    #[inline(always)]
    fn set_total(&self, units: u16) {
        // SAFETY: as in `head`; an aligned word is written whole.
        unsafe { (&raw mut (*self.0).units_total).write_volatile(u64::from(units)) }
    }

    #[inline(always)]
    fn is_complete(&self) -> bool {
        // SAFETY: as in `head`.
        let (total, received) = unsafe {
            let datagram = self.0;
            (
                (&raw const (*datagram).units_total).read_volatile(),
                (&raw const (*datagram).units_received).read_volatile(),
            )
        };
        total != 0 && received >= total
    }
}

/// Sets the bits from `first` up to `end` and returns 0 if none of them was set; else it sets none, unless another CPU
/// has set one of them at the same time. Not inlined for the stack's sake.
#[inline(never)]
fn claim(datagram: *mut Datagram, first: u16, end: u16) -> u32 {
    if first >= end || (end - 1) / 64 - first / 64 >= WORDS_OF_A_PART {
        return 1;
    }
    // SAFETY: the index is masked to the array; the map value stays mapped for the run of the program.
    let word = |index: usize| unsafe { &raw mut (*datagram).received[index & (RECEIVED_WORDS - 1)] };
    // SAFETY: as above.
    let is_set = |index, bits| bits & unsafe { word(index).read_volatile() };
    // SAFETY: as above.
    let set =
        |index, bits| bits & unsafe { atomic_or::<u64, u64, { AtomicOrdering::AcqRel }>(word(index), bits) };
    if any_word(first, end, is_set) || any_word(first, end, set) {
        return 1;
    }
    let units = u64::from(end - first);
    // SAFETY: as above.
    unsafe {
        atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(&raw mut (*datagram).units_received, units)
    };
    0
}

/// Calls `visit` with every word that the bits from `first` up to `end` lie in, and the bits of it; does any answer
/// anything but zero?
#[inline(always)]
fn any_word(first: u16, end: u16, visit: impl Fn(usize, u64) -> u64) -> bool {
    let (first_word, last_word) = (first / 64, (end - 1) / 64);
    let mut found = 0;
    for index in 0..WORDS_OF_A_PART {
        let word = first_word + index;
        let from = if index == 0 { u64::MAX << (first % 64) } else { u64::MAX };
        let below = if word == last_word { u64::MAX >> (63 - (end - 1) % 64) } else { u64::MAX };
        found |= visit(word as usize, from & below);
        if word == last_word {
            break;
        }
    }
    found != 0
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

/// Takes a token out of a bucket in a map.
#[inline(always)]
fn take_turn(full_at: *mut u64, pace: &Pace) -> bool {
    for _ in 0..TURN_TRIES {
        // SAFETY: a map value stays mapped for the run of the program; several CPUs use it at once, the word is aligned.
        let seen = unsafe { full_at.read_volatile() };
        let Some(next) = pace.after_one_more(seen) else {
            return false;
        };
        // SAFETY: as above.
        let (_, swapped) = unsafe {
            atomic_cxchg::<u64, { AtomicOrdering::AcqRel }, { AtomicOrdering::Acquire }>(full_at, seen, next)
        };
        if swapped {
            return true;
        }
    }
    false
}

/// A copy of a hash map's value.
#[inline(always)]
fn copied<K, V: Copy>(map: &HashMap<K, V>, key: &K) -> Option<V> {
    // SAFETY: configuration entries are replaced as a whole; a copy of one that is being recycled is a value that was
    // valid a moment ago, for the length of this one packet.
    unsafe { map.get(key).copied() }
}

impl<H: tap::Frame, const TAPPED: bool> Tables for KernelTables<H, TAPPED> {
    type Slot = Slot;
    type Datagram = DatagramInPlace;
    type Ring = RingInPlace;
    type Scratch = Scratch;
    type PlanRoom<'a>
        = PlanRoom
    where
        Self: 'a;

    #[inline(always)]
    fn plan(&self) -> Option<PlanRoom> {
        PLAN.get_ptr_mut(0).map(|room| PlanRoom(room.cast()))
    }

    #[inline(always)]
    fn ring(&self, key: &RingKey) -> Option<RingInPlace> {
        if let Some(ring) = HALF_OPEN_RINGS.get_ptr_mut(key) {
            return Some(RingInPlace(ring));
        }
        let _made_by_another_or_full = HALF_OPEN_RINGS.insert(key, NEW_RING.get(0)?, u64::from(BPF_NOEXIST));
        HALF_OPEN_RINGS.get_ptr_mut(key).map(RingInPlace)
    }

    #[inline(always)]
    fn client(&self, key: &ClientKey) -> Option<u64> {
        // SAFETY: a word is read whole.
        unsafe { CLIENTS.get(key).copied() }
    }

    #[inline(always)]
    fn welcome(&self, key: &ClientKey, until_ns: u64) {
        let _full = CLIENTS.insert(key, until_ns, 0);
    }

    #[inline(always)]
    fn allows_hairpin(&self, key: &HairpinKey) -> bool {
        // SAFETY: as in `copied`.
        unsafe { HAIRPINS.get(key).is_some() }
    }

    #[inline(always)]
    fn add_flow(&self, tenant: TenantId) -> i64 {
        let Some(used) = TENANT_USE.get_ptr_mut(u32::from(tenant.0)) else {
            return i64::MAX;
        };
        // SAFETY: as in `add`, by several CPUs at once; the word is aligned.
        unsafe { atomic_xadd::<i64, i64, { AtomicOrdering::AcqRel }>(&raw mut (*used).flows, 1) }
    }

    #[inline(always)]
    fn remove_flow(&self, tenant: TenantId) {
        if let Some(used) = TENANT_USE.get_ptr_mut(u32::from(tenant.0)) {
            // SAFETY: as in `add_flow`.
            unsafe { atomic_xadd::<i64, i64, { AtomicOrdering::Relaxed }>(&raw mut (*used).flows, -1) };
        }
    }

    #[inline(always)]
    fn take_turn(&self, tenant: TenantId, pace: &Pace) -> bool {
        let Some(used) = TENANT_USE.get_ptr_mut(u32::from(tenant.0)) else {
            return false;
        };
        // SAFETY: as in `add_flow`.
        take_turn(unsafe { &raw mut (*used).full_at_ns }, pace)
    }

    #[inline(always)]
    fn take_error_turn(&self, bucket: u32, pace: &Pace) -> bool {
        match ERROR_TURNS.get_ptr_mut(bucket) {
            Some(full_at) => take_turn(full_at, pace),
            None => false,
        }
    }

    #[inline(always)]
    fn scratch(&self) -> Option<Scratch> {
        NEW_ENTRY.get_ptr_mut(0).map(Scratch)
    }

    #[inline(always)]
    fn tenant(&self, tenant: TenantId) -> Option<TenantSettings> {
        copied(&TENANTS, &u32::from(tenant.0))
    }

    #[inline(always)]
    fn datagram(&self, key: &DatagramKey) -> Option<DatagramInPlace> {
        DATAGRAMS.get_ptr_mut(key).map(DatagramInPlace)
    }

    #[inline(always)]
    #[expect(
        clippy::needless_borrows_for_generic_args,
        reason = "a thousand bytes by value would be on the stack"
    )]
    fn begin_datagram(&self, key: &DatagramKey, head: &DatagramHead) -> bool {
        let Some(datagram) = NEW_DATAGRAM.get_ptr_mut(0) else {
            return false;
        };
        // SAFETY: as in `add`; nothing but the head is ever written.
        unsafe {
            (*datagram).head = *head;
            DATAGRAMS.insert(key, &*datagram, 0).is_ok()
        }
    }

    #[inline(always)]
    fn forget_datagram(&self, key: &DatagramKey) {
        let _gone = DATAGRAMS.remove(key);
    }

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
        route::route(self.ctx, query)
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
    fn remove(&self, table: FlowTable, key: &FlowKey) -> bool {
        // The only error is that the entry is gone already.
        flow_table(table).remove(key).is_ok()
    }

    #[inline(always)]
    fn count(&self, counter: Counter, by: u64) {
        add(&COUNTERS, counter as u32, by);
    }

    #[inline(always)]
    fn count_drop(&self, reason: DropReason, tenant: TenantId) {
        if TAPPED {
            tap::note_drop::<H>(reason, tenant);
        }
        add(&DROPS, u32::from(reason as u8), 1);
        if tenant != TenantId::NONE {
            tenant_stats(tenant, |stats| stats.dropped_packets += 1);
        }
    }

    #[inline(always)]
    fn count_translated(&self, tenant: TenantId, to_external: bool, bytes: u64) {
        if TAPPED {
            tap::note_tenant::<H>(tenant);
        }
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

    #[inline(always)]
    fn flow_changed(&self, change: FlowChange, tenant: TenantId, [original, reply]: [&FlowKey; 2]) {
        if TAPPED {
            tap::flow_changed(change, tenant, original, reply);
        }
    }
}
