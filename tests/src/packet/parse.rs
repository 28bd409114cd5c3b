//! The strict parser: a frame that breaks its own lengths is an error, a checksum that is not right is a
//! finding.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::checksum::{internet_checksum, pseudo_header_sum, segment_checksum};
use super::{
    ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_VLAN, Mac, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP, TcpFlags,
};

/// A parsed frame with the verdict on all its checksums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Link layer.
    pub ethernet: Ethernet,
    /// What it carries.
    pub body: Body,
    /// Every checksum that does not match a full recomputation.
    pub bad_checksums: Vec<BadChecksum>,
}

/// The link-layer header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ethernet {
    /// Destination.
    pub dst: Mac,
    /// Source.
    pub src: Mac,
    /// VLAN number, when tagged.
    pub vlan: Option<u16>,
    /// Of the content, after the tag.
    pub ethertype: u16,
}

/// What a frame carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// An IPv4 packet.
    Ipv4(Ipv4),
    /// An ARP packet for IPv4 over Ethernet.
    Arp(Arp),
    /// Anything else, unparsed.
    Other(Vec<u8>),
}

/// An ARP packet (RFC 826).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arp {
    /// 1 request, 2 reply.
    pub operation: u16,
    /// Sender's link-layer address.
    pub sender_mac: Mac,
    /// Sender's address.
    pub sender: Ipv4Addr,
    /// Target's link-layer address.
    pub target_mac: Mac,
    /// Target's address.
    pub target: Ipv4Addr,
}

/// An IPv4 packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ipv4 {
    /// Source.
    pub src: Ipv4Addr,
    /// Destination.
    pub dst: Ipv4Addr,
    /// DSCP and ECN.
    pub tos: u8,
    /// Identification.
    pub id: u16,
    /// `Don't fragment`.
    pub dont_fragment: bool,
    /// `More fragments`.
    pub more_fragments: bool,
    /// In bytes.
    pub fragment_offset: u16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol number.
    pub protocol: u8,
    /// Raw options with their padding.
    pub options: Vec<u8>,
    /// In bytes, header included.
    pub total_length: u16,
    /// What it carries.
    pub transport: Transport,
}

/// What an IPv4 packet carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp(Tcp),
    /// UDP.
    Udp(Udp),
    /// ICMP.
    Icmp(Icmp),
    /// A fragment, first ones included: no checksum can be verified before [`super::reassemble`].
    Fragment(Vec<u8>),
    /// Another protocol, or a quoted packet that was cut inside its header.
    Other(Vec<u8>),
}

/// A TCP segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Control bits.
    pub flags: TcpFlags,
    /// Window, unscaled.
    pub window: u16,
    /// Checksum as found.
    pub checksum: u16,
    /// Raw options with their padding.
    pub options: Vec<u8>,
    /// Data.
    pub payload: Vec<u8>,
}

/// A UDP datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Udp {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Checksum as found; zero means that the sender made none.
    pub checksum: u16,
    /// Data.
    pub payload: Vec<u8>,
}

/// An ICMP message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Checksum as found.
    pub checksum: u16,
    /// The rest.
    pub body: IcmpBody,
}

/// What follows the checksum of an ICMP message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IcmpBody {
    /// Echo request or reply.
    Echo {
        /// Identifier.
        id: u16,
        /// Sequence number.
        sequence: u16,
        /// Data.
        payload: Vec<u8>,
    },
    /// An error with the packet it quotes, which may be cut.
    Error {
        /// The four bytes after the checksum; the MTU is in the last two.
        rest: [u8; 4],
        /// The quoted packet.
        quoted: Box<Ipv4>,
    },
    /// Any other type.
    Other(Vec<u8>),
}

/// Which checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumOf {
    /// The IP header.
    Ip,
    /// The TCP segment.
    Tcp,
    /// The UDP datagram.
    Udp,
    /// The ICMP message.
    Icmp,
    /// The IP header quoted in an ICMP error.
    QuotedIp,
    /// The TCP segment quoted in an ICMP error. Only checked when quoted in full.
    QuotedTcp,
    /// The UDP datagram quoted in an ICMP error. Only checked when quoted in full.
    QuotedUdp,
    /// The ICMP message quoted in an ICMP error. Only checked when quoted in full.
    QuotedIcmp,
}

/// A checksum that is not right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadChecksum {
    /// Which one.
    pub of: ChecksumOf,
    /// In the frame.
    pub found: u16,
    /// What belongs there.
    pub expected: u16,
    /// The field holds the sum of the pseudo-header alone: a sender with checksum offload left it for the
    /// device to finish.
    pub partial: bool,
}

