//! The way over the store gives the same as the way over the file, and a small step the same as a large one.

use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;

use crate::config::{Config, Interfaces, StoreKind};
use crate::tenancy::edit::{Edit, apply};
use crate::tenancy::problem::FieldProblem;
use crate::tenancy::spec::{
    AdminState, BackendSpec, Document, EgressSpec, EndpointSpec, ListenerSpec, PeerGroupSpec, PoolSpec,
    TenantSpec, TimeoutsSpec,
};
use crate::tenancy::{Tenancy, arbitrary, diff::diff};

fn base() -> Config {
    let text = "
        gateway = { ingress_vip = '192.0.2.10', egress_vip = '192.0.2.20' }
        interface = [{ name = 'ext0', side = 'external' }, { name = 'int0', side = 'internal' }]
    ";
    let config = Config::parse("base", text, &Interfaces::Unchecked).unwrap();
    assert_eq!(config.store.kind, StoreKind::Embedded);
    config
}

fn sample() -> Config {
    Config::parse("sample", &crate::config::example(), &Interfaces::Unchecked).unwrap()
}

/// The problems in an order of their own.
fn sorted(result: Result<Config, Vec<FieldProblem>>) -> Result<Config, Vec<FieldProblem>> {
    result.map_err(|mut problems| {
        problems.sort();
        problems
    })
}

/// As many of the objects as make a legal whole.
fn legal_part(config: &Config, tenancy: &Tenancy) -> Tenancy {
    let mut legal = Tenancy::default();
    let groups = tenancy
        .peer_groups
        .values()
        .map(|group| Edit::PutPeerGroup { peer_group: PeerGroupSpec::clone(group), only_new: true });
    let tenants = tenancy
        .tenants
        .values()
        .map(|tenant| Edit::PutTenant { tenant: TenantSpec::clone(tenant), only_new: true });
    for edit in groups.chain(tenants) {
        let more = apply(&legal, &[edit]).unwrap();
        if config.with_tenancy(&more, None).is_ok() {
            legal = more;
        }
    }
    legal
}

#[test]
fn the_file_says_the_same_as_its_objects() {
    let config = sample();
    let tenancy = config.tenancy();
    assert_eq!(config.with_tenancy(&tenancy, None), Ok(config.clone()));
    let kept = config.with_tenancy(&tenancy, Some(&tenancy)).unwrap();
    assert!(Arc::ptr_eq(&kept.tenants[0], &config.tenants[0]));
    assert!(Arc::ptr_eq(&kept.peer_groups[0], &config.peer_groups[0]));
}

#[test]
fn defaults_are_left_out_and_everything_else_is_kept() {
    let mut spec = TenantSpec::clone(&sample().tenancy().tenants["bank-a"]);
    assert_eq!(spec.pool[0].backend[0].weight, None);
    assert_eq!(spec.listener[0].source, None);
    spec.state = AdminState::Draining;
    spec.drain_until = Some(1_800_000_000);
    spec.pool[0].when_all_down = Some("drop".to_owned());
    spec.pool[0].on_backend_down = Some("reset".to_owned());
    spec.pool[0].slow_start_secs = Some(30);
    spec.pool[0].backend[0].weight = Some(7);
    spec.listener[0].source = Some("preserve".to_owned());
    spec.hairpin_to = vec!["bank-a".to_owned()];
    spec.max_flows = Some(5_000);
    spec.new_flows_per_second = Some(200);
    spec.new_flows_burst = Some(3);
    spec.reserved_ports = Some(100);
    spec.mss_clamp = Some(1_260);
    spec.timeouts = Some(TimeoutsSpec {
        tcp_established_secs: Some(600),
        udp_secs: Some(60),
        allow_short_timeouts: Some(true),
    });
    let edit = Edit::PutTenant { tenant: spec.clone(), only_new: false };
    let tenancy = apply(&sample().tenancy(), &[edit]).unwrap();
    let config = sample().with_tenancy(&tenancy, None).unwrap();
    assert_eq!(*config.tenancy().tenants["bank-a"], spec);
}

