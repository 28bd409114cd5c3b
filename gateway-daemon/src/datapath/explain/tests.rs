//! Ways of packets through tables in memory. What the engine does with them has tests of its own: here it must be told
//! right, and nothing may change.

use bytemuck::Zeroable as _;
use gateway_common::{
    abi::{
        Addr, AddressKind, AllowKey, Backend, CtEntry, DestinationKey, EntryFlags, FlowKey, HairpinKey,
        Interface, LinkAddresses, Listener, ListenerFlags, ListenerKey, Mac, OwnedAddress, Pool, PoolFlags,
        Port, Protocol, Settings, Side, State, TenantId, TenantSettings, TenantSource, TenantUse, Timeouts,
    },
    drop_reason::DropReason,
    memory::MemoryTables,
    port_slice::{PortShare, PortSlices},
    tables::{FlowTable, Insertion, Route, RouteQuery, Tables},
    verdict::Verdict,
};

use super::frame::Tuple;
use super::{Action, Explanation, Inbound, Look, Names, Routes, Step, explain};
use crate::datapath::hook::Hook;

const BANK: TenantId = TenantId(1);
const VIP: Addr = Addr::new([192, 0, 2, 10]);
const EGRESS: Addr = Addr::new([192, 0, 2, 20]);
const NPCI: Addr = Addr::new([203, 0, 113, 5]);
const NAT: Addr = Addr::new([198, 51, 100, 1]);
const SERVER: Addr = Addr::new([198, 18, 1, 7]);
const EXTERNAL_IF: u32 = 1;
const INTERNAL_IF: u32 = 2;
const NOW: u64 = 1_000_000_000_000;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Tables in memory as something to be asked.
struct Memory<'a>(&'a MemoryTables);

impl Look for Memory<'_> {
    fn settings(&self) -> anyhow::Result<Settings> {
        Ok(*self.0.settings().unwrap())
    }

    fn address(&self, address: Addr) -> anyhow::Result<Option<OwnedAddress>> {
        Ok(self.0.address(address))
    }

    fn listener(&self, key: &ListenerKey) -> anyhow::Result<Option<Listener>> {
        Ok(self.0.listener(key))
    }

    fn allows(&self, key: &AllowKey) -> anyhow::Result<bool> {
        Ok(self.0.allows(key))
    }

    fn source(&self, source: Addr) -> anyhow::Result<Option<TenantSource>> {
        Ok(self.0.source(source))
    }

    fn reaches(&self, key: &DestinationKey) -> anyhow::Result<bool> {
        Ok(self.0.reaches(key))
    }

    fn allows_hairpin(&self, key: &HairpinKey) -> anyhow::Result<bool> {
        Ok(self.0.allows_hairpin(key))
    }

    fn tenant_use(&self, tenant: TenantId) -> anyhow::Result<TenantUse> {
        Ok(self.0.tenant_use.borrow().get(&tenant).copied().unwrap_or_default())
    }

    fn tenant(&self, tenant: TenantId) -> anyhow::Result<Option<TenantSettings>> {
        Ok(self.0.tenant_settings.get(&tenant).copied())
    }

    fn pool(&self, pool: u32) -> anyhow::Result<Option<Pool>> {
        Ok(self.0.pool(pool))
    }

    fn maglev(&self, slot: u32) -> anyhow::Result<Option<u32>> {
        Ok(self.0.maglev(slot))
    }

    fn backend(&self, backend: u32) -> anyhow::Result<Option<Backend>> {
        Ok(self.0.backend(backend))
    }

    fn interface(&self, ifindex: u32) -> anyhow::Result<Option<Interface>> {
        Ok(self.0.interface(ifindex))
    }

    fn flow(&self, table: FlowTable, key: &FlowKey) -> anyhow::Result<Option<CtEntry>> {
        Ok(flows(self.0, table).entry(key))
    }

    fn has_room(&self, table: FlowTable) -> anyhow::Result<bool> {
        let flows = flows(self.0, table);
        Ok(flows.entries().len() < flows.capacity)
    }
}

impl Routes for Memory<'_> {
    fn route(&self, query: &RouteQuery) -> anyhow::Result<Route> {
        Ok(self.0.route(query))
    }
}

/// A kernel that does not answer.
struct Silent;

impl Routes for Silent {
    fn route(&self, _: &RouteQuery) -> anyhow::Result<Route> {
        anyhow::bail!("no answer")
    }
}

