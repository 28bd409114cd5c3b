//! When each of many things is due.

use std::collections::BTreeSet;
use std::time::Instant;

/// The number of an entry of the roster.
pub type Slot = u32;

/// At most one time for each slot. An ordered set rather than a heap, because times are often moved.
#[derive(Debug, Default)]
pub struct Agenda {
    by_time: BTreeSet<(Instant, Slot)>,
    by_slot: Vec<Option<Instant>>,
}

impl Agenda {
    /// Sets, moves or (`None`) clears the slot's time.
    pub fn set(&mut self, slot: Slot, at: Option<Instant>) {
        let index = slot as usize;
        if index >= self.by_slot.len() {
            self.by_slot.resize(index + 1, None);
        }
        let before = std::mem::replace(&mut self.by_slot[index], at);
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.by_time.remove(&(before, slot));
        }
        if let Some(at) = at {
            self.by_time.insert((at, slot));
        }
    }

    /// Moves the slot's time forward to `at`, unless it is sooner already. A slot without a time stays without.
    pub fn hurry(&mut self, slot: Slot, at: Instant) {
        if self.by_slot.get(slot as usize).copied().flatten().is_some_and(|due| due > at) {
            self.set(slot, Some(at));
        }
    }

    /// Takes out what is due, the most overdue first.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Slot, Instant)> {
        let (at, slot) = *self.by_time.first().filter(|(at, _)| *at <= now)?;
        self.set(slot, None);
        Some((slot, at))
    }

    /// The earliest time.
    pub fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_most_overdue_comes_first_and_moved_times_count() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut agenda = Agenda::default();
        for (slot, ms) in [(0, 30), (1, 10), (2, 20), (3, 20)] {
            agenda.set(slot, Some(at(ms)));
        }
        agenda.set(1, Some(at(40)));
        agenda.set(2, None);
        agenda.hurry(0, at(5));
        agenda.hurry(3, at(25));
        agenda.hurry(2, at(1));
        assert_eq!(agenda.next(), Some(at(5)));
        assert_eq!(agenda.pop_due(at(4)), None);
        assert_eq!(agenda.pop_due(at(100)), Some((0, at(5))));
        assert_eq!(agenda.pop_due(at(100)), Some((3, at(20))));
        assert_eq!(agenda.pop_due(at(100)), Some((1, at(40))));
        assert_eq!(agenda.pop_due(at(100)), None);
        assert_eq!(agenda.next(), None);
    }
}
