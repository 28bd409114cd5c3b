//! What few packets need beyond the common path. In the kernel each is a program of its own, entered by a tail call:
//! it has the stack to itself, and costs the common path nothing.

use super::{begin, challenge, fragment, mss, opening, quoted, source, tell};
use crate::{
    abi::{Protocol, Side},
    packet::{Packet, Window as _},
    tables::Tables,
    verdict::Verdict,
    wire::{ipv4::Ipv4, quote},
};

/// Where the common path leaves off, with the packet untouched. The next stage looks everything up again, but for the two
/// that carry a [`super::Plan`] out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stage {
    /// An ICMP error: it is about the flow of the packet that it quotes.
    Quoted = 0,
    /// The first part of a datagram.
    FirstPart = 1,
    /// A later part of a datagram.
    LaterPart = 2,
    /// A packet that goes no further, whose sender is told so.
    Tell = 3,
    /// A connection to a crowded listener: its client has to show first that it is where it says; or the answer to that.
    Challenge = 4,
    /// A packet of no known flow, or one that starts a known connection anew.
    Open = 5,
    /// A SYN of a known flow, with a segment size that may be too large.
    Handshake = 6,
    /// The flow that was planned by [`Self::Open`] is entered, and its packet sent.
    Enter = 7,
    /// The datagram whose [`Self::FirstPart`] came is noted, and that part sent.
    Note = 8,
    /// A tenant's packet that came in elsewhere than those of its flow do.
    Source = 9,
    /// From the beginning: what was in the packet's way has been dealt with.
    Again = 10,
}

impl Stage {
    /// Every stage, in order of its number.
    pub const ALL: [Self; 11] = [
        Self::Quoted,
        Self::FirstPart,
        Self::LaterPart,
        Self::Tell,
        Self::Challenge,
        Self::Open,
        Self::Handshake,
        Self::Enter,
        Self::Note,
        Self::Source,
        Self::Again,
    ];

    /// The stage that a packet needs from the start, if any.
    #[inline(always)]
    pub fn of<P: Packet>(packet: &P, ip: &Ipv4) -> Option<Self> {
        if ip.fragment.is_part() {
            return Some(if ip.fragment.is_later() { Self::LaterPart } else { Self::FirstPart });
        }
        if ip.protocol != Protocol::Icmp as u8 {
            return None;
        }
        match packet.window::<1>(ip.payload_offset()) {
            Some(header) if ip.payload_len() > 0 && quote::is_error(header.u8::<0>()) => Some(Self::Quoted),
            _ => None,
        }
    }

    /// Its place in the kernel's table of programs, one for each side.
    #[inline(always)]
    pub const fn index(self, side: Side) -> u32 {
        self as u32 * 2 + side as u32
    }

    /// Size of that table.
    #[expect(clippy::cast_possible_truncation, reason = "a handful")]
    pub const INDICES: u32 = 2 * Self::ALL.len() as u32;

    /// The place, in the table of programs that watch, of the one that takes this stage's place; `None` is the common
    /// path's.
    #[inline(always)]
    pub const fn tap_index(stage: Option<Self>, side: Side) -> u32 {
        match stage {
            None => side as u32,
            Some(stage) => 2 + stage.index(side),
        }
    }

    /// Size of that table.
    pub const TAP_INDICES: u32 = 2 + Self::INDICES;

    /// Decides about a packet that came to this stage.
    #[inline(always)]
    pub fn run<P: Packet, T: Tables>(self, packet: &mut P, tables: &T, side: Side, now_ns: u64) -> Step {
        match self {
            Self::Quoted => Step::Done(quoted::process(packet, tables, side)),
            Self::FirstPart => fragment::first(packet, tables, side),
            Self::LaterPart => Step::Done(fragment::later(packet, tables, side, now_ns)),
            Self::Tell => Step::Done(tell::process(packet, tables, side, now_ns)),
            Self::Open => opening::process(packet, tables, side, now_ns),
            Self::Handshake => mss::process(packet, tables, side, now_ns),
            Self::Enter => opening::enter(packet, tables, now_ns),
            Self::Note => Step::Done(fragment::note(packet, tables, now_ns)),
            Self::Source => source::process(packet, tables, side),
            Self::Again => begin(packet, tables, side, now_ns),
            Self::Challenge => Step::Done(challenge::process(packet, tables, side, now_ns)),
        }
    }
}

/// How far the common path got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a packet is neither passed nor dropped by this"]
pub enum Step {
    /// It has decided.
    Done(Verdict),
    /// It is for this stage to decide.
    Next(Stage),
}
