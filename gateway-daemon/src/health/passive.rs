//! What real traffic says about backends: pure. Someone else reads the kernel's table of half-open flows.
//!
//! Each flow is judged at most once for each of two questions, when it reaches a certain age, by what it is at the
//! first look after that. Ages and the time of the last look are all that is needed for it: nothing is remembered about
//! single flows, so a flood of them costs no memory here.
//!
//! | age | question |
//! |---|---|
//! | [`SETTLED`] | did the backend refuse it with an RST, or answer it? |
//! | [`UNANSWERED`] | is its SYN still without an answer? |
//!
//! An RST that the client sent says nothing about the backend.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Within this time a backend's answer to a SYN has arrived: hosts of one network answer in a few milliseconds. An RST
/// that takes longer is not counted.
pub const SETTLED: Duration = Duration::from_millis(100);

/// A SYN without an answer for so long is one that the client will repeat (RFC 6298 section 2: 1 s).
pub const UNANSWERED: Duration = Duration::from_secs(1);

/// A backend as the kernel's tables know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendAddr {
    /// Its tenant's number.
    pub tenant: u16,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its port.
    pub port: u16,
}

/// How far a flow towards a backend has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The backend has said nothing.
    HalfOpen,
    /// It has answered.
    Answered,
    /// It has refused: the RST is the backend's.
    Refused,
    /// The client gave up: the RST is the client's.
    Abandoned,
}

/// A TCP flow of the half-open table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The backend that it was sent to.
    pub backend: BackendAddr,
    /// How far it has come.
    pub progress: Progress,
    /// When its SYN came: `CLOCK_MONOTONIC` nanoseconds.
    pub born_ns: u64,
}

/// When the table was last looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    until_ns: u64,
}

/// What traffic said about one backend since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// Flows whose SYN nobody answered.
    pub unanswered: u32,
    /// Flows that the backend refused with an RST.
    pub refused: u32,
    /// Flows that it answered.
    pub answered: u32,
}

/// What kind of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignKind {
    /// SYNs unanswered.
    Unanswered,
    /// RSTs in answer to SYNs.
    Refused,
}

impl std::fmt::Display for SignKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unanswered => "SYNs are not answered",
            Self::Refused => "connections are refused",
        })
    }
}

impl Signs {
    /// The failures, if any, and their more frequent kind.
    pub fn failures(&self) -> Option<(SignKind, u32)> {
        let kind = if self.refused > self.unanswered { SignKind::Refused } else { SignKind::Unanswered };
        match self.unanswered.saturating_add(self.refused) {
            0 => None,
            count => Some((kind, count)),
        }
    }

    fn add(&mut self, seen: Self) {
        self.unanswered = self.unanswered.saturating_add(seen.unanswered);
        self.refused = self.refused.saturating_add(seen.refused);
        self.answered = self.answered.saturating_add(seen.answered);
    }
}

impl Cursor {
    /// Flows that were old enough before `now_ns` won't count.
    pub const fn starting_at(now_ns: u64) -> Self {
        Self { until_ns: now_ns }
    }

    /// Judges the flows that have become old enough since the last call, and moves on to `now_ns`. Backends that
    /// nothing can be said about are not in the answer.
    pub fn signs(
        &mut self,
        flows: impl IntoIterator<Item = Observation>,
        now_ns: u64,
    ) -> HashMap<BackendAddr, Signs> {
        let mut signs = HashMap::<BackendAddr, Signs>::new();
        for flow in flows {
            if let Some(seen) = self.judge(&flow, now_ns) {
                signs.entry(flow.backend).or_default().add(seen);
            }
        }
        self.until_ns = self.until_ns.max(now_ns);
        signs
    }

    fn judge(self, flow: &Observation, now_ns: u64) -> Option<Signs> {
        let passes = |age| self.is_passed_by(flow.born_ns, age, now_ns);
        match flow.progress {
            Progress::HalfOpen if passes(UNANSWERED) => Some(Signs { unanswered: 1, ..Signs::default() }),
            Progress::Refused if passes(SETTLED) => Some(Signs { refused: 1, ..Signs::default() }),
            Progress::Answered if passes(SETTLED) => Some(Signs { answered: 1, ..Signs::default() }),
            _ => None,
        }
    }

