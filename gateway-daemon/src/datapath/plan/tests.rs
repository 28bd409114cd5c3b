use std::{hash::Hash, net::Ipv4Addr, sync::Arc};

use bytemuck::Zeroable as _;
use gateway_common::{
    abi::{
        AddressKind, AllowKey, DestinationKey, HairpinKey, Listener, ListenerFlags, ListenerKey, Mac,
        Protocol, SettingsFlags, Side, TenantSettings, Timeouts,
    },
    port_slice::PortShare,
};

use super::*;
use crate::{
    config::Interfaces,
    datapath::{
        contents::{Prefix, Slots},
        host::HostLink,
    },
};

const TEXT: &str = "
    gateway = { ingress_vip = '192.0.2.10', egress_vip = '192.0.2.20' }
    node = { id = 3, port_slices = '0-1,5' }
    timeouts = { tcp_established_secs = 8000, udp_secs = 200 }
    interface = [
        { name = 'ext0', side = 'external' },
        { name = 'int0', side = 'internal' },
        { name = 'int0.7', side = 'internal' },
    ]

    [[peer_group]]
    name = 'switch'
    endpoint = [
        { address = '203.0.113.1', protocol = 'tcp', port = 443 },
        { address = '203.0.113.64/28', protocol = 'udp' },
        { address = '203.0.113.1', protocol = 'icmp' },
    ]
    [[peer_group]]
    name = 'switch-again'
    endpoint = [
        { address = '203.0.113.1', protocol = 'tcp', port = 443 },
        { address = '203.0.113.2', protocol = 'tcp', port = 443 },
    ]

    [[tenant]]
    name = 'bank-a'
    nat_ip = '198.51.100.1'
    sources = ['198.18.1.0/24', '198.18.3.7']
    peer_groups = ['switch', 'switch-again']
    [[tenant.pool]]
    name = 'idle'
    backend = [{ address = '198.18.1.9', port = 9 }]
    [[tenant.pool]]
    name = 'web'
    backend = [
        { address = '198.18.1.2', port = 8080, weight = 3 },
        { address = '198.18.1.3', port = 8081, weight = 0 },
        { address = '198.18.1.4', port = 8082 },
    ]
    [[tenant.listener]]
    name = 'upi'
    protocol = 'tcp'
    port = 8441
    pool = 'web'
    allow = ['203.0.113.0/24', '192.0.2.0/28', '203.0.113.0/24']
    [[tenant.listener]]
    name = 'upi-udp'
    protocol = 'udp'
    port = 8441
    pool = 'idle'
    source = 'preserve'
    allow = ['0.0.0.0/0']
    [[tenant.egress]]
    protocol = 'tcp'
    port = 9001
    to = '203.0.113.1:443'

    [[tenant]]
    name = 'bank-b'
    nat_ip = '198.51.100.2'
    sources = ['198.18.2.0/24']
    peer_groups = ['switch-again']
    [[tenant.pool]]
    name = 'web'
    backend = [{ address = '198.18.2.2', port = 8080 }]
    [[tenant.listener]]
    name = 'upi'
    protocol = 'tcp'
    port = 8442
    pool = 'web'
    allow = ['203.0.113.5']
";

fn parse(text: &str) -> Config {
    Config::parse("test", text, &Interfaces::Unchecked).unwrap()
}

fn link(index: u32, name: &str, vlan: Option<(u32, u16)>) -> HostLink {
    let mac = Mac::new([2, 0, 0, 0, 0, index.to_le_bytes()[0]]);
    HostLink { index, name: name.to_owned(), mac, kind: None, vlan }
}

fn host() -> Host {
    Host {
        links: vec![
            link(1, "lo", None),
            link(2, "ext0", None),
            link(3, "int0", None),
            link(4, "int0.7", Some((3, 7))),
            link(5, "int0.8", Some((3, 8))),
            link(6, "other.9", Some((1, 9))),
        ],
        // One VIP and one NAT IP stand on an interface as well.
        addresses: ["192.0.2.2", "192.0.2.10", "198.51.100.2", "127.0.0.1"]
            .map(|a| a.parse().unwrap())
            .to_vec(),
    }
}

