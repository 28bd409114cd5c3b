//! Which backends are to be checked, and what is known about all of them.

use std::{collections::HashMap, sync::Arc};

use crate::{
    api::controller::BackendHealth,
    config::{self, Config},
    gateway::{Gateway, backend_id},
    health::{
        BackendId, Standing,
        driver::Health,
        roster::BackendReport,
        target::{Check, CheckKind, Initial, Target},
    },
    tenancy::spec::AdminState,
};

/// The targets of the configuration in force.
pub fn of(gateway: &Gateway) -> Vec<Target> {
    of_config(&gateway.config(), |id| gateway.has_carried(id))
}

/// The targets of a configuration. `carried` says whether a backend took new flows when the daemon started.
pub fn of_config(config: &Config, carried: impl Fn(&BackendId) -> bool) -> Vec<Target> {
    let mut targets = Vec::new();
    for tenant in config.tenants.iter() {
        for pool in &tenant.pools {
            let Some(settings) = &pool.health else { continue };
            let check = Arc::new(check(settings));
            targets.extend(pool.backends.iter().map(|backend| {
                let id = backend_id(tenant, pool, backend);
                let up = settings.assume_up || carried(&id);
                Target {
                    id,
                    check: check.clone(),
                    slow_start: pool.slow_start,
                    initial: if up { Initial::Up } else { Initial::Down },
                }
            }));
        }
    }
    targets
}

fn check(settings: &config::HealthCheck) -> Check {
    Check {
        kind: kind(&settings.kind),
        interval: settings.interval,
        timeout: settings.timeout,
        rise: settings.rise,
        fall: settings.fall,
        jitter_percent: settings.jitter_percent,
        passive: settings.passive,
        port: settings.port.map(config::Port::get),
    }
}

fn kind(settings: &config::CheckKind) -> CheckKind {
    match settings.clone() {
        config::CheckKind::Tcp => CheckKind::Tcp,
        config::CheckKind::Http { tls, path, host, expect } => {
            CheckKind::Http { tls, path, host, expect: expect.ranges().to_vec() }
        }
        config::CheckKind::Tls { host } => CheckKind::Tls { host },
        config::CheckKind::Script { send, expect } => CheckKind::Script { send, expect },
    }
}

/// Every backend of the configuration in force.
pub fn report(gateway: &Gateway, health: &Health) -> Vec<BackendHealth> {
    let known: HashMap<BackendId, BackendReport> =
        health.report().into_iter().map(|report| (report.id.clone(), report)).collect();
    let config = gateway.config();
    let mut rows = Vec::new();
    for tenant in config.tenants.iter() {
        for pool in &tenant.pools {
            let row = |backend| row(tenant, pool, backend, known.get(&backend_id(tenant, pool, backend)));
            rows.extend(pool.backends.iter().map(row));
        }
    }
    rows
}

fn row(
    tenant: &config::Tenant,
    pool: &config::Pool,
    backend: &config::Backend,
    known: Option<&BackendReport>,
) -> BackendHealth {
    let (word, percent) = match known.map(|report| report.standing) {
        None => ("unchecked", 100),
        Some(Standing::Up) => ("up", 100),
        Some(Standing::Rising(percent)) => ("rising", u32::from(percent)),
        Some(Standing::Down) => ("down", 0),
    };
    let weight = backend.weight.get();
    let takes_flows = backend.state == AdminState::Active && tenant.state == AdminState::Active;
    // Slow start rounds up: a backend that rises takes something.
    let share = if takes_flows { (u32::from(weight) * percent).div_ceil(100) } else { 0 };
    BackendHealth {
        tenant: tenant.name.as_str().to_owned(),
        pool: pool.name.as_str().to_owned(),
        address: backend.address.get(),
        port: backend.port.get(),
        weight,
        effective_weight: u16::try_from(share).unwrap_or(u16::MAX),
        admin: backend.state,
        health: word.to_owned(),
        reason: known.map(|report| report.reason.clone()).unwrap_or_default(),
        since_secs: known.map_or(0, |report| report.since.as_secs()),
    }
}
