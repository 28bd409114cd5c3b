//! The IPv4 header (RFC 791).

use crate::{
    abi::Addr,
    drop_reason::DropReason,
    packet::{Packet, Window as _},
    wire::checksum::Sum,
};

/// Length of a header without options.
pub const HEADER_LEN: usize = 20;
/// Offset of TTL, protocol, checksum and both addresses: the bytes that translation writes in one go.
pub const TTL_OFFSET: usize = 8;
/// "More fragments".
const MORE_FRAGMENTS: u16 = 0x2000;
/// Offset of the fragment in units of 8 bytes.
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// Which part of a datagram a packet is: the flags and the fragment offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    bits: u16,
}

impl Fragment {
    /// From the half-word of the header, as a number.
    #[inline(always)]
    pub const fn from_bits(bits: u16) -> Self {
        Self { bits }
    }

    /// Is it a part, not the whole?
    #[inline(always)]
    pub const fn is_part(self) -> bool {
        self.bits & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0
    }

    /// Is it a part without the beginning, where the transport header is?
    #[inline(always)]
    pub const fn is_later(self) -> bool {
        self.bits & FRAGMENT_OFFSET != 0
    }

    /// Do more parts follow?
    #[inline(always)]
    pub const fn more_follow(self) -> bool {
        self.bits & MORE_FRAGMENTS != 0
    }

    /// Where it starts in the datagram, in units of 8 bytes: 0..=8191.
    #[inline(always)]
    pub const fn offset_units(self) -> u16 {
        self.bits & FRAGMENT_OFFSET
    }
}

/// What the header says. Offsets are from the start of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4 {
    /// Where the header starts.
    pub offset: usize,
    /// Its length with options: 20..=60.
    pub header_len: usize,
    /// Length of header and payload.
    pub total_len: u16,
    /// Type of service (DSCP and ECN).
    pub tos: u8,
    /// Identification, as it stands in memory: the parts of a datagram share it.
    pub id: u16,
    /// Which part of its datagram this is.
    pub fragment: Fragment,
    /// Time to live.
    pub ttl: u8,
    /// Protocol number.
    pub protocol: u8,
    /// Checksum, as it stands in memory.
    pub checksum: u16,
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
}

impl Ipv4 {
    /// That of no packet.
    pub const NONE: Self = Self {
        offset: 0,
        header_len: HEADER_LEN,
        total_len: 0,
        tos: 0,
        id: 0,
        fragment: Fragment { bits: 0 },
        ttl: 0,
        protocol: 0,
        checksum: 0,
        src: Addr::UNSPECIFIED,
        dst: Addr::UNSPECIFIED,
    };

    /// Reads and checks the header at `offset`.
    ///
    /// # Errors
    ///
    /// [`DropReason::Truncated`] when the frame ends too early, [`DropReason::BadIpHeader`] when version, header
    /// length and total length contradict each other, [`DropReason::BadIpChecksum`] when the header was damaged
    /// (RFC 1812 section 5.2.2). The checksum of a header with options is left to the receiver.
    #[inline(always)]
    pub fn parse<P: Packet>(packet: &P, offset: usize) -> Result<Self, DropReason> {
        let header = packet.window::<HEADER_LEN>(offset).ok_or(DropReason::Truncated)?;
        let version_and_len = header.u8::<0>();
        let header_len = ((version_and_len & 0x0f) as usize) << 2;
        let total_len = u16::from_be(header.u16::<2>());
        if version_and_len >> 4 != 4 || header_len < HEADER_LEN || (total_len as usize) < header_len {
            return Err(DropReason::BadIpHeader);
        }
        if offset + total_len as usize > packet.len() {
            return Err(DropReason::Truncated);
        }
        let sum = Sum::NONE
            .long(header.u32::<0>())
            .long(header.u32::<4>())
            .long(header.u32::<8>())
            .long(header.u32::<12>())
            .long(header.u32::<16>());
        if header_len == HEADER_LEN && sum.fold() != 0xffff {
            return Err(DropReason::BadIpChecksum);
        }
        Ok(Self {
            offset,
            header_len,
            total_len,
            tos: header.u8::<1>(),
            id: header.u16::<4>(),
            fragment: Fragment { bits: u16::from_be(header.u16::<6>()) },
            ttl: header.u8::<8>(),
            protocol: header.u8::<9>(),
            checksum: header.u16::<10>(),
            src: Addr::from_be(header.u32::<12>()),
            dst: Addr::from_be(header.u32::<16>()),
        })
    }

    /// Where the transport header starts.
    #[inline(always)]
    pub const fn payload_offset(&self) -> usize {
        self.offset + self.header_len
    }

    /// Length of the transport header and its payload.
    #[inline(always)]
    pub const fn payload_len(&self) -> usize {
        self.total_len as usize - self.header_len
    }
}