/// Numbers as the pinned labels may give them: neither dense nor in file order.
fn tenants() -> TenantIds {
    [("bank-a", 7), ("bank-b", 2)].map(|(name, id)| (name.to_owned(), TenantId(id))).into()
}

fn at(generation: u32) -> Contents {
    contents(&parse(TEXT), &host(), &tenants(), generation).unwrap()
}

fn addr(text: &str) -> Addr {
    text.parse::<Ipv4Addr>().unwrap().into()
}

/// What a row of a table holds, with the check that no key stands twice.
fn table<K: Hash + Eq + Copy + std::fmt::Debug, V: Copy>(rows: &[(K, V)]) -> HashMap<K, V> {
    let table: HashMap<K, V> = rows.iter().copied().collect();
    assert_eq!(
        table.len(),
        rows.len(),
        "a key stands twice: {:?}",
        rows.iter().map(|row| row.0).collect::<Vec<_>>()
    );
    table
}

fn listener(desired: &Contents, address: &str, protocol: Protocol, port: u16) -> Listener {
    table(&desired.listeners)[&ListenerKey::new(addr(address), protocol, Port::new(port))]
}

/// The backends that stand in a pool's slots, with the number of slots of each.
fn members(desired: &Contents, pool: u32) -> BTreeMap<Addr, usize> {
    let (backends, place) = (table(&desired.backends), table(&desired.pools)[&pool]);
    let run = |slots: &&Slots| slots.first == place.maglev_offset;
    let slots = &desired.slots.iter().find(run).expect("the pool has slots").backends;
    assert_eq!(slots.len(), place.maglev_len as usize);
    let mut members = BTreeMap::new();
    for slot in slots {
        *members.entry(backends[slot].address).or_default() += 1;
    }
    members
}

#[test]
fn settings_are_the_files() {
    let settings = at(9).settings;
    assert_eq!((settings.node, settings.generation), (3, 9));
    assert_eq!((settings.ingress_vip, settings.egress_vip), (addr("192.0.2.10"), addr("192.0.2.20")));
    assert_eq!(settings.slices.mask(), 0b10_0011);
    assert_eq!(settings.timeouts.tcp_established_secs, 8000);
    assert_eq!(settings.timeouts.udp_secs, 200);
    assert_eq!(settings.timeouts.tcp_half_open_secs, Timeouts::DEFAULT.tcp_half_open_secs);
}

#[test]
fn every_reference_resolves_within_its_tenant() {
    let desired = at(1);
    let backends = table(&desired.backends);
    let lists: HashSet<u32> = desired.allow_lists.iter().map(|(prefix, _)| prefix.key.list()).collect();
    let tenant_of: HashMap<Addr, TenantId> = backends.values().map(|row| (row.address, row.tenant)).collect();
    for (_, listener) in &desired.listeners {
        let members = members(&desired, listener.pool);
        assert!(!members.is_empty());
        let own = |address: &Addr| tenant_of[address] == listener.tenant;
        assert!(members.keys().all(own));
        let egress = listener.nat == desired.settings.egress_vip;
        assert!(egress || lists.contains(&listener.allow_list));
    }
    assert_eq!(lists.len(), 3, "lists that differ have numbers of their own");
}

#[test]
fn a_listener_leads_to_the_weighted_backends_of_its_pool() {
    let desired = at(1);
    let upi = listener(&desired, "192.0.2.10", Protocol::Tcp, 8441);
    assert_eq!((upi.tenant, upi.nat), (TenantId(7), addr("198.51.100.1")));
    assert_eq!(upi.flags, ListenerFlags::default());
    let members = members(&desired, upi.pool);
    assert_eq!(members.keys().copied().collect::<Vec<_>>(), [addr("198.18.1.2"), addr("198.18.1.4")]);
    let heavy = members[&addr("198.18.1.2")];
    assert!(heavy.abs_diff(3 * members[&addr("198.18.1.4")]) < 8, "{members:?}");
    let preserving = listener(&desired, "192.0.2.10", Protocol::Udp, 8441);
    assert!(preserving.flags.contains(ListenerFlags::PRESERVE_SOURCE));
}

