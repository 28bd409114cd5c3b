//! TCP (RFC 9293), UDP (RFC 768) and ICMP echo (RFC 792), as far as a NAT needs them.

use crate::{
    abi::{Acked, Addr, FlowKey, Port, Protocol, Seen, Side},
    conntrack::Segment,
    drop_reason::DropReason,
    packet::{Packet, Window as _},
    wire::ipv4::Ipv4,
};

/// Length of a TCP header without options.
pub const TCP_HEADER_LEN: usize = 20;
/// Length of a UDP header.
pub const UDP_HEADER_LEN: usize = 8;
/// Length of an ICMP header.
pub const ICMP_HEADER_LEN: usize = 8;
/// FIN of the TCP flags byte.
pub const TCP_FIN: u8 = 0x01;
/// SYN of the TCP flags byte.
pub const TCP_SYN: u8 = 0x02;
/// RST of the TCP flags byte.
pub const TCP_RST: u8 = 0x04;
/// ACK of the TCP flags byte.
pub const TCP_ACK: u8 = 0x10;
/// ICMP type of an echo reply.
pub const ICMP_ECHO_REPLY: u8 = 0;
/// ICMP type "destination unreachable".
pub const ICMP_DESTINATION_UNREACHABLE: u8 = 3;
/// Its code "host unreachable".
pub const ICMP_HOST_UNREACHABLE: u8 = 1;
/// Its code "port unreachable".
pub const ICMP_PORT_UNREACHABLE: u8 = 3;
/// Its code "fragmentation needed and DF set".
pub const ICMP_FRAGMENTATION_NEEDED: u8 = 4;
/// Its code "communication administratively prohibited".
pub const ICMP_PROHIBITED: u8 = 13;
/// ICMP type of an echo request.
pub const ICMP_ECHO_REQUEST: u8 = 8;
/// ICMP type "time exceeded".
pub const ICMP_TIME_EXCEEDED: u8 = 11;
/// ICMP type "parameter problem".
pub const ICMP_PARAMETER_PROBLEM: u8 = 12;

/// Where the port fields and the checksum lie, and what the header says. Offsets are from the start of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// The 5-tuple.
    pub key: FlowKey,
    /// What the packet says to conntrack.
    pub segment: Segment,
    /// Where the transport header starts.
    pub offset: usize,
    /// TCP: the sequence number, in host byte order; else 0.
    pub sequence_number: u32,
    /// TCP: how far it acknowledges what the other end has sent. A reset's says nothing.
    pub acked: Acked,
}

impl Transport {
    /// That of no packet.
    pub const NONE: Self = Self {
        key: FlowKey::v4(
            Side::External,
            Protocol::Tcp,
            (Addr::UNSPECIFIED, Port::NONE),
            (Addr::UNSPECIFIED, Port::NONE),
        ),
        segment: Segment::DATAGRAM,
        offset: 0,
        sequence_number: 0,
        acked: Acked::UNKNOWN,
    };

    /// Reads and checks the transport header behind `ip`, which is no later fragment.
    ///
    /// # Errors
    ///
    /// The reason to drop the packet, should it be the gateway's.
    #[inline(always)]
    pub fn parse<P: Packet>(packet: &P, ip: &Ipv4, side: Side) -> Result<Self, DropReason> {
        match Protocol::from_number(ip.protocol) {
            Some(Protocol::Tcp) => Self::tcp(packet, ip, side),
            Some(Protocol::Udp) => Self::udp(packet, ip, side),
            Some(Protocol::Icmp) => Self::icmp(packet, ip, side),
            None => Err(DropReason::ProtocolNotSupported),
        }
    }

