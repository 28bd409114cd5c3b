//! All backends, and when each is due. No IO and no clock: the driver asks what to do and says what came of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::agenda::{Agenda, Slot};
use super::failure::Failure;
use super::machine::Machine;
use super::passive::Signs;
use super::target::{Check, MIN_INTERVAL, Target};
use super::{BackendId, Standing};

/// A check that starts later than this after its time is an overrun: detection takes longer than promised.
const OVERRUN: Duration = MIN_INTERVAL;

/// Every backend that is checked.
#[derive(Debug)]
pub struct Roster {
    entries: Vec<Option<Entry>>,
    free: Vec<Slot>,
    index: HashMap<BackendId, Slot>,
    checks: Agenda,
    steps: Agenda,
    changes: Vec<Change>,
    random: fastrand::Rng,
    tickets: u64,
    totals: Totals,
}

#[derive(Debug)]
struct Entry {
    id: BackendId,
    machine: Machine,
    /// The standing that the last [`Change`] said.
    standing: Standing,
    /// Whether the last [`Change`] said that it has fallen.
    fallen: bool,
    /// The check under way.
    running: Option<u64>,
    last_took: Option<Duration>,
    checks: u64,
    failures: u64,
}

/// A check that is to be made.
#[derive(Clone, Debug)]
pub struct Job {
    /// To be handed back with the result.
    pub ticket: Ticket,
    /// The backend.
    pub id: BackendId,
    /// What to do.
    pub check: Arc<Check>,
}

/// Which check a result belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    slot: Slot,
    number: u64,
    started: Instant,
}

/// A backend's standing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub id: BackendId,
    /// What it was; none when it was not checked before.
    pub from: Option<Standing>,
    /// What it is; none when it is no longer checked. The same as `from` when only `fallen` is another.
    pub to: Option<Standing>,
    /// Is it down because checks said so, rather than because it began as down?
    pub fallen: bool,
    /// Why.
    pub reason: String,
}

/// What is known about a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendReport {
    /// Which.
    pub id: BackendId,
    /// How it stands.
    pub standing: Standing,
    /// Why, in words.
    pub reason: String,
    /// For how long it has been up, rising or down.
    pub since: Duration,
    /// How many milliseconds its last check took.
    pub last_check_ms: Option<u64>,
    /// Checks that have ended.
    pub checks: u64,
    /// Those of them that did not pass.
    pub failures: u64,
}

/// Numbers for the metrics. All but the first two only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Backends that are checked.
    pub targets: usize,
    /// Those of them that take no new flows.
    pub down: usize,
    /// Checks that have ended.
    pub checks: u64,
    /// Checks that did not pass.
    pub failures: u64,
    /// Those of them that this node could not make.
    pub unable: u64,
    /// Checks that started late, because too many were under way.
    pub overruns: u64,
    /// Changes between up (or rising) and down.
    pub transitions: u64,
}