#[test]
fn an_egress_entry_is_a_pool_of_one_behind_the_nat_ip() {
    let desired = at(1);
    let mapping = listener(&desired, "198.51.100.1", Protocol::Tcp, 9001);
    assert_eq!((mapping.tenant, mapping.nat), (TenantId(7), addr("192.0.2.20")));
    assert_eq!(members(&desired, mapping.pool).into_keys().collect::<Vec<_>>(), [addr("203.0.113.1")]);
}

#[test]
fn a_backend_without_weight_keeps_its_row_for_flows_it_has() {
    let drained = addr("198.18.1.3");
    assert!(at(1).backends.iter().any(|(_, backend)| backend.address == drained));
}

#[test]
fn allow_lists_are_cut_to_their_prefixes_once_each() {
    let desired = at(1);
    let list = listener(&desired, "192.0.2.10", Protocol::Tcp, 8441).allow_list;
    let mut prefixes: Vec<_> = desired
        .allow_lists
        .iter()
        .filter(|(prefix, _)| prefix.key.list() == list)
        .map(|(prefix, value)| (prefix.bits, prefix.key.address, *value))
        .collect();
    prefixes.sort_unstable();
    assert_eq!(prefixes, [(32 + 24, addr("203.0.113.0"), 1), (32 + 28, addr("192.0.2.0"), 1)]);
    let anyone = listener(&desired, "192.0.2.10", Protocol::Udp, 8441).allow_list;
    let all = Prefix { bits: 32, key: AllowKey::new(anyone, Addr::UNSPECIFIED) };
    assert!(desired.allow_lists.contains(&(all, 1)), "0.0.0.0/0 is the list's number alone");
}

#[test]
fn the_same_configuration_gives_the_same_contents() {
    assert_eq!(at(4), at(4));
}

#[test]
fn vips_and_nat_ips_win_over_the_hosts_own_addresses() {
    let addresses = table(&at(1).addresses);
    let kind = |text: &str| addresses[&addr(text)].kind().unwrap();
    assert_eq!(kind("192.0.2.10"), AddressKind::IngressVip);
    assert_eq!(kind("192.0.2.20"), AddressKind::EgressVip);
    assert_eq!(kind("198.51.100.2"), AddressKind::TenantNatIp);
    assert_eq!(kind("192.0.2.2"), AddressKind::Host);
    assert_eq!(kind("127.0.0.1"), AddressKind::Host);
    assert_eq!(addresses[&addr("198.51.100.1")].tenant, TenantId(7));
    assert_eq!(addresses.len(), 6);
}

#[test]
fn tenants_have_the_numbers_that_are_passed_in() {
    let desired = at(1);
    let mut sources: Vec<_> =
        desired.sources.iter().map(|(prefix, id)| (prefix.bits, prefix.key, *id)).collect();
    sources.sort_by_key(|(_, key, _)| *key);
    assert_eq!(
        sources,
        [(24, addr("198.18.1.0"), 7), (24, addr("198.18.2.0"), 2), (32, addr("198.18.3.7"), 7)]
    );
    let tenants: HashSet<_> = desired.backends.iter().map(|(_, backend)| backend.tenant.0).collect();
    assert_eq!(tenants, [2, 7].into());
}

#[test]
fn destinations_are_each_tenants_own_and_stand_once() {
    let desired = at(1);
    let destinations = table(&desired.destinations);
    let exact = |tenant, protocol, port, address: &str, len: u32| {
        let key = DestinationKey::new(TenantId(tenant), protocol, Port::new(port), addr(address));
        destinations.contains_key(&Prefix { bits: 64 + len, key })
    };
    assert!(exact(7, Protocol::Tcp, 443, "203.0.113.1", 32), "named by both groups");
    assert!(exact(7, Protocol::Tcp, 443, "203.0.113.2", 32));
    assert!(exact(7, Protocol::Udp, 0, "203.0.113.64", 28), "no port means any");
    assert!(exact(7, Protocol::Icmp, 0, "203.0.113.1", 32));
    assert!(exact(2, Protocol::Tcp, 443, "203.0.113.1", 32));
    assert!(exact(2, Protocol::Tcp, 443, "203.0.113.2", 32));
    assert_eq!(destinations.len(), 6);
}

