//! Turning a packet that is refused round, in place, into what its sender's stack understands at once.
//!
//! The headers are written anew, so all that has to be kept of the packet is read before its length is changed. Nothing
//! here fails after the first byte was written unless the kernel takes back what it has just granted.

use super::{ORIGINATED_TTL, send_back};
use crate::{
    abi::{Addr, Protocol},
    packet::{Packet, Refused, Window, WindowMut as _},
    wire::{
        checksum::{Difference, Sum},
        ethernet::{self, ETHERTYPE_OFFSET, ETHERTYPE_VLAN, Link, TAG_LEN},
        ipv4::{self, Ipv4},
        transport::{
            ICMP_DESTINATION_UNREACHABLE, ICMP_FRAGMENTATION_NEEDED, ICMP_HEADER_LEN, ICMP_HOST_UNREACHABLE,
            ICMP_PORT_UNREACHABLE, ICMP_PROHIBITED, ICMP_TIME_EXCEEDED, TCP_ACK, TCP_FIN, TCP_HEADER_LEN,
            TCP_RST, TCP_SYN, checksum_offset,
        },
    },
};

/// Words of the refused packet in an ICMP error: its header and 64 bits of its data (RFC 792).
const QUOTED_WORDS: usize = ipv4::HEADER_LEN / 4 + 2;
/// Length of an ICMP error.
const ERROR_LEN: usize = ICMP_HEADER_LEN + 4 * QUOTED_WORDS;
/// The TCP data offset of a header without options, in its place.
const OFFSET_WITHOUT_OPTIONS: u8 = 5 << 4;
/// `Don't fragment`, beside a fragment offset of zero.
const DONT_FRAGMENT: u16 = 0x4000;
/// The bits of the type of service that are not ECN's (RFC 3168): what is sent here belongs to no ECN-capable flow.
const DSCP: u8 = 0xfc;
/// The type of service that errors are sent with (RFC 1812 section 4.3.2.5).
const INTERNETWORK_CONTROL: u8 = 0xc0;

/// A length within an IP packet as its header counts it.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "an IP packet is shorter than 64 KiB")]
const fn octets(len: usize) -> u16 {
    len as u16
}

/// Turns a TCP segment into the reset that a closed port sends (RFC 9293 section 3.10.7.1): an answer to a segment with
/// an ACK takes its sequence number from there, which makes it exact; one to a SYN acknowledges that.
///
/// # Errors
///
/// [`Refused`] when the packet could not be changed; it must then be dropped.
#[inline(always)]
pub fn tcp_reset<P: Packet>(packet: &mut P, ip: &Ipv4) -> Result<(), Refused> {
    let reset = Bare::reset(packet, ip).ok_or(Refused)?;
    answer_with(packet, ip, &reset)
}

/// Turns a SYN into a SYN-ACK that acknowledges `cookie` instead of it. To the connection that the SYN would open this is
/// an ACK that cannot be, which is answered with a reset of that number (RFC 9293 section 3.10.7.3).
///
/// # Errors
///
/// [`Refused`] when the packet could not be changed; it must then be dropped.
#[inline(always)]
pub fn tcp_challenge<P: Packet>(packet: &mut P, ip: &Ipv4, cookie: u32) -> Result<(), Refused> {
    let challenge = Bare::challenge(packet, ip, cookie).ok_or(Refused)?;
    answer_with(packet, ip, &challenge)
}

/// Turns a segment round, into one without options and payload.
#[inline(always)]
fn answer_with<P: Packet>(packet: &mut P, ip: &Ipv4, answer: &Bare) -> Result<(), Refused> {
    let (receiver, sender) = ethernet::addresses(packet).ok_or(Refused)?;
    let at = ip.payload_offset();
    packet.resize(at + TCP_HEADER_LEN)?;
    answer.store(packet, at)?;
    store_tcp_checksum(packet, at, ip, answer.sum())?;
    store_ip(packet, ip, (ip.dst, ip.tos & DSCP), Protocol::Tcp, TCP_HEADER_LEN)?;
    send_back(packet, sender, receiver)
}

/// A header without options as it stands in memory, but for its checksum. It offers no window, and nothing is urgent.
struct Bare {
    src_port: u16,
    dst_port: u16,
    seq: u32,
    ack: u32,
    offset_and_flags: u16,
}

impl Bare {
    #[inline(always)]
    fn challenge<P: Packet>(packet: &P, ip: &Ipv4, cookie: u32) -> Option<Self> {
        let header = packet.window::<TCP_HEADER_LEN>(ip.payload_offset())?;
        Some(Self {
            src_port: header.u16::<2>(),
            dst_port: header.u16::<0>(),
            seq: 0,
            ack: cookie.to_be(),
            offset_and_flags: u16::from_ne_bytes([OFFSET_WITHOUT_OPTIONS, TCP_SYN | TCP_ACK]),
        })
    }

