//! Runs the roster: starts checks when they are due, hands back their results, publishes what changed.
//!
//! One task does so. It holds the lock that it shares with [`Health`] only while it asks and tells the roster, never
//! while a check is under way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tracing::{debug, info, warn};

use super::board::Board;
use super::failure::Failure;
use super::passive::Signs;
use super::probe::Prober;
use super::roster::{BackendReport, Change, Job, Roster, Ticket, Totals};
use super::target::Target;
use super::{BackendId, Fallen, Standing, Standings};
use crate::drain::Shutdown;

/// Checks that may be under way at once by default. Each holds a descriptor and some kilobytes. Checks that time out
/// after a second make it 256 checks a second; what comes later than that is an overrun, and counted.
pub const CONCURRENCY_DEFAULT: usize = 256;

/// A handle of the checks; clones are the same.
#[derive(Clone, Debug)]
pub struct Health {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Something is due earlier than the task thinks.
    wake: Notify,
}

#[derive(Debug)]
struct State {
    roster: Roster,
    board: Board,
}

impl Health {
    /// Starts the task, with nothing to check yet. At most `concurrency` checks are under way at once.
    pub fn start(prober: Arc<dyn Prober>, concurrency: usize, shutdown: Shutdown) -> Self {
        let state = State { roster: Roster::new(fastrand::u64(..)), board: Board::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), wake: Notify::new() });
        let driver = Driver {
            shared: shared.clone(),
            prober,
            concurrency: concurrency.max(1),
            probes: JoinSet::new(),
            tickets: HashMap::new(),
        };
        tokio::spawn(driver.run(shutdown));
        Self { shared }
    }

    /// From now on these are checked and no others. Those that stay keep their standing, also when they are checked in
    /// another way. When this returns, the standings of all of them are published: one that is down until proven up
    /// is never taken for one that is not checked.
    pub fn update_targets(&self, targets: &[Target]) {
        let now = now();
        let mut state = self.shared.state();
        state.roster.update(targets, now);
        state.note_changes(now);
        state.board.publish();
        drop(state);
        self.shared.wake.notify_one();
    }

    /// Takes what traffic says about backends. Unknown ones are ignored.
    pub fn passive<'a>(&self, signs: impl IntoIterator<Item = (&'a BackendId, Signs)>) {
        let now = now();
        let mut state = self.shared.state();
        for (id, signs) in signs {
            state.roster.passive(id, signs, now);
        }
        drop(state);
        self.shared.wake.notify_one();
    }

    /// The standing of every checked backend: published when one has changed, a few milliseconds later.
    pub fn standings(&self) -> watch::Receiver<Standings> {
        self.shared.state().board.subscribe()
    }

    /// The backends that have fallen: published after the standings that say so.
    pub fn fallen(&self) -> watch::Receiver<Fallen> {
        self.shared.state().board.subscribe_fallen()
    }

    /// What is known about each backend, in the order of their names.
    pub fn report(&self) -> Vec<BackendReport> {
        self.shared.state().roster.report(now())
    }

    /// Numbers for the metrics.
    pub fn totals(&self) -> Totals {
        self.shared.state().roster.totals()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic under the lock is a defect; going on with the state as it was left beats checking nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note_changes(&mut self, now: Instant) {
        for change in self.roster.take_changes() {
            log(&change);
            self.board.note(change.id, change.to, change.fallen, now);
        }
    }

    /// When there is something to do other than to start a check.
    fn next_chore(&self) -> Option<Instant> {
        earlier(self.roster.next_step(), self.board.due())
    }
}

struct Driver {
    shared: Arc<Shared>,
    prober: Arc<dyn Prober>,
    concurrency: usize,
    probes: JoinSet<Result<(), Failure>>,
    tickets: HashMap<Id, Ticket>,
}

impl Driver {
    async fn run(mut self, shutdown: Shutdown) {
        let mut stop = std::pin::pin!(shutdown.requested());
        loop {
            let wake_at = self.turn();
            tokio::select! {
                () = &mut stop => return,
                Some(ended) = self.probes.join_next_with_id() => self.take_ended(ended),
                () = self.shared.wake.notified() => {}
                () = sleep_until(wake_at) => {}
            }
        }
    }

    /// Does what is due, and says when to come again.
    fn turn(&mut self) -> Option<Instant> {
        let now = now();
        let shared = self.shared.clone();
        let mut state = shared.state();
        state.roster.advance(now);
        while self.has_room() {
            let Some(job) = state.roster.start_due(now) else { break };
            self.start(job);
        }
        state.note_changes(now);
        state.board.publish_due(now);
        let next_check = state.roster.next_check().filter(|_| self.has_room());
        earlier(next_check, state.next_chore())
    }

    fn has_room(&self) -> bool {
        self.probes.len() < self.concurrency
    }

    fn start(&mut self, job: Job) {
        let prober = self.prober.clone();
        let probe = self.probes.spawn(async move { prober.probe(&job.id, &job.check).await });
        self.tickets.insert(probe.id(), job.ticket);
    }

    /// Takes this result, and all others that are there by now.
    fn take_ended(&mut self, first: Ended) {
        let now = now();
        let shared = self.shared.clone();
        let mut state = shared.state();
        let mut next = Some(first);
        while let Some(ended) = next {
            let (id, result) = untangle(ended);
            if let Some(ticket) = self.tickets.remove(&id) {
                state.roster.finished(ticket, result, now);
            }
            next = self.probes.try_join_next_with_id();
        }
    }
}

type Ended = Result<(Id, Result<(), Failure>), JoinError>;

/// A check that panicked is a defect of this program: it is said, and the backend is not blamed for it.
fn untangle(ended: Ended) -> (Id, Result<(), Failure>) {
    ended.unwrap_or_else(|error| {
        warn!(%error, "a health check ended without a result; please report this");
        (error.id(), Err(Failure::Unable("the check ended without a result".into())))
    })
}

/// One line for each change; the steps of a slow start and what people did only for who wants all of it.
fn log(change: &Change) {
    let Change { id, from, to, fallen: _, reason } = change;
    let (tenant, pool) = (&*id.tenant, &*id.pool);
    let backend = std::net::SocketAddrV4::new(id.address, id.port);
    let name = |standing: &Option<Standing>| standing.map_or("unchecked", Standing::name);
    let (from, to) = (name(from), name(to));
    if from == to || from == "unchecked" || to == "unchecked" {
        debug!(tenant, pool, %backend, from, to, reason, "health of a backend");
    } else {
        info!(tenant, pool, %backend, from, to, reason, "a backend is {to}");
    }
}

/// The clock of the runtime: tests pause it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.into_iter().chain(b).min()
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
