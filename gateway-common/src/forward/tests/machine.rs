//! A machine with several CPUs whose every step on the flow tables can be ordered by a schedule.
//!
//! Each CPU is a thread; before each step it waits until the schedule gives it the turn. The tables behave like the
//! kernel's preallocated hash maps: a deleted entry's element goes to the next insertion, and whoever still holds the
//! old slot then reads and writes the new entry.

use super::world::Plan;
use crate::{
    abi::{
        Acked, Addr, AllowKey, Arrival, Backend, ClientKey, Counter, CtEntry, DatagramHead, DatagramKey,
        DestinationKey, EntryFlags, EntryView, Event, FlowKey, HairpinKey, HalfOpenRing, Interface, Listener,
        ListenerKey, OwnedAddress, Place, Pool, RingKey, Seen, Settings, Side, State, TenantId,
        TenantSettings, TenantSource,
    },
    drop_reason::DropReason,
    forward::{self, Expiry, expire, process},
    memory::{BytesPacket, MemoryDatagram, MemoryTables},
    tables::{FlowSlot, FlowTable, Insertion, Pace, RingSlot, Route, RouteQuery, Tables},
    verdict::Verdict,
};
use std::{
    boxed::Box,
    cell::RefMut,
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    vec::Vec,
};

/// What a CPU does.
#[derive(Clone, Debug)]
pub enum Work {
    Packet { packet: BytesPacket, side: Side, now_ns: u64 },
    Expire { table: FlowTable, key: FlowKey, now_ns: u64 },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Packet(Verdict, Vec<u8>),
    Expiry(Expiry),
}

/// Steps that CPUs take in turn. When it ends, the lowest CPU that is not done goes on to its end.
pub type Schedule = Vec<(usize, usize)>;

/// One flow table: elements, of which some are free.
#[derive(Clone, Debug, Default)]
pub struct Elements {
    places: HashMap<FlowKey, usize>,
    values: Vec<CtEntry>,
    free: Vec<usize>,
    capacity: usize,
}

impl Elements {
    fn insert(&mut self, entry: &CtEntry) -> Insertion {
        if self.places.contains_key(&entry.key) {
            return Insertion::Exists;
        }
        if self.places.len() >= self.capacity {
            return Insertion::Full;
        }
        let place = self.free.pop().unwrap_or(self.values.len());
        if place == self.values.len() {
            self.values.push(*entry);
        } else {
            self.values[place] = *entry;
        }
        self.places.insert(entry.key, place);
        Insertion::Inserted
    }

    fn remove(&mut self, key: &FlowKey) -> bool {
        let place = self.places.remove(key);
        self.free.extend(place);
        place.is_some()
    }

    pub fn entries(&self) -> impl Iterator<Item = &CtEntry> {
        self.places.values().map(|place| &self.values[*place])
    }

    pub fn entry(&self, key: &FlowKey) -> Option<&CtEntry> {
        self.places.get(key).map(|place| &self.values[*place])
    }
}

/// What all CPUs share.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    pub established: Elements,
    pub half_open: Elements,
    pub counters: BTreeMap<u32, u64>,
    /// Flows of each tenant, as the engine counts them.
    pub flows_of: BTreeMap<TenantId, i64>,
    rings: HashMap<RingKey, HalfOpenRing>,
    schedule: VecDeque<(usize, usize)>,
    /// What came of each CPU's work; none while it is at work.
    outcomes: Vec<Option<Vec<Outcome>>>,
    /// Steps that each CPU has taken.
    pub steps: Vec<usize>,
    /// Runs started so far; the last one is followed by `usize::MAX`.
    round: usize,
}

impl Shared {
    /// Empty tables of these capacities: established, half-open.
    pub fn empty([established, half_open]: [usize; 2]) -> Self {
        let mut shared = Self::default();
        (shared.established.capacity, shared.half_open.capacity) = (established, half_open);
        shared
    }

    fn table(&self, table: FlowTable) -> &Elements {
        match table {
            FlowTable::Established => &self.established,
            FlowTable::HalfOpen => &self.half_open,
        }
    }

    fn table_mut(&mut self, table: FlowTable) -> &mut Elements {
        match table {
            FlowTable::Established => &mut self.established,
            FlowTable::HalfOpen => &mut self.half_open,
        }
    }

