//! Frames as neighbours send them, and how a neighbour reads what comes back.

use crate::{
    abi::{Addr, Port},
    memory::BytesPacket,
    wire::checksum::compute,
};
use std::{net::SocketAddrV4, vec, vec::Vec};

/// Link addresses of whoever sends to the gateway.
pub const TO_GATEWAY: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const FROM_NEIGHBOUR: [u8; 6] = [2, 0, 0, 0, 0, 2];

pub const SYN: u8 = 0x02;
pub const SYN_ACK: u8 = 0x12;
pub const ACK: u8 = 0x10;
pub const FIN: u8 = 0x11;
pub const RST: u8 = 0x14;

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMP: u8 = 1;

/// An address and a port, as in `192.0.2.1:443`; an echo's identifier stands where its port would.
pub type End = (Addr, Port);

pub fn addr(text: &str) -> Addr {
    text.parse::<std::net::Ipv4Addr>().unwrap().into()
}

pub fn end(text: &str) -> End {
    let end: SocketAddrV4 = text.parse().unwrap();
    ((*end.ip()).into(), Port::new(end.port()))
}

/// What the transport header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP with these flags.
    Tcp(u8),
    /// UDP, with a checksum or without.
    Udp { checksum: bool },
    /// ICMP of this type; an echo request's identifier is the source's port, a reply's the destination's.
    Icmp(u8),
}

/// A frame to be built.
#[derive(Clone, Debug)]
pub struct Frame {
    pub kind: Kind,
    pub src: End,
    pub dst: End,
    pub ttl: u8,
    pub tag: Option<u16>,
    /// IPv4 options, in words of four bytes: 0..=10.
    pub option_words: u8,
    /// TCP: sequence and acknowledgment number. By default each is the next that the other end expects.
    pub numbers: (u32, u32),
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new(kind: Kind, src: End, dst: End) -> Self {
        Self {
            kind,
            src,
            dst,
            ttl: 64,
            tag: None,
            option_words: 0,
            numbers: (1, 1),
            payload: b"payload".to_vec(),
        }
    }

    pub fn tcp(flags: u8, src: &str, dst: &str) -> Self {
        Self::new(Kind::Tcp(flags), end(src), end(dst))
    }

    pub fn udp(src: &str, dst: &str) -> Self {
        Self::new(Kind::Udp { checksum: true }, end(src), end(dst))
    }

    pub fn echo_request(src: &str, dst: &str) -> Self {
        Self::new(Kind::Icmp(8), end(src), end(dst))
    }

    pub fn tag(self, tag: u16) -> Self {
        Self { tag: (tag != 0).then_some(tag), ..self }
    }

    pub fn numbers(self, sequence: u32, acknowledgment: u32) -> Self {
        Self { numbers: (sequence, acknowledgment), ..self }
    }

    pub fn ttl(self, ttl: u8) -> Self {
        Self { ttl, ..self }
    }

    fn transport(&self) -> Vec<u8> {
        let [sport, dport] = [self.src.1, self.dst.1].map(|port| port.number().to_be_bytes());
        let udp_len = u16::try_from(8 + self.payload.len()).unwrap().to_be_bytes();
        let mut header = match self.kind {
            Kind::Tcp(flags) => {
                let [sequence, acknowledgment] = [self.numbers.0, self.numbers.1].map(u32::to_be_bytes);
                let fixed = [0x50, flags, 0xff, 0xff, 0, 0, 0, 0];
                [&sport[..], &dport, &sequence, &acknowledgment, &fixed].concat()
            }
            Kind::Udp { .. } => [sport, dport, udp_len, [0, 0]].concat(),
            Kind::Icmp(kind) => {
                let identifier = if kind == 0 { dport } else { sport };
                [[kind, 0], [0, 0], identifier, [0, 1]].concat()
            }
        };
        header.extend_from_slice(&self.payload);
        let at = match self.kind {
            Kind::Tcp(_) => 16,
            Kind::Udp { checksum: true } => 6,
            Kind::Udp { checksum: false } => return header,
            Kind::Icmp(_) => 2,
        };
        let checksum = match compute(&covered(self.src.0, self.dst.0, self.protocol(), &header), 0) {
            0 if self.protocol() == UDP => 0xffff,
            checksum => checksum,
        };
        header[at..at + 2].copy_from_slice(&checksum.to_ne_bytes());
        header
    }

    pub const fn protocol(&self) -> u8 {
        match self.kind {
            Kind::Tcp(_) => TCP,
            Kind::Udp { .. } => UDP,
            Kind::Icmp(_) => ICMP,
        }
    }