#[test]
fn a_vlan_device_has_an_entry_with_its_parent_and_tag() {
    let interfaces = table(&at(1).interfaces);
    let row = |index: u32| {
        let interface = interfaces[&index];
        assert_eq!(interface.mac.octets()[5], index.to_le_bytes()[0]);
        (interface.side(), interface.transmit_ifindex, interface.vlan_id)
    };
    assert_eq!(row(2), (Side::External, 2, 0));
    assert_eq!(row(3), (Side::Internal, 3, 0));
    assert_eq!(row(5), (Side::Internal, 3, 8), "on a configured interface: its side");
    assert_eq!(interfaces.len(), 4, "neither `lo` nor what stands on it");
}

#[test]
fn a_vlan_device_that_is_configured_itself_keeps_its_tag() {
    let configured = table(&at(1).interfaces)[&4];
    assert_eq!((configured.side(), configured.transmit_ifindex), (Side::Internal, 3));
    assert_eq!(configured.vlan_id, 7);
}

#[test]
fn a_vanished_interface_is_named() {
    let mut host = host();
    host.links.retain(|link| link.name != "int0");
    let error = contents(&parse(TEXT), &host, &tenants(), 1).unwrap_err();
    assert_eq!(error, PlanError::NoInterface("int0".to_owned()));
    assert_eq!(error.to_string(), "interface int0 does not exist on this host");
}

/// `bank-a` with so many pools of 21 backends, which take 4,093 slots each.
fn large(pools: usize) -> Config {
    let backend = |number| format!("{{ address = '198.18.1.{number}', port = 1 }}");
    let backends = (1..=21).map(backend).collect::<Vec<_>>().join(", ");
    let mut config = parse(&format!(
        "gateway = {{ ingress_vip = '192.0.2.10', egress_vip = '192.0.2.20' }}
         interface = [{{ name = 'ext0', side = 'external' }}, {{ name = 'int0', side = 'internal' }}]
         [[tenant]]\nname = 'bank-a'\nnat_ip = '198.51.100.1'\nsources = ['198.18.0.0/16']
         [[tenant.pool]]\nname = 'web'\nbackend = [{backends}]"
    ));
    let mut tenant = config::Tenant::clone(&config.tenants[0]);
    tenant.pools = vec![tenant.pools[0].clone(); pools];
    config.tenants = [Arc::new(tenant)].into();
    config
}

#[test]
fn pools_beyond_the_slots_are_refused_before_anything_changes() {
    let fits = (limits::MAGLEV_SLOTS_MAX / 10 * 9 / 4_093) as usize;
    assert_eq!(check_slots(&large(fits)), Ok(()));
    let error = contents(&large(fits + 1), &host(), &tenants(), 1).unwrap_err();
    assert!(matches!(error, PlanError::TooManySlots { wanted, max } if wanted > max), "{error}");
    assert!(error.to_string().ends_with("fit: use fewer or smaller pools"), "{error}");
}

#[test]
fn a_vlan_device_across_sides_is_refused() {
    let text = TEXT.replace("name = 'int0.7', side = 'internal'", "name = 'int0.7', side = 'external'");
    let error = contents(&parse(&text), &host(), &tenants(), 1).unwrap_err();
    assert_eq!(error, PlanError::AcrossSides { vlan: "int0.7".to_owned(), parent: "int0".to_owned() });
}

/// Tables in memory that changes are applied to, in their order, as the kernel's would be.
#[derive(Clone, Default)]
struct Applied {
    listeners: HashMap<ListenerKey, Listener>,
    allow_lists: HashMap<Prefix<AllowKey>, u32>,
    tenants: HashMap<u32, gateway_common::abi::TenantSettings>,
    sources: HashMap<Prefix<Addr>, u32>,
    destinations: HashMap<Prefix<DestinationKey>, u32>,
    hairpins: HashMap<HairpinKey, u32>,
    addresses: HashMap<Addr, OwnedAddress>,
    interfaces: HashMap<u32, Interface>,
    pools: HashMap<u32, gateway_common::abi::Pool>,
    backends: HashMap<u32, Backend>,
    slots: BTreeMap<u32, u32>,
    settings: Option<Settings>,
}

