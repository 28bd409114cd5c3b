//! A bounded rate, told by time and a count.

use std::time::{Duration, Instant};

/// Sent without a look at the clock's finest grain: sleeping is not exact to less than this many.
const BURST: u32 = 64;

/// When the next of a series may go.
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    /// When the next one would go if all were evenly spread.
    at: Instant,
}

impl Pace {
    /// So many a second from now on.
    pub fn new(per_second: u32, now: Instant) -> Self {
        Self { interval: Duration::from_secs(1) / per_second, at: now }
    }

    /// Counts one more and says how long it has to wait. Times without any are not made up for, but for a burst.
    pub fn next(&mut self, now: Instant) -> Duration {
        let earliest = now.checked_sub(self.interval * (BURST - 1)).unwrap_or(now);
        let at = self.at.max(earliest);
        self.at = at + self.interval;
        at.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::{BURST, Pace};
    use std::time::{Duration, Instant};

    #[test]
    fn never_more_than_the_rate_and_a_burst() {
        let start = Instant::now();
        let (mut pace, mut now) = (Pace::new(1000, start), start);
        for sent in 1..=5000_u32 {
            now += pace.next(now);
            let allowed = BURST + u32::try_from((now - start).as_millis()).unwrap();
            assert!(sent <= allowed, "{sent} after {:?}", now - start);
        }
        assert!(now - start <= Duration::from_secs(5), "{:?}", now - start);
        assert!(now - start >= Duration::from_millis(u64::from(5000 - BURST)), "{:?}", now - start);
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let start = Instant::now();
        let mut pace = Pace::new(1000, start);
        let later = start + Duration::from_secs(100);
        let free = (0..200).filter(|_| pace.next(later).is_zero()).count();
        assert_eq!(free, BURST as usize);
    }

    #[test]
    fn a_slow_sender_never_waits() {
        let start = Instant::now();
        let mut pace = Pace::new(1000, start);
        for sent in 1..=5000_u32 {
            assert_eq!(pace.next(start + Duration::from_millis(2) * sent), Duration::ZERO);
        }
    }
}