fn flows(tables: &MemoryTables, table: FlowTable) -> &gateway_common::memory::MemoryFlows {
    match table {
        FlowTable::Established => &tables.established,
        FlowTable::HalfOpen => &tables.half_open,
    }
}

/// One tenant with one server behind port 443 of the ingress VIP, which may call NPCI on 443.
fn world() -> MemoryTables {
    let mut tables = MemoryTables { settings: Some(settings()), ..MemoryTables::default() };
    tables.addresses.insert(VIP, OwnedAddress::shared(AddressKind::IngressVip));
    tables.addresses.insert(EGRESS, OwnedAddress::shared(AddressKind::EgressVip));
    tables.addresses.insert(NAT, OwnedAddress::nat_ip(BANK));
    let bank = TenantSettings { nat: NAT, ports: PortShare::ALL, ..TenantSettings::zeroed() };
    tables.tenant_settings.insert(BANK, bank);
    let flags = ListenerFlags::default();
    let listener = Listener { tenant: BANK, flags, pool: 3, allow_list: 4, nat: NAT };
    tables.listeners.insert(ListenerKey::new(VIP, Protocol::Tcp, Port::new(443)), listener);
    tables.allow_lists.insert(4, vec![(NPCI, 24)]);
    tables.pools.insert(3, Pool { maglev_offset: 0, maglev_len: 1, flags: PoolFlags::default() });
    tables.maglev = vec![9];
    tables.backends.insert(9, Backend { address: SERVER, port: Port::new(8443), tenant: BANK });
    tables.sources.push((SERVER, 24, TenantSource::new(BANK)));
    tables.destinations.push((DestinationKey::new(BANK, Protocol::Tcp, Port::new(443), NPCI), 24));
    for (side, ifindex, neighbour) in
        [(Side::External, EXTERNAL_IF, NPCI), (Side::Internal, INTERNAL_IF, SERVER)]
    {
        tables.interfaces.insert(ifindex, Interface::new(side, ifindex, 0, Mac::default()));
        tables.routes.insert(neighbour, Route::Forward { ifindex, link: LinkAddresses::NONE });
    }
    tables
}

fn settings() -> Settings {
    Settings {
        lease_until_ns: u64::MAX,
        hash_seed: 7,
        slices: PortSlices::from_mask(u64::MAX),
        timeouts: Timeouts::DEFAULT,
        ingress_vip: VIP,
        egress_vip: EGRESS,
        epoch: 1,
        generation: 1,
        node: 1,
        ..Settings::zeroed()
    }
}

fn names() -> Names {
    Names {
        tenants: [(BANK, "bank-a".to_owned())].into(),
        interfaces: [(EXTERNAL_IF, "ext0".to_owned()), (INTERNAL_IF, "int0".to_owned())].into(),
    }
}

fn tcp(side: Side, tcp_flags: u8, source: (Addr, u16), destination: (Addr, u16)) -> Inbound {
    let end = |(address, port)| (address, Port::new(port));
    let tuple =
        Tuple { protocol: Protocol::Tcp, source: end(source), destination: end(destination), tcp_flags };
    let ifindex = if side == Side::External { EXTERNAL_IF } else { INTERNAL_IF };
    Inbound { bytes: tuple.frame(), ifindex, side, hook: Hook::XdpNative }
}

fn key(side: Side, source: (Addr, u16), destination: (Addr, u16)) -> FlowKey {
    let end = |(address, port)| (address, Port::new(port));
    FlowKey::v4(side, Protocol::Tcp, end(source), end(destination))
}

/// Explains, and sees that the tables are what they were.
#[track_caller]
fn explained(tables: &MemoryTables, packet: &Inbound) -> Explanation {
    let before = [tables.established.entries(), tables.half_open.entries()];
    let explanation = explain(packet, &Memory(tables), &Memory(tables), &names(), NOW).unwrap();
    let after = [tables.established.entries(), tables.half_open.entries()];
    assert_eq!(before.map(sorted), after.map(sorted), "explaining changes no flow");
    assert!(tables.counters.borrow().is_empty() && tables.drops.borrow().is_empty());
    assert!(tables.tenants.borrow().is_empty() && tables.events.borrow().is_empty());
    explanation
}

fn sorted(mut entries: Vec<CtEntry>) -> Vec<CtEntry> {
    entries.sort_by_key(|entry| (entry.key.src, entry.key.src_port, entry.key.dst_port));
    entries
}