fn change<K: Copy + Eq + Hash + std::fmt::Debug, V: Copy>(
    table: &mut HashMap<K, V>,
    changes: &TableChanges<K, V>,
) {
    table.extend(changes.put.iter().copied());
    for key in &changes.remove {
        assert!(table.remove(key).is_some(), "{key:?} is not there");
    }
}

impl Applied {
    fn apply(&mut self, changes: &Changes) {
        change(&mut self.listeners, &changes.listeners);
        change(&mut self.allow_lists, &changes.allow_lists);
        change(&mut self.tenants, &changes.tenants);
        change(&mut self.sources, &changes.sources);
        change(&mut self.destinations, &changes.destinations);
        change(&mut self.hairpins, &changes.hairpins);
        change(&mut self.addresses, &changes.addresses);
        change(&mut self.interfaces, &changes.interfaces);
        change(&mut self.pools, &changes.pools);
        change(&mut self.backends, &changes.backends);
        for run in &changes.slots {
            self.slots.extend((run.first..).zip(run.backends.iter().copied()));
        }
        self.settings = changes.settings.or(self.settings);
    }

    fn contents(&self) -> Contents {
        fn rows<K: Copy, V: Copy>(table: &HashMap<K, V>) -> Vec<(K, V)> {
            table.iter().map(|(key, value)| (*key, *value)).collect()
        }
        Contents {
            settings: self.settings.unwrap(),
            addresses: rows(&self.addresses),
            listeners: rows(&self.listeners),
            allow_lists: rows(&self.allow_lists),
            tenants: rows(&self.tenants),
            sources: rows(&self.sources),
            destinations: rows(&self.destinations),
            hairpins: rows(&self.hairpins),
            pools: rows(&self.pools),
            slots: Vec::new(),
            backends: rows(&self.backends),
            interfaces: rows(&self.interfaces),
        }
    }

    fn slots_of(&self, pool: &gateway_common::abi::Pool) -> Vec<u32> {
        (pool.maglev_offset..).take(pool.maglev_len as usize).map(|slot| self.slots[&slot]).collect()
    }

    /// What packets can tell: where each listener leads to, who is allowed. Numbers do not count.
    fn meaning(&self) -> BTreeMap<String, String> {
        let mut meaning = BTreeMap::new();
        for (key, row) in &self.listeners {
            let pool = self.pools[&row.pool];
            let to: Vec<_> = self.slots_of(&pool).iter().map(|id| self.backends[id]).collect();
            let allowed = |(prefix, _): &(&Prefix<AllowKey>, &u32)| prefix.key.list() == row.allow_list;
            let mut from: Vec<_> = self
                .allow_lists
                .iter()
                .filter(allowed)
                .map(|(prefix, _)| (prefix.bits, prefix.key.address))
                .collect();
            from.sort_unstable();
            meaning.insert(
                format!("{key:?}"),
                format!("{:?} {:?} {:?} {to:?} {from:?}", row.tenant, row.flags, row.nat),
            );
        }
        meaning.extend(self.sources.iter().map(|row| (format!("{:?}", row.0), format!("{:?}", row.1))));
        meaning.extend(self.destinations.iter().map(|row| (format!("{:?}", row.0), String::new())));
        meaning.extend(self.hairpins.keys().map(|key| (format!("{key:?}"), String::new())));
        meaning.extend(self.tenants.iter().map(|row| (format!("tenant {}", row.0), format!("{:?}", row.1))));
        meaning.extend(self.addresses.iter().map(|row| (format!("{:?}", row.0), format!("{:?}", row.1))));
        meaning
    }
}

/// A mirror and the tables that its plans were applied to.
#[derive(Default)]
struct Gateway {
    mirror: Mirror,
    applied: Applied,
    misfits: Vec<PlanError>,
    now_ns: u64,
}

