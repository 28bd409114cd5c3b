//! TCP resets: those within 64 KiB behind what their receiver has acknowledged are believed, all others change nothing.

use gateway_common::abi::{Counter, CtEntry, EntryFlags, State};

use super::{Passage, books::Books};
use crate::engine::{
    read::{Ip, TCP},
    world::World,
};

const FLAGS: u8 = 0x17;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
/// The largest window without window scaling (RFC 9293 section 3.1).
const WINDOW: u32 = 0x1_0000;

/// A segment of a flow whose entry, as it is now, is `entry`.
pub fn check(world: &mut World, passage: &Passage<'_>, after: &Books, came: &Ip<'_>, entry: &CtEntry) {
    let (Some((number, acked)), TCP) = (came.tcp_numbers(), came.protocol()) else { return };
    let is_opened = after.since(passage.books, Counter::FlowsOpened) != 0;
    if came.tcp_flags() & FLAGS == SYN {
        world.acked.remove(&entry.key);
    }
    match passage.books.entry(&entry.key).filter(|_| !is_opened) {
        Some(before) if reopens(before, came) => begin(world, entry),
        Some(before) if came.tcp_flags() & RST != 0 => {
            let known = world.acked.get(&entry.pair).copied().unwrap_or_default();
            if known == 0 || number.wrapping_sub(known).wrapping_add(1) <= WINDOW {
                assert_eq!(entry.state(), State::Reset, "a reset within the window: {number} of {known}");
            } else {
                // Where it came in is learned of every packet whose sender is reached there.
                let mut unlearned = *entry;
                unlearned.arrival = before.arrival;
                assert_eq!(unlearned, *before, "a reset outside the window: {number} of {known}");
                let pair = after.entry(&entry.pair);
                assert_eq!(pair, passage.books.entry(&entry.pair), "the same, of the other direction");
            }
        }
        Some(_) => {}
        None => begin(world, entry),
    }
    // The number 0 stands for "nothing yet" in an entry, so it is left out.
    if came.tcp_flags() & (ACK | RST) == ACK && acked != 0 {
        world.acked.insert(entry.key, acked);
    }
}

/// Does a segment start the connection anew?
fn reopens(before: &CtEntry, came: &Ip<'_>) -> bool {
    before.flags.contains(EntryFlags::ORIGINAL)
        && came.tcp_flags() & FLAGS == SYN
        && matches!(before.state(), State::Closing | State::Reset)
}

fn begin(world: &mut World, entry: &CtEntry) {
    world.acked.remove(&entry.key);
    world.acked.remove(&entry.pair);
}