fn step<'a>(explanation: &'a Explanation, table: &str) -> &'a Step {
    let found = explanation.steps.iter().find(|step| step.table == table);
    found.unwrap_or_else(|| panic!("no step at {table}: {:#?}", explanation.steps))
}

#[test]
fn a_listener_hit_leads_to_the_backend() {
    let tables = world();
    let explanation = explained(&tables, &tcp(Side::External, SYN, (NPCI, 40_000), (VIP, 443)));
    assert_eq!(explanation.verdict, Verdict::Redirect { ifindex: INTERNAL_IF });
    assert_eq!((explanation.tenant, explanation.drop_reason), (Some(BANK), None));
    assert_eq!(explanation.original, Some(key(Side::External, (NPCI, 40_000), (VIP, 443))));
    assert_eq!(explanation.leaving, Some(key(Side::Internal, (NAT, 40_000), (SERVER, 8443))));
    let listener = step(&explanation, "listeners");
    assert_eq!((listener.action, listener.key.as_str()), (Action::Look, "192.0.2.10:443 tcp"));
    let found = "of bank-a: pool 3, allow-list 4, source becomes 198.51.100.1";
    assert_eq!(listener.found.as_deref(), Some(found));
    assert_eq!(step(&explanation, "allow_lists").found.as_deref(), Some("allowed"));
    assert_eq!(step(&explanation, "backends").found.as_deref(), Some("198.18.1.7:8443 of bank-a"));
    assert_eq!(step(&explanation, "routes").found.as_deref(), Some("out of int0"));
    let inserted = explanation.steps.iter().filter(|step| step.action == Action::Insert).count();
    assert_eq!(inserted, 2, "{:#?}", explanation.steps);
}

#[test]
fn a_port_without_a_listener_is_dropped() {
    let explanation = explained(&world(), &tcp(Side::External, SYN, (NPCI, 40_000), (VIP, 444)));
    assert_eq!(explanation.verdict, Verdict::Drop(DropReason::NoListener));
    assert_eq!(explanation.drop_reason, Some(DropReason::NoListener));
    assert_eq!((explanation.leaving, explanation.tenant), (None, None));
    assert_eq!(step(&explanation, "listeners").found, None);
    assert_eq!(step(&explanation, "drops").key, "no_listener");
}

#[test]
fn a_tenants_call_leaves_from_the_egress_vip() {
    let explanation = explained(&world(), &tcp(Side::Internal, SYN, (SERVER, 50_000), (NPCI, 443)));
    assert_eq!(explanation.verdict, Verdict::Redirect { ifindex: EXTERNAL_IF });
    assert_eq!(explanation.leaving, Some(key(Side::External, (EGRESS, 50_000), (NPCI, 443))));
    assert_eq!(step(&explanation, "tenant_sources").found.as_deref(), Some("of bank-a"));
    assert_eq!(step(&explanation, "destinations").key, "bank-a to 203.0.113.5 tcp, port 443");
}

#[test]
fn the_port_that_is_chosen_is_free_in_the_tables() {
    let tables = world();
    let taken = key(Side::External, (NPCI, 443), (EGRESS, 50_000));
    let other = key(Side::Internal, (SERVER, 50_001), (NPCI, 443));
    let entry = CtEntry::open(taken, other, BANK, EntryFlags::default(), NOW);
    assert_eq!(tables.insert(FlowTable::HalfOpen, &entry), Insertion::Inserted);
    let explanation = explained(&tables, &tcp(Side::Internal, SYN, (SERVER, 50_000), (NPCI, 443)));
    let leaving = explanation.leaving.unwrap();
    assert_eq!((leaving.src, leaving.dst), (EGRESS, NPCI));
    assert_ne!(leaving.src_port, Port::new(50_000));
    let outcomes: Vec<_> = explanation
        .steps
        .iter()
        .filter(|step| step.action == Action::Insert)
        .filter_map(|step| step.found.as_deref())
        .collect();
    assert_eq!(outcomes, ["taken", "free: inserted", "free: inserted"]);
}

#[test]
fn a_full_table_is_seen() {
    let mut tables = world();
    tables.half_open.capacity = 0;
    let explanation = explained(&tables, &tcp(Side::Internal, SYN, (SERVER, 50_000), (NPCI, 443)));
    assert_eq!(explanation.drop_reason, Some(DropReason::HalfOpenTableFull));
}