fn problems_of(change: impl FnOnce(&mut TenantSpec)) -> Vec<FieldProblem> {
    let config = sample();
    let tenancy = config.tenancy();
    let mut changed = tenancy.clone();
    change(Arc::make_mut(changed.tenants.get_mut("bank-a").unwrap()));
    config.with_tenancy(&changed, Some(&tenancy)).unwrap_err()
}

#[test]
fn problems_have_a_path_of_names_a_cause_and_a_remedy() {
    let [problem] = &problems_of(|tenant| tenant.pool[0].backend[0].weight = Some(1_001))[..] else {
        panic!("not one problem");
    };
    assert_eq!(problem.path, "tenant[bank-a].pool[web].backend[198.51.100.18:8080].weight");
    assert_eq!(problem.problem, "1001 is not between 0 and 1,000");
    assert!(problem.remedy.starts_with("the nearest legal value is 1000"), "{}", problem.remedy);

    let [problem] = &problems_of(|tenant| tenant.listener[0].pool = "wen".to_owned())[..] else {
        panic!("not one problem");
    };
    assert_eq!(problem.path, "tenant[bank-a].listener[upi].pool");
    assert_eq!(problem.remedy, "did you mean `web`?");
}

#[test]
fn problems_and_differences_have_the_same_paths() {
    let config = sample();
    let before = config.tenancy();
    let mut after = before.clone();
    let tenant = Arc::make_mut(after.tenants.get_mut("bank-a").unwrap());
    tenant.pool[0].backend[0].weight = Some(1_001);
    tenant.egress[0].to = "192.0.2.100".to_owned();
    tenant.nat_ip = "bank".to_owned();
    let problems = config.with_tenancy(&after, Some(&before)).unwrap_err();
    let mut paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    paths.sort_unstable();
    let differences = diff(&before, &after);
    let mut changed: Vec<&str> = differences.iter().map(|change| change.path.as_str()).collect();
    changed.sort_unstable();
    assert_eq!(paths, changed);
    assert_eq!(paths.len(), 3);
}

#[test]
fn a_conflict_with_what_is_kept_names_both_places() {
    let config = sample();
    let before = config.tenancy();
    let twin = TenantSpec {
        name: "bank-b".to_owned(),
        sources: vec!["10.0.0.0/8".to_owned()],
        ..TenantSpec::clone(&before.tenants["bank-a"])
    };
    let twin = TenantSpec { pool: Vec::new(), listener: Vec::new(), egress: Vec::new(), ..twin };
    let after = apply(&before, &[Edit::PutTenant { tenant: twin, only_new: true }]).unwrap();
    let problems = config.with_tenancy(&after, Some(&before)).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert_eq!(problems[0].path, "tenant[bank-b].nat_ip");
    assert_eq!(
        problems[0].problem,
        "the tenant NAT IP 198.51.100.30 is taken (the first one: tenant[bank-a].nat_ip)"
    );
}

#[test]
fn a_peer_group_in_use_cannot_go_nor_lose_a_target() {
    let config = sample();
    let before = config.tenancy();
    let remove = Edit::RemovePeerGroup { peer_group: "npci".to_owned() };
    let after = apply(&before, &[remove]).unwrap();
    let problems = config.with_tenancy(&after, Some(&before)).unwrap_err();
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["tenant[bank-a].peer_groups[0]", "tenant[bank-a].egress[tcp:9001].to"]);

    let endpoint = EndpointSpec { address: "192.0.2.100".to_owned(), protocol: "udp".to_owned(), port: None };
    let narrowed = PeerGroupSpec { name: "npci".to_owned(), endpoint: vec![endpoint] };
    let after = apply(&before, &[Edit::PutPeerGroup { peer_group: narrowed, only_new: false }]).unwrap();
    let problems = config.with_tenancy(&after, Some(&before)).unwrap_err();
    assert_eq!(problems[0].path, "tenant[bank-a].egress[tcp:9001].to");
    assert_eq!(problems[0].problem, "no peer group of the tenant allows tcp to 192.0.2.100:443");
}

