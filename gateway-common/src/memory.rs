//! Packet and tables in memory: the packet engine on the host, for tests and for explaining a packet's way.

use crate::{
    abi::{
        Acked, Addr, AllowKey, Arrival, Backend, ClientKey, Counter, CtEntry, Datagram, DatagramHead,
        DatagramKey, DestinationKey, EntryFlags, EntryView, Event, FlowKey, HairpinKey, HalfOpenRing,
        Interface, Listener, ListenerKey, OwnedAddress, Place, Pool, RingKey, Seen, Settings, Side, State,
        TenantId, TenantSettings, TenantSource, TenantStats, TenantUse,
    },
    drop_reason::DropReason,
    forward::Plan,
    limits::HELD_FRAME_MAX,
    packet::{Packet, Refused, Window, WindowMut},
    tables::{
        DatagramSlot, FlowChange, FlowSlot, FlowTable, Insertion, Pace, RingSlot, Route, RouteQuery, Tables,
    },
    wire::ethernet::{HEADER_LEN, TAG_LEN, link_len},
};
use std::{
    boxed::Box,
    cell::{Cell, RefCell, RefMut},
    collections::{BTreeMap, HashMap, HashSet},
    rc::Rc,
    vec::Vec,
};

/// A frame as a byte vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BytesPacket {
    /// The whole frame.
    pub bytes: Vec<u8>,
    /// The interface that it came in by.
    pub ingress_ifindex: u32,
}

/// A window into a byte slice.
#[derive(Debug)]
pub struct BytesWindow<B>(B);

impl<B: AsRef<[u8]>> BytesWindow<B> {
    fn bytes<const LEN: usize>(&self, at: usize) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes.copy_from_slice(&self.0.as_ref()[at..at + LEN]);
        bytes
    }
}

impl<B: AsRef<[u8]>> Window for BytesWindow<B> {
    fn u8<const AT: usize>(&self) -> u8 {
        self.0.as_ref()[AT]
    }

    fn u16<const AT: usize>(&self) -> u16 {
        u16::from_ne_bytes(self.bytes(AT))
    }

    fn u32<const AT: usize>(&self) -> u32 {
        u32::from_ne_bytes(self.bytes(AT))
    }
}

impl WindowMut for BytesWindow<&mut [u8]> {
    fn set_u8<const AT: usize>(&mut self, value: u8) {
        self.0[AT] = value;
    }

    fn set_u16<const AT: usize>(&mut self, value: u16) {
        self.0[AT..AT + 2].copy_from_slice(&value.to_ne_bytes());
    }

    fn set_u32<const AT: usize>(&mut self, value: u32) {
        self.0[AT..AT + 4].copy_from_slice(&value.to_ne_bytes());
    }
}

impl Packet for BytesPacket {
    type Window<'a, const N: usize> = BytesWindow<&'a [u8]>;
    type WindowMut<'a, const N: usize> = BytesWindow<&'a mut [u8]>;

    const TAGS_IN_FRAME: bool = true;
    const RESOLVES_NEIGHBOURS: bool = false;

    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn ingress_ifindex(&self) -> u32 {
        self.ingress_ifindex
    }

    fn window<const N: usize>(&self, offset: usize) -> Option<BytesWindow<&[u8]>> {
        self.bytes.get(offset..offset.checked_add(N)?).map(BytesWindow)
    }

    fn window_mut<const N: usize>(&mut self, offset: usize) -> Result<BytesWindow<&mut [u8]>, Refused> {
        let end = offset.checked_add(N).ok_or(Refused)?;
        self.bytes.get_mut(offset..end).map(BytesWindow).ok_or(Refused)
    }

    fn hold(&self, _side: Side) -> bool {
        self.bytes.len() <= HELD_FRAME_MAX
    }

    fn retag(&mut self, tagged: bool, wanted: bool) -> Result<usize, Refused> {
        match (tagged, wanted) {
            (true, false) => drop(self.bytes.drain(HEADER_LEN..HEADER_LEN + TAG_LEN)),
            (false, true) => drop(self.bytes.splice(HEADER_LEN..HEADER_LEN, [0; TAG_LEN])),
            _ => {}
        }
        Ok(link_len(wanted))
    }