    #[inline(always)]
    fn reset<P: Packet>(packet: &P, ip: &Ipv4) -> Option<Self> {
        let header = packet.window::<TCP_HEADER_LEN>(ip.payload_offset())?;
        let (seq, ack, flags) = if header.u8::<13>() & TCP_ACK != 0 {
            (header.u32::<8>(), 0, TCP_RST)
        } else {
            let next = u32::from_be(header.u32::<4>()).wrapping_add(segment_len(&header, ip));
            (0, next.to_be(), TCP_RST | TCP_ACK)
        };
        Some(Self {
            src_port: header.u16::<2>(),
            dst_port: header.u16::<0>(),
            seq,
            ack,
            offset_and_flags: u16::from_ne_bytes([OFFSET_WITHOUT_OPTIONS, flags]),
        })
    }

    #[inline(always)]
    const fn sum(&self) -> Sum {
        Sum::NONE
            .word(self.src_port)
            .word(self.dst_port)
            .long(self.seq)
            .long(self.ack)
            .word(self.offset_and_flags)
    }

    #[inline(always)]
    fn store<P: Packet>(&self, packet: &mut P, at: usize) -> Result<(), Refused> {
        let mut header = packet.window_mut::<TCP_HEADER_LEN>(at)?;
        header.set_u16::<0>(self.src_port);
        header.set_u16::<2>(self.dst_port);
        header.set_u32::<4>(self.seq);
        header.set_u32::<8>(self.ack);
        header.set_u16::<12>(self.offset_and_flags);
        header.set_u16::<14>(0);
        header.set_u32::<16>(0);
        Ok(())
    }
}

/// Sequence numbers that a segment takes up (RFC 9293, `SEG.LEN`).
#[inline(always)]
fn segment_len(header: &impl Window, ip: &Ipv4) -> u32 {
    let flags = header.u8::<13>();
    let header_len = ((header.u8::<12>() >> 4) as usize) << 2;
    let data = octets(ip.payload_len().saturating_sub(header_len));
    u32::from(data) + u32::from(flags & TCP_SYN != 0) + u32::from(flags & TCP_FIN != 0)
}

/// Writes the checksum of a segment without payload.
///
/// In TC the kernel may have left it to the network card, and then wants the pseudo-header's sum in the field, else the
/// real one; only its helper knows which. So the field begins as that sum, and the difference to the real checksum goes
/// through the helper, which leaves it out in the first case: `!(!sum + difference) == !(sum + segment)`.
#[inline(always)]
fn store_tcp_checksum<P: Packet>(packet: &mut P, at: usize, ip: &Ipv4, segment: Sum) -> Result<(), Refused> {
    let pseudo = Sum::NONE
        .long(ip.src.to_be())
        .long(ip.dst.to_be())
        .word(u16::from_ne_bytes([0, Protocol::Tcp as u8]))
        .word(octets(TCP_HEADER_LEN).to_be())
        .fold();
    let checksum = at + checksum_offset(Protocol::Tcp);
    packet.window_mut::<2>(checksum)?.set_u16::<0>(pseudo);
    let difference = Difference::from(segment.word(pseudo).word(pseudo));
    packet.update_transport_checksum(checksum, Protocol::Tcp, Difference::NONE, difference)
}

/// What an ICMP error of the gateway's own says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complaint {
    kind: u8,
    code: u8,
    /// The second word of its header, as it stands in memory.
    word: u32,
}

impl Complaint {
    /// Nobody listens there (RFC 1122 section 3.2.2.1).
    pub const PORT_UNREACHABLE: Self =
        Self { kind: ICMP_DESTINATION_UNREACHABLE, code: ICMP_PORT_UNREACHABLE, word: 0 };
    /// There is no way to that host (RFC 1812 section 5.2.7.1).
    pub const HOST_UNREACHABLE: Self =
        Self { kind: ICMP_DESTINATION_UNREACHABLE, code: ICMP_HOST_UNREACHABLE, word: 0 };
    /// Nobody may go there (RFC 1812 section 5.2.7.1, code 13).
    pub const PROHIBITED: Self = Self { kind: ICMP_DESTINATION_UNREACHABLE, code: ICMP_PROHIBITED, word: 0 };
    /// The time to live ended here (RFC 1812 section 5.3.1).
    pub const TIME_EXCEEDED: Self = Self { kind: ICMP_TIME_EXCEEDED, code: 0, word: 0 };

    /// The next link takes packets of at most `mtu` bytes (RFC 1191 section 4).
    #[inline(always)]
    pub const fn fragmentation_needed(mtu: u16) -> Self {
        let word = (mtu as u32).to_be();
        Self { kind: ICMP_DESTINATION_UNREACHABLE, code: ICMP_FRAGMENTATION_NEEDED, word }
    }
}

