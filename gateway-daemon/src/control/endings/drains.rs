//! Which drains are over. Pure: the configuration and the wall clock are arguments.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    config::{self, Config, Tenant},
    gateway::Ending,
    health::BackendId,
    tenancy::spec::AdminState,
};

/// A deadline is looked at again at least so often: the wall clock may be set.
pub(super) const LONGEST_SLEEP: Duration = Duration::from_secs(10);

/// When flows are to be ended, and what said so.
#[derive(Clone, Debug)]
pub(super) struct Deadline {
    at: SystemTime,
    /// In this version. A tenant that was changed may have taken flows in between.
    tenant: Arc<Tenant>,
}

impl Deadline {
    fn is(&self, other: &Self) -> bool {
        self.at == other.at && Arc::ptr_eq(&self.tenant, &other.tenant)
    }
}

/// Whose flows are to be ended when.
pub(super) type Deadlines = BTreeMap<Ending, Deadline>;

/// Remembers which deadlines it has seen to. A daemon that starts remembers none: whatever passed while there was no
/// daemon is due.
#[derive(Debug, Default)]
pub(super) struct Drains {
    ended: Deadlines,
    under_way: Deadlines,
}

/// What is to be done.
#[derive(Debug)]
pub(super) struct Look {
    /// At once. To be handed to [`Drains::ended`] when it is done.
    pub(super) due: Deadlines,
    /// Then it is time to look again, if nothing changes before.
    pub(super) again_in: Duration,
}

impl Drains {
    /// Looks at a configuration.
    pub(super) fn look(&mut self, config: &Config, now: SystemTime) -> Look {
        let mut all = deadlines(config);
        self.ended.retain(|ending, known| all.get(ending).is_some_and(|deadline| deadline.is(known)));
        self.under_way.retain(|ending, known| all.get(ending).is_some_and(|deadline| deadline.is(known)));
        all.retain(|ending, _| !self.ended.contains_key(ending) && !self.under_way.contains_key(ending));
        let later = all.values().filter(|deadline| deadline.at > now);
        let next = later.filter_map(|deadline| deadline.at.duration_since(now).ok()).min();
        all.retain(|_, deadline| deadline.at <= now);
        Look { due: all, again_in: next.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP) }
    }

    /// What was due is being done: it is due no longer, unless it changes.
    pub(super) fn begun(&mut self, due: &Deadlines) {
        self.under_way.extend(due.iter().map(|(ending, deadline)| (ending.clone(), deadline.clone())));
    }

    /// What was due is done.
    pub(super) fn ended(&mut self, due: Deadlines) {
        self.failed(&due);
        self.ended.extend(due);
    }

    /// What was due is not done, and is due again.
    pub(super) fn failed(&mut self, due: &Deadlines) {
        self.under_way.retain(|ending, known| !due.get(ending).is_some_and(|deadline| deadline.is(known)));
    }
}

fn deadlines(config: &Config) -> Deadlines {
    let mut deadlines = Deadlines::new();
    for tenant in config.tenants.iter() {
        let mut add = |ending, at| {
            deadlines.insert(ending, Deadline { at, tenant: tenant.clone() });
        };
        if let Some(at) = deadline(tenant.state, tenant.drain_until) {
            add(Ending::Tenant(tenant.name.as_str().to_owned()), at);
        }
        for pool in &tenant.pools {
            for backend in pool.backends.iter().filter(|backend| backend.state != AdminState::Active) {
                if let Some(at) = of_backend(tenant, backend) {
                    add(Ending::backend(&BackendId::new(tenant, pool, backend)), at);
                }
            }
        }
    }
    deadlines
}

/// `None`: never.
fn deadline(state: AdminState, drain_until: Option<SystemTime>) -> Option<SystemTime> {
    match state {
        AdminState::Active => None,
        AdminState::Draining => drain_until,
        AdminState::Maintenance => Some(SystemTime::UNIX_EPOCH),
    }
}

/// Flows do not tell which pool of their tenant sent them to a backend, so the pool that lets it keep them for longest
/// decides.
fn of_backend(tenant: &Tenant, backend: &config::Backend) -> Option<SystemTime> {
    let members = tenant.pools.iter().flat_map(|pool| &pool.backends);
    let mut same = members.filter(|other| (other.address, other.port) == (backend.address, backend.port));
    same.try_fold(SystemTime::UNIX_EPOCH, |latest, other| {
        deadline(other.state, other.drain_until).map(|at| at.max(latest))
    })
}