    fn resize(&mut self, len: usize) -> Result<(), Refused> {
        let growth = len.saturating_sub(self.bytes.len());
        self.bytes.splice(..0, std::iter::repeat_n(0xee, growth));
        self.bytes.truncate(len);
        Ok(())
    }
}

/// An entry in place.
#[derive(Clone, Debug)]
pub struct MemorySlot(Rc<Cell<CtEntry>>);

impl FlowSlot for MemorySlot {
    fn view(&self, key: &FlowKey) -> Option<EntryView> {
        Some(self.0.get()).filter(|entry| entry.key == *key).map(|entry| EntryView::from(&entry))
    }

    fn copy_pair_to(&self, key: &FlowKey, pair: &mut FlowKey) -> bool {
        *pair = self.0.get().pair;
        self.0.get().key == *key
    }

    fn copy_to(&self, key: &FlowKey, copy: &mut CtEntry) -> bool {
        *copy = self.0.get();
        copy.key == *key
    }

    fn set_last_seen(&self, now_ns: u64) {
        let mut entry = self.0.get();
        entry.last_seen_ns = now_ns;
        self.0.set(entry);
    }

    fn set_acked(&self, acked: Acked) {
        let mut entry = self.0.get();
        entry.acked = acked;
        self.0.set(entry);
    }

    fn set_arrival(&self, key: &FlowKey, arrival: Arrival) {
        let mut entry = self.0.get();
        if entry.key == *key {
            entry.arrival = arrival;
            self.0.set(entry);
        }
    }

    fn set_progress(&self, key: &FlowKey, seen: Seen, state: State) {
        let mut entry = self.0.get();
        if entry.key != *key {
            return;
        }
        entry.seen = seen;
        entry.set_state(state);
        self.0.set(entry);
    }

    fn end(&self, key: &FlowKey, reason: EntryFlags, now_ns: u64) {
        let mut entry = self.0.get();
        if entry.key == *key {
            entry.flags = entry.flags.with(reason);
            entry.last_seen_ns = now_ns;
            self.0.set(entry);
        }
    }
}

/// A ring of half-open flows, in place.
#[derive(Clone, Debug)]
pub struct MemoryRing(Rc<RefCell<HalfOpenRing>>);

impl RingSlot for MemoryRing {
    fn take(&self, place: Place) -> Option<Place> {
        self.0.borrow_mut().take(place)
    }

    fn recent(&self, back: u32) -> Option<Place> {
        self.0.borrow().recent(back)
    }

    fn challenging_until_ns(&self) -> u64 {
        self.0.borrow().challenging_until_ns
    }

    fn challenge_until(&self, until_ns: u64) {
        self.0.borrow_mut().challenging_until_ns = until_ns;
    }
}

/// A datagram in parts, in place.
#[derive(Clone, Debug)]
pub struct MemoryDatagram(Rc<RefCell<Datagram>>);

impl DatagramSlot for MemoryDatagram {
    fn is_of(&self, datagram: (Addr, u16, u8), now_ns: u64) -> bool {
        self.head().is_of(datagram, now_ns)
    }

    fn deadline_ns(&self) -> u64 {
        self.head().deadline_ns
    }

    fn set_deadline_ns(&self, deadline_ns: u64) {
        self.0.borrow_mut().head.deadline_ns = deadline_ns;
    }

    fn head(&self) -> DatagramHead {
        self.0.borrow().head
    }

    fn claim(&self, first: u16, end: u16) -> bool {
        let mut datagram = self.0.borrow_mut();
        let place = |unit: u16| (usize::from(unit / 64), 1 << (unit % 64));
        let fresh = (first..end).map(place).all(|(word, bit)| datagram.received[word] & bit == 0);
        if fresh {
            (first..end).map(place).for_each(|(word, bit)| datagram.received[word] |= bit);
            datagram.units_received += u64::from(end - first);
        }
        fresh
    }

