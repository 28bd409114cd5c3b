//! Which backends are checked, and how.

use std::sync::Arc;
use std::time::Duration;

use super::{BackendId, Standing};
pub use crate::config::CheckKind;

/// The shortest time between two checks of a backend, whatever the settings say: 20 checks a second tell as much as
/// more would, and are no load.
pub const MIN_INTERVAL: Duration = Duration::from_millis(50);

/// While a backend is about to change, its checks come at the interval divided by this. Four keeps the second and
/// third look well within one ordinary interval and is at most four times the ordinary load on the backend.
const FAST_DIVISOR: u32 = 4;

/// A backend that is to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which.
    pub id: BackendId,
    /// How. The backends of a pool share it.
    pub check: Arc<Check>,
    /// The time in which its share grows to the full one after it came up; zero: at once.
    pub slow_start: Duration,
    /// What it is before its first checks.
    pub initial: Initial,
}

/// What a backend is before its first checks. Only looked at when a backend appears: one that is already known keeps
/// its standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initial {
    /// Up until proven down: `assume_up`, or the tables carried it before a restart.
    Up,
    /// Down until proven up.
    Down,
}

/// How a backend is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is done.
    pub kind: CheckKind,
    /// From the start of a check to the start of the next one. Less than [`MIN_INTERVAL`] counts as that.
    pub interval: Duration,
    /// What a check may take in all, from connecting to the answer.
    pub timeout: Duration,
    /// Successes in a row until a backend is up. 0 counts as 1.
    pub rise: u8,
    /// Failures in a row until a backend is down. 0 counts as 1.
    pub fall: u8,
    /// Per cent of the interval by which it is made shorter or longer at random. More than 100 counts as 100.
    pub jitter_percent: u8,
    /// May failures of real traffic count?
    pub passive: bool,
    /// The port to check, if not the backend's own.
    pub port: Option<u16>,
}

impl Initial {
    /// How such a backend stands: what comes up later rises slowly, this has its full share.
    pub const fn standing(self) -> Standing {
        match self {
            Self::Up => Standing::Up,
            Self::Down => Standing::Down,
        }
    }
}

impl Check {
    /// The interval in force.
    pub fn interval(&self) -> Duration {
        self.interval.max(MIN_INTERVAL)
    }

    /// The interval while a backend is about to change: a quarter, but at least [`MIN_INTERVAL`].
    pub fn fast_interval(&self) -> Duration {
        (self.interval() / FAST_DIVISOR).max(MIN_INTERVAL)
    }

    /// The longest time between two checks: the interval with all of its jitter.
    pub fn longest_interval(&self) -> Duration {
        self.interval() + self.jitter()
    }

    /// By how much at most jitter makes the interval shorter or longer.
    pub fn jitter(&self) -> Duration {
        self.interval() * u32::from(self.jitter_percent.min(100)) / 100
    }

    /// The longest time from the failure of a backend that was up to its being down, when checks start on time.
    pub fn detection_time(&self) -> Duration {
        self.worst_case(self.fall())
    }

    /// The longest time from the recovery of a backend that was down to its being up, when checks start on time.
    pub fn recovery_time(&self) -> Duration {
        self.worst_case(self.rise())
    }

    /// The change happens just after a check began, so the next one is the first to see it; then each check may take
    /// its whole timeout, and checks of one backend never overlap.
    fn worst_case(&self, in_a_row: u8) -> Duration {
        let first = self.longest_interval().max(self.timeout);
        first + self.fast_interval().max(self.timeout) * u32::from(in_a_row - 1) + self.timeout
    }

    /// Successes in a row until a backend is up, at least 1.
    pub fn rise(&self) -> u8 {
        self.rise.max(1)
    }

    /// Failures in a row until a backend is down, at least 1.
    pub fn fall(&self) -> u8 {
        self.fall.max(1)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// A TCP check every 2 s, timeout 500 ms, rise 2, fall 3, jitter 10 %, with passive signals.
    pub(in super::super) fn tcp_check() -> Check {
        Check {
            kind: CheckKind::Tcp,
            interval: Duration::from_secs(2),
            timeout: Duration::from_millis(500),
            rise: 2,
            fall: 3,
            jitter_percent: 10,
            passive: true,
            port: None,
        }
    }

    /// A target with that number in its address, down until proven up, without slow start.
    pub(in super::super) fn target(number: u32, check: &Arc<Check>) -> Target {
        let id = BackendId {
            tenant: "alpha".into(),
            pool: "web".into(),
            address: Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 0).to_bits() + number),
            port: 8080,
        };
        Target { id, check: check.clone(), slow_start: Duration::ZERO, initial: Initial::Down }
    }

    #[test]
    fn the_fast_interval_is_a_quarter_but_never_a_storm() {
        let every = |millis| Check { interval: Duration::from_millis(millis), ..tcp_check() }.fast_interval();
        assert_eq!(every(2_000), Duration::from_millis(500));
        assert_eq!(every(100), MIN_INTERVAL);
        assert_eq!(every(0), MIN_INTERVAL);
    }

    #[test]
    fn the_detection_time_adds_up() {
        // 2 s and its jitter, two more looks at 500 ms, and the timeout of the last.
        assert_eq!(tcp_check().detection_time(), Duration::from_millis(2_200 + 2 * 500 + 500));
        assert_eq!(tcp_check().recovery_time(), Duration::from_millis(2_200 + 500 + 500));
        let slow = Check { timeout: Duration::from_secs(1), ..tcp_check() };
        assert_eq!(slow.detection_time(), Duration::from_millis(2_200 + 2 * 1_000 + 1_000));
    }

    #[test]
    fn numbers_out_of_range_count_as_the_nearest_that_make_sense() {
        let check = Check { rise: 0, fall: 0, jitter_percent: 255, ..tcp_check() };
        assert_eq!((check.rise(), check.fall()), (1, 1));
        assert_eq!(check.longest_interval(), Duration::from_secs(4));
    }
}
