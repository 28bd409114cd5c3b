//! When flows are ended: a backend goes down whose pool wants that, a drain's deadline passes, maintenance begins.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::sleep;
use tracing::warn;

use super::{Control, change::blocking};
use crate::{
    config::{self, Config, OnBackendDown},
    drain::Shutdown,
    gateway::Ending,
    health::{BackendId, Standing, Standings},
    tenancy::spec::AdminState,
};

/// A deadline is looked at again at least so often: the wall clock may be set.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

/// Flows whose end is fixed, and when.
type Deadlines = Vec<(SystemTime, Ending)>;

impl Control {
    /// Ends flows whose drain's deadline has passed.
    pub(super) async fn follow_deadlines(self: Arc<Self>, shutdown: Shutdown) {
        let mut changes = self.gateway.changes();
        let mut ended = BTreeSet::new();
        loop {
            let all = deadlines(&self.gateway.config());
            ended.retain(|known| all.contains(known));
            let now = SystemTime::now();
            let (due, later): (Deadlines, Deadlines) = all.into_iter().partition(|(at, _)| *at <= now);
            let due: Deadlines = due.into_iter().filter(|due| !ended.contains(due)).collect();
            if self.end(due.iter().map(|(_, ending)| ending.clone()).collect()).await {
                ended.extend(due);
            }
            let next = later.iter().filter_map(|(at, _)| at.duration_since(now).ok()).min();
            tokio::select! {
                () = shutdown.requested() => return,
                told = changes.changed() => if told.is_err() { return },
                () = sleep(next.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)) => {}
            }
        }
    }

    /// Ends the flows of backends that were up and are down, where their pools want that. In a task of its own: a dead
    /// backend never answers, and the next one that falls must not wait for that.
    pub(super) fn end_flows_of_the_fallen(self: &Arc<Self>, before: &Standings, now: &Standings) {
        let fallen = fallen(&self.gateway.config(), before, now);
        let control = self.clone();
        tokio::spawn(async move { control.end(fallen).await });
    }

    /// Returns whether it was done.
    async fn end(&self, endings: Vec<Ending>) -> bool {
        if endings.is_empty() {
            return true;
        }
        let gateway = self.gateway.clone();
        let ended = blocking(move || gateway.end_flows(&endings)).await;
        ended.inspect_err(|error| warn!("cannot end flows, trying again: {error:#}")).is_ok()
    }
}

fn deadlines(config: &Config) -> Deadlines {
    let mut deadlines = Deadlines::new();
    for tenant in config.tenants.iter() {
        let name = || tenant.name.as_str().to_owned();
        if let Some(at) = deadline(tenant.state, tenant.drain_until) {
            deadlines.push((at, Ending::Tenant(name())));
        }
        for backend in tenant.pools.iter().flat_map(|pool| &pool.backends) {
            if let Some(at) = deadline(backend.state, backend.drain_until)
                && !serves_elsewhere(tenant, backend)
            {
                let (address, port) = (backend.address.get(), backend.port.get());
                deadlines.push((at, Ending::Backend { tenant: name(), address, port }));
            }
        }
    }
    deadlines
}

fn deadline(state: AdminState, drain_until: Option<SystemTime>) -> Option<SystemTime> {
    match state {
        AdminState::Active => None,
        AdminState::Draining => drain_until,
        AdminState::Maintenance => Some(SystemTime::UNIX_EPOCH),
    }
}

/// Is it an active member of another pool of its tenant? Flows do not tell which pool sent them there.
fn serves_elsewhere(tenant: &config::Tenant, backend: &config::Backend) -> bool {
    let same = |other: &&config::Backend| {
        (other.address, other.port) == (backend.address, backend.port) && other.state == AdminState::Active
    };
    tenant.pools.iter().flat_map(|pool| &pool.backends).any(|other| same(&other))
}

fn fallen(config: &Config, before: &Standings, now: &Standings) -> Vec<Ending> {
    let mut fallen = BTreeSet::new();
    for tenant in config.tenants.iter() {
        for pool in tenant.pools.iter().filter(|pool| pool.on_backend_down == OnBackendDown::Reset) {
            for backend in &pool.backends {
                let id = BackendId::new(tenant, pool, backend);
                let was_up = before.get(&id).is_some_and(|standing| *standing != Standing::Down);
                if was_up && now.get(&id) == Some(&Standing::Down) {
                    let tenant = tenant.name.as_str().to_owned();
                    fallen.insert(Ending::Backend { tenant, address: id.address, port: id.port });
                }
            }
        }
    }
    fallen.into_iter().collect()
}