impl Gateway {
    fn bring_to(&mut self, text: &str, touched: &Touched) -> usize {
        let config = parse(text);
        let (host, ids) = (host(), tenants());
        self.now_ns += 1;
        let wish = Wish {
            config: &config,
            host: &host,
            ids: &ids,
            shares: &AllUp,
            generation: 1,
            cookie_key: [5, 6],
            forwarding: &[],
            now_ns: self.now_ns,
        };
        let (changes, misfits) = self.mirror.plan(&wish, touched).unwrap();
        self.applied.apply(&changes);
        self.misfits = misfits;
        changes.len()
    }

    /// Takes all slots that are free but so many.
    fn leave_room(&mut self, slots: u32) {
        let runs = &mut self.mirror.numbers.runs;
        let largest = (0..=limits::MAGLEV_SLOTS_MAX).rev().find(|len| runs.fits(*len, 0)).unwrap();
        runs.take(largest - slots, 0).unwrap();
    }

    fn restarted(&self) -> Self {
        let slots_of = |pool: &gateway_common::abi::Pool| -> Result<u64, std::convert::Infallible> {
            Ok(placed::hash_of_slots(&self.applied.slots_of(pool)))
        };
        let mirror = Mirror::recover(self.applied.contents(), slots_of).unwrap();
        Self { mirror, applied: self.applied.clone(), misfits: Vec::new(), now_ns: self.now_ns }
    }
}

fn fresh(text: &str) -> Gateway {
    let mut gateway = Gateway::default();
    gateway.bring_to(text, &Touched::All);
    gateway
}

/// Variants of the configuration, each a change of another kind.
fn variants() -> Vec<String> {
    let replace = |from: &str, to: &str| {
        assert!(TEXT.contains(from), "{from}");
        TEXT.replace(from, to)
    };
    let without_b = TEXT[..TEXT.find("    [[tenant]]\n    name = 'bank-b'").unwrap()].to_owned();
    vec![
        TEXT.to_owned(),
        replace("weight = 3", "weight = 5"),
        replace("{ address = '198.18.1.4', port = 8082 },", ""),
        replace("port = 8442", "port = 8443"),
        replace("nat_ip = '198.51.100.2'", "nat_ip = '198.51.100.3'"),
        replace("'203.0.113.0/24', ", ""),
        replace("sources = ['198.18.1.0/24', '198.18.3.7']", "sources = ['198.18.1.0/24']"),
        replace("to = '203.0.113.1:443'", "to = '203.0.113.2:443'"),
        replace("port = 9001", "port = 9002"),
        replace("peer_groups = ['switch', 'switch-again']", "peer_groups = ['switch']"),
        without_b,
        replace("name = 'bank-a'", "name = 'bank-a'\nhairpin_to = ['bank-b', 'bank-a']"),
        replace("name = 'bank-b'", "name = 'bank-b'\nreserved_ports = 64"),
        replace(
            "name = 'bank-a'",
            "name = 'bank-a'\nmax_flows = 9\nnew_flows_per_second = 5\nmss_clamp = 1260",
        ),
    ]
}

#[test]
fn every_change_leads_to_the_same_as_a_fresh_start() {
    for from in variants() {
        for to in variants() {
            let mut gateway = fresh(&from);
            gateway.bring_to(&to, &Touched::All);
            assert_eq!(gateway.applied.meaning(), fresh(&to).applied.meaning());
            assert_eq!(gateway.bring_to(&to, &Touched::All), 0, "the second time nothing is left to do");
        }
    }
}

#[test]
fn a_change_of_one_tenant_is_planned_alone() {
    for (to, tenant) in [
        (1, "bank-a"),
        (3, "bank-b"),
        (4, "bank-b"),
        (10, "bank-b"),
        (11, "bank-a"),
        (12, "bank-b"),
        (13, "bank-a"),
    ] {
        let to = &variants()[to];
        let mut gateway = fresh(TEXT);
        gateway.bring_to(to, &Touched::These([tenant.to_owned()].into()));
        assert_eq!(gateway.applied.meaning(), fresh(to).applied.meaning());
    }
}

