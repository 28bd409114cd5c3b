//! The state machine of a tracked flow.
//!
//! Each direction's entry records which segments that direction has sent ([`Seen`]); the state is derived from the
//! two records and from nothing else. So it does not matter in which order two CPUs note two packets: a lost update
//! of the cached state is repaired by the next packet, and merging two nodes' views is a bitwise or.
//!
//! After RFC 5382 (TCP), RFC 4787 (UDP), RFC 5508 (ICMP echo) and RFC 7857 section 2.2: an RST only shortens the
//! timeout, and later traffic restores it.

use crate::{
    abi::{Acked, EntryFlags, EntryView, Protocol, Seen, State, Timeouts},
    limits::{FIN_AHEAD, FIN_BEHIND, RESET_BEHIND, RESET_WINDOW},
    tables::FlowTable,
};

/// What one packet says to the state machine: which bits its direction gets, and whether it is an ICMP echo.
///
/// One byte without variants that carry data: in the kernel such a variant would leave undefined bytes on the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment(u8);

impl Segment {
    const REQUEST: u8 = 0x20;
    const REPLY: u8 = 0x40;
    const SEEN: u8 = 0x1f;

    /// A UDP datagram.
    pub const DATAGRAM: Self = Self(Seen::DATAGRAM.0);
    /// An ICMP echo request.
    pub const ECHO_REQUEST: Self = Self(Seen::DATAGRAM.0 | Self::REQUEST);
    /// An ICMP echo reply.
    pub const ECHO_REPLY: Self = Self(Seen::DATAGRAM.0 | Self::REPLY);

    /// A TCP segment with these of SYN, ACK, FIN and RST.
    #[inline(always)]
    pub const fn tcp(flags: Seen) -> Self {
        Self(flags.0)
    }

    /// The bits that the sender's direction gets.
    #[inline(always)]
    pub const fn seen(self) -> Seen {
        Seen(self.0 & Self::SEEN)
    }

    /// Is it an ICMP echo request?
    #[inline(always)]
    pub const fn is_echo_request(self) -> bool {
        self.0 & Self::REQUEST != 0
    }

    /// Is it an ICMP echo reply?
    #[inline(always)]
    pub const fn is_echo_reply(self) -> bool {
        self.0 & Self::REPLY != 0
    }

    /// May this packet open a flow? TCP needs a bare SYN; an echo reply never opens one.
    #[inline(always)]
    pub const fn opens(self) -> bool {
        self.0 == Seen::SYN.0 || self.0 == Self::DATAGRAM.0 || self.0 == Self::ECHO_REQUEST.0
    }
}

/// The two records of a flow after a packet, and the state that they mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The sender's record.
    pub own: Seen,
    /// The other direction's record (an RST in it is forgotten when traffic goes on; all of it when a SYN starts anew).
    pub pair: Seen,
    /// The state.
    pub state: State,
}

/// What of a TCP segment may be believed, when the other end has acknowledged so far; the segment without the rest. `None`
/// for a reset that is not: it says nothing at all.
///
/// A reset that lies outside the receiver's window changes nothing there (RFC 9293 section 3.10.7.4), so it must change
/// nothing here: the connection goes on. One that lies within, but is not exactly the next, gets a challenge (RFC 5961
/// section 3.2), and the answer to that is either exact or traffic that restores. A FIN may come after all that is under way.
#[inline(always)]
pub const fn believed(segment: Segment, sequence_number: u32, acked: Acked) -> Option<Segment> {
    let flags = segment.seen();
    if flags.contains(Seen::RST) {
        return if acked.expects(sequence_number, RESET_BEHIND, RESET_WINDOW) { Some(segment) } else { None };
    }
    if flags.contains(Seen::FIN) && !acked.expects(sequence_number, FIN_BEHIND, FIN_AHEAD) {
        return Some(Segment(segment.0 & !Seen::FIN.0));
    }
    Some(segment)
}

/// Does this packet leave both records and the state as they are? Then the sender's entry is all that is needed.
#[inline(always)]
pub const fn is_steady(state: State, own: Seen, segment: Segment) -> bool {
    let established = matches!(state, State::Established | State::HalfClosed | State::Closing);
    established && own.contains(segment.seen()) && !segment.seen().intersects(Seen::SYN.with(Seen::RST))
}

/// The transition: a packet of the direction `own` arrived.
#[inline(always)]
pub const fn step(own: Seen, pair: Seen, sender_is_original: bool, segment: Segment) -> Step {
    let news = segment.seen();
    let before = derive_between(own, pair, sender_is_original);
    if sender_is_original && reopens(before, segment) {
        return Step { own: news, pair: Seen::NOTHING, state: State::HalfOpen };
    }
    let (own, pair) = if news.contains(Seen::RST) {
        // Its other flags say nothing: a refusal (RST with ACK) is no answer that could establish anything later.
        (own.with(Seen::RST), pair)
    } else {
        (own.with(news).without(Seen::RST), pair.without(Seen::RST))
    };
    Step { own, pair, state: derive_between(own, pair, sender_is_original) }
}

