//! Going round both tables of flows, a part at a time, so that a million flows never hold up anything for long.
//!
//! A turn reads at most [`ENTRIES_A_TURN`] entries (and what is left of a batch), and turns are [`TURN`] apart: at most
//! 327,680 entries, or 163,840 flows, a second. A round of the tables at their default size, all full, takes 2 seconds;
//! of a million flows 7 seconds; of the largest tables 220 seconds. Rounds begin [`ROUND_MIN`] apart while the tables are
//! small, less often as reading them takes longer: 20 times as long as the last one kept a CPU busy, but not less often
//! than every [`ROUND_MAX`] unless the round itself takes longer. So what is idle for too long is seen after one round and
//! that rest, and reading costs 5 % of a CPU; only where it takes longer than a quarter of a second it costs more, up to
//! what 327,680 entries a second take: 13 % with all else that the daemon does (`e2e_limits`, ignored).

use std::{io, time::Duration};

use aya::maps::MapData;
use gateway_common::{
    abi::{CtEntry, FlowKey},
    tables::FlowTable,
};

use super::batch::{self, Cursor, Rest};

/// Entries that one turn reads.
pub const ENTRIES_A_TURN: usize = 32_768;

/// From one turn to the next.
pub const TURN: Duration = Duration::from_millis(100);

/// From the beginning of a round to that of the next, at least.
pub const ROUND_MIN: Duration = Duration::from_secs(1);

/// The longest rest that reading may earn.
pub const ROUND_MAX: Duration = Duration::from_secs(5);

/// Rounds begin so many times as far apart as one keeps a CPU busy.
const BUSY_SHARE: u32 = 20;

/// How far a round has got.
#[derive(Default)]
pub struct Scan {
    /// The table that is read; both are in their order of [`super::tables::Tables::flow_maps`].
    table: usize,
    cursor: Cursor,
}

const TABLES: [FlowTable; 2] = [FlowTable::Established, FlowTable::HalfOpen];

impl Scan {
    /// Reads the next entries; returns whether the round is over, after which the next turn begins another one.
    ///
    /// # Errors
    ///
    /// What the kernel says; the next turn tries again.
    pub fn turn(
        &mut self,
        maps: [&MapData; 2],
        mut visit: impl FnMut(FlowTable, &FlowKey, &CtEntry),
    ) -> io::Result<bool> {
        let mut read = 0;
        while read < ENTRIES_A_TURN {
            let table = TABLES[self.table];
            let rest =
                batch::for_some(maps[self.table], &mut self.cursor, ENTRIES_A_TURN - read, |key, entry| {
                    read += 1;
                    visit(table, key, entry);
                })?;
            if rest == Rest::None {
                self.table = (self.table + 1) % TABLES.len();
                if self.table == 0 {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// How long to rest after a turn that ended a round which began `since_start` ago and kept a CPU busy for so long.
pub fn rest_after_round(since_start: Duration, busy: Duration) -> Duration {
    let interval = (busy * BUSY_SHARE).clamp(ROUND_MIN, ROUND_MAX);
    interval.saturating_sub(since_start).max(TURN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(since_start: u64, busy: u64) -> u128 {
        rest_after_round(Duration::from_millis(since_start), Duration::from_millis(busy)).as_millis()
    }

    #[test]
    fn small_tables_are_read_every_second() {
        assert_eq!(rest(1, 1), 999);
        assert_eq!(rest(600, 50), 400);
    }

    #[test]
    fn large_ones_as_often_as_a_twentieth_of_a_cpu_allows() {
        assert_eq!(rest(1_000, 100), 1_000);
        assert_eq!(rest(2_000, 240), 2_800);
    }

    #[test]
    fn no_round_waits_for_long_and_none_follows_at_once() {
        assert_eq!(rest(0, 60_000), 5_000);
        assert_eq!(rest(6_500, 700), 100);
    }

    #[test]
    fn the_figures_that_are_promised() {
        let per_second = 1_000 / TURN.as_millis() as usize * ENTRIES_A_TURN;
        assert_eq!(per_second, 327_680);
        let round = |flows: usize| 2 * flows / per_second;
        assert_eq!([262_144 + 65_536, 1_000_000, 2 * 16_777_216].map(round), [2, 6, 204]);
    }
}
