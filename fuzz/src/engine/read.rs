//! A frame as the oracles read it: by offsets of their own, from RFC 791, 792, 768 and 9293 alone.

use gateway_common::abi::{Addr, Port};

/// Protocol numbers.
pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

/// Bytes of a link header without and with a tag.
const LINK: usize = 14;
const TAG: usize = 4;

/// An IPv4 packet in its frame, or the one that an ICMP error quotes (which may be cut off).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip<'a> {
    /// The header, with options.
    pub header: &'a [u8],
    /// What follows, as far as the total length reaches and bytes are there.
    pub payload: &'a [u8],
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Where the IPv4 header begins, and the tag before it.
pub fn link(frame: &[u8]) -> Option<(usize, Option<u16>)> {
    match frame.get(12..LINK)? {
        [0x08, 0x00] => Some((LINK, None)),
        [0x81, 0x00] if frame.get(16..LINK + TAG)? == [0x08, 0x00] => {
            Some((LINK + TAG, Some(word(frame, LINK))))
        }
        _ => None,
    }
}

impl<'a> Ip<'a> {
    /// The packet of a frame, if the lengths in it agree with each other.
    pub fn of_frame(frame: &'a [u8]) -> Option<Self> {
        let ip = Self::quoted(&frame[link(frame)?.0..])?;
        (ip.header.len() + ip.payload.len() == ip.total_len()).then_some(ip)
    }

    /// The packet that begins here and may be cut off after its header.
    pub fn quoted(bytes: &'a [u8]) -> Option<Self> {
        let len = usize::from(bytes.first()? & 15) * 4;
        if bytes[0] >> 4 != 4 || len < 20 || bytes.len() < len {
            return None;
        }
        let total = usize::from(word(bytes, 2));
        let end = total.min(bytes.len());
        (total >= len).then(|| Self { header: &bytes[..len], payload: &bytes[len..end] })
    }

    /// The packet that an error quotes: all that is there, whatever its total length says. Nobody may rely on that, since
    /// there are hosts that change it before they quote.
    pub fn in_error(bytes: &'a [u8]) -> Option<Self> {
        let (header, payload) = bytes.split_at_checked(usize::from(bytes.first()? & 15) * 4)?;
        (bytes[0] >> 4 == 4 && header.len() >= 20).then_some(Self { header, payload })
    }

    pub fn total_len(&self) -> usize {
        word(self.header, 2).into()
    }

    pub fn id(&self) -> u16 {
        word(self.header, 4)
    }

    /// Offset in bytes, and whether more fragments follow.
    pub fn fragment(&self) -> (usize, bool) {
        let bits = word(self.header, 6);
        (usize::from(bits & 0x1fff) * 8, bits & 0x2000 != 0)
    }

    pub fn is_whole(&self) -> bool {
        self.fragment() == (0, false)
    }

    pub fn ttl(&self) -> u8 {
        self.header[8]
    }

    pub fn protocol(&self) -> u8 {
        self.header[9]
    }

    pub fn src(&self) -> Addr {
        self.address(12)
    }

    pub fn dst(&self) -> Addr {
        self.address(16)
    }

    fn address(&self, at: usize) -> Addr {
        Addr::new(self.header[at..at + 4].try_into().expect("four bytes"))
    }

    /// The flags of a TCP segment; none of anything else, or of one that is cut off before them.
    pub fn tcp_flags(&self) -> u8 {
        if self.protocol() == TCP { self.payload.get(13).copied().unwrap_or_default() } else { 0 }
    }

    /// Sequence number and acknowledgment number of a TCP segment.
    pub fn tcp_numbers(&self) -> Option<(u32, u32)> {
        let at = |at: usize| Some(u32::from_be_bytes(self.payload.get(at..at + 4)?.try_into().ok()?));
        if self.protocol() == TCP { Some((at(4)?, at(8)?)) } else { None }
    }

    pub fn header_is_valid(&self) -> bool {
        sum(self.header) == 0xffff
    }

    /// Source and destination port of TCP or UDP; for an echo its identifier, where the gateway keeps it.
    pub fn ports(&self) -> Option<(Port, Port)> {
        let at = |at: usize| self.payload.get(at..at + 2).map(|_| Port::new(word(self.payload, at)));
        match (self.protocol(), self.payload.first()?) {
            (TCP | UDP, _) => Some((at(0)?, at(2)?)),
            (ICMP, 8) => Some((at(4)?, Port::NONE)),
            (ICMP, 0) => Some((Port::NONE, at(4)?)),
            _ => None,
        }
    }

    /// The packet that an ICMP error quotes; `None` when this is no error.
    pub fn quote(&self) -> Option<&'a [u8]> {
        let is_error = self.protocol() == ICMP && matches!(self.payload.first()?, 3 | 4 | 5 | 11 | 12);
        if is_error { self.payload.get(8..) } else { None }
    }

    /// Where the transport checksum stands in the payload, if one is there.
    pub fn checksum_at(&self) -> Option<usize> {
        let at = match self.protocol() {
            TCP => 16,
            UDP => 6,
            ICMP => 2,
            _ => return None,
        };
        let field = self.payload.get(at..at + 2)?;
        (self.protocol() != UDP || field != [0, 0]).then_some(at)
    }

    /// The one's-complement sum of what the transport checksum covers, that included, as far as it is here. 0xffff in
    /// a whole packet with a right checksum; the same before and after a right translation, whatever else is wrong
    /// with the packet.
    pub fn transport_sum(&self) -> u16 {
        let pseudo = match self.protocol() {
            ICMP => 0,
            protocol => {
                let length = u32::try_from(self.payload.len()).unwrap_or_default();
                u32::from(sum(&self.header[12..20])) + u32::from(protocol) + length
            }
        };
        fold(pseudo + u32::from(sum(self.payload)))
    }

    pub fn transport_is_valid(&self) -> bool {
        self.transport_sum() == 0xffff
    }
}

/// The one's-complement sum. All ones is zero, but for bytes that are all zero.
pub fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    fold(words.sum())
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("folded")
}
