//! How much of a CPU a pass took, and how long to rest after it.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// A pass rests so many times as long as it worked, so that it never takes more than 0.5 % of a CPU.
const REST: u32 = 200;

/// What takes less than this needs no rest.
const SHORT: Duration = Duration::from_millis(10);

/// CPU time that one thread has used; from [`Effort::begin`] on in that thread.
///
/// Not the time on the clock: on a busy machine that is several times as long, and what is damaged would stay so for as
/// many seconds more just when it matters.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    begin: Duration,
}

impl Effort {
    /// Begins to count.
    pub fn begin() -> Self {
        Self { begin: used() }
    }

    /// What was used since then. In another thread than the one that began it is of no meaning.
    pub fn spent(self) -> Duration {
        used().saturating_sub(self.begin)
    }
}

/// CPU time of this thread.
fn used() -> Duration {
    // Every kernel since 2.6.12 has this clock; were it missing, nothing would rest any longer than it has to.
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// The least rest after a pass that used so much.
pub fn rest_after(spent: Duration) -> Duration {
    if spent < SHORT { Duration::ZERO } else { spent * REST }
}

#[cfg(test)]
mod tests {
    use std::{hint::black_box, thread::sleep, time::Instant};

    use super::*;

    #[test]
    fn waiting_is_no_effort_and_work_is() {
        let effort = Effort::begin();
        sleep(Duration::from_millis(30));
        assert_eq!(rest_after(effort.spent()), Duration::ZERO);
        let deadline = Instant::now() + Duration::from_secs(10);
        while effort.spent() < SHORT && Instant::now() < deadline {
            black_box(0);
        }
        assert!(rest_after(effort.spent()) >= SHORT * REST);
    }
}