    fn set_total(&self, units: u16) {
        self.0.borrow_mut().units_total = u64::from(units);
    }

    fn is_complete(&self) -> bool {
        let datagram = self.0.borrow();
        datagram.units_total != 0 && datagram.units_received >= datagram.units_total
    }
}

/// A bounded flow table.
#[derive(Debug)]
pub struct MemoryFlows {
    entries: RefCell<HashMap<FlowKey, Rc<Cell<CtEntry>>>>,
    /// Entries that fit.
    pub capacity: usize,
}

impl Default for MemoryFlows {
    fn default() -> Self {
        Self { entries: RefCell::default(), capacity: 1024 }
    }
}

impl MemoryFlows {
    /// Every entry.
    pub fn entries(&self) -> Vec<CtEntry> {
        self.entries.borrow().values().map(|entry| entry.get()).collect()
    }

    /// One entry.
    pub fn entry(&self, key: &FlowKey) -> Option<CtEntry> {
        self.entries.borrow().get(key).map(|entry| entry.get())
    }

    /// Replaces the entry under the same key, if there is one: what the daemon does from outside.
    pub fn replace(&self, entry: &CtEntry) {
        if let Some(found) = self.entries.borrow().get(&entry.key) {
            found.set(*entry);
        }
    }

    fn insert(&self, entry: &CtEntry) -> Insertion {
        let mut entries = self.entries.borrow_mut();
        if entries.contains_key(&entry.key) {
            return Insertion::Exists;
        }
        if entries.len() >= self.capacity {
            return Insertion::Full;
        }
        entries.insert(entry.key, Rc::new(Cell::new(*entry)));
        Insertion::Inserted
    }
}

/// Tables as plain collections. Fill the public fields, then run packets through.
#[derive(Debug, Default)]
pub struct MemoryTables {
    /// Node-wide settings.
    pub settings: Option<Settings>,
    /// What local addresses are.
    pub addresses: HashMap<Addr, OwnedAddress>,
    /// Listeners and egress mappings.
    pub listeners: HashMap<ListenerKey, Listener>,
    /// Allow-lists: list, prefixes.
    pub allow_lists: BTreeMap<u32, Vec<(Addr, u8)>>,
    /// Source prefixes of tenants.
    pub sources: Vec<(Addr, u8, TenantSource)>,
    /// Destination keys with the prefix length of their address.
    pub destinations: Vec<(DestinationKey, u8)>,
    /// What holds for one tenant alone.
    pub tenant_settings: HashMap<TenantId, TenantSettings>,
    /// What tenants use.
    pub tenant_use: RefCell<HashMap<TenantId, TenantUse>>,
    /// When each bucket of ICMP errors will be full again.
    pub error_paces: RefCell<HashMap<u32, u64>>,
    /// Pairs of tenants of which the first may call the second.
    pub hairpins: HashSet<HairpinKey>,
    /// Half-open flows by listener and tenant.
    pub rings: RefCell<HashMap<RingKey, Rc<RefCell<HalfOpenRing>>>>,
    /// Clients that have answered a challenge.
    pub clients: RefCell<HashMap<ClientKey, u64>>,
    /// Datagrams in parts.
    pub datagrams: RefCell<HashMap<DatagramKey, Rc<RefCell<Datagram>>>>,
    /// Pools.
    pub pools: HashMap<u32, Pool>,
    /// All Maglev tables.
    pub maglev: Vec<u32>,
    /// Backends.
    pub backends: HashMap<u32, Backend>,
    /// Interfaces.
    pub interfaces: HashMap<u32, Interface>,
    /// Answers of the routing table, by destination; none is [`Route::None`].
    pub routes: HashMap<Addr, Route>,
    /// Interfaces on which forwarding is off: what comes in there is [`Route::Disabled`].
    pub closed: HashSet<u32>,
    /// Established flows.
    pub established: MemoryFlows,
    /// Half-open flows.
    pub half_open: MemoryFlows,
    /// Node-wide counters.
    pub counters: RefCell<BTreeMap<u32, u64>>,
    /// Drops by reason.
    pub drops: RefCell<BTreeMap<DropReason, u64>>,
    /// Counters by tenant.
    pub tenants: RefCell<BTreeMap<TenantId, TenantStats>>,
    /// What the daemon was told.
    pub events: RefCell<Vec<Event>>,
    /// What watchers were told: whose flow, its opener's key and that of the answers.
    pub changes: RefCell<Vec<(FlowChange, TenantId, [FlowKey; 2])>>,
    /// The room for a plan.
    pub plan: PlanRoom,
}

