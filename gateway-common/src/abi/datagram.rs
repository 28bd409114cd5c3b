//! A datagram that comes in parts.

use super::{Addr, Arrival, Side, TenantId};
use crate::limits::HELD_FRAME_MAX;
use bytemuck::{Pod, Zeroable};

/// Datagrams in parts that one source may have under way at a time, a power of two. Each has two places that it may be
/// in; where both are taken it takes that of the older one, which is its own source's, never another's.
pub const DATAGRAMS_PER_SOURCE: u16 = 512;

/// Words of the bit set of what has come: one bit for each 8 bytes of at most 64 KiB.
pub const RECEIVED_WORDS: usize = 128;

/// Key of the table of datagrams in parts: a source's place for an identification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct DatagramKey {
    /// Who sends it.
    pub src: Addr,
    place: u16,
    side: u8,
    pad: u8,
}

impl DatagramKey {
    /// The first place of the datagram with this identification (as it stands in memory): those of hosts that count
    /// are all different.
    #[inline(always)]
    pub const fn new(side: Side, src: Addr, id: u16) -> Self {
        Self { src, place: u16::from_be(id) & (DATAGRAMS_PER_SOURCE - 1), side: side as u8, pad: 0 }
    }

    /// The second place.
    #[inline(always)]
    #[must_use]
    pub const fn other(self, id: u16) -> Self {
        // Knuth's multiplicative hash: 2^16 divided by the golden ratio.
        let place = u16::from_be(id).wrapping_mul(40_503) >> 7;
        Self { place: place & (DATAGRAMS_PER_SOURCE - 1), ..self }
    }
}

/// Which datagram it is, and where its parts go: what the first part said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct DatagramHead {
    /// To whom it was sent.
    pub dst: Addr,
    /// Identification, as it stands in memory.
    pub id: u16,
    /// Protocol number.
    pub protocol: u8,
    /// 1 if it leaves by the side that it came in on (a hairpin), else 0.
    pub stays: u8,
    /// Its source after translation.
    pub new_src: Addr,
    /// Its destination after translation.
    pub new_dst: Addr,
    /// Whose it is.
    pub tenant: TenantId,
    /// Where its first part came in.
    pub arrival: Arrival,
    /// Explicit padding.
    pub pad2: [u16; 2],
    /// Parts that come later than this are of another datagram; `CLOCK_MONOTONIC` nanoseconds.
    pub deadline_ns: u64,
}

impl DatagramHead {
    /// Is it the datagram with this destination, identification and protocol, and are its parts not yet too late?
    #[inline(always)]
    pub fn is_of(&self, (dst, id, protocol): (Addr, u16, u8), now_ns: u64) -> bool {
        self.dst == dst && self.id == id && self.protocol == protocol && now_ns < self.deadline_ns
    }
}

/// Value of the table of datagrams in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Datagram {
    /// What the first part said.
    pub head: DatagramHead,
    /// How much has come, in units of 8 bytes.
    pub units_received: u64,
    /// How much there is; 0 until the last part has come.
    pub units_total: u64,
    /// What has come: bit `n` stands for the bytes from `8 * n`.
    pub received: [u64; RECEIVED_WORDS],
}

/// Record of the ring buffer of kept frames.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct HeldFrame {
    /// Interface that it came in by.
    pub ifindex: u32,
    /// Length of the frame in bytes.
    pub len: u16,
    /// Side that it came in on, as [`Side`]'s number.
    pub side: u8,
    /// Explicit padding.
    pub pad: [u8; 9],
    /// The frame; what lies beyond its length means nothing.
    pub bytes: [u8; HELD_FRAME_MAX],
}

const _: () = assert!(DATAGRAMS_PER_SOURCE.is_power_of_two());
