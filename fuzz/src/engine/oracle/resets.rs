//! TCP resets: those within 64 KiB behind what their receiver has acknowledged are believed, all others change nothing.

use gateway_common::abi::{Acked, Counter, CtEntry, EntryFlags, State};

use super::{Passage, books::Books};
use crate::engine::read::{Ip, TCP};

const FLAGS: u8 = 0x17;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
/// The largest window without window scaling (RFC 9293 section 3.1).
const WINDOW: u32 = 0x1_0000;

/// A segment of a flow whose entry, as it is now, is `entry`.
pub fn check(passage: &Passage<'_>, after: &Books, came: &Ip<'_>, entry: &CtEntry) {
    let (Some((number, acked)), TCP) = (came.tcp_numbers(), came.protocol()) else { return };
    let is_opened = after.since(passage.books, Counter::FlowsOpened) != 0;
    let Some(before) = passage.books.entry(&entry.key).filter(|_| !is_opened) else { return };
    let pair = passage.books.entry(&entry.pair);
    let is_reset = came.tcp_flags() & RST != 0;
    if is_reset && pair.is_some_and(|pair| !pair.acked.expects(number, 1, WINDOW)) {
        // Where it came in is learned of every packet whose sender is reached there.
        let mut unlearned = *entry;
        unlearned.arrival = before.arrival;
        assert_eq!(unlearned, *before, "a reset outside the window: {number} of {pair:?}");
        assert_eq!(after.entry(&entry.pair), pair, "the same, of the other direction");
    } else if is_reset {
        assert_eq!(entry.state(), State::Reset, "a reset within the window: {number} of {pair:?}");
    }
    // The number 0 stands for "nothing yet".
    let expected = match came.tcp_flags() & FLAGS {
        SYN => Acked::UNKNOWN,
        flags if flags & (ACK | RST) == ACK && acked != 0 => Acked::up_to(acked),
        _ => before.acked,
    };
    assert_eq!(entry.acked, expected, "what is acknowledged");
    if reopens(before, came) {
        let pair = after.entry(&entry.pair).map(|pair| pair.acked);
        assert_eq!(pair, Some(Acked::UNKNOWN), "a connection that begins anew");
    }
}

/// Does a segment start the connection anew?
fn reopens(before: &CtEntry, came: &Ip<'_>) -> bool {
    before.flags.contains(EntryFlags::ORIGINAL)
        && came.tcp_flags() & FLAGS == SYN
        && matches!(before.state(), State::Closing | State::Reset)
}