/// Room for the plan of one packet.
#[derive(Debug)]
pub struct PlanRoom(RefCell<Plan>);

impl Default for PlanRoom {
    fn default() -> Self {
        Self(RefCell::new(Plan::room()))
    }
}

impl MemoryTables {
    fn flows(&self, table: FlowTable) -> &MemoryFlows {
        match table {
            FlowTable::Established => &self.established,
            FlowTable::HalfOpen => &self.half_open,
        }
    }

    /// Changes a tenant's counters.
    fn tenant(&self, tenant: TenantId, change: impl FnOnce(&mut TenantStats)) {
        change(self.tenants.borrow_mut().entry(tenant).or_default());
    }

    /// A node-wide counter's value.
    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters.borrow().get(&(counter as u32)).copied().unwrap_or(0)
    }
}

/// Does `prefix`/`len` contain the address?
fn contains(prefix: Addr, len: u8, address: Addr) -> bool {
    let bits = |address: Addr| u32::from_be_bytes(address.octets());
    let shift = 32 - u32::from(len);
    shift == 32 || bits(prefix) >> shift == bits(address) >> shift
}

impl Tables for MemoryTables {
    type Slot = MemorySlot;
    type Datagram = MemoryDatagram;
    type Ring = MemoryRing;
    type Scratch = Box<CtEntry>;
    type PlanRoom<'a> = RefMut<'a, Plan>;

    fn ring(&self, key: &RingKey) -> Option<MemoryRing> {
        let mut rings = self.rings.borrow_mut();
        let ring = rings.entry(*key).or_insert_with(|| Rc::new(RefCell::new(bytemuck::Zeroable::zeroed())));
        Some(MemoryRing(Rc::clone(ring)))
    }

    fn client(&self, key: &ClientKey) -> Option<u64> {
        self.clients.borrow().get(key).copied()
    }

    fn welcome(&self, key: &ClientKey, until_ns: u64) {
        self.clients.borrow_mut().insert(*key, until_ns);
    }

    fn allows_hairpin(&self, key: &HairpinKey) -> bool {
        self.hairpins.contains(key)
    }

