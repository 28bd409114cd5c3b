//! `forward::process` on a byte slice with tables in memory.

use std::collections::{BTreeMap, HashMap};
use std::mem::take;

use gateway_common::abi::{ALLOW_KEY_BITS, Addr, Counter, DESTINATION_KEY_BITS, TenantId, TenantSource};
use gateway_common::forward;
use gateway_common::memory::{BytesPacket, MemoryFlows, MemoryTables};
use gateway_common::tables::{FlowTable, Route};
use gateway_common::verdict::Verdict;
use gateway_daemon::datapath::contents::{Contents, Prefix, Slots};
use gateway_daemon::datapath::monotonic_ns;
use gateway_daemon::datapath::programs::TableSizes;

use crate::counts::Counts;
use crate::engine::{Action, Engine, Kind, LAST_TENANT, Ran};
use crate::flows::Flows;
use crate::places::Wire;
use crate::world::Routes;

/// The engine.
pub struct MemoryEngine {
    tables: MemoryTables,
    routes: Routes,
    plain: HashMap<Addr, Route>,
    sizes: TableSizes,
    /// Counts of the tables that were filled before these.
    earlier: Counts,
}

impl MemoryEngine {
    /// With empty tables.
    pub fn new(routes: Routes, sizes: TableSizes) -> Self {
        let plain = routes.answers(0);
        Self { tables: MemoryTables::default(), routes, plain, sizes, earlier: Counts::default() }
    }

    fn count_into(&self, counts: &mut Counts) {
        for counter in Counter::ALL {
            counts.add(counter.name(), self.tables.counter(*counter));
        }
        for (reason, packets) in &*self.tables.drops.borrow() {
            counts.add_drop(reason.name(), *packets);
        }
        for (tenant, stats) in &*self.tables.tenants.borrow() {
            counts.add_tenant(tenant.0, stats);
        }
        for event in &*self.tables.events.borrow() {
            counts.add_event(event);
        }
    }
}

impl Engine for MemoryEngine {
    fn kind(&self) -> Kind {
        Kind::Memory
    }

    fn reset(&mut self, desired: &Contents) {
        self.earlier = self.counts();
        self.tables = tables(desired, self.sizes);
        self.tables.routes.clone_from(&self.plain);
        self.tables.closed.clone_from(&self.routes.blocked);
    }

    fn configure(&mut self, desired: &Contents) {
        let mut fresh = tables(desired, self.sizes);
        fresh.routes = take(&mut self.tables.routes);
        fresh.closed = take(&mut self.tables.closed);
        fresh.established = take(&mut self.tables.established);
        fresh.half_open = take(&mut self.tables.half_open);
        fresh.datagrams = take(&mut self.tables.datagrams);
        self.earlier = self.counts();
        self.tables = fresh;
    }

    fn end_flows(&mut self) {
        for flows in [&self.tables.established, &self.tables.half_open] {
            flows.entries().iter().for_each(|entry| flows.replace(&entry.ended(monotonic_ns())));
        }
    }

    fn run(&mut self, wire: &Wire, frame: &[u8]) -> Option<Ran> {
        let length = announced_length(frame);
        let plain = Routes::are_plain(length);
        if !plain {
            self.tables.routes = self.routes.answers(length);
        }
        let mut packet = BytesPacket { bytes: frame.to_vec(), ingress_ifindex: wire.ifindex };
        let verdict = forward::process(&mut packet, &self.tables, wire.side, monotonic_ns());
        if !plain {
            self.tables.routes.clone_from(&self.plain);
        }
        Some(Ran { action: action(verdict), frame: packet.bytes })
    }

    fn counts(&mut self) -> Counts {
        let mut counts = self.earlier.clone();
        self.count_into(&mut counts);
        counts
    }

    fn flows(&self) -> Flows {
        let mut flows = Flows::default();
        for (table, entries) in [
            (FlowTable::Established, &self.tables.established),
            (FlowTable::HalfOpen, &self.tables.half_open),
        ] {
            for entry in entries.entries() {
                flows.add(table, &entry.key, &entry);
            }
        }
        flows
    }

    fn other_tenants(&self) -> Vec<u16> {
        self.tables
            .tenants
            .borrow()
            .keys()
            .map(|tenant| tenant.0)
            .filter(|tenant| *tenant > LAST_TENANT)
            .collect()
    }
}

fn action(verdict: Verdict) -> Action {
    match verdict {
        Verdict::Pass => Action::Pass,
        Verdict::Drop(_) | Verdict::Held => Action::Drop,
        Verdict::Reply => Action::Reply,
        Verdict::Redirect { .. } => Action::Redirect,
        Verdict::RedirectNeighbour { .. } => panic!("a byte slice resolves no neighbours"),
    }
}

/// The total length in the IP header, read without the packet engine's own parser; 0 when there is none.
fn announced_length(frame: &[u8]) -> usize {
    let ip = if frame.get(12..14) == Some(&[0x81, 0x00]) { 18 } else { 14 };
    frame.get(ip + 2..ip + 4).map_or(0, |length| usize::from(u16::from_be_bytes([length[0], length[1]])))
}

/// The same contents as [`gateway_daemon::datapath::tables::Tables::apply`] writes.
fn tables(desired: &Contents, sizes: TableSizes) -> MemoryTables {
    MemoryTables {
        settings: Some(desired.settings),
        addresses: desired.addresses.iter().copied().collect(),
        tenant_settings: desired
            .tenants
            .iter()
            .map(|(id, tenant)| (TenantId(u16::try_from(*id).expect("a tenant's number")), *tenant))
            .collect(),
        listeners: desired.listeners.iter().copied().collect(),
        allow_lists: allow_lists(desired),
        sources: sources(desired),
        destinations: desired
            .destinations
            .iter()
            .map(|(prefix, _)| (prefix.key, byte(prefix.bits - DESTINATION_KEY_BITS)))
            .collect(),
        pools: desired.pools.iter().copied().collect(),
        maglev: maglev(desired),
        backends: desired.backends.iter().copied().collect(),
        interfaces: desired.interfaces.iter().copied().collect(),
        established: bounded(sizes.established),
        half_open: bounded(sizes.half_open),
        ..MemoryTables::default()
    }
}

fn maglev(desired: &Contents) -> Vec<u32> {
    let end = |slots: &Slots| slots.first as usize + slots.backends.len();
    let mut maglev = vec![0; desired.slots.iter().map(end).max().unwrap_or(0)];
    for slots in &desired.slots {
        maglev[slots.first as usize..end(slots)].copy_from_slice(&slots.backends);
    }
    maglev
}

fn bounded(entries: u32) -> MemoryFlows {
    let mut flows = MemoryFlows::default();
    flows.capacity = entries as usize;
    flows
}

fn allow_lists(desired: &Contents) -> BTreeMap<u32, Vec<(Addr, u8)>> {
    let mut lists: BTreeMap<u32, Vec<(Addr, u8)>> = BTreeMap::new();
    for (prefix, _) in &desired.allow_lists {
        let entry = (prefix.key.address, byte(prefix.bits - ALLOW_KEY_BITS));
        lists.entry(prefix.key.list()).or_default().push(entry);
    }
    lists
}

fn sources(desired: &Contents) -> Vec<(Addr, u8, TenantSource)> {
    let owner =
        |(prefix, raw): &(Prefix<Addr>, u32)| (prefix.key, byte(prefix.bits), TenantSource::from_raw(*raw));
    desired.sources.iter().map(owner).collect()
}

fn byte(bits: u32) -> u8 {
    u8::try_from(bits).expect("an IPv4 prefix has at most 32 bits")
}
