//! Waiting for a condition with a deadline. The one place in the lab that sleeps.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

/// First pause between two probes; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// Short enough to add little to a test, long enough to leave the two cores to what is awaited.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// What was awaited did not happen in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedOut {
    /// What was awaited, in words.
    pub what: String,
    /// How long it was awaited.
    pub limit: Duration,
    /// What the last probe saw.
    pub last: Option<String>,
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waited {:?} in vain for {}", self.limit, self.what)?;
        self.last.as_ref().map_or(Ok(()), |last| write!(f, "; last state: {last}"))
    }
}

impl std::error::Error for TimedOut {}

/// Probes until there is a value; panics with `what` when `limit` has passed.
#[track_caller]
pub fn poll_until<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    match try_poll(limit, what, || probe().ok_or(None::<String>)) {
        Ok(value) => value,
        Err(timed_out) => panic!("{timed_out}"),
    }
}

/// Probes until `Ok`; panics with `what` and the last error when `limit` has passed.
#[track_caller]
pub fn poll_result<T, E: fmt::Display>(
    limit: Duration,
    what: &str,
    mut probe: impl FnMut() -> Result<T, E>,
) -> T {
    match try_poll(limit, what, || probe().map_err(Some)) {
        Ok(value) => value,
        Err(timed_out) => panic!("{timed_out}"),
    }
}

/// Probes until `Ok`, at least once and once more at the deadline; the error carries the last state, if any
/// was given.
pub fn try_poll<T, E: fmt::Display>(
    limit: Duration,
    what: &str,
    mut probe: impl FnMut() -> Result<T, Option<E>>,
) -> Result<T, TimedOut> {
    let deadline = Instant::now() + limit;
    let mut pause = FIRST_PAUSE;
    loop {
        let is_last = Instant::now() >= deadline;
        match probe() {
            Ok(value) => return Ok(value),
            Err(state) if is_last => {
                let last = state.map(|state| state.to_string());
                return Err(TimedOut { what: what.to_owned(), limit, last });
            }
            Err(_) => thread::sleep(pause.min(deadline.saturating_duration_since(Instant::now()))),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_the_first_value() {
        let mut probes = 0;
        let value = poll_until(Duration::from_secs(5), "third probe", || {
            probes += 1;
            (probes == 3).then_some(probes)
        });
        assert_eq!(value, 3);
    }

    #[test]
    fn tells_what_was_awaited_and_the_last_state() {
        let mut probes = 0;
        let timed_out = try_poll(Duration::from_millis(20), "the moon", || {
            probes += 1;
            Err::<(), _>(Some(format!("probe {probes}")))
        })
        .expect_err("never ready");
        assert!(probes >= 2, "probed again at the deadline");
        assert_eq!(
            timed_out.to_string(),
            format!("waited 20ms in vain for the moon; last state: probe {probes}")
        );
    }

    #[test]
    fn probes_once_even_without_time() {
        assert_eq!(poll_result(Duration::ZERO, "nothing", || Ok::<_, String>(1)), 1);
    }

    #[test]
    #[should_panic(expected = "in vain for the moon")]
    fn panics_at_the_deadline() {
        poll_until(Duration::from_millis(1), "the moon", || None::<()>);
    }
}