/// A frame that contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseError {
    /// Ends inside the named header.
    Truncated(&'static str),
    /// The IP version is not 4.
    IpVersion(u8),
    /// The IP header length is under 5 words.
    IpHeaderWords(u8),
    /// The IP total length is under the header's or over the frame's.
    IpTotalLength {
        /// In the header.
        claimed: usize,
        /// In the frame.
        available: usize,
    },
    /// The TCP data offset is under 5 words or over the segment.
    TcpDataOffset(u8),
    /// The UDP length is not that of the datagram.
    UdpLength {
        /// In the header.
        claimed: usize,
        /// In the packet.
        available: usize,
    },
    /// ARP for other than IPv4 over Ethernet.
    ArpKind,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated(header) => write!(f, "frame ends inside the {header} header"),
            Self::IpVersion(version) => write!(f, "IP version {version}"),
            Self::IpHeaderWords(words) => write!(f, "IP header of {words} words"),
            Self::IpTotalLength { claimed, available } => {
                write!(f, "IP total length {claimed}, but {available} bytes are there")
            }
            Self::TcpDataOffset(words) => write!(f, "TCP data offset of {words} words"),
            Self::UdpLength { claimed, available } => {
                write!(f, "UDP length {claimed}, but {available} bytes are there")
            }
            Self::ArpKind => write!(f, "ARP for other than IPv4 over Ethernet"),
        }
    }
}

impl std::error::Error for ParseError {}

impl Frame {
    /// Parses and verifies. Padding after the end of an IP packet is allowed, as Ethernet adds it.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let mut reader = Reader { rest: bytes, header: "Ethernet" };
        let ethernet = Ethernet::parse(&mut reader)?;
        let mut bad_checksums = Vec::new();
        let body = match ethernet.ethertype {
            ETHERTYPE_IPV4 => Body::Ipv4(Ipv4::parse(reader.rest, Quoted::No, &mut bad_checksums)?),
            ETHERTYPE_ARP => Body::Arp(Arp::parse(reader.rest)?),
            _ => Body::Other(reader.rest.to_vec()),
        };
        Ok(Self { ethernet, body, bad_checksums })
    }

    /// The IPv4 packet, if it is one.
    pub fn ipv4(&self) -> Option<&Ipv4> {
        match &self.body {
            Body::Ipv4(ip) => Some(ip),
            _ => None,
        }
    }

    /// The TCP segment, if it is one.
    pub fn tcp(&self) -> Option<&Tcp> {
        match &self.ipv4()?.transport {
            Transport::Tcp(tcp) => Some(tcp),
            _ => None,
        }
    }

    /// The UDP datagram, if it is one.
    pub fn udp(&self) -> Option<&Udp> {
        match &self.ipv4()?.transport {
            Transport::Udp(udp) => Some(udp),
            _ => None,
        }
    }

    /// The ICMP message, if it is one.
    pub fn icmp(&self) -> Option<&Icmp> {
        match &self.ipv4()?.transport {
            Transport::Icmp(icmp) => Some(icmp),
            _ => None,
        }
    }

    /// The ARP packet, if it is one.
    pub fn arp(&self) -> Option<&Arp> {
        match &self.body {
            Body::Arp(arp) => Some(arp),
            _ => None,
        }
    }

    /// Source and destination with ports, of TCP and UDP.
    pub fn endpoints(&self) -> Option<(SocketAddrV4, SocketAddrV4)> {
        let ip = self.ipv4()?;
        let (src, dst) = ip.ports()?;
        Some((SocketAddrV4::new(ip.src, src), SocketAddrV4::new(ip.dst, dst)))
    }

    /// Panics when any checksum is wrong.
    #[track_caller]
    pub fn assert_checksums(&self) {
        assert!(self.bad_checksums.is_empty(), "bad checksums {:?} in {self:?}", self.bad_checksums);
    }
}

impl Ipv4 {
    /// Source and destination port, of TCP and UDP.
    pub fn ports(&self) -> Option<(u16, u16)> {
        match &self.transport {
            Transport::Tcp(tcp) => Some((tcp.src_port, tcp.dst_port)),
            Transport::Udp(udp) => Some((udp.src_port, udp.dst_port)),
            Transport::Icmp(_) | Transport::Fragment(_) | Transport::Other(_) => None,
        }
    }
}

/// Whether a packet stands inside an ICMP error, where it may be cut and its checksums have other names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quoted {
    No,
    Yes,
}

impl Ethernet {
    fn parse(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        let (dst, src) = (Mac(reader.array()?), Mac(reader.array()?));
        let outer = reader.u16()?;
        if outer != ETHERTYPE_VLAN {
            return Ok(Self { dst, src, vlan: None, ethertype: outer });
        }
        let vlan = Some(reader.u16()? & 0x0fff);
        Ok(Self { dst, src, vlan, ethertype: reader.u16()? })
    }
}