#[test]
fn a_packet_of_a_known_flow_goes_on_and_its_entry_stays_as_it_is() {
    let tables = world();
    let (original, reply) = (
        key(Side::Internal, (SERVER, 50_000), (NPCI, 443)),
        key(Side::External, (NPCI, 443), (EGRESS, 61_000)),
    );
    for (own, other, flags) in
        [(original, reply, EntryFlags::ORIGINAL), (reply, original, EntryFlags::default())]
    {
        let mut entry = CtEntry::open(own, other, BANK, flags, NOW / 2);
        entry.set_state(State::Established);
        assert_eq!(tables.insert(FlowTable::Established, &entry), Insertion::Inserted);
    }
    let explanation = explained(&tables, &tcp(Side::External, ACK, (NPCI, 443), (EGRESS, 61_000)));
    assert_eq!(explanation.verdict, Verdict::Redirect { ifindex: INTERNAL_IF });
    assert_eq!(explanation.leaving, Some(key(Side::Internal, (NPCI, 443), (SERVER, 50_000))));
    let first = &explanation.steps[0];
    let found = "of bank-a, established; its answers: internal tcp 198.18.1.7:50000 -> 203.0.113.5:443";
    assert_eq!((first.table, first.found.as_deref()), ("flows", Some(found)));
    let inserted = explanation.steps.iter().any(|step| step.action == Action::Insert);
    assert!(!inserted, "{:#?}", explanation.steps);
}

#[test]
fn only_tc_leaves_an_unknown_next_hop_to_the_kernel() {
    let mut tables = world();
    tables.routes.insert(SERVER, Route::Unresolved { ifindex: INTERNAL_IF, next_hop: SERVER });
    let packet = tcp(Side::External, SYN, (NPCI, 40_000), (VIP, 443));
    assert_eq!(explained(&tables, &packet).drop_reason, Some(DropReason::NoNeighbour));
    let by_tc = Inbound { hook: Hook::Tc, ..packet };
    let verdict = explained(&tables, &by_tc).verdict;
    assert_eq!(verdict, Verdict::RedirectNeighbour { ifindex: INTERNAL_IF });
}

#[test]
fn a_kernel_that_does_not_answer_is_no_missing_route() {
    let packet = tcp(Side::External, SYN, (NPCI, 40_000), (VIP, 443));
    let error = explain(&packet, &Memory(&world()), &Silent, &names(), NOW).unwrap_err();
    assert_eq!(error.to_string(), "no answer");
}

fn limited(flows_max: u32, per_second: u64) -> MemoryTables {
    let mut tables = world();
    let bank = tables.tenant_settings.get_mut(&BANK).unwrap();
    bank.flows_max = flows_max;
    bank.new_flow_interval_ns = 1_000_000_000_u64.checked_div(per_second).unwrap_or(0);
    bank.new_flow_credit_ns = 3 * bank.new_flow_interval_ns;
    tables
}

#[test]
fn a_tenant_at_its_limit_is_told_how_many_flows_it_has() {
    let tables = limited(7, 0);
    tables.tenant_use.borrow_mut().insert(BANK, TenantUse { flows: 7, full_at_ns: 0 });
    let explanation = explained(&tables, &tcp(Side::External, SYN, (NPCI, 40_000), (VIP, 443)));
    assert_eq!(explanation.drop_reason, Some(DropReason::TenantFlowsExceeded));
    let usage = step(&explanation, "tenant_use");
    assert_eq!((usage.key.as_str(), usage.found.as_deref()), ("bank-a", Some("7 of 7 flows")));
    let limits = step(&explanation, "tenants").found.as_deref();
    assert_eq!(limits, Some("NAT IP 198.51.100.1, at most 7 flows"));
    assert_eq!(tables.tenant_use.borrow()[&BANK].flows, 7, "what is asked for counts nothing");
}

#[test]
fn a_tenant_that_is_too_fast_is_told_its_pace() {
    let tables = limited(0, 200);
    tables.tenant_use.borrow_mut().insert(BANK, TenantUse { flows: 2, full_at_ns: NOW + 15_000_000 });
    let packet = tcp(Side::Internal, SYN, (SERVER, 50_000), (NPCI, 443));
    let explanation = explained(&tables, &packet);
    assert_eq!(explanation.drop_reason, Some(DropReason::TenantRateExceeded));
    let found: Vec<&str> = explanation
        .steps
        .iter()
        .filter(|step| step.table == "tenant_use")
        .filter_map(|step| step.found.as_deref())
        .collect();
    assert_eq!(found, ["2 flows", "no more may be opened now, of 200 a second and 3 at once"]);
}