impl Roster {
    /// An empty one. The seed spreads the checks.
    pub fn new(seed: u64) -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            index: HashMap::new(),
            checks: Agenda::default(),
            steps: Agenda::default(),
            changes: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
            tickets: 0,
            totals: Totals::default(),
        }
    }

    /// From now on these are checked and no others. Those that stay keep their standing and their counts.
    pub fn update(&mut self, targets: &[Target], now: Instant) {
        let mut stays = vec![false; self.entries.len()];
        for target in targets {
            let slot = self.take_over(target, now);
            if let Some(stays) = stays.get_mut(slot as usize) {
                *stays = true;
            }
        }
        for (slot, _) in (0..).zip(&stays).filter(|(_, stays)| !**stays) {
            self.remove(slot);
        }
    }

    fn take_over(&mut self, target: &Target, now: Instant) -> Slot {
        let Some(slot) = self.index.get(&target.id).copied() else { return self.insert(target, now) };
        self.reconfigure(slot, target, now);
        slot
    }

    fn insert(&mut self, target: &Target, now: Instant) -> Slot {
        let machine = Machine::new(target.check.clone(), target.slow_start, target.initial, now);
        let entry = Entry::new(target.id.clone(), machine, now);
        self.note_appeared(&entry);
        let slot = self.place(entry);
        self.index.insert(target.id.clone(), slot);
        self.schedule(slot, now);
        slot
    }

    fn place(&mut self, entry: Entry) -> Slot {
        if let Some(slot) = self.free.pop() {
            self.entries[slot as usize] = Some(entry);
            return slot;
        }
        self.entries.push(Some(entry));
        // That many would fill half a terabyte long before.
        Slot::try_from(self.entries.len() - 1).expect("fewer than 2^32 backends")
    }

    fn reconfigure(&mut self, slot: Slot, target: &Target, now: Instant) {
        let Some(entry) = self.entry(slot) else { return };
        let machine = &mut entry.machine;
        if *machine.check() == target.check && machine.slow_start() == target.slow_start {
            return;
        }
        machine.reconfigure(target.check.clone(), target.slow_start);
        // What the old check under way finds no longer counts.
        entry.running = None;
        self.schedule(slot, now);
    }

    fn remove(&mut self, slot: Slot) {
        let Some(entry) = self.entries.get_mut(slot as usize).and_then(Option::take) else { return };
        self.checks.set(slot, None);
        self.steps.set(slot, None);
        self.free.push(slot);
        self.index.remove(&entry.id);
        let reason = "no longer checked".to_owned();
        let from = Some(entry.standing);
        self.changes.push(Change { id: entry.id, from, to: None, fallen: false, reason });
    }

    /// Takes what traffic says about a backend.
    pub fn passive(&mut self, id: &BackendId, signs: Signs, now: Instant) {
        let Some(slot) = self.index.get(id).copied() else { return };
        let random = self.random.u64(..);
        let Some(entry) = self.entry(slot) else { return };
        // Successes first: of a backend that refuses some and answers others, the failures shall count.
        if signs.answered > 0 {
            entry.machine.passive_success();
        }
        if let Some((kind, count)) = signs.failures() {
            entry.machine.passive_failure(kind, count);
            let at = entry.machine.next_check_at(now, random);
            self.checks.hurry(slot, at);
        }
    }

    /// The next check that is due, if any: it counts as begun.
    pub fn start_due(&mut self, now: Instant) -> Option<Job> {
        let (slot, due) = self.checks.pop_due(now)?;
        self.totals.overruns += u64::from(now.saturating_duration_since(due) > OVERRUN);
        self.tickets += 1;
        let number = self.tickets;
        let entry = self.entry(slot)?;
        entry.machine.check_started(now);
        entry.running = Some(number);
        let ticket = Ticket { slot, number, started: now };
        Some(Job { ticket, id: entry.id.clone(), check: entry.machine.check().clone() })
    }

    /// A check has ended. Of backends that are gone, or are checked in another way by now, it is ignored.
    pub fn finished(&mut self, ticket: Ticket, result: Result<(), Failure>, now: Instant) {
        let Some(entry) = self.entry(ticket.slot) else { return };
        if entry.running.take_if(|running| *running == ticket.number).is_none() {
            return;
        }
        let (failed, unable) = (result.is_err(), result.as_ref().is_err_and(Failure::is_ours));
        entry.take(result, now.saturating_duration_since(ticket.started), now);
        self.totals.checks += 1;
        self.totals.failures += u64::from(failed);
        self.totals.unable += u64::from(unable);
        self.follow(ticket.slot, now);
        self.schedule(ticket.slot, now);
    }

    /// Makes the steps of slow starts that are due.
    pub fn advance(&mut self, now: Instant) {
        while let Some((slot, _)) = self.steps.pop_due(now) {
            self.follow(slot, now);
        }
    }

    /// When the next check is due.
    pub fn next_check(&self) -> Option<Instant> {
        self.checks.next()
    }

    /// When the next step of a slow start is due.
    pub fn next_step(&self) -> Option<Instant> {
        self.steps.next()
    }

    /// What has changed since the last call, in order.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Everything that is known, in the order of the backends' names.
    pub fn report(&self, now: Instant) -> Vec<BackendReport> {
        let mut reports: Vec<_> = self.entries.iter().flatten().map(|entry| entry.report(now)).collect();
        reports.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        reports
    }

    /// The numbers.
    pub fn totals(&self) -> Totals {
        let down = self.entries.iter().flatten().filter(|entry| entry.standing == Standing::Down).count();
        Totals { targets: self.index.len(), down, ..self.totals }
    }

    fn entry(&mut self, slot: Slot) -> Option<&mut Entry> {
        self.entries.get_mut(slot as usize).and_then(Option::as_mut)
    }

    fn schedule(&mut self, slot: Slot, now: Instant) {
        let random = self.random.u64(..);
        let at = self.entry(slot).map(|entry| entry.machine.next_check_at(now, random));
        self.checks.set(slot, at);
    }

    /// Notes it when the standing has changed, and when it will without a check.
    fn follow(&mut self, slot: Slot, now: Instant) {
        let Some(entry) = self.entry(slot) else { return };
        let next = entry.machine.next_change_at(now);
        let change = entry.follow(now);
        self.steps.set(slot, next);
        if let Some(change) = change {
            let is_down = |standing| standing == Some(Standing::Down);
            let turned = is_down(change.from) != is_down(change.to);
            self.totals.transitions += u64::from(turned);
            self.changes.push(change);
        }
    }

    fn note_appeared(&mut self, entry: &Entry) {
        let reason = entry.machine.reason();
        let to = Some(entry.standing);
        let change = Change { id: entry.id.clone(), from: None, to, fallen: entry.fallen, reason };
        self.changes.push(change);
    }
}

impl Entry {
    fn new(id: BackendId, machine: Machine, now: Instant) -> Self {
        let standing = machine.standing(now);
        let (running, last_took) = (None, None);
        Self { id, machine, standing, fallen: false, running, last_took, checks: 0, failures: 0 }
    }

    fn take(&mut self, result: Result<(), Failure>, took: Duration, now: Instant) {
        self.last_took = Some(took);
        self.checks += 1;
        self.failures += u64::from(result.is_err());
        match result {
            Ok(()) => self.machine.check_succeeded(now),
            Err(reason) => self.machine.check_failed(now, reason),
        }
    }

    fn follow(&mut self, now: Instant) -> Option<Change> {
        let to = self.machine.standing(now);
        let from = std::mem::replace(&mut self.standing, to);
        let fallen = self.machine.has_fallen();
        let had_fallen = std::mem::replace(&mut self.fallen, fallen);
        (from != to || fallen != had_fallen).then(|| Change {
            id: self.id.clone(),
            from: Some(from),
            to: Some(to),
            fallen,
            reason: self.machine.reason(),
        })
    }

    fn report(&self, now: Instant) -> BackendReport {
        let took_ms = |took: Duration| u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        BackendReport {
            id: self.id.clone(),
            standing: self.machine.standing(now),
            reason: self.machine.reason(),
            since: self.machine.age(now),
            last_check_ms: self.last_took.map(took_ms),
            checks: self.checks,
            failures: self.failures,
        }
    }
}

#[cfg(test)]
mod tests;
