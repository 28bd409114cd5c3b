//! Which backends a configuration wants checked, and what they are before their first checks. Pure.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::target::{Check, Initial, Target};
use super::{BackendId, Standing, Standings};
use crate::config::{self, Config};
use crate::tenancy::spec::AdminState;

/// A tenant's server, whatever pools it is in.
pub type Server = (Arc<str>, Ipv4Addr, u16);

/// The servers of a tenant that take new flows, by what the configuration and health say.
pub fn taking_flows(tenant: &config::Tenant, standings: &Standings) -> impl Iterator<Item = Server> {
    let name: Arc<str> = tenant.name.share();
    let pools = tenant.pools.iter().filter(|_| tenant.state == AdminState::Active);
    let takes = |pool: &config::Pool, backend: &config::Backend| {
        let is_up = || {
            let standing = standings.get(&BackendId::new(tenant, pool, backend));
            pool.health.is_none() || standing.is_some_and(|standing| *standing != Standing::Down)
        };
        backend.state == AdminState::Active && backend.weight.get() > 0 && is_up()
    };
    let backends =
        pools.flat_map(move |pool| pool.backends.iter().filter(move |backend| takes(pool, backend)));
    backends.map(move |backend| (name.clone(), backend.address.get(), backend.port.get()))
}

/// The backends that are to be checked. `carried` says whether a backend takes new flows until now: in another pool, or
/// before the daemon started.
pub fn targets(config: &Config, carried: impl Fn(&BackendId) -> bool) -> Vec<Target> {
    let mut targets = Vec::new();
    for tenant in config.tenants.iter() {
        for pool in &tenant.pools {
            let Some(settings) = &pool.health else { continue };
            let check = Arc::new(Check::from(&**settings));
            targets.extend(pool.backends.iter().map(|backend| {
                let id = BackendId::new(tenant, pool, backend);
                let initial = initial(settings, carried(&id));
                Target { id, check: check.clone(), slow_start: pool.slow_start, initial }
            }));
        }
    }
    targets
}

/// Standings before the first check.
pub fn first_standings(config: &Config, carried: impl Fn(&BackendId) -> bool) -> Standings {
    let targets = targets(config, carried).into_iter();
    Arc::new(targets.map(|target| (target.id, target.initial.standing())).collect())
}

/// Up is what takes flows until now; down what does not, unless the configuration assumes otherwise.
fn initial(settings: &config::HealthCheck, carried: bool) -> Initial {
    if settings.assume_up || carried { Initial::Up } else { Initial::Down }
}

impl BackendId {
    /// A backend of a configuration.
    pub fn new(tenant: &config::Tenant, pool: &config::Pool, backend: &config::Backend) -> Self {
        Self {
            tenant: tenant.name.share(),
            pool: pool.name.share(),
            address: backend.address.get(),
            port: backend.port.get(),
        }
    }
}

impl From<&config::HealthCheck> for Check {
    fn from(settings: &config::HealthCheck) -> Self {
        let config::HealthCheck {
            kind,
            interval,
            timeout,
            rise,
            fall,
            jitter_percent,
            // Of the backend, not of its check.
            assume_up: _,
            passive,
            port,
        } = settings.clone();
        let port = port.map(config::Port::get);
        Self { kind, interval, timeout, rise, fall, jitter_percent, passive, port }
    }
}

#[cfg(test)]
mod tests;
