//! Tables for one packet: they read the kernel's, keep what the engine writes to themselves, and write down both.

use std::{
    cell::{Cell, RefCell, RefMut},
    collections::hash_map::Entry,
};

use anyhow::Result;
use gateway_common::{
    abi::{
        Addr, AllowKey, Backend, ClientKey, Counter, CtEntry, DatagramHead, DatagramKey, DestinationKey,
        Event, FlowKey, HairpinKey, Interface, Listener, ListenerKey, OwnedAddress, Pool, RingKey, Settings,
        TenantId, TenantSettings, TenantSource,
    },
    drop_reason::DropReason,
    forward::Plan,
    memory::{MemoryDatagram, MemoryRing, MemorySlot, MemoryTables},
    tables::{FlowTable, Insertion, Pace, Route, RouteQuery, Tables},
};

use super::{Action, Look, Names, Routes, Step, words};

/// What is known after the packet.
#[derive(Debug, Default)]
pub struct Record {
    pub steps: Vec<Step>,
    pub drop_reason: Option<DropReason>,
    pub tenant: Option<TenantId>,
}

/// The tables.
pub struct Recorder<'a, L, R> {
    look: &'a L,
    routes: &'a R,
    names: &'a Names,
    settings: Settings,
    /// Entries that the engine has read or written; only the flow tables of it are used.
    overlay: MemoryTables,
    removed: RefCell<Vec<(FlowTable, FlowKey)>>,
    record: RefCell<Record>,
    /// The first question that got no answer: what the engine made of it is worthless.
    failure: Cell<Option<anyhow::Error>>,
}

impl<'a, L: Look, R: Routes> Recorder<'a, L, R> {
    pub fn new(look: &'a L, routes: &'a R, names: &'a Names) -> Result<Self> {
        let mut overlay = MemoryTables::default();
        // What fits is for the kernel's tables to say.
        (overlay.established.capacity, overlay.half_open.capacity) = (usize::MAX, usize::MAX);
        Ok(Self {
            look,
            routes,
            names,
            settings: look.settings()?,
            overlay,
            removed: RefCell::default(),
            record: RefCell::default(),
            failure: Cell::default(),
        })
    }

    pub fn finish(self) -> Result<Record> {
        match self.failure.into_inner() {
            Some(failure) => Err(failure),
            None => Ok(self.record.into_inner()),
        }
    }

    fn note(&self, action: Action, table: &'static str, key: String, found: Option<String>) {
        self.record.borrow_mut().steps.push(Step { action, table, key, found });
    }

    fn answer<T: Default>(&self, answer: Result<T>) -> T {
        answer.unwrap_or_else(|error| {
            self.failure.set(Some(self.failure.take().unwrap_or(error)));
            T::default()
        })
    }

    /// A lookup that finds something or nothing.
    fn looked<T>(
        &self,
        table: &'static str,
        key: String,
        answer: Result<Option<T>>,
        found: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        let answer = self.answer(answer);
        self.note(Action::Look, table, key, answer.as_ref().map(found));
        answer
    }

    /// Finds an entry, in the overlay if it is there.
    fn entry(&self, table: FlowTable, key: &FlowKey) -> Option<MemorySlot> {
        let known = self.overlay.flow(table, key);
        if known.is_some() || self.removed.borrow().contains(&(table, *key)) {
            return known;
        }
        let entry: CtEntry = self.answer(self.look.flow(table, key))?;
        let _inserted = self.overlay.insert(table, &entry);
        self.overlay.flow(table, key)
    }

    fn try_insert(&self, table: FlowTable, entry: &CtEntry) -> Insertion {
        if self.entry(table, &entry.key).is_some() {
            Insertion::Exists
        } else if self.answer(self.look.has_room(table)) {
            self.overlay.insert(table, entry)
        } else {
            Insertion::Full
        }
    }

    /// Takes what a tenant uses into the overlay.
    fn note_use(&self, tenant: TenantId) {
        if let Entry::Vacant(unknown) = self.overlay.tenant_use.borrow_mut().entry(tenant) {
            unknown.insert(self.answer(self.look.tenant_use(tenant)));
        }
    }

