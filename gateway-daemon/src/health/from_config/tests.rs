//! What a configuration makes of its backends.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::*;
use crate::config::{CheckKind, Interfaces};
use crate::health::Standing;
use crate::health::machine::Machine;

/// Pools `assumed`, `proven` and `unchecked` of two backends each.
fn config() -> Config {
    let backends = "backend = [{ address = '10.1.0.5', port = 80 }, { address = '10.1.0.6', port = 80 }]";
    let text = format!(
        "gateway = {{ ingress_vip = '192.0.2.10', egress_vip = '192.0.2.20' }}
         interface = [{{ name = 'ext0', side = 'external' }}, {{ name = 'int0', side = 'internal' }}]
         [[tenant]]
         name = 'bank-a'
         nat_ip = '198.51.100.1'
         sources = ['10.1.0.0/24']
         [[tenant.pool]]
         name = 'assumed'
         health = {{ check = 'tcp', assume_up = true, port = 81, interval_ms = 700, timeout_ms = 300, rise = 4,
                     fall = 5, jitter_percent = 6, passive = false }}
         {backends}
         [[tenant.pool]]
         name = 'proven'
         slow_start_secs = 7
         health = {{ check = 'http', path = '/live' }}
         {backends}
         [[tenant.pool]]
         name = 'unchecked'
         {backends}"
    );
    Config::parse("test", &text, &Interfaces::Unchecked).unwrap_or_else(|error| panic!("{error}"))
}

fn backend(pool: &str, host: u8) -> BackendId {
    BackendId { tenant: "bank-a".into(), pool: pool.into(), address: Ipv4Addr::new(10, 1, 0, host), port: 80 }
}

#[test]
fn what_took_flows_or_is_assumed_up_begins_up() {
    let carried = backend("proven", 6);
    let targets = targets(&config(), |id| *id == carried);
    let initial: Vec<_> = targets.iter().map(|target| (target.id.clone(), target.initial)).collect();
    let expected = [
        (backend("assumed", 5), Initial::Up),
        (backend("assumed", 6), Initial::Up),
        (backend("proven", 5), Initial::Down),
        (carried, Initial::Up),
    ];
    assert_eq!(initial, expected);
}

#[test]
fn servers_take_flows_by_any_of_their_pools() {
    let config = config();
    let taking = |standings: &Standings, config: &Config| {
        taking_flows(&config.tenants[0], standings)
            .map(|(_, address, _)| address.octets()[3])
            .collect::<Vec<_>>()
    };
    let mut checked = config.clone();
    let mut tenant = config::Tenant::clone(&config.tenants[0]);
    tenant.pools.retain(|pool| pool.health.is_some());
    checked.tenants = [Arc::new(tenant.clone())].into();
    let nobody = Standings::default();
    assert_eq!(taking(&nobody, &checked), [0_u8; 0]);
    assert_eq!(taking(&nobody, &config), [5, 6], "of the unchecked pool");
    let one: Standings = Arc::new([(backend("proven", 6), Standing::Up)].into());
    assert_eq!(taking(&one, &checked), [6]);
    tenant.state = AdminState::Draining;
    checked.tenants = [Arc::new(tenant)].into();
    assert_eq!(taking(&one, &checked), [0_u8; 0]);
}

#[test]
fn checks_are_as_the_configuration_has_them() {
    let targets = targets(&config(), |_| false);
    let expected = Check {
        kind: CheckKind::Tcp,
        interval: Duration::from_millis(700),
        timeout: Duration::from_millis(300),
        rise: 4,
        fall: 5,
        jitter_percent: 6,
        passive: false,
        port: Some(81),
    };
    assert_eq!((&*targets[0].check, targets[0].slow_start), (&expected, Duration::ZERO));
    assert!(Arc::ptr_eq(&targets[0].check, &targets[1].check), "the backends of a pool share it");
    assert!(matches!(&targets[2].check.kind, CheckKind::Http { path, .. } if path == "/live"));
    assert_eq!((targets[2].slow_start, targets[2].check.passive), (Duration::from_secs(7), true));
}

#[test]
fn the_tables_begin_as_the_checks_do() {
    let carried = |id: &BackendId| id.address.octets()[3] == 6;
    let (standings, now) = (first_standings(&config(), carried), Instant::now());
    let targets = targets(&config(), carried);
    assert_eq!(standings.len(), targets.len());
    for target in targets {
        let machine = Machine::new(target.check, target.slow_start, target.initial, now);
        assert_eq!(standings[&target.id], machine.standing(now), "{:?}", target.id);
    }
    assert_eq!(standings[&backend("proven", 5)], Standing::Down);
    assert!(!standings.contains_key(&backend("unchecked", 5)));
}