#[test]
fn a_restart_writes_nothing() {
    for text in variants() {
        let mut gateway = fresh(TEXT);
        gateway.bring_to(&text, &Touched::All);
        assert_eq!(gateway.restarted().bring_to(&text, &Touched::All), 0);
    }
}

#[test]
fn a_restart_with_another_configuration_leads_there() {
    for to in variants() {
        let mut gateway = fresh(TEXT).restarted();
        gateway.bring_to(&to, &Touched::All);
        assert_eq!(gateway.applied.meaning(), fresh(&to).applied.meaning());
        assert_eq!(gateway.restarted().bring_to(&to, &Touched::All), 0, "nothing is left behind");
    }
}

/// A new weight moves the pool to other slots; the pool's number, and with it the listener, stays as it is.
#[test]
fn a_new_weight_is_one_write_that_packets_can_see() {
    let mut gateway = fresh(TEXT);
    let (host, ids, config) = (host(), tenants(), parse(&variants()[1]));
    let wish = Wish {
        config: &config,
        host: &host,
        ids: &ids,
        shares: &AllUp,
        generation: 1,
        cookie_key: [5, 6],
        forwarding: &[],
        now_ns: 1,
    };
    let (changes, _) = gateway.mirror.plan(&wish, &Touched::All).unwrap();
    assert_eq!((changes.len(), changes.slots.len(), changes.pools.put.len()), (2, 1, 1));
}

/// A change of most pools at once finds no second place for all of them.
#[test]
fn without_room_slots_change_where_they_are() {
    let mut gateway = fresh(TEXT);
    gateway.leave_room(0);
    let weighed = &variants()[1];
    gateway.bring_to(weighed, &Touched::All);
    assert_eq!(gateway.misfits, []);
    assert_eq!(gateway.applied.meaning(), fresh(weighed).applied.meaning());
    assert_eq!(gateway.bring_to(weighed, &Touched::All), 0);
}

#[test]
fn a_tenant_that_does_not_fit_stays_as_it_was_and_holds_up_nobody() {
    let idle = "[[tenant.pool]]\n    name = 'idle'";
    let more = "[[tenant.pool]]\n    name = 'more'\n    backend = [
        { address = '198.18.1.2', port = 2 }, { address = '198.18.1.2', port = 3 }]\n    ";
    let grown = TEXT.replace(idle, &format!("{more}{idle}"));
    assert_ne!(grown, TEXT);
    let mut gateway = fresh(TEXT);
    let before = gateway.applied.meaning();
    gateway.leave_room(0);
    gateway.bring_to(&grown, &Touched::All);
    assert!(matches!(&gateway.misfits[..], [PlanError::NoRoomForSlots { .. }, ..]), "{:?}", gateway.misfits);
    assert_eq!(gateway.applied.meaning(), before);
    // Room is found as soon as there is some: the state that was read back has it.
    let mut restarted = gateway.restarted();
    restarted.bring_to(&grown, &Touched::All);
    assert_eq!((restarted.misfits.len(), restarted.applied.meaning()), (0, fresh(&grown).applied.meaning()));
}

#[test]
fn what_nobody_refers_to_is_swept_after_a_restart() {
    let mut gateway = fresh(TEXT);
    gateway
        .applied
        .backends
        .insert(999, Backend { address: addr("198.18.1.2"), port: Port::new(9), tenant: TenantId(7) });
    gateway.applied.allow_lists.insert(Prefix { bits: 32, key: AllowKey::new(999, Addr::UNSPECIFIED) }, 1);
    let mut restarted = gateway.restarted();
    assert!(restarted.bring_to(TEXT, &Touched::All) >= 2);
    assert!(!restarted.applied.backends.contains_key(&999));
    assert_eq!(restarted.applied.meaning(), fresh(TEXT).applied.meaning());
    assert_eq!(restarted.applied.allow_lists.len(), fresh(TEXT).applied.allow_lists.len());
}

