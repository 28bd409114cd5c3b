//! From results of checks to up and down. No IO and no clock: `now` is an argument.
//!
//! ```text
//!           rise successes in a row               slow start is over
//!   Down ──────────────────────────► Up, rising ──────────────────────► Up
//!     ▲                                  │                              │
//!     └──────────────────────────────────┴──────────────────────────────┘
//!        fall failures in a row, the last of them an active check's
//! ```
//!
//! While a backend is about to change (some successes while down, some failures while up), checks come at the fast
//! interval. [`Check::detection_time`] is the bound that follows from it.
//!
//! Passive signals, failures of real traffic, do two things to a backend that is up: they bring the next check
//! forward, to one fast interval after the last, and they count as failures, but never as more than `fall - 1` of
//! them. So whoever can make connections fail on purpose, on NPCI's side or not, makes this node look sooner and more
//! often (at most at the fast interval) and look once instead of `fall` times, but a backend that answers this
//! node's checks stays up. They never bring a backend up, and while it is down they mean nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Standing;
use super::failure::Failure;
use super::passive::SignKind;
use super::target::{Check, Initial};

/// Slow start goes from 10 % to 100 % in so many steps of 10 %.
const RISE_STEPS: u32 = 9;

/// What is known about one backend.
#[derive(Clone, Debug)]
pub struct Machine {
    check: Arc<Check>,
    slow_start: Duration,
    state: State,
    since: Instant,
    last_check: Option<Instant>,
    hurried: bool,
    known: Known,
    /// Of a backend that began as down, until checks have said what it is: failures in a row.
    unproven: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// With so many successes in a row.
    Down { successes: u8 },
    /// With so many failures in a row, and so many that traffic added; the sum stays below `fall`.
    Up { failures: u8, signs: u8, rise: Option<Rise> },
}

/// A slow start. What the settings said when it began stays in force, so a share never shrinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rise {
    from: Instant,
    over: Duration,
}

/// Why a backend stands as it does.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    Nothing,
    Passed,
    Failed(Failure),
    Signs(SignKind),
}

impl Machine {
    /// A backend that has just appeared, or appeared again.
    pub fn new(check: Arc<Check>, slow_start: Duration, initial: Initial, now: Instant) -> Self {
        let (state, unproven) = match initial {
            Initial::Up => (State::Up { failures: 0, signs: 0, rise: None }, None),
            Initial::Down => (State::Down { successes: 0 }, Some(0)),
        };
        let (last_check, hurried, known) = (None, false, Known::Nothing);
        Self { check, slow_start, state, since: now, last_check, hurried, known, unproven }
    }

    /// Other settings from now on. The standing stays; what was counted in a row by the old check does not, and the
    /// new check comes soon.
    pub fn reconfigure(&mut self, check: Arc<Check>, slow_start: Duration) {
        (self.check, self.slow_start, self.hurried) = (check, slow_start, true);
        self.unproven = self.unproven.map(|_| 0);
        match &mut self.state {
            State::Down { successes } => *successes = 0,
            State::Up { failures, signs, .. } => (*failures, *signs) = (0, 0),
        }
    }

    /// A check has begun.
    pub fn check_started(&mut self, now: Instant) {
        self.last_check = Some(now);
        self.hurried = false;
    }

    /// It passed.
    pub fn check_succeeded(&mut self, now: Instant) {
        self.known = Known::Passed;
        self.unproven = self.unproven.map(|_| 0);
        match &mut self.state {
            State::Up { failures, signs, .. } => (*failures, *signs) = (0, 0),
            State::Down { successes } => {
                *successes += 1;
                if *successes >= self.check.rise() {
                    self.come_up(now);
                }
            }
        }
    }

    /// It did not pass. A failure that is this node's own counts as neither.
    pub fn check_failed(&mut self, now: Instant, reason: Failure) {
        let is_ours = reason.is_ours();
        self.known = Known::Failed(reason);
        if is_ours {
            return;
        }
        let failures = self.unproven.map(|failures| failures.saturating_add(1));
        self.unproven = failures.filter(|failures| *failures < self.check.fall());
        match &mut self.state {
            State::Down { successes } => *successes = 0,
            State::Up { failures, signs, .. } => {
                *failures += 1;
                if failures.saturating_add(*signs) >= self.check.fall() {
                    self.go_down(now);
                }
            }
        }
    }

    /// Real traffic failed `count` times. Does nothing unless the check has `passive` set and the backend is up.
    pub fn passive_failure(&mut self, kind: SignKind, count: u32) {
        let State::Up { failures, signs, .. } = &mut self.state else { return };
        if !self.check.passive || count == 0 {
            return;
        }
        let room = (self.check.fall() - 1).saturating_sub(*failures);
        *signs = signs.saturating_add(u8::try_from(count).unwrap_or(u8::MAX)).min(room);
        self.hurried = true;
        if *failures == 0 {
            self.known = Known::Signs(kind);
        }
    }

    /// Real traffic was answered: what it said before is forgotten, what checks said is not.
    pub fn passive_success(&mut self) {
        if let State::Up { signs, .. } = &mut self.state {
            *signs = 0;
        }
    }