impl Arp {
    fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let mut reader = Reader { rest: bytes, header: "ARP" };
        if reader.array::<6>()? != [0, 1, 8, 0, 6, 4] {
            return Err(ParseError::ArpKind);
        }
        Ok(Self {
            operation: reader.u16()?,
            sender_mac: Mac(reader.array()?),
            sender: reader.address()?,
            target_mac: Mac(reader.array()?),
            target: reader.address()?,
        })
    }
}

impl Ipv4 {
    fn parse(bytes: &[u8], quoted: Quoted, bad: &mut Vec<BadChecksum>) -> Result<Self, ParseError> {
        let mut reader = Reader { rest: bytes, header: "IP" };
        let header_length = Self::header_length(reader.u8()?)?;
        let header = bytes.get(..header_length).ok_or(ParseError::Truncated("IP"))?;
        let tos = reader.u8()?;
        let total_length = reader.u16()?;
        let (id, word) = (reader.u16()?, reader.u16()?);
        let (ttl, protocol) = (reader.u8()?, reader.u8()?);
        let found = reader.u16()?;
        let (src, dst) = (reader.address()?, reader.address()?);
        check_ip_header(header, found, quoted, bad);
        let payload = Payload::cut(bytes, header_length, usize::from(total_length), quoted)?;
        let mut ip = Self {
            src,
            dst,
            tos,
            id,
            dont_fragment: word & 0x4000 != 0,
            more_fragments: word & 0x2000 != 0,
            fragment_offset: (word & 0x1fff) * 8,
            ttl,
            protocol,
            options: header[20..].to_vec(),
            total_length,
            transport: Transport::Other(Vec::new()),
        };
        ip.transport = ip.parse_transport(&payload, quoted, bad)?;
        Ok(ip)
    }

    fn header_length(first: u8) -> Result<usize, ParseError> {
        match (first >> 4, first & 0x0f) {
            (4, words @ 5..) => Ok(usize::from(words) * 4),
            (4, words) => Err(ParseError::IpHeaderWords(words)),
            (version, _) => Err(ParseError::IpVersion(version)),
        }
    }

    fn parse_transport(
        &self,
        payload: &Payload<'_>,
        quoted: Quoted,
        bad: &mut Vec<BadChecksum>,
    ) -> Result<Transport, ParseError> {
        if self.more_fragments || self.fragment_offset != 0 {
            return Ok(Transport::Fragment(payload.bytes.to_vec()));
        }
        let parsed = match self.protocol {
            PROTOCOL_TCP => Tcp::parse(payload).map(Transport::Tcp),
            PROTOCOL_UDP => Udp::parse(payload).map(Transport::Udp),
            PROTOCOL_ICMP => Icmp::parse(payload, quoted, bad).map(Transport::Icmp),
            _ => Ok(Transport::Other(payload.bytes.to_vec())),
        };
        match parsed {
            Ok(transport) => {
                self.check_transport(&transport, payload, quoted, bad);
                Ok(transport)
            }
            // RFC 792 quotes as little as 8 bytes, less than a TCP header.
            Err(ParseError::Truncated(_)) if !payload.complete => {
                Ok(Transport::Other(payload.bytes.to_vec()))
            }
            Err(error) => Err(error),
        }
    }

    fn check_transport(
        &self,
        transport: &Transport,
        payload: &Payload<'_>,
        quoted: Quoted,
        bad: &mut Vec<BadChecksum>,
    ) {
        if !payload.complete {
            return;
        }
        let (of, found, at) = match transport {
            Transport::Tcp(tcp) => (pick(quoted, ChecksumOf::Tcp, ChecksumOf::QuotedTcp), tcp.checksum, 16),
            Transport::Udp(udp) if udp.checksum == 0 => return,
            Transport::Udp(udp) => (pick(quoted, ChecksumOf::Udp, ChecksumOf::QuotedUdp), udp.checksum, 6),
            Transport::Icmp(icmp) => {
                (pick(quoted, ChecksumOf::Icmp, ChecksumOf::QuotedIcmp), icmp.checksum, 2)
            }
            Transport::Fragment(_) | Transport::Other(_) => return,
        };
        let expected = self.expected_checksum(payload.bytes, at);
        let partial = self.protocol != PROTOCOL_ICMP
            && found == pseudo_header_sum(self.src, self.dst, self.protocol, payload.bytes.len());
        if found != expected && !self.is_other_zero(found, expected) {
            bad.push(BadChecksum { of, found, expected, partial });
        }
    }

    /// In ones' complement 0xffff is zero too, and TCP gives neither of them another meaning (RFC 1624 section 3):
    /// hosts that update a checksum write one or the other.
    fn is_other_zero(&self, found: u16, expected: u16) -> bool {
        self.protocol == PROTOCOL_TCP && found == 0xffff && expected == 0
    }