    /// An entry, wherever it is.
    pub fn entry(&self, key: &FlowKey) -> Option<&CtEntry> {
        self.established.entry(key).or_else(|| self.half_open.entry(key))
    }

    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters.get(&(counter as u32)).copied().unwrap_or(0)
    }

    /// What must hold when no CPU is at work: each entry is in one table, its other half in the same, and the two name
    /// each other; one of them is the original. So no two flows share a port, and nothing is left behind.
    pub fn fault(&self) -> Option<std::string::String> {
        for (table, other) in [(&self.established, &self.half_open), (&self.half_open, &self.established)] {
            for entry in table.entries() {
                let original = entry.flags.contains(EntryFlags::ORIGINAL);
                let reason = match table.entry(&entry.pair) {
                    _ if other.entry(&entry.key).is_some() => "is in both tables",
                    None => "has no other half",
                    Some(pair) if pair.pair != entry.key => "is not its pair's pair",
                    Some(pair) if pair.flags.contains(EntryFlags::ORIGINAL) == original => "is like its pair",
                    Some(pair) if pair.tenant != entry.tenant => "has another tenant than its pair",
                    Some(_) => continue,
                };
                return Some(std::format!("{:?} {reason}", entry.key));
            }
        }
        self.miscounted()
    }

    /// Each tenant has as many flows as are counted.
    fn miscounted(&self) -> Option<std::string::String> {
        let mut flows = BTreeMap::<_, i64>::new();
        let entries = self.established.entries().chain(self.half_open.entries());
        for original in entries.filter(|entry| entry.flags.contains(EntryFlags::ORIGINAL)) {
            *flows.entry(original.tenant).or_default() += 1;
        }
        let counted = self.flows_of.iter().filter(|(_, count)| **count != 0);
        let counted: BTreeMap<_, _> = counted.map(|(tenant, count)| (*tenant, *count)).collect();
        (flows != counted).then(|| std::format!("{flows:?} are counted as {counted:?}"))
    }

    fn whose_turn(&mut self) -> Option<usize> {
        while let Some((cpu, steps)) = self.schedule.front() {
            if *steps > 0 && self.outcomes[*cpu].is_none() {
                return Some(*cpu);
            }
            self.schedule.pop_front();
        }
        self.outcomes.iter().position(Option::is_none)
    }
}

/// The CPUs, each a thread that waits for work.
#[derive(Debug, Default)]
pub struct Machine {
    shared: Mutex<Shared>,
    turn: Condvar,
}

impl Machine {
    /// Starts a CPU for each list of work, for as long as `drive` runs.
    pub fn with<R>(plan: &Plan, cpus: &[Vec<Work>], drive: impl FnOnce(&Self) -> R) -> R {
        let machine = Arc::new(Self::default());
        machine.shared.lock().unwrap().outcomes = cpus.iter().map(|_| Some(Vec::new())).collect();
        thread::scope(|scope| {
            for (number, works) in cpus.iter().enumerate() {
                let machine = Arc::clone(&machine);
                scope.spawn(move || Cpu { config: plan.tables(), machine, number }.serve(works));
            }
            // Also when `drive` panics, or the threads would be waited for without end.
            let _end = End(&machine);
            drive(&machine)
        })
    }

    /// Runs every CPU's work once on these tables, in the order of the schedule.
    pub fn run(&self, before: &Shared, schedule: &[(usize, usize)]) -> (Shared, Vec<Vec<Outcome>>) {
        let mut shared = self.shared.lock().unwrap();
        let (cpus, round) = (shared.outcomes.len(), shared.round + 1);
        *shared = before.clone();
        shared.round = round;
        shared.schedule = schedule.iter().copied().collect();
        shared.outcomes = (0..cpus).map(|_| None).collect();
        shared.steps = (0..cpus).map(|_| 0).collect();
        self.turn.notify_all();
        let mut shared = self.turn.wait_while(shared, |shared| shared.whose_turn().is_some()).unwrap();
        let outcomes = shared.outcomes.iter_mut().map(|outcome| outcome.clone().unwrap()).collect();
        (shared.clone(), outcomes)
    }

    fn wait_for_turn(&self, cpu: usize) -> MutexGuard<'_, Shared> {
        let shared = self.shared.lock().unwrap();
        self.turn.wait_while(shared, |shared| shared.whose_turn() != Some(cpu)).unwrap()
    }

    fn step<R>(&self, cpu: usize, action: impl FnOnce(&mut Shared) -> R) -> R {
        let mut shared = self.wait_for_turn(cpu);
        let result = action(&mut shared);
        shared.steps[cpu] += 1;
        if let Some((_, steps)) = shared.schedule.front_mut() {
            *steps -= 1;
        }
        if shared.whose_turn() != Some(cpu) {
            self.turn.notify_all();
        }
        result
    }
}

/// Sends the CPUs home.
struct End<'a>(&'a Machine);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.shared.lock().unwrap_or_else(PoisonError::into_inner).round = usize::MAX;
        self.0.turn.notify_all();
    }
}

