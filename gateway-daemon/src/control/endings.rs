//! When flows are ended: a backend goes down whose pool wants that, a drain's deadline passes, maintenance begins.

mod drains;
mod falls;
#[cfg(test)]
mod tests;

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::{sync::watch, task::JoinSet, time::sleep};
use tracing::warn;

use self::{
    drains::{Drains, Look},
    falls::{Due, Falls},
};
use super::{Control, change::blocking};
use crate::{config::Config, drain::Shutdown, gateway::Ending, health::Fallen};

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

/// Ends the flows of backends that have fallen, where their pools want that; one that fails is tried again until the
/// backend is back.
pub(super) struct EndOfFallen<E> {
    falls: Falls,
    under_way: UnderWay<Due>,
    /// Ends flows; returns whether it was done.
    end: E,
}

impl<E, F> EndOfFallen<E>
where
    E: Fn(Vec<Ending>) -> F,
    F: Future<Output = bool> + Send + 'static,
{
    fn new(end: E) -> Self {
        Self { falls: Falls::default(), under_way: UnderWay::new(), end }
    }

    /// Begins what is due, as far as there is room.
    pub(super) fn follow(&mut self, config: &Config, fallen: &Fallen) {
        if !self.under_way.has_room() {
            return;
        }
        let due = self.falls.look(config, fallen);
        if !due.is_empty() {
            self.falls.begun(&due);
            self.under_way.begin(due.clone(), (self.end)(due.endings()));
        }
    }

    /// Waits for the next one under way to end: then it is time to follow again. For ever when there is none.
    pub(super) async fn settled(&mut self) {
        let (due, done) = self.under_way.next().await;
        self.falls.settled(due, done);
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
    /// For backends that fall.
    pub(super) fn end_of_fallen(
        self: &Arc<Self>,
        shutdown: &Shutdown,
    ) -> EndOfFallen<impl Fn(Vec<Ending>) -> BoxFuture<'static, bool> + use<>> {
        let (control, shutdown) = (self.clone(), shutdown.clone());
        EndOfFallen::new(move |endings| control.clone().end(endings, shutdown.clone()).boxed())
    }

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
