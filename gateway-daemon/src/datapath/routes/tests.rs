use proptest::prelude::*;

use super::*;

const STATIC: u8 = 4;

fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

fn router(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, last)
}

fn wanted(last: u8) -> Wanted {
    Wanted { to: net("203.0.113.0/24"), via: router(last), ifindex: None }
}

fn found(protocol: u8, last: u8) -> Found {
    let way = Way::Router { via: router(last), ifindex: 2 };
    Found { to: net("203.0.113.0/24"), metric: 0, protocol, way }
}

/// The changes of the only step.
fn only(plan: &Plan) -> &[Change] {
    assert_eq!(plan.steps.len(), 1, "{plan:?}");
    &plan.steps[0].changes
}

#[test]
fn what_is_missing_is_put() {
    let plan = plan(&[wanted(1)], &[]);
    assert_eq!(only(&plan), [Change::Put(wanted(1))]);
    assert_eq!(plan.rivals, []);
}

#[test]
fn what_is_there_stays() {
    for protocol in [PROTOCOL, STATIC] {
        assert_eq!(plan(&[wanted(1)], &[found(protocol, 1)]), Plan::default());
    }
}

#[test]
fn another_router_comes_before_the_old_one_goes() {
    let plan = plan(&[wanted(1)], &[found(PROTOCOL, 2)]);
    assert_eq!(only(&plan), [Change::Put(wanted(1)), Change::Remove(found(PROTOCOL, 2))]);
}

#[test]
fn another_interface_is_another_way() {
    let here = |ifindex| Wanted { ifindex: Some(ifindex), ..wanted(1) };
    assert_eq!(plan(&[here(2)], &[found(PROTOCOL, 1)]), Plan::default());
    let plan = plan(&[here(3)], &[found(PROTOCOL, 1)]);
    assert_eq!(only(&plan), [Change::Put(here(3)), Change::Remove(found(PROTOCOL, 1))]);
}

#[test]
fn ours_that_are_not_wanted_go_and_others_stay() {
    let plan = plan(&[], &[found(STATIC, 1), found(PROTOCOL, 2)]);
    assert_eq!(only(&plan), [Change::Remove(found(PROTOCOL, 2))]);
    assert_eq!(plan.rivals, []);
}

#[test]
fn ours_comes_in_front_of_a_rival() {
    let rival = |is_alone| Rival { wanted: wanted(1), found: found(STATIC, 9), is_alone };
    let alone = plan(&[wanted(1)], &[found(STATIC, 9)]);
    assert_eq!((only(&alone), &alone.rivals[..]), (&[Change::Put(wanted(1))][..], &[rival(true)][..]));
    let behind = plan(&[wanted(1)], &[found(STATIC, 9), found(PROTOCOL, 1)]);
    assert_eq!(only(&behind), [Change::Remove(found(PROTOCOL, 1)), Change::Put(wanted(1))]);
    assert_eq!(behind.rivals, [rival(false)]);
    let in_front = plan(&[wanted(1)], &[found(PROTOCOL, 1), found(STATIC, 9)]);
    assert_eq!((in_front.steps.len(), &in_front.rivals[..]), (0, &[rival(false)][..]));
}

#[test]
fn a_rival_without_a_router_is_one_as_well() {
    let direct = Found { way: Way::Other, ..found(2, 0) };
    let plan = plan(&[wanted(1)], &[direct]);
    assert!(plan.rivals[0].is_alone);
    assert_eq!(plan.rivals[0].remedy().matches("`ip route del 203.0.113.0/24 proto 2`").count(), 1);
}

#[test]
fn a_rival_that_the_kernel_would_not_take_is_none_beside_one_that_leads_right() {
    let spare = Found { metric: 100, ..found(STATIC, 9) };
    assert_eq!(plan(&[wanted(1)], &[spare, found(STATIC, 1)]), Plan::default());
    assert!(plan(&[wanted(1)], &[spare]).rivals[0].is_alone);
}

/// What the kernel does (`fib_table_insert` and `fib_table_delete` in `net/ipv4/fib_trie.c`).
fn apply(table: &mut Vec<Found>, change: &Change) {
    match change {
        Change::Put(wanted) => {
            let way = Way::Router { via: wanted.via, ifindex: wanted.ifindex.unwrap_or(2) };
            let route = Found { to: wanted.to, metric: 0, protocol: PROTOCOL, way };
            assert!(!table.contains(&route), "the kernel takes no second one: {route}");
            table.insert(0, route);
        }
        Change::Remove(route) => {
            let position = table.iter().position(|known| known == route);
            table.remove(position.unwrap_or_else(|| panic!("{route} is not there")));
        }
    }
}

fn preferred(table: &[Found], to: Ipv4Net) -> Option<&Found> {
    table.iter().filter(|route| route.to == to).min_by_key(|route| route.metric)
}

fn any_prefix() -> impl Strategy<Value = Ipv4Net> {
    prop::sample::select(
        ["0.0.0.0/0", "198.51.100.0/24", "203.0.113.0/24", "203.0.113.7/32"].map(net).to_vec(),
    )
}

fn any_wanted() -> impl Strategy<Value = Vec<Wanted>> {
    let way = (1..4_u8, prop::option::of(2..4_u32));
    prop::collection::btree_map(any_prefix(), way, 0..4).prop_map(|routes| {
        let route = |(to, (last, ifindex))| Wanted { to, via: router(last), ifindex };
        routes.into_iter().map(route).collect()
    })
}

fn any_found() -> impl Strategy<Value = Vec<Found>> {
    let way = prop_oneof![
        4 => (1..4_u8, 2..4_u32).prop_map(|(last, ifindex)| Way::Router { via: router(last), ifindex }),
        1 => Just(Way::Other),
    ];
    let protocol = prop::sample::select(vec![PROTOCOL, STATIC, 16]);
    let metric = prop::sample::select(vec![0, 0, 100]);
    let route = (any_prefix(), metric, protocol, way).prop_map(|(to, metric, protocol, way)| Found {
        to,
        metric,
        protocol,
        way,
    });
    prop::collection::vec(route, 0..12).prop_map(|routes| {
        let mut table: Vec<Found> = Vec::new();
        for route in routes {
            if !table.contains(&route) {
                table.push(route);
            }
        }
        table
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1024) })]

    #[test]
    fn a_plan_leads_there_and_touches_only_ours(wanted in any_wanted(), found in any_found()) {
        let mut table = found.clone();
        let first = plan(&wanted, &found);
        first.steps.iter().flat_map(|step| &step.changes).for_each(|change| apply(&mut table, change));
        for route in &wanted {
            let met = preferred(&table, route.to).is_some_and(|found| route.is_met_by(found));
            prop_assert!(met, "{route}: {table:?}");
        }
        let others = |table: &[Found]| table.iter().filter(|route| !route.is_ours()).copied().collect::<Vec<_>>();
        prop_assert_eq!(others(&found), others(&table));
        for ours in table.iter().filter(|route| route.is_ours()) {
            prop_assert!(wanted.iter().any(|wanted| wanted.to == ours.to && wanted.is_met_by(ours)), "{}", ours);
        }
        let second = plan(&wanted, &table);
        prop_assert_eq!(second.steps, vec![]);
        prop_assert!(!second.rivals.iter().any(|rival| rival.is_alone));
    }
}
