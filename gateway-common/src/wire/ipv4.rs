//! The IPv4 header (RFC 791).

use crate::{abi::Addr, drop_reason::DropReason, packet::Packet};

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
        let h = packet.load::<HEADER_LEN>(offset).ok_or(DropReason::Truncated)?;
        let header_len = ((h[0] & 0x0f) as usize) << 2;
        let total_len = u16::from_be_bytes([h[2], h[3]]);
        if h[0] >> 4 != 4 || header_len < HEADER_LEN || (total_len as usize) < header_len {
            return Err(DropReason::BadIpHeader);
        }
        if offset + total_len as usize > packet.len() {
            return Err(DropReason::Truncated);
        }
        Ok(Self {
            offset,
            header_len,
            total_len,
            tos: h[1],
            is_fragment: u16::from_be_bytes([h[6], h[7]]) & FRAGMENT_BITS != 0,
            ttl: h[8],
            protocol: h[9],
            checksum: u16::from_ne_bytes([h[10], h[11]]),
            src: Addr::new([h[12], h[13], h[14], h[15]]),
            dst: Addr::new([h[16], h[17], h[18], h[19]]),
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
