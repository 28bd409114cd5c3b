//! Frames as neighbours send them: right in every byte, until a [`Damage`] is done to them.

use gateway_common::abi::{Addr, Port};

use super::{
    plan::{GATEWAY_MAC, NEXT_HOP_MAC},
    read::{ICMP, Ip, TCP, UDP, link, sum},
};

/// An address and a port; an echo's identifier stands where its port would.
pub type End = (Addr, Port);

/// What the transport header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP with these flags.
    Tcp(u8),
    /// UDP, with a checksum or without.
    Udp { checksum: bool },
    /// ICMP echo of this type; a request's identifier is the source's port, a reply's the destination's.
    Echo(u8),
    /// Any other protocol, without a transport header.
    Other(u8),
}

impl Kind {
    /// The protocol's number.
    pub const fn protocol(self) -> u8 {
        match self {
            Self::Tcp(_) => TCP,
            Self::Udp { .. } => UDP,
            Self::Echo(_) => ICMP,
            Self::Other(number) => number,
        }
    }
}

/// An IPv4 packet to be built.
#[derive(Clone, Debug)]
pub struct Packet {
    pub kind: Kind,
    pub src: End,
    pub dst: End,
    pub ttl: u8,
    pub id: u16,
    /// IPv4 options, in words of four bytes: 0..=10.
    pub option_words: u8,
    /// The maximum segment size that a TCP SYN tells.
    pub mss: Option<u16>,
    /// Does padding before that option move it to an odd place?
    pub is_padded: bool,
    /// Of a TCP segment.
    pub sequence_number: u32,
    /// Of a TCP segment; it counts with the flag ACK.
    pub acknowledgment: u32,
    pub payload: Vec<u8>,
}

impl Packet {
    pub fn new(kind: Kind, src: End, dst: End) -> Self {
        let payload = b"payload".to_vec();
        Self {
            kind,
            src,
            dst,
            ttl: 64,
            id: 0x1234,
            option_words: 0,
            mss: None,
            is_padded: false,
            sequence_number: 1,
            acknowledgment: 1,
            payload,
        }
    }

    /// Header and payload of the transport, with its checksum.
    pub fn segment(&self) -> Vec<u8> {
        let mut segment = self.transport_header();
        segment.extend_from_slice(&self.payload);
        segment
    }

    fn transport_header(&self) -> Vec<u8> {
        let [sport, dport] = [self.src.1, self.dst.1].map(|port| port.number().to_be_bytes());
        let udp_len = u16::try_from(8 + self.payload.len()).unwrap_or(u16::MAX).to_be_bytes();
        match self.kind {
            Kind::Tcp(flags) => {
                let options = self.tcp_options();
                let offset = 0x50 + 4 * u8::try_from(options.len()).expect("few options");
                let [sequence, acknowledgment] =
                    [self.sequence_number, self.acknowledgment].map(u32::to_be_bytes);
                let fixed = [offset, flags, 0xff, 0xff, 0, 0, 0, 0];
                [&sport[..], &dport, &sequence, &acknowledgment, &fixed, &options].concat()
            }
            Kind::Udp { .. } => [sport, dport, udp_len, [0, 0]].concat(),
            Kind::Echo(kind) => [[kind, 0], [0, 0], if kind == 0 { dport } else { sport }, [0, 1]].concat(),
            Kind::Other(_) => Vec::new(),
        }
    }

    fn tcp_options(&self) -> Vec<u8> {
        match self.mss.map(u16::to_be_bytes) {
            None => Vec::new(),
            Some([high, low]) if self.is_padded => vec![1, 2, 4, high, low, 1, 1, 0],
            Some([high, low]) => vec![2, 4, high, low],
        }
    }

    /// The whole IPv4 packet.
    pub fn build(&self) -> Vec<u8> {
        let mut packet = ip(self, &self.segment(), 0);
        if self.kind != (Kind::Udp { checksum: false }) {
            repair_transport(&mut packet);
        }
        packet
    }

    /// Pieces of the packet: each so many bytes of the segment from such an offset, which is a multiple of 8.
    pub fn fragments(&self, cuts: &[(usize, usize)]) -> Vec<Vec<u8>> {
        let whole = self.build();
        let segment = &whole[whole.len() - self.segment().len()..];
        let piece = |(offset, len): &(usize, usize)| {
            let end = (offset + len).min(segment.len());
            let more = if end < segment.len() { 0x2000 } else { 0 };
            let bits = u16::try_from(offset / 8).unwrap_or(0x1fff) | more;
            ip(self, &segment[(*offset).min(end)..end], bits)
        };
        cuts.iter().map(piece).collect()
    }
}