    pub fn build(&self) -> Vec<u8> {
        let transport = self.transport();
        let header_len = 20 + 4 * usize::from(self.option_words);
        let mut ip = vec![1_u8; header_len];
        let total = u16::try_from(header_len + transport.len()).unwrap().to_be_bytes();
        ip[..12].copy_from_slice(&[
            0x45 + self.option_words,
            0x28,
            total[0],
            total[1],
            0x12,
            0x34,
            0x40,
            0,
            self.ttl,
            self.protocol(),
            0,
            0,
        ]);
        ip[12..16].copy_from_slice(&self.src.0.octets());
        ip[16..20].copy_from_slice(&self.dst.0.octets());
        let checksum = compute(&ip, 0).to_ne_bytes();
        ip[10..12].copy_from_slice(&checksum);
        let mut frame = [TO_GATEWAY, FROM_NEIGHBOUR].concat();
        if let Some(tag) = self.tag {
            frame.extend_from_slice(&[0x81, 0]);
            frame.extend_from_slice(&tag.to_be_bytes());
        }
        frame.extend_from_slice(&[0x08, 0]);
        frame.extend(ip);
        frame.extend(transport);
        frame
    }

    pub fn packet(&self, ingress_ifindex: u32) -> BytesPacket {
        BytesPacket { bytes: self.build(), ingress_ifindex }
    }
}

/// What the transport checksum covers: the pseudo-header (not for ICMP) and the segment.
fn covered(src: Addr, dst: Addr, protocol: u8, segment: &[u8]) -> Vec<u8> {
    if protocol == ICMP {
        return segment.to_vec();
    }
    let len = u16::try_from(segment.len()).unwrap().to_be_bytes();
    [&src.octets()[..], &dst.octets(), &[0, protocol], &len, segment].concat()
}

/// A frame as a receiver reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub link: [u8; 12],
    pub tag: Option<u16>,
    pub ttl: u8,
    pub protocol: u8,
    pub src: End,
    pub dst: End,
    /// What follows ports, identifier and checksum: nobody may change it.
    pub rest: Vec<u8>,
}

impl Received {
    /// Reads a frame and checks every checksum from scratch, as a receiver does; panics if one is wrong.
    pub fn read(bytes: &[u8]) -> Self {
        let tagged = bytes[12..14] == [0x81, 0];
        let ip_at = if tagged { 18 } else { 14 };
        assert_eq!(bytes[ip_at - 2..ip_at], [0x08, 0], "not IPv4: {bytes:02x?}");
        let ip = &bytes[ip_at..];
        let (header, segment) = ip.split_at(usize::from(ip[0] & 15) * 4);
        let segment = &segment[..usize::from(u16::from_be_bytes([ip[2], ip[3]])) - header.len()];
        assert_eq!(compute(header, 0), 0, "IPv4 checksum of {bytes:02x?}");
        let address = |at: usize| Addr::new(ip[at..at + 4].try_into().unwrap());
        let (src, dst, protocol) = (address(12), address(16), ip[9]);
        let unchecked = protocol == UDP && segment[6..8] == [0, 0];
        let sum = compute(&covered(src, dst, protocol, segment), 0);
        assert!(unchecked || sum == 0, "transport checksum of {bytes:02x?}");
        let (ports, rest) = ports_and_rest(protocol, segment);
        Self {
            link: bytes[..12].try_into().unwrap(),
            tag: tagged.then(|| u16::from_be_bytes([bytes[14], bytes[15]])),
            ttl: ip[8],
            protocol,
            src: (src, ports.0),
            dst: (dst, ports.1),
            rest,
        }
    }
}

fn ports_and_rest(protocol: u8, segment: &[u8]) -> ((Port, Port), Vec<u8>) {
    let port = |at: usize| Port::new(u16::from_be_bytes([segment[at], segment[at + 1]]));
    match (protocol, segment[0]) {
        (TCP, _) => ((port(0), port(2)), [&segment[4..16], &segment[18..]].concat()),
        (UDP, _) => ((port(0), port(2)), [&segment[4..6], &segment[8..]].concat()),
        (_, 0) => ((Port::NONE, port(4)), [&segment[..2], &segment[6..]].concat()),
        _ => ((port(4), Port::NONE), [&segment[..2], &segment[6..]].concat()),
    }
}

/// Corrects the checksum of an IPv4 header without options, after a change.
pub fn seal(bytes: &mut [u8]) {
    bytes[24..26].fill(0);
    let checksum = crate::wire::checksum::compute(&bytes[14..34], 0);
    bytes[24..26].copy_from_slice(&checksum.to_ne_bytes());
}
