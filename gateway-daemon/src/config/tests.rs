//! Tests of the whole way from text to [`Config`]; the errors are in `tests/config_broken.rs`.

use std::fmt::Write as _;
use std::time::Duration;

use super::*;

fn sample() -> Config {
    Config::parse("sample", &example(), &Interfaces::Unchecked).unwrap()
}

#[test]
fn absent_fields_have_their_defaults() {
    let config = sample();
    assert_eq!(config.node.name.as_str(), "gateway");
    assert_eq!(config.node.id.get(), 1);
    assert_eq!(config.node.port_slices.count(), 63);
    assert_eq!(config.daemon.metrics.unwrap().to_string(), "127.0.0.1:9464");
    assert_eq!(config.limits, Limits { flows: 262_144, half_open_flows: 65_536, challenge_above: 240 });
    assert_eq!(config.timeouts.tcp_established, Duration::from_secs(7_440));
    assert_eq!(config.interfaces[0].hook, HookChoice::Auto);
    assert_eq!(config.tenants[0].pools[0].backends[0].weight.get(), 1);
    assert_eq!(config.tenants[0].listeners[0].source, SourceMode::Nat);
}

#[test]
fn references_are_resolved() {
    let config = sample();
    let tenant = &config.tenants[0];
    assert_eq!(config.peer_group(tenant.peer_groups[0]).name.as_str(), "npci");
    assert_eq!(tenant.pool(tenant.listeners[0].pool).name.as_str(), "web");
    assert_eq!(tenant.egress[0].to.to_string(), "192.0.2.100:443");
}

#[test]
fn a_gateway_without_tenants_is_legal() {
    let text = "
        gateway = { ingress_vip = '192.0.2.10', egress_vip = '192.0.2.20' }
        interface = [{ name = 'a', side = 'external' }, { name = 'b', side = 'internal' }]
        daemon.metrics = ''
    ";
    let config = Config::parse("minimal", text, &Interfaces::Unchecked).unwrap();
    assert!(config.tenants.is_empty());
    assert_eq!(config.store.kind, StoreKind::Embedded);
    assert_eq!(config.daemon.metrics, None);
}

#[test]
fn clones_share_their_lists() {
    let config = sample();
    assert!(std::sync::Arc::ptr_eq(&config.tenants, &config.clone().tenants));
}

const HEAD: &str = "
    gateway = { ingress_vip = '192.0.2.10', egress_vip = '192.0.2.20' }
    interface = [{ name = 'ext0', side = 'external' }, { name = 'int0', side = 'internal' }]
";

/// What a configuration of `tenants` with `backends` each is refused for; empty if it is not.
fn fault_of(tenants: usize, backends: usize) -> String {
    let mut text = HEAD.to_owned();
    for tenant in 0..tenants {
        let (high, low) = (tenant / 256, tenant % 256);
        writeln!(text, "[[tenant]]\nname = 't{tenant}'\nnat_ip = '172.16.{high}.{low}'").unwrap();
        writeln!(text, "sources = ['10.{high}.{low}.0/24']\n[[tenant.pool]]\nname = 'p'\nbackend = [")
            .unwrap();
        for backend in 0..backends {
            let (port, last) = (1 + backend / 256, backend % 256);
            writeln!(text, "{{ address = '10.{high}.{low}.{last}', port = {port} }},").unwrap();
        }
        text += "]\n";
    }
    fault(&text)
}