#[test]
fn a_new_tenant_cannot_take_an_address_that_a_kept_one_calls() {
    let config = sample();
    let network =
        EndpointSpec { address: "192.0.2.96/28".to_owned(), protocol: "tcp".to_owned(), port: None };
    let group = PeerGroupSpec { name: "npci".to_owned(), endpoint: vec![network] };
    let widen = Edit::PutPeerGroup { peer_group: group, only_new: false };
    let before = apply(&config.tenancy(), &[widen]).unwrap();
    let config = config.with_tenancy(&before, None).unwrap();

    let intruder = TenantSpec {
        name: "bank-b".to_owned(),
        nat_ip: "192.0.2.100".to_owned(),
        sources: vec!["10.0.0.0/8".to_owned()],
        ..TenantSpec::default()
    };
    let after = apply(&before, &[Edit::PutTenant { tenant: intruder, only_new: true }]).unwrap();
    let problems = config.with_tenancy(&after, Some(&before)).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert_eq!(problems[0].path, "tenant[bank-a].egress[tcp:9001].to");
    assert_eq!(
        problems[0].problem,
        "the target 192.0.2.100:443 is a tenant NAT IP (it stands here: tenant[bank-b].nat_ip)"
    );
}

#[test]
fn a_new_peer_group_moves_the_others() {
    let config = sample();
    let before = config.tenancy();
    let first = PeerGroupSpec { name: "a".to_owned(), ..PeerGroupSpec::clone(&before.peer_groups["npci"]) };
    let after = apply(&before, &[Edit::PutPeerGroup { peer_group: first, only_new: true }]).unwrap();
    let config = config.with_tenancy(&after, Some(&before)).unwrap();
    let group = config.tenants[0].peer_groups[0];
    assert_eq!((group.get(), config.peer_group(group).name.as_str()), (1, "npci"));
}

#[test]
fn a_deadline_beyond_every_range_is_refused_as_such() {
    let problems = problems_of(|tenant| {
        tenant.state = AdminState::Draining;
        tenant.drain_until = Some(u64::MAX);
    });
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].path, "tenant[bank-a].drain_until");
    assert!(problems[0].problem.ends_with("is not between 0 and 4,294,967,295"), "{}", problems[0].problem);
}

#[test]
fn names_of_any_characters_are_refused_and_not_misread() {
    let problems = problems_of(|tenant| tenant.pool[0].name = "]\n[[tenant]]\nname = \"x\u{0}".to_owned());
    assert!(problems.iter().any(|problem| problem.problem.contains("has the character")), "{problems:#?}");
    assert!(problems.iter().all(|problem| !problem.path.contains('\n')), "{problems:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn small_steps_lead_where_the_large_one_does(
        objects in arbitrary::tenancy(),
        steps in prop::collection::vec(prop::collection::vec(arbitrary::edit(), 1..3), 1..4),
    ) {
        let base = base();
        let mut before = legal_part(&base, &objects);
        let mut config = base.with_tenancy(&before, None).unwrap();
        for edits in steps {
            let Ok(after) = apply(&before, &edits) else { continue };
            let step = config.with_tenancy(&after, Some(&before));
            let at_once = sorted(base.with_tenancy(&after, None));
            prop_assert_eq!(&sorted(step.clone()), &at_once);
            prop_assert_eq!(&sorted(config.with_tenancy_in_steps(&after, Some(&before), 1)), &at_once);
            prop_assert_eq!(&sorted(base.with_tenancy_in_steps(&after, None, 1)), &at_once);
            if let Ok(next) = step {
                (config, before) = (next, after);
            }
        }
        // What the types say about the objects makes them anew.
        let again = base.with_tenancy(&config.tenancy(), None);
        prop_assert_eq!(again, Ok(config));
    }
}

