//! Random objects for property tests. Values are few, so that objects meet: names are taken twice, prefixes overlap,
//! references dangle. Most are legal in themselves, so that what they do to each other is not hidden.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::Tenancy;
use super::edit::Edit;
use super::spec::{
    AdminState, BackendSpec, Document, EgressSpec, EndpointSpec, HealthSpec, ListenerSpec, PeerGroupSpec,
    PoolSpec, TenantSpec, TimeoutsSpec,
};

const TENANTS: [&str; 6] = ["bank-a", "bank-b", "bank-c", "bank-d", "bank-e", "psp-1"];
const GROUPS: [&str; 3] = ["card", "npci", "upi"];

fn text(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(words).prop_map(str::to_owned)
}

fn endpoint() -> impl Strategy<Value = EndpointSpec> {
    let address = prop_oneof![
        3 => Just("192.0.2.96/28"),
        3 => select(vec!["192.0.2.100", "192.0.2.101"]),
        1 => Just("10.1.0.0/24"),
    ];
    (address, text(&["tcp", "udp"]), option::of(select(vec![443, 444])))
        .prop_map(|(address, protocol, port)| EndpointSpec { address: address.to_owned(), protocol, port })
}

/// A peer group; now and then it is empty.
pub(crate) fn peer_group() -> impl Strategy<Value = PeerGroupSpec> {
    let endpoints = prop_oneof![40 => vec(endpoint(), 1..4), 1 => Just(Vec::new())];
    (text(&GROUPS), endpoints).prop_map(|(name, endpoint)| PeerGroupSpec { name, endpoint })
}

fn state() -> impl Strategy<Value = (AdminState, Option<u64>)> {
    prop_oneof![
        80 => Just((AdminState::Active, None)),
        10 => Just((AdminState::Maintenance, None)),
        20 => option::of(1_u64..5).prop_map(|until| (AdminState::Draining, until)),
        1 => select(vec![(AdminState::Active, Some(7)), (AdminState::Draining, Some(u64::MAX))]),
    ]
}

fn backend(subnet: u8, host: u8) -> impl Strategy<Value = BackendSpec> {
    let weight = prop_oneof![80 => option::of(1_u16..4), 10 => Just(Some(0)), 1 => Just(Some(1_001))];
    (80_u16..83, weight, state()).prop_map(move |(port, weight, (state, drain_until))| BackendSpec {
        address: format!("10.{subnet}.0.{host}"),
        port,
        weight,
        state,
        drain_until,
    })
}

fn health() -> BoxedStrategy<HealthSpec> {
    let legal = text(&["tcp", "http", "https", "tls", "script"]);
    let check = prop_oneof![40 => legal, 1 => Just("ping".to_owned())];
    let timeout = prop_oneof![20 => option::of(Just(200_u32)), 1 => Just(Some(3_000))];
    (
        check,
        option::of(select(vec![200_u32, 1_000, 3_000])),
        timeout,
        any::<Option<bool>>(),
        any::<[bool; 3]>(),
    )
        .prop_map(|(check, interval_ms, timeout_ms, assume_up, given)| HealthSpec {
            interval_ms,
            timeout_ms,
            assume_up,
            path: (given[0] && check.starts_with("http")).then(|| "/healthz".to_owned()),
            host: (given[1] && check != "tcp").then(|| "web.example".to_owned()),
            send_hex: (given[2] && check == "script").then(|| "00 0c".to_owned()),
            expect_hex: (check == "script").then(|| "00..".to_owned()),
            check,
            ..HealthSpec::default()
        })
        .boxed()
}

fn pool(subnet: u8, name: &'static str) -> BoxedStrategy<PoolSpec> {
    let health = option::weighted(0.3, health());
    let policies = (option::of(text(&["refuse", "drop"])), option::of(text(&["keep", "reset"])));
    let backends = (backend(subnet, 1), vec(backend(subnet, 2), 0..2));
    (policies, option::of(0_u32..3), health, backends)
        .prop_map(move |((when_all_down, on_backend_down), slow_start_secs, health, (first, more))| {
            PoolSpec {
                name: name.to_owned(),
                when_all_down,
                on_backend_down,
                slow_start_secs,
                health: health.map(Box::new),
                backend: more.into_iter().chain([first]).collect(),
            }
        })
        .boxed()
}

/// Pools of a tenant; one of them is `web`.
fn pools(subnet: u8) -> BoxedStrategy<Vec<PoolSpec>> {
    (pool(subnet, "web"), option::weighted(0.2, pool(subnet, "app")))
        .prop_map(|(web, app)| app.into_iter().chain([web]).collect())
        .boxed()
}

fn listener() -> impl Strategy<Value = ListenerSpec> {
    let pool = prop_oneof![40 => Just("web".to_owned()), 1 => Just("app".to_owned())];
    let allow = prop_oneof![40 => Just(vec!["192.0.2.0/24".to_owned()]), 1 => Just(Vec::new())];
    let source = option::of(text(&["nat", "preserve"]));
    (text(&["one", "two"]), text(&["tcp", "udp"]), 8_000_u16..8_040, pool, source, allow).prop_map(
        |(name, protocol, port, pool, source, allow)| ListenerSpec {
            name,
            protocol,
            port,
            pool,
            source,
            allow,
        },
    )
}

