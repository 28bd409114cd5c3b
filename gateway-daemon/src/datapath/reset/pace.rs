//! A bounded rate, told by time and a count.

use std::time::{Duration, Instant};

/// Sent without a look at the clock's finest grain: sleeping is not exact to less than this many.
const BURST: u32 = 64;

/// When the next of a series may go.
#[derive(Debug)]
pub struct Pace {
    per_second: u32,
    started: Instant,
    sent: u32,
}

impl Pace {
    /// So many a second from now on.
    pub const fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second, started: now, sent: 0 }
    }

    /// Counts one more and says how long it has to wait.
    pub fn next(&mut self, now: Instant) -> Duration {
        self.sent += 1;
        let ahead = self.sent.saturating_sub(BURST);
        let due = self.started + Duration::from_secs(1) * ahead / self.per_second;
        due.saturating_duration_since(now)
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
        assert_eq!(now - start, Duration::from_millis(u64::from(5000 - BURST)));
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