/// A gateway of `tenants` tenants, each with a pool of 10 backends, a listener and an egress entry.
fn large(tenants: u16) -> Tenancy {
    let endpoint = |host: u8| EndpointSpec {
        address: format!("192.0.2.{host}"),
        protocol: "tcp".to_owned(),
        port: Some(443),
    };
    let group = PeerGroupSpec { name: "npci".to_owned(), endpoint: (100..104).map(endpoint).collect() };
    let document = Document { peer_group: vec![group], tenant: (0..tenants).map(large_tenant).collect() };
    Tenancy::from(&document)
}

fn large_tenant(number: u16) -> TenantSpec {
    let [high, low] = number.to_be_bytes();
    let backend = |host: u8| BackendSpec {
        address: format!("10.{high}.{low}.{host}"),
        port: 8080,
        ..BackendSpec::default()
    };
    TenantSpec {
        name: format!("bank-{number}"),
        nat_ip: format!("172.16.{high}.{low}"),
        sources: vec![format!("10.{high}.{low}.0/24")],
        peer_groups: vec!["npci".to_owned()],
        pool: vec![PoolSpec {
            name: "web".to_owned(),
            backend: (1..=10).map(backend).collect(),
            ..PoolSpec::default()
        }],
        listener: vec![ListenerSpec {
            name: "upi".to_owned(),
            protocol: "tcp".to_owned(),
            port: 10_000 + number,
            pool: "web".to_owned(),
            source: None,
            allow: vec!["192.0.2.0/24".to_owned()],
        }],
        egress: vec![EgressSpec { protocol: "tcp".to_owned(), port: 9001, to: "192.0.2.100:443".to_owned() }],
        ..TenantSpec::default()
    }
}

#[test]
fn what_one_gives_up_another_may_take_in_an_earlier_step() {
    let base = base();
    let before = large(4);
    let config = base.with_tenancy(&before, None).unwrap();
    let mut after = before.clone();
    for (number, takes) in [(0, 3), (3, 0)] {
        let tenant = Arc::make_mut(after.tenants.get_mut(&format!("bank-{number}")).unwrap());
        *tenant = TenantSpec { name: tenant.name.clone(), ..large_tenant(takes) };
    }
    let in_steps = config.with_tenancy_in_steps(&after, Some(&before), 1);
    assert_eq!(in_steps, base.with_tenancy(&after, None));
    assert!(in_steps.is_ok());
}

/// Median and largest of 21 runs, in milliseconds.
fn measured(mut run: impl FnMut(u16)) -> (f64, f64) {
    let time = |i| {
        let start = Instant::now();
        run(i);
        start.elapsed().as_secs_f64() * 1e3
    };
    let mut times: Vec<f64> = (0..21).map(time).collect();
    times.sort_by(f64::total_cmp);
    (times[10], times[20])
}

fn report(what: &str, run: impl FnMut(u16)) {
    let (median, largest) = measured(run);
    println!("{what}: {median:.2} ms (median of 21), {largest:.2} ms (largest)");
}