    /// Its limit; the engine has looked it up just before.
    fn limits(&self, tenant: TenantId) -> Option<TenantSettings> {
        self.answer(self.look.tenant(tenant))
    }

    fn belongs_to(&self, tenant: TenantId) {
        if tenant != TenantId::NONE {
            self.record.borrow_mut().tenant = Some(tenant);
        }
    }
}

impl<L: Look, R: Routes> Tables for Recorder<'_, L, R> {
    type Slot = MemorySlot;
    type Datagram = MemoryDatagram;
    type Ring = MemoryRing;
    type Scratch = Box<CtEntry>;
    type PlanRoom<'a>
        = RefMut<'a, Plan>
    where
        Self: 'a;

    fn ring(&self, key: &RingKey) -> Option<MemoryRing> {
        self.overlay.ring(key)
    }

    fn client(&self, key: &ClientKey) -> Option<u64> {
        self.overlay.client(key)
    }

    fn welcome(&self, key: &ClientKey, until_ns: u64) {
        self.overlay.welcome(key, until_ns);
    }

    fn allows_hairpin(&self, key: &HairpinKey) -> bool {
        let answer = self.look.allows_hairpin(key).map(|allowed| allowed.then_some(()));
        let key = format!("{} to {}", self.names.tenant(key.from), self.names.tenant(key.to));
        self.looked("hairpins", key, answer, |()| "allowed".to_owned()).is_some()
    }

    fn add_flow(&self, tenant: TenantId) -> i64 {
        self.note_use(tenant);
        let flows = self.overlay.add_flow(tenant);
        let found = words::flows(flows, self.limits(tenant).map_or(0, |limits| limits.flows_max));
        self.note(Action::Look, "tenant_use", self.names.tenant(tenant), Some(found));
        flows
    }

    fn remove_flow(&self, tenant: TenantId) {
        self.overlay.remove_flow(tenant);
    }

    fn take_turn(&self, tenant: TenantId, pace: &Pace) -> bool {
        self.note_use(tenant);
        let has_turn = self.overlay.take_turn(tenant, pace);
        let found = words::turn(has_turn, pace);
        self.note(Action::Look, "tenant_use", self.names.tenant(tenant), Some(found));
        has_turn
    }

    fn take_error_turn(&self, _bucket: u32, _pace: &Pace) -> bool {
        true
    }

    fn plan(&self) -> Option<RefMut<'_, Plan>> {
        self.overlay.plan()
    }

    fn scratch(&self) -> Option<Box<CtEntry>> {
        self.overlay.scratch()
    }

    fn settings(&self) -> Option<&Settings> {
        let found = (self.settings.node != 0).then(|| words::settings(&self.settings));
        self.note(Action::Look, "settings", "of this node".to_owned(), found);
        Some(&self.settings)
    }

    fn address(&self, address: Addr) -> Option<OwnedAddress> {
        let answer = self.look.address(address);
        self.looked("addresses", address.to_string(), answer, |found| self.names.address(*found))
    }

    fn listener(&self, key: &ListenerKey) -> Option<Listener> {
        let answer = self.look.listener(key);
        self.looked("listeners", words::listener_key(*key), answer, |found| self.names.listener(found))
    }

    fn allows(&self, key: &AllowKey) -> bool {
        let answer = self.look.allows(key).map(|allowed| allowed.then_some(()));
        let key = format!("{} in list {}", key.address, key.list());
        self.looked("allow_lists", key, answer, |()| "allowed".to_owned()).is_some()
    }

    fn source(&self, source: Addr) -> Option<TenantSource> {
        let answer = self.look.source(source);
        self.looked("tenant_sources", source.to_string(), answer, |found| self.names.source(*found))
    }

    fn reaches(&self, key: &DestinationKey) -> bool {
        let answer = self.look.reaches(key).map(|allowed| allowed.then_some(()));
        let key = self.names.destination(key);
        self.looked("destinations", key, answer, |()| "allowed".to_owned()).is_some()
    }

    fn tenant(&self, tenant: TenantId) -> Option<TenantSettings> {
        let answer = self.look.tenant(tenant);
        self.looked("tenants", self.names.tenant(tenant), answer, words::tenant)
    }

    fn pool(&self, pool: u32) -> Option<Pool> {
        self.looked("pools", format!("pool {pool}"), self.look.pool(pool), words::pool)
    }

    fn maglev(&self, slot: u32) -> Option<u32> {
        let answer = self.look.maglev(slot);
        self.looked("maglev", format!("slot {slot}"), answer, |backend| format!("backend {backend}"))
    }

    fn backend(&self, backend: u32) -> Option<Backend> {
        let answer = self.look.backend(backend);
        self.looked("backends", format!("backend {backend}"), answer, |found| self.names.backend(*found))
    }

    fn interface(&self, ifindex: u32) -> Option<Interface> {
        let answer = self.look.interface(ifindex);
        self.looked("interfaces", self.names.interface(ifindex), answer, words::interface)
    }

    fn route(&self, query: &RouteQuery) -> Route {
        let answer = self.routes.route(query).map(Some);
        let key = words::route_query(query, &self.names.interface(query.ingress_ifindex));
        self.looked("routes", key, answer, |route| self.names.route(route)).unwrap_or(Route::None)
    }

    fn flow(&self, table: FlowTable, key: &FlowKey) -> Option<MemorySlot> {
        let slot = self.entry(table, key);
        let found = slot.as_ref().map(|slot| self.names.entry(slot, key));
        self.note(Action::Look, words::flow_table(table), words::flow_key(key), found);
        slot
    }

    fn insert(&self, table: FlowTable, entry: &CtEntry) -> Insertion {
        let insertion = self.try_insert(table, entry);
        let outcome = Some(words::insertion(insertion).to_owned());
        self.note(Action::Insert, words::flow_table(table), words::flow_key(&entry.key), outcome);
        insertion
    }

    fn remove(&self, table: FlowTable, key: &FlowKey) -> bool {
        let was_there = self.entry(table, key).is_some();
        self.overlay.remove(table, key);
        self.removed.borrow_mut().push((table, *key));
        self.note(Action::Remove, words::flow_table(table), words::flow_key(key), None);
        was_there
    }

    fn datagram(&self, key: &DatagramKey) -> Option<MemoryDatagram> {
        self.overlay.datagram(key)
    }

    fn begin_datagram(&self, key: &DatagramKey, head: &DatagramHead) -> bool {
        self.note(Action::Insert, "datagrams", format!("from {}", key.src), None);
        self.overlay.begin_datagram(key, head)
    }

    fn forget_datagram(&self, key: &DatagramKey) {
        self.overlay.forget_datagram(key);
    }

    fn count(&self, counter: Counter, by: u64) {
        self.note(Action::Count, "counters", counter.name().to_owned(), Some(format!("+{by}")));
    }

    fn count_drop(&self, reason: DropReason, tenant: TenantId) {
        self.belongs_to(tenant);
        self.record.borrow_mut().drop_reason = Some(reason);
        self.note(Action::Count, "drops", reason.name().to_owned(), Some("+1".to_owned()));
    }

    fn count_translated(&self, tenant: TenantId, _to_external: bool, bytes: u64) {
        self.belongs_to(tenant);
        let key = format!("{}: translated", self.names.tenant(tenant));
        self.note(Action::Count, "tenant_stats", key, Some(format!("+1 packet, +{bytes} bytes")));
    }

    fn count_opened(&self, tenant: TenantId) {
        self.belongs_to(tenant);
        let key = format!("{}: flows opened", self.names.tenant(tenant));
        self.note(Action::Count, "tenant_stats", key, Some("+1".to_owned()));
    }

    fn report(&self, event: &Event) {
        let key = format!("{} on {}", event.address, self.names.interface(event.ifindex));
        self.note(Action::Report, "events", key, Some("the next hop is to be resolved".to_owned()));
    }
}
