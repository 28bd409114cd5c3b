//! Flows that a packet ends: the one that it starts anew, or the oldest one that nobody has answered. No other, and least
//! of all one in quarantine, whose ports would be free then.

use gateway_common::abi::{Counter, CtEntry, EntryFlags, FlowKey};

use super::{Passage, books::Books, translation::opens};
use crate::engine::read::Ip;

/// Panics when a flow is gone that should not be.
pub fn check(passage: &Passage<'_>, after: &Books) {
    let own = own_key(passage);
    let is_lost = |entry: &&CtEntry| {
        entry.flags.contains(EntryFlags::ORIGINAL)
            && Some(entry.key) != own
            && after.entry(&entry.key).is_none_or(|now| now.pair != entry.pair)
    };
    let lost: Vec<&CtEntry> = passage.books.entries().filter(is_lost).collect();
    let evicted = after.since(passage.books, Counter::HalfOpenEvicted);
    assert!(lost.len() as u64 <= evicted, "gone, and not counted as evicted: {lost:?}");
    for entry in lost {
        assert!(passage.books.established(&entry.key).is_none(), "{:?} was established", entry.key);
    }
}

/// The flow that the packet may start anew.
fn own_key(passage: &Passage<'_>) -> Option<FlowKey> {
    let came = Ip::of_frame(passage.before).filter(opens)?;
    Some(super::translation::key_of(passage.side, &came))
}