    /// Has the flow reached that age since the last call?
    fn is_passed_by(self, born_ns: u64, age: Duration, now_ns: u64) -> bool {
        let age_ns = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        let at_ns = born_ns.saturating_add(age_ns);
        self.until_ns < at_ns && at_ns <= now_ns
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    fn backend(number: u16) -> BackendAddr {
        BackendAddr { tenant: number, address: Ipv4Addr::new(10, 0, 0, 1), port: 8080 }
    }

    fn flow(progress: Progress, born_ms: u64) -> Observation {
        Observation { backend: backend(1), progress, born_ns: born_ms * MS }
    }

    /// What looks at these times (in ms) say about a flow that stays as it is.
    fn looks(flow: Observation, at_ms: &[u64]) -> Vec<Signs> {
        let mut cursor = Cursor::starting_at(0);
        let look = |at: &u64| cursor.signs([flow], at * MS).remove(&backend(1)).unwrap_or_default();
        at_ms.iter().map(look).collect()
    }

    #[test]
    fn a_syn_counts_once_when_it_is_a_second_old() {
        let unanswered = looks(flow(Progress::HalfOpen, 500), &[600, 1_499, 1_500, 1_501, 9_000]);
        assert_eq!(unanswered.iter().map(|signs| signs.unanswered).collect::<Vec<_>>(), [0, 0, 1, 0, 0]);
        assert!(unanswered.iter().all(|signs| signs.refused == 0 && signs.answered == 0));
    }

    #[test]
    fn a_refusal_counts_once_and_soon() {
        let refused = looks(flow(Progress::Refused, 500), &[599, 600, 700, 1_500, 1_600]);
        assert_eq!(refused.iter().map(|signs| signs.refused).collect::<Vec<_>>(), [0, 1, 0, 0, 0]);
        assert!(refused.iter().all(|signs| signs.unanswered == 0));
    }

    #[test]
    fn what_the_client_ended_says_nothing() {
        assert_eq!(looks(flow(Progress::Abandoned, 0), &[50, 100, 1_000, 2_000]), [Signs::default(); 4]);
    }

    #[test]
    fn what_was_there_before_the_start_does_not_count() {
        let mut cursor = Cursor::starting_at(5_000 * MS);
        assert!(
            cursor
                .signs([flow(Progress::HalfOpen, 4_000), flow(Progress::Refused, 4_900)], 6_000 * MS)
                .is_empty()
        );
        assert_eq!(cursor.signs([flow(Progress::HalfOpen, 5_001)], 6_001 * MS).len(), 1);
    }

    #[test]
    fn a_clock_that_stands_still_counts_nothing_twice() {
        assert_eq!(
            looks(flow(Progress::HalfOpen, 0), &[2_000, 2_000, 1_000, 2_000])[1..],
            [Signs::default(); 3]
        );
    }

    #[test]
    fn each_backend_has_its_own_counts() {
        let flows = (0..30_u16).map(|number| Observation {
            backend: backend(number % 3),
            progress: if number % 3 == 0 { Progress::Refused } else { Progress::HalfOpen },
            born_ns: MS,
        });
        let signs = Cursor::starting_at(0).signs(flows, 2_000 * MS);
        assert_eq!(signs[&backend(0)].failures(), Some((SignKind::Refused, 10)));
        assert_eq!(signs[&backend(1)].failures(), Some((SignKind::Unanswered, 10)));
        assert_eq!(signs.len(), 3);
        assert_eq!(Signs { answered: 7, ..Signs::default() }.failures(), None);
    }

    proptest! {
        /// Whenever the looks come, each flow that stays as it is counts exactly once, if they go on for long enough.
        #[test]
        fn every_flow_counts_exactly_once(
            births in prop::collection::vec((1_u64..20_000, any::<bool>()), 0..200),
            gaps in prop::collection::vec(0_u64..3_000, 0..40),
        ) {
            let flows: Vec<_> = births
                .iter()
                .map(|(born, refused)| flow(if *refused { Progress::Refused } else { Progress::HalfOpen }, *born))
                .collect();
            let (mut cursor, mut now, mut sum) = (Cursor::starting_at(0), 0, Signs::default());
            for gap in gaps.iter().chain(&[30_000]) {
                now += gap;
                let born = flows.iter().filter(|flow| flow.born_ns <= now * MS).copied();
                sum.add(cursor.signs(born, now * MS).remove(&backend(1)).unwrap_or_default());
            }
            let refused = births.iter().filter(|(_, refused)| *refused).count();
            prop_assert_eq!(usize::try_from(sum.refused).unwrap(), refused);
            prop_assert_eq!(usize::try_from(sum.unanswered).unwrap(), births.len() - refused);
        }
    }
}
