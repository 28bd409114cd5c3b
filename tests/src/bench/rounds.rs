//! Every case in turn, round after round: what disturbs the machine for a while disturbs all of them.

use super::cases::{Case, Cases};
use super::rig::{Hook, Rig};
use super::stats::median;

/// Runs between two looks at the kernel's account. An interrupt spoils one batch, which the median of the batches leaves
/// out; the look itself is a system call like the runs.
const BATCH: usize = 32;

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// How often everything is loaded.
    pub loads: usize,
    /// How often every case has its turn with each load.
    pub rounds: usize,
    /// Packets a turn.
    pub runs: usize,
}

/// The turns of one case at one hook.
#[derive(Debug)]
pub struct Series {
    /// Where.
    pub hook: Hook,
    /// The case.
    pub id: &'static str,
    /// The case, in words.
    pub title: &'static str,
    /// Nanoseconds a packet, by round.
    pub nanoseconds: Vec<f64>,
}

impl Series {
    fn new(hook: Hook, case: &Case) -> Self {
        Self { hook, id: case.id, title: case.title, nanoseconds: Vec::new() }
    }

    /// Adds the rounds of another load to those of earlier ones, which are of the same cases.
    #[track_caller]
    pub fn append(all: &mut Vec<Self>, more: Vec<Self>) {
        if all.is_empty() {
            *all = more;
            return;
        }
        assert_eq!(all.len(), more.len(), "every load measures the same");
        for (series, more) in all.iter_mut().zip(more) {
            series.nanoseconds.extend(more.nanoseconds);
        }
    }
}

/// Measures all cases at all hooks, after one round that does not count.
#[track_caller]
pub fn run(rig: &mut Rig, cases: &Cases, effort: Effort) -> Vec<Series> {
    let turns = Hook::ALL.iter().flat_map(|hook| cases.0.iter().map(|case| (*hook, case)));
    let turns: Vec<(Hook, &Case)> = turns.collect();
    let mut series: Vec<Series> = turns.iter().map(|(hook, case)| Series::new(*hook, case)).collect();
    for round in 0..=effort.rounds {
        // Every other round backwards, so that whoever comes late in one comes early in the next.
        let mut order: Vec<_> = turns.iter().zip(&mut series).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for ((hook, case), series) in order {
            let nanoseconds = measure(rig, *hook, case, effort.runs);
            if round > 0 {
                series.nanoseconds.push(nanoseconds);
            }
        }
    }
    series
}

/// One turn: the median of its batches.
#[track_caller]
fn measure(rig: &mut Rig, hook: Hook, case: &Case, runs: usize) -> f64 {
    let frames: Vec<&[u8]> = case.frames.iter(runs).collect();
    let batches = frames.chunks(BATCH);
    let wanted = batches.len();
    let times: Vec<f64> = batches.filter_map(|batch| measure_batch(rig, hook, case, batch)).collect();
    assert!(times.len() * 2 > wanted, "{} runs by itself: {} of {wanted} batches", case.id, times.len());
    let left = rig.forget_half_open();
    assert_eq!(left, case.frames.entries(runs), "entries that {} left in the half-open table", case.id);
    median(&times)
}

/// Nanoseconds a packet, or `None` when the kernel ran the program for somebody else meanwhile.
#[track_caller]
fn measure_batch(rig: &Rig, hook: Hook, case: &Case, frames: &[&[u8]]) -> Option<f64> {
    let before = rig.account(hook, case.role);
    for frame in frames {
        let fate = rig.run(hook, case.role, frame);
        assert_eq!(fate, case.fate, "{} in {}", case.id, hook.name());
    }
    rig.account(hook, case.role).per_run_since(&before, frames.len())
}
