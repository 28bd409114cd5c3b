//! When flows are ended: a backend goes down whose pool wants that, a drain's deadline passes, maintenance begins.

mod drains;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{sync::watch, time::sleep};
use tracing::warn;

use self::drains::{Drains, Look};
use super::{Control, change::blocking};
use crate::{
    config::{Config, OnBackendDown},
    drain::Shutdown,
    gateway::Ending,
    health::{BackendId, Standing, Standings},
};

/// How long to wait after flows could not be ended.
const RETRY: Duration = Duration::from_secs(1);

/// The world of the loop that follows deadlines.
struct Follow<C, N, E> {
    /// The configuration in force.
    config: C,
    /// The wall clock.
    now: N,
    /// Ends flows; returns whether it was done.
    end: E,
}

impl<C, N, E, F> Follow<C, N, E>
where
    C: Fn() -> Arc<Config>,
    N: Fn() -> SystemTime,
    E: Fn(Vec<Ending>) -> F,
    F: Future<Output = bool>,
{
    /// Ends flows whose drain's deadline has passed. `changes` tells of another configuration.
    async fn deadlines(self, mut changes: watch::Receiver<u32>, shutdown: Shutdown) {
        let mut drains = Drains::default();
        loop {
            let Look { due, mut again_in } = drains.look(&(self.config)(), (self.now)());
            if !due.is_empty() {
                if (self.end)(due.keys().cloned().collect()).await {
                    drains.ended(due);
                    // That took its time: others may be due by now.
                    continue;
                }
                again_in = again_in.min(RETRY);
            }
            tokio::select! {
                () = shutdown.requested() => return,
                told = changes.changed() => if told.is_err() { return },
                () = sleep(again_in) => {}
            }
        }
    }
}

impl Control {
    /// Ends flows whose drain's deadline has passed.
    pub(super) async fn follow_deadlines(self: Arc<Self>, shutdown: Shutdown) {
        let changes = self.gateway.changes();
        let follow = Follow {
            config: || self.gateway.config(),
            now: SystemTime::now,
            end: |endings| {
                let control = self.clone();
                async move { control.end(endings).await }
            },
        };
        follow.deadlines(changes, shutdown).await;
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

fn fallen(config: &Config, before: &Standings, now: &Standings) -> Vec<Ending> {
    let mut fallen = BTreeSet::new();
    for tenant in config.tenants.iter() {
        for pool in tenant.pools.iter().filter(|pool| pool.on_backend_down == OnBackendDown::Reset) {
            for backend in &pool.backends {
                let id = BackendId::new(tenant, pool, backend);
                let was_up = before.get(&id).is_some_and(|standing| *standing != Standing::Down);
                if was_up && now.get(&id) == Some(&Standing::Down) {
                    fallen.insert(Ending::backend(&id));
                }
            }
        }
    }
    fallen.into_iter().collect()
}