/// `cargo test --release -p gateway-daemon --lib -- --ignored --nocapture how_long_changes_take`
#[test]
#[ignore = "measures; in release, on a quiet machine"]
fn how_long_changes_take() {
    let base = base();
    let start = Instant::now();
    let before = large(10_000);
    println!("(making the documents: {:?})", start.elapsed());
    let start = Instant::now();
    let config = base.with_tenancy(&before, None).unwrap();
    println!("10,000 new tenants with 10 backends each: {:?}", start.elapsed());
    let put = |tenant: TenantSpec| apply(&before, &[Edit::PutTenant { tenant, only_new: false }]).unwrap();
    report("an edit of one tenant of 10,000", |i| drop(put(large_tenant(i))));
    report("the difference of one tenant of 10,000", |i| {
        assert!(diff(&before, &put(TenantSpec { sources: vec![], ..large_tenant(i) })).len() == 1);
    });
    report("one tenant of 10,000 gets another weight", |i| {
        let mut tenant = large_tenant(400 * i);
        tenant.pool[0].backend[3].weight = Some(9);
        config.with_tenancy(&put(tenant), Some(&before)).unwrap();
    });
    report("one tenant more than 10,000", |i| {
        // The backends are as many as there may be.
        let tenant = TenantSpec { pool: Vec::new(), listener: Vec::new(), ..large_tenant(10_000 + i) };
        config.with_tenancy(&put(tenant), Some(&before)).unwrap();
    });
    report("one tenant of 10,000 is refused by itself", |i| {
        let mut tenant = large_tenant(i);
        tenant.pool[0].backend[3].weight = Some(9_999);
        config.with_tenancy(&put(tenant), Some(&before)).unwrap_err();
    });
    report("one tenant of 10,000 is refused because of another", |i| {
        let mut tenant = large_tenant(i);
        tenant.listener[0].port = 20_000 - 1 - i;
        config.with_tenancy(&put(tenant), Some(&before)).unwrap_err();
    });
    report("back to specs", |_| drop(config.tenancy()));
}

/// So many tenants of which each may call the next, and the last the first.
fn round(tenants: u16) -> Tenancy {
    let tenant = |number: u16| TenantSpec {
        hairpin_to: vec![large_tenant((number + 1) % tenants).name],
        peer_groups: Vec::new(),
        egress: Vec::new(),
        listener: Vec::new(),
        pool: Vec::new(),
        ..large_tenant(number)
    };
    let document = Document { tenant: (0..tenants).map(tenant).collect(), ..Document::default() };
    Tenancy::from(&document)
}

#[test]
fn a_tenant_may_call_one_that_a_later_step_reads() {
    let (config, tenancy) = (base(), round(10));
    let at_once = config.with_tenancy_in_steps(&tenancy, None, 100);
    assert_eq!(at_once.as_ref().map(|config| config.tenants.len()), Ok(10));
    let plan = super::Plan::all(&tenancy);
    assert_eq!(plan.carry_out_in_steps(&config, 3).ok(), at_once.ok(), "without a second reading");
}

#[test]
fn a_tenant_that_another_one_may_call_cannot_be_removed() {
    let before = round(3);
    let config = base().with_tenancy(&before, None).unwrap();
    let gone = large_tenant(1).name;
    let after = apply(&before, &[Edit::RemoveTenant { tenant: gone.clone() }]).unwrap();
    let problems = config.with_tenancy(&after, Some(&before)).unwrap_err();
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert_eq!(problem.path, format!("tenant[{}].hairpin_to[0]", large_tenant(0).name));
    assert_eq!(problem.problem, format!("there is no tenant `{gone}` that could be called"));
}

#[test]
fn reserved_ports_are_counted_over_kept_tenants_as_well() {
    let mut before = round(3);
    for (_, tenant) in before.tenants.iter_mut().take(2) {
        Arc::make_mut(tenant).reserved_ports = Some(20_000);
    }
    let config = base().with_tenancy(&before, None).unwrap();
    let mut after = before.clone();
    let last = after.tenants.values_mut().last().unwrap();
    Arc::make_mut(last).reserved_ports = Some(20_000);
    let name = last.name.clone();
    let problems = config.with_tenancy(&after, Some(&before)).unwrap_err();
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert_eq!(problem.path, format!("tenant[{name}].reserved_ports"));
    let text = format!(
        "the tenant `{name}` reserves 20,034 ports, and 8,316 of the 48,384 that may be reserved are left"
    );
    assert_eq!(problem.problem, text);
}