    fn plan(&self) -> Option<RefMut<'_, Plan>> {
        Some(self.plan.0.borrow_mut())
    }

    fn scratch(&self) -> Option<Box<CtEntry>> {
        Some(Box::new(bytemuck::Zeroable::zeroed()))
    }

    fn tenant(&self, tenant: TenantId) -> Option<TenantSettings> {
        self.tenant_settings.get(&tenant).copied()
    }

    fn datagram(&self, key: &DatagramKey) -> Option<MemoryDatagram> {
        self.datagrams.borrow().get(key).cloned().map(MemoryDatagram)
    }

    fn begin_datagram(&self, key: &DatagramKey, head: &DatagramHead) -> bool {
        let datagram = Datagram { head: *head, ..bytemuck::Zeroable::zeroed() };
        self.datagrams.borrow_mut().insert(*key, Rc::new(RefCell::new(datagram)));
        true
    }

    fn forget_datagram(&self, key: &DatagramKey) {
        self.datagrams.borrow_mut().remove(key);
    }

    fn settings(&self) -> Option<&Settings> {
        self.settings.as_ref()
    }

    fn address(&self, address: Addr) -> Option<OwnedAddress> {
        self.addresses.get(&address).copied()
    }

    fn listener(&self, key: &ListenerKey) -> Option<Listener> {
        self.listeners.get(key).copied()
    }

    fn allows(&self, key: &AllowKey) -> bool {
        self.allow_lists
            .get(&key.list())
            .is_some_and(|list| list.iter().any(|(prefix, len)| contains(*prefix, *len, key.address)))
    }

    fn source(&self, source: Addr) -> Option<TenantSource> {
        let matching = self.sources.iter().filter(|(prefix, len, _)| contains(*prefix, *len, source));
        matching.max_by_key(|(_, len, _)| *len).map(|(_, _, owner)| *owner)
    }

    fn reaches(&self, key: &DestinationKey) -> bool {
        self.destinations.iter().any(|(known, len)| {
            contains(known.address, *len, key.address) && key.with_address(known.address) == *known
        })
    }

    fn pool(&self, pool: u32) -> Option<Pool> {
        self.pools.get(&pool).copied()
    }

    fn maglev(&self, slot: u32) -> Option<u32> {
        self.maglev.get(slot as usize).copied()
    }

    fn backend(&self, backend: u32) -> Option<Backend> {
        self.backends.get(&backend).copied()
    }

    fn interface(&self, ifindex: u32) -> Option<Interface> {
        self.interfaces.get(&ifindex).copied()
    }

    fn route(&self, query: &RouteQuery) -> Route {
        if self.closed.contains(&query.ingress_ifindex) {
            return Route::Disabled;
        }
        self.routes.get(&query.dst).copied().unwrap_or(Route::None)
    }

    fn flow(&self, table: FlowTable, key: &FlowKey) -> Option<MemorySlot> {
        self.flows(table).entries.borrow().get(key).cloned().map(MemorySlot)
    }

    fn insert(&self, table: FlowTable, entry: &CtEntry) -> Insertion {
        self.flows(table).insert(entry)
    }

    fn remove(&self, table: FlowTable, key: &FlowKey) -> bool {
        self.flows(table).entries.borrow_mut().remove(key).is_some()
    }

    fn add_flow(&self, tenant: TenantId) -> i64 {
        let mut uses = self.tenant_use.borrow_mut();
        let flows = &mut uses.entry(tenant).or_default().flows;
        *flows += 1;
        *flows - 1
    }

    fn remove_flow(&self, tenant: TenantId) {
        if let Some(used) = self.tenant_use.borrow_mut().get_mut(&tenant) {
            used.flows -= 1;
        }
    }

    fn take_turn(&self, tenant: TenantId, pace: &Pace) -> bool {
        let mut uses = self.tenant_use.borrow_mut();
        let full_at_ns = &mut uses.entry(tenant).or_default().full_at_ns;
        let next = pace.after_one_more(*full_at_ns);
        *full_at_ns = next.unwrap_or(*full_at_ns);
        next.is_some()
    }

    fn take_error_turn(&self, bucket: u32, pace: &Pace) -> bool {
        let mut paces = self.error_paces.borrow_mut();
        let full_at_ns = paces.entry(bucket).or_default();
        let next = pace.after_one_more(*full_at_ns);
        *full_at_ns = next.unwrap_or(*full_at_ns);
        next.is_some()
    }

    fn count(&self, counter: Counter, by: u64) {
        *self.counters.borrow_mut().entry(counter as u32).or_default() += by;
    }

    fn count_drop(&self, reason: DropReason, tenant: TenantId) {
        *self.drops.borrow_mut().entry(reason).or_default() += 1;
        if tenant != TenantId::NONE {
            self.tenant(tenant, |stats| stats.dropped_packets += 1);
        }
    }

    fn count_translated(&self, tenant: TenantId, to_external: bool, bytes: u64) {
        self.tenant(tenant, |stats| stats.add_packet(to_external, bytes));
    }

    fn count_opened(&self, tenant: TenantId) {
        self.tenant(tenant, |stats| stats.flows_opened += 1);
    }

    fn report(&self, event: &Event) {
        self.events.borrow_mut().push(*event);
    }

    fn flow_changed(&self, change: FlowChange, tenant: TenantId, [original, reply]: [&FlowKey; 2]) {
        self.changes.borrow_mut().push((change, tenant, [*original, *reply]));
    }
}