    fn expected_checksum(&self, segment: &[u8], at: usize) -> u16 {
        let mut cleared = segment.to_vec();
        cleared[at..at + 2].fill(0);
        match self.protocol {
            PROTOCOL_ICMP => internet_checksum(&cleared),
            PROTOCOL_UDP => match segment_checksum(self.src, self.dst, PROTOCOL_UDP, &cleared) {
                0 => 0xffff,
                checksum => checksum,
            },
            _ => segment_checksum(self.src, self.dst, self.protocol, &cleared),
        }
    }
}

fn check_ip_header(header: &[u8], found: u16, quoted: Quoted, bad: &mut Vec<BadChecksum>) {
    let mut cleared = header.to_vec();
    cleared[10..12].fill(0);
    let expected = internet_checksum(&cleared);
    if found != expected {
        let of = pick(quoted, ChecksumOf::Ip, ChecksumOf::QuotedIp);
        bad.push(BadChecksum { of, found, expected, partial: false });
    }
}

fn pick(quoted: Quoted, outer: ChecksumOf, inner: ChecksumOf) -> ChecksumOf {
    match quoted {
        Quoted::No => outer,
        Quoted::Yes => inner,
    }
}

/// The bytes after an IP header, up to the total length.
struct Payload<'a> {
    bytes: &'a [u8],
    /// False for a quoted packet that was cut.
    complete: bool,
}

impl<'a> Payload<'a> {
    fn cut(bytes: &'a [u8], header: usize, total: usize, quoted: Quoted) -> Result<Self, ParseError> {
        let complete = total <= bytes.len();
        if total < header || (!complete && quoted == Quoted::No) {
            return Err(ParseError::IpTotalLength { claimed: total, available: bytes.len() });
        }
        Ok(Self { bytes: &bytes[header..total.min(bytes.len())], complete })
    }
}

impl Tcp {
    fn parse(payload: &Payload<'_>) -> Result<Self, ParseError> {
        let mut reader = Reader { rest: payload.bytes, header: "TCP" };
        let (src_port, dst_port) = (reader.u16()?, reader.u16()?);
        let (seq, ack) = (reader.u32()?, reader.u32()?);
        let words = reader.u8()? >> 4;
        let flags = TcpFlags(reader.u8()?);
        let (window, checksum, _urgent) = (reader.u16()?, reader.u16()?, reader.u16()?);
        let options_length =
            (usize::from(words) * 4).checked_sub(20).ok_or(ParseError::TcpDataOffset(words))?;
        let options = match reader.rest.get(..options_length) {
            Some(options) => options.to_vec(),
            None if payload.complete => return Err(ParseError::TcpDataOffset(words)),
            None => return Err(ParseError::Truncated("TCP")),
        };
        let payload = reader.rest[options_length..].to_vec();
        Ok(Self { src_port, dst_port, seq, ack, flags, window, checksum, options, payload })
    }
}

impl Udp {
    fn parse(payload: &Payload<'_>) -> Result<Self, ParseError> {
        let mut reader = Reader { rest: payload.bytes, header: "UDP" };
        let (src_port, dst_port) = (reader.u16()?, reader.u16()?);
        let (claimed, checksum) = (usize::from(reader.u16()?), reader.u16()?);
        if payload.complete && claimed != payload.bytes.len() {
            return Err(ParseError::UdpLength { claimed, available: payload.bytes.len() });
        }
        Ok(Self { src_port, dst_port, checksum, payload: reader.rest.to_vec() })
    }
}

impl Icmp {
    fn parse(payload: &Payload<'_>, quoted: Quoted, bad: &mut Vec<BadChecksum>) -> Result<Self, ParseError> {
        let mut reader = Reader { rest: payload.bytes, header: "ICMP" };
        let (kind, code, checksum) = (reader.u8()?, reader.u8()?, reader.u16()?);
        let rest = reader.array()?;
        let body = match kind {
            0 | 8 => IcmpBody::Echo {
                id: u16::from_be_bytes([rest[0], rest[1]]),
                sequence: u16::from_be_bytes([rest[2], rest[3]]),
                payload: reader.rest.to_vec(),
            },
            3 | 11 | 12 if quoted == Quoted::No => {
                IcmpBody::Error { rest, quoted: Box::new(Ipv4::parse(reader.rest, Quoted::Yes, bad)?) }
            }
            _ => IcmpBody::Other(payload.bytes[4..].to_vec()),
        };
        Ok(Self { kind, code, checksum, body })
    }
}

/// Takes fields off the front and knows which header it is in.
struct Reader<'a> {
    rest: &'a [u8],
    header: &'static str,
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], ParseError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(ParseError::Truncated(self.header))?;
        self.rest = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, ParseError> {
        self.array().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, ParseError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, ParseError> {
        self.array().map(u32::from_be_bytes)
    }

    fn address(&mut self) -> Result<Ipv4Addr, ParseError> {
        self.array::<4>().map(Ipv4Addr::from)
    }
}