/// An IPv4 header, with its checksum, before a payload.
fn ip(packet: &Packet, payload: &[u8], fragment_bits: u16) -> Vec<u8> {
    let header_len = 20 + 4 * usize::from(packet.option_words);
    let total = u16::try_from(header_len + payload.len()).unwrap_or(u16::MAX);
    // Options that say nothing (RFC 791: 1 is "no operation").
    let mut ip = vec![1; header_len];
    ip[..2].copy_from_slice(&[0x45 + packet.option_words, 0x28]);
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    ip[4..6].copy_from_slice(&packet.id.to_be_bytes());
    ip[6..8].copy_from_slice(&fragment_bits.to_be_bytes());
    ip[8..12].copy_from_slice(&[packet.ttl, packet.kind.protocol(), 0, 0]);
    ip[12..16].copy_from_slice(&packet.src.0.octets());
    ip[16..20].copy_from_slice(&packet.dst.0.octets());
    repair_header(&mut ip);
    ip.extend_from_slice(payload);
    ip
}

/// An ICMP error of a router at `src` to `dst` about the packet that begins with `quote`.
pub fn icmp_error((kind, code): (u8, u8), rest: [u8; 4], ends: (Addr, Addr), quote: &[u8]) -> Vec<u8> {
    let (src, dst) = ((ends.0, Port::NONE), (ends.1, Port::NONE));
    let payload = [&[kind, code, 0, 0][..], &rest, quote].concat();
    Packet { payload, ..Packet::new(Kind::Other(ICMP), src, dst) }.build()
}

/// A frame around an IPv4 packet.
pub fn frame(tag: Option<u16>, packet: &[u8]) -> Vec<u8> {
    let tag = tag.map_or(Vec::new(), |tag| [[0x81, 0], tag.to_be_bytes()].concat());
    [&GATEWAY_MAC[..], &NEXT_HOP_MAC, &tag, &[0x08, 0x00], packet].concat()
}

/// A question for the link address of `target`.
pub fn arp_request(tag: Option<u16>, target: Addr) -> Vec<u8> {
    let mut frame = frame(tag, &[]);
    let at = frame.len();
    frame[at - 1] = 0x06;
    frame[..6].fill(0xff);
    let asker = [&NEXT_HOP_MAC[..], &[192, 0, 2, 99]].concat();
    let fixed = [0, 1, 8, 0, 6, 4, 0, 1];
    [&frame[..], &fixed, &asker, &[0; 6], &target.octets()].concat()
}

/// Makes the header's checksum right.
fn repair_header(packet: &mut [u8]) {
    let Some(len) = Ip::quoted(packet).map(|ip| ip.header.len()) else { return };
    packet[10..12].fill(0);
    let checksum = !sum(&packet[..len]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// Makes the transport's checksum right, also where there was none.
fn repair_transport(packet: &mut [u8]) {
    let Some(ip) = Ip::quoted(packet) else { return };
    let (start, protocol) = (ip.header.len(), ip.protocol());
    let at = match protocol {
        TCP => 16,
        UDP => 6,
        ICMP => 2,
        _ => return,
    };
    if ip.payload.len() < at + 2 {
        return;
    }
    packet[start + at..start + at + 2].fill(0);
    let sum = Ip::quoted(packet).map_or(0, |ip| ip.transport_sum());
    let checksum = if protocol == UDP && sum == 0xffff { 0xffff } else { !sum };
    packet[start + at..start + at + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// What is done to a frame before it is sent.
#[derive(Clone, Copy, Debug)]
pub enum Damage {
    /// This byte of it, counted from the IPv4 header, becomes another.
    Byte(u8, u8),
    /// The same, and the header's checksum is right afterwards: a wrong one ends every packet early.
    Disguised(u8, u8),
    /// It is cut off after so many bytes.
    Cut(u8),
    /// So many bytes follow it.
    Trailer(u8),
    /// Its checksums are made right again.
    Repair,
}

impl Damage {
    pub const fn new([what, at, value]: [u8; 3]) -> Self {
        match what % 8 {
            0 | 1 => Self::Byte(at, value),
            2 | 3 => Self::Disguised(at, value),
            4 => Self::Cut(at),
            5 => Self::Trailer(at),
            _ => Self::Repair,
        }
    }

    pub fn apply(self, frame: &mut Vec<u8>) {
        let start = link(frame).map_or(14, |(start, _)| start);
        match self {
            Self::Byte(at, value) => {
                if let Some(byte) = frame.get_mut(start + usize::from(at)) {
                    *byte = value;
                }
            }
            Self::Disguised(at, value) => {
                Self::Byte(at, value).apply(frame);
                if let Some(packet) = frame.get_mut(start..) {
                    repair_header(packet);
                }
            }
            Self::Cut(len) => frame.truncate(len.into()),
            Self::Trailer(len) => frame.extend(std::iter::repeat_n(0xa5, len.into())),
            Self::Repair => {
                if let Some(packet) = frame.get_mut(start..) {
                    repair_header(packet);
                    repair_transport(packet);
                }
            }
        }
    }
}
