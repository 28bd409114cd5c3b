//! A whole run.

use std::{ops::Range, time::Instant};

use super::{
    conversation::Conversation,
    generate,
    report::Report,
    script::BATCH,
    twin::{Pair, Twins},
};
use crate::{topology::Mode, usage::backlog_drops};

/// Which conversations to hold, and where.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Decides all conversations.
    pub seed: u64,
    /// Their numbers, below [`super::places::MOST_CONVERSATIONS`].
    pub conversations: Range<u64>,
    /// How our gateway is attached.
    pub mode: Mode,
}

/// Builds the twins and holds all conversations. `progress` is told how many are done.
pub fn run(plan: &Plan, progress: impl FnMut(u64)) -> Report {
    let twins = Twins::build(plan.mode);
    converse(&twins.start(), plan, progress)
}

/// Holds all conversations by gateways that run.
pub fn converse(pair: &Pair<'_>, plan: &Plan, mut progress: impl FnMut(u64)) -> Report {
    let (started, dropped) = (Instant::now(), backlog_drops());
    let mut report = Report { seed: plan.seed, ..Report::default() };
    for range in batches(&plan.conversations) {
        let done = range.end - plan.conversations.start;
        let batch: Vec<Conversation> = range.map(|index| generate::conversation(plan.seed, index)).collect();
        let (ours, theirs) = pair.converse(&batch);
        for ((conversation, ours), theirs) in batch.into_iter().zip(&ours).zip(&theirs) {
            report.note(conversation, ours, theirs);
        }
        progress(done);
    }
    report.took = started.elapsed();
    report.lost_by_labs = backlog_drops() - dropped;
    report
}

/// Batches begin at multiples of their size, so that a conversation's packets are the same however many there are.
fn batches(conversations: &Range<u64>) -> Vec<Range<u64>> {
    let (first, last) = (conversations.start / BATCH, conversations.end.div_ceil(BATCH));
    let within =
        |batch: u64| (batch * BATCH).max(conversations.start)..((batch + 1) * BATCH).min(conversations.end);
    (first..last).map(within).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_cover_everything_once() {
        for range in [0..1, 7..8, 0..BATCH, 0..BATCH + 1, 999..2001, 1500..1600] {
            let all: Vec<u64> = batches(&range).into_iter().flatten().collect();
            assert_eq!(all, range.clone().collect::<Vec<_>>(), "{range:?}");
            assert!(batches(&range).iter().all(|batch| batch.start / BATCH == (batch.end - 1) / BATCH));
        }
    }
}