/// Addressed egress.
pub(crate) fn egress() -> impl Strategy<Value = EgressSpec> {
    let to = text(&["192.0.2.100:443", "192.0.2.101:444", "192.0.2.101:443"]);
    (text(&["tcp", "udp"]), 9_000_u16..9_004, to).prop_map(|(protocol, port, to)| EgressSpec {
        protocol,
        port,
        to,
    })
}

/// Limits of a tenant that has nothing else. Most have none; now and then they exclude each other, or reserve too much.
fn limits() -> BoxedStrategy<TenantSpec> {
    let rarely = |values: Vec<u32>| option::weighted(0.1, select(values));
    let timeouts = (rarely(vec![7_440, 600]), rarely(vec![120, 60]), option::weighted(0.1, any::<bool>()));
    let flows = (rarely(vec![1, 10_000]), rarely(vec![50, 1_000]), rarely(vec![1, 2_000]));
    let ports = (rarely(vec![63, 20_000]), rarely(vec![1, 630]), rarely(vec![535, 1_260]));
    let hairpins = prop_oneof![8 => Just(Vec::new()), 2 => vec(text(&TENANTS), 1..3)];
    let ways = (hairpins, option::weighted(0.1, any::<bool>()));
    (flows, ports, timeouts, ways)
        .prop_map(|(flows, ports, (tcp_established_secs, udp_secs, allow_short_timeouts), ways)| {
            let (hairpin_to, loose_source) = ways;
            let timeouts = TimeoutsSpec { tcp_established_secs, udp_secs, allow_short_timeouts };
            TenantSpec {
                hairpin_to,
                max_flows: flows.0,
                new_flows_per_second: flows.1,
                new_flows_burst: flows.2,
                reserved_ports: ports.0,
                ports_per_destination: ports.1,
                mss_clamp: ports.2,
                loose_source,
                timeouts: (timeouts != TimeoutsSpec::default()).then_some(timeouts),
                ..TenantSpec::default()
            }
        })
        .boxed()
}

/// A tenant, mostly with addresses of its own.
pub(crate) fn tenant() -> BoxedStrategy<TenantSpec> {
    (0..TENANTS.len())
        .prop_flat_map(|number| {
            let subnet = u8::try_from(number).unwrap();
            let own = vec![format!("10.{subnet}.0.0/24")];
            let sources = prop_oneof![
                20 => Just(own.clone()),
                1 => Just(vec!["10.0.0.0/14".to_owned()]),
                1 => Just(Vec::new()),
                1 => Just(vec!["192.0.2.96/28".to_owned(), own[0].clone()]),
            ];
            let nat_ip = prop_oneof![
                20 => Just(format!("198.51.100.{subnet}")),
                4 => text(&["198.51.100.0", "192.0.2.101", "192.0.2.100", "10.1.0.1", "10.2.0.2"]),
                1 => Just("not-an-address".to_owned()),
            ];
            let groups = subsequence(GROUPS.map(str::to_owned).to_vec(), 1..=GROUPS.len());
            let parts = (pools(subnet), vec(listener(), 0..2), vec(egress(), 0..2));
            (nat_ip, sources, groups, state(), parts, limits()).prop_map(
                move |(nat_ip, sources, peer_groups, (state, drain_until), parts, limits)| {
                    let (pool, listener, egress) = parts;
                    TenantSpec {
                        name: TENANTS[number].to_owned(),
                        nat_ip,
                        sources,
                        peer_groups,
                        state,
                        drain_until,
                        pool,
                        listener,
                        egress,
                        ..limits
                    }
                },
            )
        })
        .boxed()
}

/// A document of some of the objects, each at most once.
pub(crate) fn document() -> impl Strategy<Value = Document> {
    (vec(peer_group(), 0..4), vec(tenant(), 0..6)).prop_map(|(mut peer_group, mut tenant)| {
        peer_group.sort_by(|a, b| a.name.cmp(&b.name));
        peer_group.dedup_by(|a, b| a.name == b.name);
        tenant.sort_by(|a, b| a.name.cmp(&b.name));
        tenant.dedup_by(|a, b| a.name == b.name);
        Document { peer_group, tenant }
    })
}

/// A version of everything; mostly it is not legal.
pub(crate) fn tenancy() -> impl Strategy<Value = Tenancy> {
    document().prop_map(|document| Tenancy::from(&document))
}

/// An edit of whole objects or of addressed egress; some can't be made.
pub(crate) fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        3 => tenant().prop_map(|tenant| Edit::PutTenant { tenant, only_new: false }),
        3 => peer_group().prop_map(|peer_group| Edit::PutPeerGroup { peer_group, only_new: false }),
        1 => text(&TENANTS).prop_map(|tenant| Edit::RemoveTenant { tenant }),
        1 => text(&GROUPS).prop_map(|peer_group| Edit::RemovePeerGroup { peer_group }),
        1 => (document(), any::<bool>()).prop_map(|(document, prune)| Edit::Apply { document, prune }),
        1 => (text(&TENANTS), state()).prop_map(|(tenant, (state, drain_until))| {
            Edit::SetTenantState { tenant, state, drain_until }
        }),
        1 => (text(&TENANTS), egress()).prop_map(|(tenant, egress)| Edit::PutEgress { tenant, egress }),
        1 => (text(&TENANTS), egress()).prop_map(|(tenant, EgressSpec { protocol, port, .. })| {
            Edit::RemoveEgress { tenant, egress: format!("{protocol}:{port}") }
        }),
    ]
}