#[test]
fn limits_of_a_tenant_stand_in_its_row() {
    let limits = "name = 'bank-a'
        max_flows = 5000
        new_flows_per_second = 200
        new_flows_burst = 3
        mss_clamp = 1260
        timeouts = { tcp_established_secs = 600, udp_secs = 60, allow_short_timeouts = true }";
    let tenants = fresh(&TEXT.replace("name = 'bank-a'", limits)).applied.tenants;
    let row = tenants[&7];
    assert_eq!((row.nat, row.flows_max, row.mss), (addr("198.51.100.1"), 5_000, 1_260));
    assert_eq!((row.tcp_established_secs, row.udp_secs), (600, 60));
    assert_eq!((row.new_flow_interval_ns, row.new_flow_credit_ns), (5_000_000, 15_000_000));
    let unlimited =
        TenantSettings { nat: addr("198.51.100.2"), ports: PortShare::ALL, ..TenantSettings::zeroed() };
    assert_eq!(tenants[&2], unlimited);
}

#[test]
fn what_one_tenant_reserves_is_taken_from_the_others() {
    let ports = |gateway: &Gateway, tenant| gateway.applied.tenants[&tenant].ports;
    let mut gateway = fresh(TEXT);
    let reserves = TEXT.replace("name = 'bank-b'", "name = 'bank-b'\nreserved_ports = 64");
    gateway.bring_to(&reserves, &Touched::These(["bank-b".to_owned()].into()));
    assert_eq!(ports(&gateway, 2), PortShare { first: 0, len: 2 });
    assert_eq!(ports(&gateway, 7), PortShare { first: 2, len: 1_022 });
    let both = reserves.replace("name = 'bank-a'", "name = 'bank-a'\nreserved_ports = 630");
    gateway.bring_to(&both, &Touched::These(["bank-a".to_owned()].into()));
    assert_eq!(ports(&gateway, 7), PortShare { first: 2, len: 10 });
    let mut restarted = gateway.restarted();
    let only_a = both.replace("reserved_ports = 64\n", "");
    let only_a = only_a.replace("name = 'bank-b'\nreserved_ports = 64", "name = 'bank-b'");
    restarted.bring_to(&only_a, &Touched::All);
    assert_eq!(ports(&restarted, 7), PortShare { first: 2, len: 10 }, "a share stays where it is");
    assert_eq!(ports(&restarted, 2), PortShare { first: 12, len: 1_012 });
}

#[test]
fn hairpins_are_pairs_of_numbers() {
    let calls = TEXT.replace("name = 'bank-a'", "name = 'bank-a'\nhairpin_to = ['bank-b', 'bank-a']");
    let mut gateway = fresh(&calls);
    let pairs: HashSet<(u16, u16)> =
        gateway.applied.hairpins.keys().map(|key| (key.from.0, key.to.0)).collect();
    assert_eq!(pairs, [(7, 2), (7, 7)].into());
    gateway.bring_to(TEXT, &Touched::These(["bank-a".to_owned()].into()));
    assert!(gateway.applied.hairpins.is_empty());
}

#[test]
fn node_wide_settings_stand_in_theirs() {
    let text = TEXT
        .replace("udp_secs = 200", "udp_secs = 200, quarantine_secs = 7, reset_on_expiry = true")
        .replace("node = {", "limits = { challenge_above = 9 }\n    node = {")
        .replace(
            "{ name = 'int0', side = 'internal' }",
            "{ name = 'int0', side = 'internal', mss_clamp = 1260 }",
        );
    let gateway = fresh(&text);
    let settings = gateway.applied.settings.unwrap();
    assert_eq!((settings.timeouts.quarantine_secs, settings.challenge_above), (7, 9));
    assert!(settings.flags.contains(SettingsFlags::RESET_EXPIRED));
    assert_eq!(settings.cookie_key, [5, 6]);
    let mss = |index| gateway.applied.interfaces[&index].mss;
    assert_eq!([2, 3, 5].map(mss), [0, 1_260, 1_260], "as on the interface that a VLAN device is on");
    let defaults = fresh(TEXT).applied.settings.unwrap();
    assert_eq!((defaults.timeouts.quarantine_secs, defaults.challenge_above), (120, 240));
    assert!(!defaults.flags.contains(SettingsFlags::RESET_EXPIRED));
}