/// The tables after `works`, one after the other on one CPU, and the outcome of each.
pub fn after(plan: &Plan, before: &Shared, works: &[Work]) -> (Shared, Vec<Outcome>) {
    let (shared, mut outcomes) = Machine::with(plan, &[works.to_vec()], |machine| machine.run(before, &[]));
    (shared, outcomes.remove(0))
}

/// One CPU's view: its own copy of the configuration, and the shared flow tables.
struct Cpu {
    config: MemoryTables,
    machine: Arc<Machine>,
    number: usize,
}

impl Cpu {
    /// Does its work once a round, until the last.
    fn serve(&self, works: &[Work]) {
        for round in 1.. {
            let shared = self.machine.shared.lock().unwrap();
            let early = |shared: &mut Shared| shared.round < round;
            if self.machine.turn.wait_while(shared, early).unwrap().round == usize::MAX {
                return;
            }
            let outcomes = works.iter().map(|work| self.work(work.clone())).collect();
            self.machine.wait_for_turn(self.number).outcomes[self.number] = Some(outcomes);
            self.machine.turn.notify_all();
        }
    }

    fn work(&self, work: Work) -> Outcome {
        match work {
            Work::Packet { mut packet, side, now_ns } => {
                let verdict = process(&mut packet, self, side, now_ns);
                Outcome::Packet(verdict, packet.bytes)
            }
            Work::Expire { table, key, now_ns } => Outcome::Expiry(expire(self, table, &key, now_ns)),
        }
    }

    fn step<R>(&self, action: impl FnOnce(&mut Shared) -> R) -> R {
        self.machine.step(self.number, action)
    }
}

/// An element in place, whoever it belongs to by now.
pub struct Slot {
    machine: Arc<Machine>,
    cpu: usize,
    table: FlowTable,
    place: usize,
}

impl Slot {
    fn step<R>(&self, action: impl FnOnce(&mut CtEntry) -> R) -> R {
        self.machine.step(self.cpu, |shared| action(&mut shared.table_mut(self.table).values[self.place]))
    }
}

impl FlowSlot for Slot {
    fn view(&self, key: &FlowKey) -> Option<EntryView> {
        self.step(|entry| (entry.key == *key).then(|| EntryView::from(&*entry)))
    }

    fn copy_pair_to(&self, key: &FlowKey, pair: &mut FlowKey) -> bool {
        self.step(|entry| {
            *pair = entry.pair;
            entry.key == *key
        })
    }

    fn copy_to(&self, key: &FlowKey, copy: &mut CtEntry) -> bool {
        self.step(|entry| *copy = *entry);
        copy.key == *key
    }

    fn set_last_seen(&self, now_ns: u64) {
        self.step(|entry| entry.last_seen_ns = now_ns);
    }

    fn set_acked(&self, acked: Acked) {
        self.step(|entry| entry.acked = acked);
    }

    fn set_arrival(&self, key: &FlowKey, arrival: Arrival) {
        self.step(|entry| {
            if entry.key == *key {
                entry.arrival = arrival;
            }
        });
    }

    /// One step: in the kernel the check and the write are a few instructions apart, which is not modelled.
    fn set_progress(&self, key: &FlowKey, seen: Seen, state: State) {
        self.step(|entry| {
            if entry.key == *key {
                entry.seen = seen;
                entry.set_state(state);
            }
        });
    }

    fn end(&self, key: &FlowKey, reason: EntryFlags, now_ns: u64) {
        self.step(|entry| {
            if entry.key == *key {
                entry.flags = entry.flags.with(reason);
                entry.last_seen_ns = now_ns;
            }
        });
    }
}

/// A ring of half-open flows. Every access is one step.
pub struct Ring {
    machine: Arc<Machine>,
    cpu: usize,
    key: RingKey,
}

impl Ring {
    fn step<R>(&self, action: impl FnOnce(&mut HalfOpenRing) -> R) -> R {
        self.machine.step(self.cpu, |shared| {
            action(shared.rings.entry(self.key).or_insert_with(bytemuck::Zeroable::zeroed))
        })
    }
}

impl RingSlot for Ring {
    fn take(&self, place: Place) -> Option<Place> {
        self.step(|ring| ring.take(place))
    }

    fn recent(&self, back: u32) -> Option<Place> {
        self.step(|ring| ring.recent(back))
    }

    fn challenging_until_ns(&self) -> u64 {
        self.step(|ring| ring.challenging_until_ns)
    }

    fn challenge_until(&self, until_ns: u64) {
        self.step(|ring| ring.challenging_until_ns = until_ns);
    }
}