    fn come_up(&mut self, now: Instant) {
        let rise = (!self.slow_start.is_zero()).then_some(Rise { from: now, over: self.slow_start });
        self.state = State::Up { failures: 0, signs: 0, rise };
        self.unproven = None;
        self.since = now;
    }

    fn go_down(&mut self, now: Instant) {
        self.state = State::Down { successes: 0 };
        self.since = now;
    }

    /// When the next check is to start, given that none is under way. `random` is any number, evenly spread.
    pub fn next_check_at(&self, now: Instant, random: u64) -> Instant {
        match self.last_check {
            Some(last) => (last + self.spacing(random)).max(now),
            None => now + self.first_wait(random),
        }
    }

    /// Backends that are taken for up are looked at in the course of one interval, not all at once.
    fn first_wait(&self, random: u64) -> Duration {
        match self.state {
            State::Up { .. } if !self.hurried => fraction(self.check.interval(), random),
            _ => Duration::ZERO,
        }
    }

    fn spacing(&self, random: u64) -> Duration {
        let fast = self.check.fast_interval();
        if self.hurried || self.is_undecided() {
            return fast;
        }
        let jitter = self.check.jitter();
        let shortest = self.check.interval().saturating_sub(jitter);
        (shortest + fraction(2 * jitter, random)).max(fast)
    }

    /// Is it about to change?
    fn is_undecided(&self) -> bool {
        match self.state {
            State::Down { successes } => successes > 0,
            State::Up { failures, signs, .. } => failures > 0 || signs > 0,
        }
    }

    /// What the tables are to do with it.
    pub fn standing(&self, now: Instant) -> Standing {
        match &self.state {
            State::Down { .. } => Standing::Down,
            State::Up { rise, .. } => rise.map_or(Standing::Up, |rise| rise.standing(now)),
        }
    }

    /// Is it down because checks said so? Not one that began as down, until as many in a row have failed as it takes for
    /// one that is up to fall.
    pub fn has_fallen(&self) -> bool {
        matches!(self.state, State::Down { .. }) && self.unproven.is_none()
    }

    /// When [`Self::standing`] changes without any check: the next step of a slow start.
    pub fn next_change_at(&self, now: Instant) -> Option<Instant> {
        match &self.state {
            State::Up { rise: Some(rise), .. } => rise.next_step(now),
            _ => None,
        }
    }

    /// How long it has stood so.
    pub fn age(&self, now: Instant) -> Duration {
        let since = match &self.state {
            State::Up { rise: Some(rise), .. } if rise.step(now) == RISE_STEPS => rise.from + rise.over,
            _ => self.since,
        };
        now.saturating_duration_since(since)
    }

    /// Why it stands so, in words.
    pub fn reason(&self) -> String {
        let (count, of) = match self.state {
            State::Down { successes } => (successes, self.check.rise()),
            State::Up { failures, signs, .. } => (failures + signs, self.check.fall()),
        };
        match (&self.known, self.state) {
            (Known::Nothing, State::Up { .. }) => "assumed up, not checked yet".to_owned(),
            (Known::Nothing, State::Down { .. }) => "not checked yet".to_owned(),
            (Known::Passed, State::Down { .. }) => format!("the check passed, {count} of {of} in a row"),
            (Known::Passed, State::Up { .. }) => "the check passed".to_owned(),
            (Known::Failed(failure), State::Up { .. }) if !failure.is_ours() => {
                format!("{failure}; {count} of {of} failures in a row")
            }
            (Known::Failed(failure), _) => failure.to_string(),
            (Known::Signs(kind), _) => format!("traffic: {kind}; the next check decides"),
        }
    }

    /// How it is checked.
    pub fn check(&self) -> &Arc<Check> {
        &self.check
    }

    /// How long its slow starts are.
    pub fn slow_start(&self) -> Duration {
        self.slow_start
    }
}

impl Rise {
    /// Steps made, 0 to [`RISE_STEPS`].
    fn step(self, now: Instant) -> u32 {
        let elapsed = now.saturating_duration_since(self.from);
        if elapsed >= self.over {
            return RISE_STEPS;
        }
        let steps = elapsed.as_nanos() * u128::from(RISE_STEPS) / self.over.as_nanos();
        u32::try_from(steps).unwrap_or(RISE_STEPS)
    }

    fn standing(self, now: Instant) -> Standing {
        match u8::try_from(10 * (self.step(now) + 1)) {
            Ok(share) if share < 100 => Standing::Rising(share),
            _ => Standing::Up,
        }
    }

    fn next_step(self, now: Instant) -> Option<Instant> {
        let next = self.step(now) + 1;
        // Rounded up, or the step would not have been made yet at that time.
        let after =
            |step: u32| (self.over * step + Duration::from_nanos(u64::from(RISE_STEPS) - 1)) / RISE_STEPS;
        (next <= RISE_STEPS).then(|| self.from + after(next))
    }
}

/// The share `random` / 2^64 of a duration.
fn fraction(of: Duration, random: u64) -> Duration {
    let nanos = of.as_nanos().saturating_mul(u128::from(random)) >> u64::BITS;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
