use std::{collections::HashMap, fmt::Write as _};

use gateway_common::abi::Mac;

use super::*;
use crate::config::Interfaces;

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

fn at(generation: u32) -> Desired {
    desired(&parse(TEXT), &host(), &tenants(), generation).unwrap()
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

fn listener(desired: &Desired, address: &str, protocol: Protocol, port: u16) -> Listener {
    table(&desired.listeners)[&ListenerKey::new(addr(address), protocol, Port::new(port))]
}

/// The backends that stand in a pool's slots, with the number of slots of each.
fn members(desired: &Desired, pool: u32) -> BTreeMap<Addr, usize> {
    let (backends, place) = (table(&desired.backends), table(&desired.pools)[&pool]);
    let first = usize::try_from(place.maglev_offset - desired.maglev.0).unwrap();
    let slots = &desired.maglev.1[first..first + usize::try_from(place.maglev_len).unwrap()];
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
    for generation in [0, 1] {
        let desired = at(generation);
        let backends = table(&desired.backends);
        let lists: HashSet<u32> = desired.allow_lists.iter().map(|(prefix, _)| prefix.key.list()).collect();
        for (_, listener) in &desired.listeners {
            let pool = table(&desired.pools)[&listener.pool];
            for slot in pool.maglev_offset..pool.maglev_offset + pool.maglev_len {
                let id = desired.maglev.1[usize::try_from(slot - desired.maglev.0).unwrap()];
                assert_eq!(backends[&id].tenant, listener.tenant);
            }
            assert!(pool.maglev_len > 0);
            let egress = listener.nat == desired.settings.egress_vip;
            assert!(egress || lists.contains(&listener.allow_list));
        }
        assert_eq!(lists.len(), 3, "each listener has a list of its own");
    }
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
    let all = Prefix::new(32, AllowKey::new(anyone, Addr::UNSPECIFIED));
    assert!(desired.allow_lists.contains(&(all, 1)), "0.0.0.0/0 is the list's number alone");
}

#[test]
fn banks_take_turns_and_never_overlap() {
    for (old, new) in [(1, 2), (2, 3), (u32::MAX, 0)] {
        let (old, new) = (at(old), at(new));
        let numbers = |desired: &Desired| {
            let pools: HashSet<u32> = table(&desired.pools).into_keys().collect();
            let backends: HashSet<u32> = table(&desired.backends).into_keys().collect();
            let lists: HashSet<u32> = desired.allow_lists.iter().map(|row| row.0.key.list()).collect();
            let end = desired.maglev.0 + number(desired.maglev.1.len());
            let slots: HashSet<u32> = (desired.maglev.0..end).collect();
            assert!(end <= limits::MAGLEV_SLOTS_MAX);
            [pools, backends, lists, slots]
        };
        for (old, new) in numbers(&old).iter().zip(&numbers(&new)) {
            assert!(!old.is_empty() && old.is_disjoint(new));
        }
    }
}

#[test]
fn the_same_configuration_gives_the_same_contents() {
    assert_eq!(at(4), at(4));
    let (one, other) = (at(4), at(6));
    assert_eq!(
        Desired { settings: one.settings, ..other },
        one,
        "the bank depends on the generation's turn alone"
    );
}

#[test]
fn the_banks_differ_in_numbers_alone() {
    let places = |desired: &Desired| -> Vec<_> {
        desired.listeners.iter().map(|(key, listener)| (*key, members(desired, listener.pool))).collect()
    };
    assert_eq!(places(&at(1)), places(&at(2)), "a new generation moves no flow to another backend");
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
    let sources: Vec<_> = desired.sources.iter().map(|(prefix, id)| (prefix.bits, prefix.key, *id)).collect();
    assert_eq!(
        sources,
        [(24, addr("198.18.1.0"), 7), (32, addr("198.18.3.7"), 7), (24, addr("198.18.2.0"), 2)]
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
        destinations.contains_key(&Prefix::new(64 + len, key))
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
    let error = desired(&parse(TEXT), &host, &tenants(), 1).unwrap_err();
    assert_eq!(error, DesiredError::NoInterface("int0".to_owned()));
    assert_eq!(error.to_string(), "interface int0 does not exist on this host");
}

/// A tenant with `pools` pools of 1,000 backends, which take 131,071 slots each.
fn large(pools: usize) -> Config {
    let mut text = String::from(
        "gateway = { ingress_vip = '192.0.2.10', egress_vip = '192.0.2.20' }
         interface = [{ name = 'ext0', side = 'external' }, { name = 'int0', side = 'internal' }]
         [[tenant]]\nname = 'bank-a'\nnat_ip = '198.51.100.1'\nsources = ['198.18.0.0/16']\n",
    );
    for pool in 0..pools {
        writeln!(text, "[[tenant.pool]]\nname = 'p{pool}'\nbackend = [").unwrap();
        for backend in 0..1_000 {
            writeln!(text, "{{ address = '198.18.{}.{}', port = 1 }},", backend / 250, 1 + backend % 250)
                .unwrap();
        }
        text += "]\n";
    }
    parse(&text)
}

#[test]
fn pools_beyond_one_bank_of_slots_are_refused() {
    assert!(desired(&large(64), &host(), &tenants(), 1).is_ok());
    let error = desired(&large(65), &host(), &tenants(), 1).unwrap_err();
    assert_eq!(error, DesiredError::TooManySlots { wanted: 65 * 131_071, max: 8_388_608 });
    assert_eq!(
        error.to_string(),
        "the pools need 8519615 hash slots, 8388608 fit: use fewer or smaller pools"
    );
}

#[test]
fn a_vlan_device_across_sides_is_refused() {
    let text = TEXT.replace("name = 'int0.7', side = 'internal'", "name = 'int0.7', side = 'external'");
    let error = desired(&parse(&text), &host(), &tenants(), 1).unwrap_err();
    assert_eq!(error, DesiredError::AcrossSides { vlan: "int0.7".to_owned(), parent: "int0".to_owned() });
}
