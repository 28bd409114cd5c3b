//! What few packets need beyond the common path. In the kernel each is a program of its own, entered by a tail call:
//! it has the stack to itself, and costs the common path nothing.

use super::{fragment, quoted, tell};
use crate::{
    abi::{Protocol, Side},
    packet::{Packet, Window as _},
    tables::Tables,
    verdict::Verdict,
    wire::{ipv4::Ipv4, quote},
};

/// Where the common path leaves off, with the packet untouched.
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
}

impl Stage {
    /// Every stage, in order of its number.
    pub const ALL: [Self; 4] = [Self::Quoted, Self::FirstPart, Self::LaterPart, Self::Tell];

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
    pub const INDICES: u32 = 8;

    /// Decides about a packet that came to this stage.
    #[inline(always)]
    pub fn run<P: Packet, T: Tables>(self, packet: &mut P, tables: &T, side: Side, now_ns: u64) -> Step {
        match self {
            Self::Quoted => Step::Done(quoted::process(packet, tables, side)),
            Self::FirstPart => fragment::first(packet, tables, side, now_ns),
            Self::LaterPart => Step::Done(fragment::later(packet, tables, side, now_ns)),
            Self::Tell => Step::Done(tell::process(packet, tables, side)),
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