/// Turns a packet into an ICMP error about itself (RFC 792), sent from `src`.
///
/// Where the kernel has left the checksum to the network card, the card will write into the message: for UDP into the second
/// word of the ICMP header, where the MTU stands; for TCP over the quoted time to live and protocol. It writes the complement
/// of the sum over all that follows the IP header, of which the message itself is zero. So the complement of what stands in
/// that place is put behind the packet, where nobody looks, and the card writes what stands there.
///
/// # Errors
///
/// [`Refused`] when the packet could not be changed; it must then be dropped.
#[inline(always)]
pub fn icmp_error<P: Packet>(
    packet: &mut P,
    ip: &Ipv4,
    src: Addr,
    complaint: Complaint,
) -> Result<(), Refused> {
    let (receiver, sender) = ethernet::addresses(packet).ok_or(Refused)?;
    let link = Link::parse(packet).ok_or(Refused)?;
    let quoted = quote(packet, ip.offset).ok_or(Refused)?;
    let at = ip.payload_offset();
    let field = checksum_field(packet, ip)?;
    let padding_len = if field.is_some() { size_of::<u16>() } else { 0 };
    packet.resize(at + ERROR_LEN + padding_len)?;
    let kind = u16::from_ne_bytes([complaint.kind, complaint.code]);
    let mut sum = Sum::NONE.word(kind).long(complaint.word);
    for (index, word) in quoted.into_iter().enumerate() {
        packet.window_mut::<4>(at + ICMP_HEADER_LEN + 4 * index)?.set_u32::<0>(word);
        sum = sum.long(word);
    }
    store_icmp(packet, at, kind, (!sum.fold(), complaint.word))?;
    if let Some(field) = field {
        let kept = packet.window::<2>(at + field).ok_or(Refused)?.u16::<0>();
        packet.window_mut::<2>(at + ERROR_LEN)?.set_u16::<0>(!kept);
    }
    store_ip(packet, ip, (src, INTERNETWORK_CONTROL), Protocol::Icmp, ERROR_LEN)?;
    store_ethertype(packet, &link)?;
    send_back(packet, sender, receiver)
}

/// Where in the transport header the network card will write a checksum, if it will.
#[inline(always)]
fn checksum_field<P: Packet>(packet: &mut P, ip: &Ipv4) -> Result<Option<usize>, Refused> {
    let field = match Protocol::from_number(ip.protocol) {
        Some(protocol @ (Protocol::Tcp | Protocol::Udp)) if !ip.fragment.is_later() => {
            checksum_offset(protocol)
        }
        _ => return Ok(None),
    };
    Ok(if packet.leaves_checksum(ip.payload_offset() + field)? { Some(field) } else { None })
}

/// Writes what follows the link addresses, as it came.
#[inline(always)]
fn store_ethertype<P: Packet>(packet: &mut P, link: &Link) -> Result<(), Refused> {
    let Some(tag) = link.tag else {
        packet.window_mut::<2>(ETHERTYPE_OFFSET)?.set_u16::<0>(link.ethertype.to_be());
        return Ok(());
    };
    let mut tagged = packet.window_mut::<{ 2 + TAG_LEN }>(ETHERTYPE_OFFSET)?;
    tagged.set_u16::<0>(ETHERTYPE_VLAN.to_be());
    tagged.set_u16::<2>(tag.to_be());
    tagged.set_u16::<4>(link.ethertype.to_be());
    Ok(())
}

#[inline(always)]
fn store_icmp<P: Packet>(
    packet: &mut P,
    at: usize,
    kind: u16,
    (checksum, word): (u16, u32),
) -> Result<(), Refused> {
    let mut header = packet.window_mut::<ICMP_HEADER_LEN>(at)?;
    header.set_u16::<0>(kind);
    header.set_u16::<2>(checksum);
    header.set_u32::<4>(word);
    Ok(())
}

/// The beginning of the IP packet at `offset`, without options.
#[inline(always)]
fn quote<P: Packet>(packet: &P, offset: usize) -> Option<[u32; QUOTED_WORDS]> {
    let mut words = [0; QUOTED_WORDS];
    for (index, word) in words.iter_mut().enumerate() {
        *word = packet.window::<4>(offset + 4 * index)?.u32::<0>();
    }
    Some(words)
}

/// Writes a whole IP header, from `src` to the refused packet's source.
#[inline(always)]
fn store_ip<P: Packet>(
    packet: &mut P,
    refused: &Ipv4,
    (src, tos): (Addr, u8),
    protocol: Protocol,
    payload_len: usize,
) -> Result<(), Refused> {
    let dst = refused.src;
    let version_and_tos = u16::from_ne_bytes([0x45, tos]);
    let total_len = octets(ipv4::HEADER_LEN + payload_len).to_be();
    let ttl_and_protocol = u16::from_ne_bytes([ORIGINATED_TTL, protocol as u8]);
    let sum = Sum::NONE
        .word(version_and_tos)
        .word(total_len)
        .word(DONT_FRAGMENT.to_be())
        .word(ttl_and_protocol)
        .long(src.to_be())
        .long(dst.to_be());
    let mut header = packet.window_mut::<{ ipv4::HEADER_LEN }>(refused.offset)?;
    header.set_u16::<0>(version_and_tos);
    header.set_u16::<2>(total_len);
    header.set_u16::<4>(0);
    header.set_u16::<6>(DONT_FRAGMENT.to_be());
    header.set_u16::<8>(ttl_and_protocol);
    header.set_u16::<10>(!sum.fold());
    header.set_u32::<12>(src.to_be());
    header.set_u32::<16>(dst.to_be());
    Ok(())
}