/// [`step`], as a function of its own: the kernel's stack is short where it is called.
pub fn step_outlined(own: Seen, pair: Seen, sender_is_original: bool, segment: Segment) -> Step {
    let [own, pair, state, _] =
        packed_step(u32::from_ne_bytes([own.0, pair.0, u8::from(sender_is_original), segment.0]))
            .to_ne_bytes();
    Step { own: Seen(own), pair: Seen(pair), state: State::from_number(state) }
}

/// Arguments and result in one register each.
#[inline(never)]
fn packed_step(arguments: u32) -> u32 {
    let [own, pair, sender_is_original, segment] = arguments.to_ne_bytes();
    let step = step(Seen(own), Seen(pair), sender_is_original != 0, Segment(segment));
    u32::from_ne_bytes([step.own.0, step.pair.0, step.state as u8, 0])
}

/// Does a packet of the original direction start the connection anew? A SYN on a tuple that is closing or was reset
/// (TIME-WAIT, or a client that gave up): RFC 9293 section 3.10.7.4.
#[inline(always)]
pub const fn reopens(state: State, segment: Segment) -> bool {
    segment.opens() && segment.seen().contains(Seen::SYN) && matches!(state, State::Closing | State::Reset)
}

const fn derive_between(own: Seen, pair: Seen, own_is_original: bool) -> State {
    if own_is_original { derive(own, pair) } else { derive(pair, own) }
}

/// The state that two records mean. Commutes with merging: it reads sets of bits, not an order of events.
#[inline(always)]
pub const fn derive(original: Seen, reply: Seen) -> State {
    if original.with(reply).contains(Seen::DATAGRAM) {
        return if original.contains(Seen::DATAGRAM) && reply.contains(Seen::DATAGRAM) {
            State::Established
        } else {
            State::HalfOpen
        };
    }
    if original.with(reply).contains(Seen::RST) {
        return State::Reset;
    }
    if !reply.intersects(Seen::SYN.with(Seen::ACK)) {
        return State::HalfOpen;
    }
    match (original.contains(Seen::FIN), reply.contains(Seen::FIN)) {
        (true, true) => State::Closing,
        (false, false) if !original.contains(Seen::ACK) => State::Answered,
        (false, false) => State::Established,
        (true, false) | (false, true) => State::HalfClosed,
    }
}

/// Does this state belong in the established table?
#[inline(always)]
pub const fn is_promoted(state: State) -> bool {
    !matches!(state, State::HalfOpen | State::Answered | State::Reset)
}

/// A UDP flow that nobody has answered lives no longer than RFC 4787 REQ-5 demands: what a flood leaves behind is gone
/// sooner.
const UNANSWERED_UDP_SECS: u32 = 120;

/// How long a flow may be idle, by table, protocol and state.
///
/// What is in the half-open table lives as long as a half-open flow, whatever was seen since: neither a refused
/// connection nor one that found the other table full may keep a place there longer.
#[inline(always)]
pub const fn lifetime_ns(table: FlowTable, protocol: Protocol, state: State, timeouts: &Timeouts) -> u64 {
    let seconds = match (table, protocol, state) {
        (FlowTable::HalfOpen, Protocol::Tcp, _) => timeouts.tcp_half_open_secs,
        (FlowTable::HalfOpen, Protocol::Udp, _) if timeouts.udp_secs > UNANSWERED_UDP_SECS => {
            UNANSWERED_UDP_SECS
        }
        (FlowTable::Established, Protocol::Tcp, State::Established | State::HalfClosed) => {
            timeouts.tcp_established_secs
        }
        (FlowTable::Established, Protocol::Tcp, _) => timeouts.tcp_transitory_secs,
        (_, Protocol::Udp, _) => timeouts.udp_secs,
        (_, Protocol::Icmp, _) => timeouts.icmp_secs,
    };
    seconds as u64 * 1_000_000_000
}

/// Has a flow been idle for longer than its state allows? Both directions keep it alive.
#[inline(always)]
pub const fn is_expired(
    table: FlowTable,
    protocol: Protocol,
    entry: &EntryView,
    pair: Option<&EntryView>,
    timeouts: &Timeouts,
    now_ns: u64,
) -> bool {
    let last_seen_ns = match pair {
        Some(pair) if pair.last_seen_ns > entry.last_seen_ns => pair.last_seen_ns,
        _ => entry.last_seen_ns,
    };
    let lifetime_ns = if entry.flags.contains(EntryFlags::EXPIRED) {
        timeouts.quarantine_secs as u64 * 1_000_000_000
    } else {
        lifetime_ns(table, protocol, entry.state, timeouts)
    };
    now_ns.saturating_sub(last_seen_ns) > lifetime_ns
}

#[cfg(test)]
mod tests;
