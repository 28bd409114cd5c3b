//! What is known about all backends.

use std::collections::HashMap;

use crate::{
    api::controller::BackendHealth,
    config,
    gateway::Gateway,
    health::{BackendId, Standing, driver::Health, roster::BackendReport},
    tenancy::spec::AdminState,
};

/// Every backend of the configuration in force.
pub fn report(gateway: &Gateway, health: &Health) -> Vec<BackendHealth> {
    let known: HashMap<BackendId, BackendReport> =
        health.report().into_iter().map(|report| (report.id.clone(), report)).collect();
    let config = gateway.config();
    let mut rows = Vec::new();
    for tenant in config.tenants.iter() {
        for pool in &tenant.pools {
            let row = |backend| row(tenant, pool, backend, known.get(&BackendId::new(tenant, pool, backend)));
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