    #[inline(always)]
    fn tcp<P: Packet>(packet: &P, ip: &Ipv4, side: Side) -> Result<Self, DropReason> {
        let offset = ip.payload_offset();
        let header = header::<TCP_HEADER_LEN, P>(packet, ip)?;
        let header_len = tcp_header_len(header.u8::<12>());
        if header_len < TCP_HEADER_LEN || header_len > ip.payload_len() {
            return Err(DropReason::BadTransportHeader);
        }
        let ports = (Port::from_be(header.u16::<0>()), Port::from_be(header.u16::<2>()));
        let key = FlowKey::v4(side, Protocol::Tcp, (ip.src, ports.0), (ip.dst, ports.1));
        let segment = Segment::tcp(tcp_flags(header.u8::<13>()));
        let sequence_number = u32::from_be(header.u32::<4>());
        let acked = acked(segment, u32::from_be(header.u32::<8>()));
        Ok(Self { key, segment, offset, sequence_number, acked })
    }

    #[inline(always)]
    fn udp<P: Packet>(packet: &P, ip: &Ipv4, side: Side) -> Result<Self, DropReason> {
        let offset = ip.payload_offset();
        let header = header::<UDP_HEADER_LEN, P>(packet, ip)?;
        let len = u16::from_be(header.u16::<4>()) as usize;
        if len < UDP_HEADER_LEN || (len > ip.payload_len() && !ip.fragment.is_part()) {
            return Err(DropReason::BadTransportHeader);
        }
        let ports = (Port::from_be(header.u16::<0>()), Port::from_be(header.u16::<2>()));
        let key = FlowKey::v4(side, Protocol::Udp, (ip.src, ports.0), (ip.dst, ports.1));
        Ok(Self { key, segment: Segment::DATAGRAM, offset, ..Self::NONE })
    }

    #[inline(always)]
    fn icmp<P: Packet>(packet: &P, ip: &Ipv4, side: Side) -> Result<Self, DropReason> {
        let offset = ip.payload_offset();
        let header = header::<ICMP_HEADER_LEN, P>(packet, ip)?;
        let id = Port::from_be(header.u16::<4>());
        let (ports, segment) = match (header.u8::<0>(), header.u8::<1>()) {
            (ICMP_ECHO_REQUEST, 0) => ((id, Port::NONE), Segment::ECHO_REQUEST),
            (ICMP_ECHO_REPLY, 0) => ((Port::NONE, id), Segment::ECHO_REPLY),
            _ => return Err(DropReason::IcmpTypeNotSupported),
        };
        let key = FlowKey::v4(side, Protocol::Icmp, (ip.src, ports.0), (ip.dst, ports.1));
        Ok(Self { key, segment, offset, ..Self::NONE })
    }
}

/// What a segment's acknowledgment number says. The flags decide whether it is one, and a reset may be anybody's.
#[inline(always)]
const fn acked(segment: Segment, number: u32) -> Acked {
    let flags = segment.seen();
    if flags.contains(Seen::ACK) && !flags.contains(Seen::RST) {
        Acked::up_to(number)
    } else {
        Acked::UNKNOWN
    }
}

/// A transport header, which must lie within the IP packet, not only within the frame.
#[inline(always)]
fn header<'a, const N: usize, P: Packet>(packet: &'a P, ip: &Ipv4) -> Result<P::Window<'a, N>, DropReason> {
    if ip.payload_len() < N {
        return Err(DropReason::BadTransportHeader);
    }
    packet.window::<N>(ip.payload_offset()).ok_or(DropReason::Truncated)
}

/// Length of a TCP header with its options, from the byte that tells it (data offset).
#[inline(always)]
pub const fn tcp_header_len(data_offset: u8) -> usize {
    ((data_offset >> 4) as usize) << 2
}

/// SYN, ACK, FIN and RST of the TCP flags byte as [`Seen`] bits.
#[inline(always)]
const fn tcp_flags(flags: u8) -> Seen {
    let (fin, syn, rst, ack) = (flags & 1, (flags >> 1) & 1, (flags >> 2) & 1, (flags >> 4) & 1);
    Seen((syn * Seen::SYN.0) | (ack * Seen::ACK.0) | (fin * Seen::FIN.0) | (rst * Seen::RST.0))
}

/// Offset of the checksum field within the transport header.
#[inline(always)]
pub const fn checksum_offset(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Tcp => 16,
        Protocol::Udp => 6,
        Protocol::Icmp => 2,
    }
}