fn fault(text: &str) -> String {
    match Config::parse("limits", text, &Interfaces::Unchecked) {
        Ok(_) => String::new(),
        Err(ConfigError::Rejected { complaints, .. }) => complaints[0].what.clone(),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn tenants_are_limited() {
    assert_eq!(fault_of(MAX_TENANTS, 1), "");
    assert_eq!(fault_of(MAX_TENANTS + 1, 1), "there are more than 16,383 tenants");
}

#[test]
fn backends_are_limited_by_pool_and_in_all() {
    assert_eq!(fault_of(1, MAX_BACKENDS_PER_POOL), "");
    assert_eq!(fault_of(1, MAX_BACKENDS_PER_POOL + 1), "there are more than 1,024 backends in one pool");
    assert_eq!(fault_of(100, 1_000), "");
    assert_eq!(fault_of(101, 1_000), "there are more than 100,000 backends");
}

/// One tenant with `entries` egress entries, and a listener with `prefixes` in its allow list.
fn fault_of_lists(entries: usize, prefixes: usize) -> String {
    let mut text = format!(
        "{HEAD}
        [[peer_group]]\nname = 'g'
        [[peer_group.endpoint]]\naddress = '203.0.113.1'\nprotocol = 'tcp'
        [[peer_group.endpoint]]\naddress = '203.0.113.1'\nprotocol = 'udp'
        [[tenant]]\nname = 't'\nnat_ip = '10.0.0.2'\nsources = ['10.0.0.0/24']\npeer_groups = ['g']
        [[tenant.pool]]\nname = 'p'\nbackend = [{{ address = '10.0.0.3', port = 1 }}]
        [[tenant.listener]]\nname = 'l'\nprotocol = 'tcp'\nport = 1\npool = 'p'\nallow = ["
    );
    for prefix in 0..prefixes {
        write!(text, "'11.{}.{}.0/24',", prefix / 256, prefix % 256).unwrap();
    }
    text += "]\n";
    for entry in 0..entries {
        let (protocol, port) = (["tcp", "udp"][entry % 2], 1 + entry / 2);
        writeln!(text, "[[tenant.egress]]\nprotocol = '{protocol}'\nport = {port}\nto = '203.0.113.1:1'")
            .unwrap();
    }
    fault(&text)
}

#[test]
fn listeners_and_their_prefixes_are_limited() {
    assert_eq!(fault_of_lists(MAX_LISTENERS - 1, MAX_PREFIXES_PER_LISTENER), "");
    assert_eq!(fault_of_lists(MAX_LISTENERS, 1), "there are more than 65,536 listeners and egress entries");
    assert_eq!(
        fault_of_lists(0, MAX_PREFIXES_PER_LISTENER + 1),
        "there are more than 4,096 prefixes in one allow list"
    );
}

/// A peer group of `endpoints` endpoints, `groups` times.
fn fault_of_groups(groups: usize, endpoints: usize) -> String {
    let mut text = HEAD.to_owned();
    for group in 0..groups {
        writeln!(text, "[[peer_group]]\nname = 'g{group}'\nendpoint = [").unwrap();
        text += &"{ address = '203.0.113.1', protocol = 'tcp' },\n".repeat(endpoints);
        text += "]\n";
    }
    fault(&text)
}

#[test]
fn endpoints_are_limited_by_group_and_in_all() {
    assert_eq!(fault_of_groups(16, MAX_ENDPOINTS_PER_GROUP), "");
    assert_eq!(
        fault_of_groups(1, MAX_ENDPOINTS_PER_GROUP + 1),
        "there are more than 4,096 endpoints in one peer group"
    );
    assert_eq!(fault_of_groups(17, 4_000), "there are more than 65,536 endpoints");
}

#[test]
fn destinations_are_limited_over_all_tenants() {
    let endpoints = "{ address = '203.0.113.1', protocol = 'tcp' },".repeat(MAX_ENDPOINTS_PER_GROUP);
    let text = |tenants: usize| {
        let mut text = format!("{HEAD}[[peer_group]]\nname = 'g'\nendpoint = [{endpoints}]\n");
        for tenant in 0..tenants {
            writeln!(text, "[[tenant]]\nname = 't{tenant}'\nnat_ip = '172.16.0.{tenant}'").unwrap();
            writeln!(text, "sources = ['10.0.{tenant}.0/24']\npeer_groups = ['g']").unwrap();
        }
        text
    };
    assert_eq!(fault(&text(64)), "");
    assert_eq!(fault(&text(65)), "there are more than 262,144 pairs of a tenant and an endpoint");
}

#[test]
fn prefixes_are_limited_in_all() {
    let sources = |count: usize| {
        let prefixes: Vec<String> =
            (0..count).map(|i| format!("'11.{}.{}.{}'", i >> 16, (i >> 8) & 255, i & 255)).collect();
        let tenant = "[[tenant]]\nname = 't'\nnat_ip = '10.0.0.2'";
        fault(&format!("{HEAD}\n{tenant}\nsources = [{}]", prefixes.join(",")))
    };
    assert_eq!(sources(MAX_PREFIXES), "");
    assert_eq!(sources(MAX_PREFIXES + 1), "there are more than 65,536 prefixes in `sources` and `allow`");
}

#[test]
fn many_faults_are_counted_and_not_all_shown() {
    let text = format!("{HEAD}\n{}", "[[tenant]]\n".repeat(100));
    let Err(error) = Config::parse("many", &text, &Interfaces::Unchecked) else { panic!("accepted") };
    let ConfigError::Rejected { complaints, hidden } = &error else { panic!("{error}") };
    assert_eq!((complaints.len(), *hidden), (20, 280));
    assert!(error.to_string().ends_with("error: 280 more faults are not shown"));
}

#[test]
fn files_that_never_end_are_refused() {
    let error =
        Config::load(Path::new("/dev/zero"), &Interfaces::Unchecked, &Overrides::default()).unwrap_err();
    assert!(matches!(error, ConfigError::TooLarge { .. }), "{error}");
}

#[test]
fn a_long_line_is_shown_around_its_fault() {
    let text = format!("{HEAD}tenant = [{}{{ name = 'A' }}]\n", " ".repeat(500));
    let error = Config::parse("long", &text, &Interfaces::Unchecked).unwrap_err().to_string();
    assert!(error.lines().all(|line| line.chars().count() < 130), "{error}");
}

#[test]
fn pairs_of_tenants_are_limited() {
    let text = |pairs: usize| {
        let mut text = HEAD.to_owned();
        for tenant in 0..pairs {
            let (high, low) = (tenant / 256, tenant % 256);
            writeln!(text, "[[tenant]]\nname = 't{tenant}'\nnat_ip = '172.16.{high}.{low}'").unwrap();
            writeln!(text, "sources = ['10.{high}.{low}.0/24']\nhairpin_to = ['t0']").unwrap();
        }
        text
    };
    assert_eq!(fault(&text(MAX_HAIRPINS)), "");
    let expected = "there are more than 8,192 pairs of a tenant and another one that it may call";
    assert_eq!(fault(&text(MAX_HAIRPINS + 1)), expected);
}

#[test]
fn limits_of_a_tenant_are_read() {
    let text = format!(
        "{HEAD}
        [[tenant]]
        name = 't'
        nat_ip = '10.0.0.2'
        sources = ['10.0.0.0/24']
        max_flows = 7
        new_flows_per_second = 200
        ports_per_destination = 126
        timeouts = {{ tcp_established_secs = 86400 }}"
    );
    let limits = Config::parse("limits", &text, &Interfaces::Unchecked).unwrap().tenants[0].limits.clone();
    let expected = TenantLimits {
        max_flows: Some(7),
        new_flows: Some(NewFlows { per_second: 200, burst: None }),
        ports: TenantPorts::PerDestination(126),
        mss_clamp: None,
        loose_source: false,
        timeouts: TenantTimeouts {
            tcp_established: Some(Duration::from_secs(86_400)),
            ..TenantTimeouts::default()
        },
    };
    assert_eq!(*limits, expected);
    assert_eq!(*sample().tenants[0].limits, TenantLimits::default());
}
