//! When flows are ended: a backend goes down whose pool wants that, a drain's deadline passes, maintenance begins.

mod drains;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::FutureExt as _;
use tokio::{sync::watch, task::JoinSet, time::sleep};
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

/// Endings that may be under way at once; more wait. Each has a thread, reads the flow tables and then mostly waits.
const MOST_AT_ONCE: usize = 8;

/// Endings under way, each in a task of its own: thousands of flows take seconds and dead ends never answer, and what is
/// due next must not wait for that.
struct UnderWay<D> {
    tasks: JoinSet<(D, bool)>,
}

impl<D: Send + 'static> UnderWay<D> {
    fn new() -> Self {
        Self { tasks: JoinSet::new() }
    }

    fn has_room(&self) -> bool {
        self.tasks.len() < MOST_AT_ONCE
    }

    /// Begins to end what is due. One that fails counts as under way until it may be tried again.
    fn begin(&mut self, due: D, ending: impl Future<Output = bool> + Send + 'static) {
        self.tasks.spawn(async move {
            let done = AssertUnwindSafe(ending).catch_unwind().await.unwrap_or(false);
            if !done {
                sleep(RETRY).await;
            }
            (due, done)
        });
    }

    /// What is under way no longer, and whether it was done. Waits for ever when there is nothing.
    async fn next(&mut self) -> (D, bool) {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(ended)) => return ended,
                Some(Err(error)) => warn!(%error, "an ending of flows broke off"),
                None => std::future::pending().await,
            }
        }
    }
}

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
    F: Future<Output = bool> + Send + 'static,
{
    /// Ends flows whose drain's deadline has passed. `changes` tells of another configuration.
    async fn deadlines(self, mut changes: watch::Receiver<u32>, shutdown: Shutdown) {
        let (mut drains, mut under_way) = (Drains::default(), UnderWay::new());
        loop {
            let Look { due, again_in } = drains.look(&(self.config)(), (self.now)());
            if !due.is_empty() && under_way.has_room() {
                let ending = (self.end)(due.keys().cloned().collect());
                drains.begun(&due);
                under_way.begin(due, ending);
                continue;
            }
            tokio::select! {
                () = shutdown.requested() => return,
                told = changes.changed() => if told.is_err() { return },
                (due, done) = under_way.next() => if done { drains.ended(due) } else { drains.failed(&due) },
                () = sleep(again_in) => {}
            }
        }
    }
}

impl Control {
    /// Ends flows whose drain's deadline has passed.
    pub(super) async fn follow_deadlines(self: Arc<Self>, shutdown: Shutdown) {
        let (changes, heard) = (self.gateway.changes(), shutdown.clone());
        let follow = Follow {
            config: || self.gateway.config(),
            now: SystemTime::now,
            end: |endings| self.clone().end(endings, heard.clone()),
        };
        follow.deadlines(changes, shutdown).await;
    }

    /// Ends the flows of backends that were up and are down, where their pools want that. In a task of its own: a dead
    /// backend never answers, and the next one that falls must not wait for that.
    pub(super) fn end_flows_of_the_fallen(
        self: &Arc<Self>,
        before: &Standings,
        now: &Standings,
        shutdown: &Shutdown,
    ) {
        let fallen = fallen(&self.gateway.config(), before, now);
        tokio::spawn(self.clone().end(fallen, shutdown.clone()));
    }

    /// Returns whether it was done.
    async fn end(self: Arc<Self>, endings: Vec<Ending>, shutdown: Shutdown) -> bool {
        if endings.is_empty() {
            return true;
        }
        let gateway = self.gateway.clone();
        let ended = blocking(move || gateway.end_flows(&endings, || !shutdown.is_requested())).await;
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