impl Tables for Cpu {
    type Slot = Slot;
    type Datagram = MemoryDatagram;
    type Ring = Ring;
    type Scratch = Box<CtEntry>;
    type PlanRoom<'a> = RefMut<'a, forward::Plan>;

    fn ring(&self, key: &RingKey) -> Option<Ring> {
        Some(Ring { machine: Arc::clone(&self.machine), cpu: self.number, key: *key })
    }

    fn client(&self, key: &ClientKey) -> Option<u64> {
        self.config.client(key)
    }

    fn welcome(&self, key: &ClientKey, until_ns: u64) {
        self.config.welcome(key, until_ns);
    }

    fn allows_hairpin(&self, key: &HairpinKey) -> bool {
        self.config.allows_hairpin(key)
    }

    fn plan(&self) -> Option<RefMut<'_, forward::Plan>> {
        self.config.plan()
    }

    fn scratch(&self) -> Option<Box<CtEntry>> {
        self.config.scratch()
    }

    fn tenant(&self, tenant: TenantId) -> Option<TenantSettings> {
        self.config.tenant(tenant)
    }

    fn datagram(&self, key: &DatagramKey) -> Option<MemoryDatagram> {
        self.config.datagram(key)
    }

    fn begin_datagram(&self, key: &DatagramKey, head: &DatagramHead) -> bool {
        self.config.begin_datagram(key, head)
    }

    fn forget_datagram(&self, key: &DatagramKey) {
        self.config.forget_datagram(key);
    }

    fn settings(&self) -> Option<&Settings> {
        self.config.settings()
    }

    fn address(&self, address: Addr) -> Option<OwnedAddress> {
        self.config.address(address)
    }

    fn listener(&self, key: &ListenerKey) -> Option<Listener> {
        self.config.listener(key)
    }

    fn allows(&self, key: &AllowKey) -> bool {
        self.config.allows(key)
    }

    fn source(&self, source: Addr) -> Option<TenantSource> {
        self.config.source(source)
    }

    fn reaches(&self, key: &DestinationKey) -> bool {
        self.config.reaches(key)
    }

    fn pool(&self, pool: u32) -> Option<Pool> {
        self.config.pool(pool)
    }

    fn maglev(&self, slot: u32) -> Option<u32> {
        self.config.maglev(slot)
    }

    fn backend(&self, backend: u32) -> Option<Backend> {
        self.config.backend(backend)
    }

    fn interface(&self, ifindex: u32) -> Option<Interface> {
        self.config.interface(ifindex)
    }

    fn route(&self, query: &RouteQuery) -> Route {
        self.config.route(query)
    }

    fn flow(&self, table: FlowTable, key: &FlowKey) -> Option<Slot> {
        let place = self.step(|shared| shared.table(table).places.get(key).copied())?;
        Some(Slot { machine: Arc::clone(&self.machine), cpu: self.number, table, place })
    }

    fn insert(&self, table: FlowTable, entry: &CtEntry) -> Insertion {
        self.step(|shared| shared.table_mut(table).insert(entry))
    }

    fn remove(&self, table: FlowTable, key: &FlowKey) -> bool {
        self.step(|shared| shared.table_mut(table).remove(key))
    }

    fn add_flow(&self, tenant: TenantId) -> i64 {
        self.step(|shared| {
            let flows = shared.flows_of.entry(tenant).or_default();
            *flows += 1;
            *flows - 1
        })
    }

    fn remove_flow(&self, tenant: TenantId) {
        self.step(|shared| *shared.flows_of.entry(tenant).or_default() -= 1);
    }

    fn take_turn(&self, tenant: TenantId, pace: &Pace) -> bool {
        self.config.take_turn(tenant, pace)
    }

    fn take_error_turn(&self, bucket: u32, pace: &Pace) -> bool {
        self.config.take_error_turn(bucket, pace)
    }

    // Counters are each CPU's own in the kernel: no other CPU sees a step here.
    fn count(&self, counter: Counter, by: u64) {
        let mut shared = self.machine.shared.lock().unwrap();
        *shared.counters.entry(counter as u32).or_default() += by;
    }

    fn count_drop(&self, reason: DropReason, tenant: TenantId) {
        self.config.count_drop(reason, tenant);
    }

    fn count_translated(&self, tenant: TenantId, to_external: bool, bytes: u64) {
        self.config.count_translated(tenant, to_external, bytes);
    }

    fn count_opened(&self, tenant: TenantId) {
        self.config.count_opened(tenant);
    }

    fn report(&self, event: &Event) {
        self.config.report(event);
    }
}
