//! Numbers that stand in for names in the tables: pools, backends, allow-lists, runs of Maglev slots.

use std::collections::{BTreeMap, HashSet, VecDeque};

use gateway_common::limits;

/// How long a run of slots that was given back rests before somebody else gets it. A packet that has read its pool just
/// before the change still reads a slot of it, microseconds later.
const REST_NS: u64 = 1_000_000_000;

/// Numbers of one kind. One that was given back is not used again before all others were.
#[derive(Debug, Default)]
pub struct Ids {
    used: HashSet<u32>,
    last: u32,
}

impl Ids {
    /// A number that nobody has.
    pub fn take(&mut self) -> u32 {
        loop {
            self.last = self.last.wrapping_add(1);
            if self.used.insert(self.last) {
                return self.last;
            }
        }
    }

    /// Notes that a number is in use.
    pub fn claim(&mut self, id: u32) {
        self.used.insert(id);
        self.last = self.last.max(id);
    }

    /// Gives a number back.
    pub fn give(&mut self, id: u32) {
        self.used.remove(&id);
    }
}

/// A run of slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Its first slot.
    pub first: u32,
    /// How many slots it has.
    pub len: u32,
}

/// The slots that no pool has.
#[derive(Debug)]
pub struct Runs {
    /// Free runs by their first slot; no two touch.
    free: BTreeMap<u32, u32>,
    /// Runs that rest, with the time until which they do, earliest first.
    resting: VecDeque<(u64, Run)>,
    /// How many slots are free, those that rest left out.
    room: u32,
}

impl Default for Runs {
    fn default() -> Self {
        Self {
            free: [(0, limits::MAGLEV_SLOTS_MAX)].into(),
            resting: VecDeque::new(),
            room: limits::MAGLEV_SLOTS_MAX,
        }
    }
}

impl Runs {
    /// All slots but those of the given runs, which do not overlap.
    pub fn without(taken: impl IntoIterator<Item = Run>) -> Self {
        let mut taken: Vec<Run> = taken.into_iter().filter(|run| run.len > 0).collect();
        taken.sort_by_key(|run| run.first);
        let (mut free, mut start) = (BTreeMap::new(), 0);
        for run in taken {
            if run.first > start {
                free.insert(start, run.first - start);
            }
            start = start.max(run.first.saturating_add(run.len));
        }
        if start < limits::MAGLEV_SLOTS_MAX {
            free.insert(start, limits::MAGLEV_SLOTS_MAX - start);
        }
        let room = free.values().sum();
        Self { free, resting: VecDeque::new(), room }
    }

    /// The first run that is long enough; none when there is none.
    pub fn take(&mut self, len: u32, now_ns: u64) -> Option<Run> {
        if len == 0 {
            return Some(Run::default());
        }
        self.wake(now_ns);
        let (&first, &found) = self.free.iter().find(|(_, found)| **found >= len)?;
        self.free.remove(&first);
        if found > len {
            self.free.insert(first + len, found - len);
        }
        self.room -= len;
        Some(Run { first, len })
    }

    /// Are so many slots free in one piece?
    pub fn fits(&mut self, len: u32, now_ns: u64) -> bool {
        self.wake(now_ns);
        len == 0 || self.free.values().any(|found| *found >= len)
    }

    /// Is less than a quarter of all slots free?
    pub fn is_scarce(&self) -> bool {
        self.room < limits::MAGLEV_SLOTS_MAX / 4
    }

    /// Gives a run back.
    pub fn give(&mut self, run: Run, now_ns: u64) {
        if run.len > 0 {
            self.resting.push_back((now_ns.saturating_add(REST_NS), run));
        }
    }

    fn wake(&mut self, now_ns: u64) {
        while let Some((until, run)) = self.resting.front().copied()
            && until <= now_ns
        {
            self.resting.pop_front();
            self.join(run);
        }
    }

    /// Adds a run to the free ones, together with those that it touches.
    fn join(&mut self, run: Run) {
        self.room += run.len;
        let (mut first, mut len) = (run.first, run.len);
        if let Some((&before, &size)) = self.free.range(..first).next_back()
            && before + size == first
        {
            self.free.remove(&before);
            (first, len) = (before, size + len);
        }
        if let Some(size) = self.free.remove(&(first + len)) {
            len += size;
        }
        self.free.insert(first, len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_not_reused_at_once() {
        let mut ids = Ids::default();
        let first = ids.take();
        ids.give(first);
        assert_ne!(ids.take(), first);
        ids.claim(77);
        assert_eq!(ids.take(), 78);
    }

    #[test]
    fn numbers_in_use_are_skipped_when_they_wrap() {
        let mut ids = Ids::default();
        ids.claim(u32::MAX);
        ids.claim(0);
        ids.claim(1);
        assert_eq!(ids.take(), 2);
    }

    #[test]
    fn a_run_rests_before_it_is_given_out_again() {
        let mut runs = Runs::without([Run { first: 10, len: limits::MAGLEV_SLOTS_MAX - 10 }]);
        let run = runs.take(10, 0).unwrap();
        assert_eq!(run, Run { first: 0, len: 10 });
        runs.give(run, 5);
        assert_eq!(runs.take(1, 5 + REST_NS - 1), None);
        assert_eq!(runs.take(10, 5 + REST_NS), Some(run));
    }

    #[test]
    fn free_runs_grow_together() {
        let mut runs = Runs::default();
        let taken: Vec<Run> = (0..3).map(|_| runs.take(100, 0).unwrap()).collect();
        for index in [0, 2, 1] {
            runs.give(taken[index], 0);
        }
        assert!(runs.take(limits::MAGLEV_SLOTS_MAX, REST_NS).is_some(), "all of it is one run again");
    }

    #[test]
    fn runs_lie_between_those_that_are_taken() {
        let mut runs = Runs::without([Run { first: 5, len: 5 }, Run { first: 20, len: 10 }]);
        assert_eq!(runs.take(10, 0), Some(Run { first: 10, len: 10 }));
        assert_eq!(runs.take(5, 0), Some(Run { first: 0, len: 5 }));
        assert_eq!(runs.take(1, 0), Some(Run { first: 30, len: 1 }));
    }
}
