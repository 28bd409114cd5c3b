//! The IPv4 header (RFC 791).

use crate::{
    abi::Addr,
    drop_reason::DropReason,
    packet::{Packet, Window as _},
};

/// Length of a header without options.
pub const HEADER_LEN: usize = 20;
/// Offset of TTL, protocol, checksum and both addresses: the bytes that translation writes in one go.
pub const TTL_OFFSET: usize = 8;
/// More-fragments bit and fragment offset: both zero in an unfragmented packet.
const FRAGMENT_BITS: u16 = 0x3fff;

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
    /// Is this a fragment?
    pub is_fragment: bool,
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
    /// Reads and checks the header at `offset`.
    ///
    /// # Errors
    ///
    /// [`DropReason::Truncated`] when the frame ends too early, [`DropReason::BadIpHeader`] when version, header
    /// length and total length contradict each other.
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
        Ok(Self {
            offset,
            header_len,
            total_len,
            tos: header.u8::<1>(),
            is_fragment: u16::from_be(header.u16::<6>()) & FRAGMENT_BITS != 0,
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
