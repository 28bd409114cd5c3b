//! The builder. Every field has a right default; [`Defect`]s make single things wrong.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::checksum::{internet_checksum, segment_checksum};
use super::{ETHERTYPE_IPV4, ETHERTYPE_VLAN, IcmpError, Mac, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP};

/// TCP's control bits (RFC 9293 section 3.1), to be joined with `|`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number is valid.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer is valid.
    pub const URG: Self = Self(0x20);

    /// True when all bits of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for TcpFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One thing that is wrong with a packet. Checksums are right over the wrong field, unless they are the
/// defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// Another version number than 4.
    IpVersion(u8),
    /// Another header length, in 32-bit words, than the header has. The header checksum covers the real
    /// header.
    IpHeaderWords(u8),
    /// Another total length than the packet has.
    IpTotalLength(u16),
    /// The header checksum with its lowest bit flipped.
    IpChecksum,
    /// Another TCP data offset, in 32-bit words, than the header has.
    TcpDataOffsetWords(u8),
    /// Another UDP length than the datagram has.
    UdpLength(u16),
    /// The TCP, UDP or ICMP checksum with its lowest bit flipped.
    TransportChecksum,
    /// The UDP checksum is zero, which means "none" (RFC 768). Legal, but to be preserved.
    UdpChecksumAbsent,
    /// Only the pseudo-header is summed, as a sender with checksum offload leaves it.
    TransportChecksumPartial,
    /// Only so many bytes of the frame, Ethernet header included.
    TruncatedTo(usize),
}

#[derive(Debug, Clone)]
enum Upper {
    Tcp { ports: (u16, u16), seq: u32, ack: u32, flags: TcpFlags, window: u16, options: Vec<u8> },
    Udp { ports: (u16, u16) },
    Icmp { kind: u8, code: u8, rest: [u8; 4] },
    Raw,
}

/// The value of a packet's defect of one kind, if it has that.
macro_rules! wrong {
    ($packet:ident, $kind:ident) => {
        $packet.defects.iter().find_map(|defect| match defect {
            Defect::$kind(value) => Some(*value),
            _ => None,
        })
    };
}

/// An IPv4 packet in an Ethernet frame, under construction.
///
/// ```
/// use gateway_tests::packet::{Frame, Packet, TcpFlags};
///
/// let bytes = Packet::tcp("192.0.2.100:40000", "192.0.2.10:8443").flags(TcpFlags::SYN).ttl(3).build();
/// assert_eq!(Frame::parse(&bytes).unwrap().ipv4().unwrap().ttl, 3);
/// ```
#[derive(Debug, Clone)]
pub struct Packet {
    macs: (Mac, Mac),
    vlan: Option<u16>,
    src: Ipv4Addr,
    dst: Ipv4Addr,
    tos: u8,
    id: u16,
    fragment_word: u16,
    ttl: u8,
    protocol: u8,
    ip_options: Vec<u8>,
    upper: Upper,
    payload: Vec<u8>,
    padding: usize,
    defects: Vec<Defect>,
}

/// `Don't fragment` in the word of flags and offset (RFC 791 section 3.1).
const DONT_FRAGMENT: u16 = 0x4000;
/// `More fragments` in the same word.
pub(super) const MORE_FRAGMENTS: u16 = 0x2000;

impl Packet {
    /// A TCP segment with ACK set; see [`Packet::flags`].
    pub fn tcp(src: impl Endpoint, dst: impl Endpoint) -> Self {
        let (src, dst) = (src.endpoint(), dst.endpoint());
        let upper = Upper::Tcp {
            ports: (src.port(), dst.port()),
            seq: 1_000,
            ack: 0,
            flags: TcpFlags::ACK,
            window: 0xffff,
            options: Vec::new(),
        };
        Self::new(*src.ip(), *dst.ip(), PROTOCOL_TCP, upper)
    }

    /// A UDP datagram.
    pub fn udp(src: impl Endpoint, dst: impl Endpoint) -> Self {
        let (src, dst) = (src.endpoint(), dst.endpoint());
        Self::new(*src.ip(), *dst.ip(), PROTOCOL_UDP, Upper::Udp { ports: (src.port(), dst.port()) })
    }

    /// An ICMP echo request.
    pub fn echo_request(src: Ipv4Addr, dst: Ipv4Addr, id: u16, sequence: u16) -> Self {
        Self::icmp(src, dst, (8, 0), echo_rest(id, sequence))
    }

    /// An ICMP echo reply.
    pub fn echo_reply(src: Ipv4Addr, dst: Ipv4Addr, id: u16, sequence: u16) -> Self {
        Self::icmp(src, dst, (0, 0), echo_rest(id, sequence))
    }

    /// An ICMP error about a packet that the receiver sent. `frame` is that packet with its Ethernet header
    /// (untagged, as [`Packet::build`] gives it); all of its IP part is quoted, use [`Packet::payload`] to
    /// quote less.
    pub fn icmp_error(src: Ipv4Addr, dst: Ipv4Addr, error: IcmpError, frame: &[u8]) -> Self {
        Self::icmp(src, dst, error.type_and_code(), error.rest()).payload(&frame[14..])
    }

    /// Any ICMP message: type and code, then the four bytes after the checksum.
    pub fn icmp(src: Ipv4Addr, dst: Ipv4Addr, (kind, code): (u8, u8), rest: [u8; 4]) -> Self {
        Self::new(src, dst, PROTOCOL_ICMP, Upper::Icmp { kind, code, rest })
    }

    /// Any IP protocol; the payload is all of it.
    pub fn raw(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8) -> Self {
        Self::new(src, dst, protocol, Upper::Raw)
    }

    fn new(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, upper: Upper) -> Self {
        Self {
            macs: (Mac::local(1), Mac::local(2)),
            vlan: None,
            src,
            dst,
            tos: 0,
            id: 0x1234,
            fragment_word: DONT_FRAGMENT,
            ttl: 64,
            protocol,
            ip_options: Vec::new(),
            upper,
            payload: Vec::new(),
            padding: 0,
            defects: Vec::new(),
        }
    }

    /// Link-layer source and destination.
    #[must_use]
    pub fn macs(mut self, src: Mac, dst: Mac) -> Self {
        self.macs = (src, dst);
        self
    }

    /// Adds an 802.1Q tag with this VLAN number.
    #[must_use]
    pub fn vlan(mut self, number: u16) -> Self {
        self.vlan = Some(number);
        self
    }

    /// Type of service: DSCP and ECN.
    #[must_use]
    pub fn tos(mut self, tos: u8) -> Self {
        self.tos = tos;
        self
    }

    /// Identification, for fragments.
    #[must_use]
    pub fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    /// Time to live.
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// Sets or clears `Don't fragment` (set by default).
    #[must_use]
    pub fn dont_fragment(mut self, on: bool) -> Self {
        self.fragment_word = if on { DONT_FRAGMENT } else { 0 };
        self
    }

    /// Makes it a lone fragment: offset in bytes (a multiple of 8) and whether more follow. The transport
    /// header is written all the same. For a proper series see [`super::fragments`].
    #[must_use]
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        assert_eq!(offset % 8, 0, "fragment offsets count in units of 8 bytes");
        self.fragment_word = (offset / 8) | if more { MORE_FRAGMENTS } else { 0 };
        self
    }

    /// IP options, padded with zeroes to a multiple of four; at most 40 bytes.
    #[must_use]
    pub fn ip_options(mut self, options: &[u8]) -> Self {
        self.ip_options = padded_to_words(options);
        self
    }

    /// What follows the transport header.
    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        payload.clone_into(&mut self.payload);
        self
    }

    /// Bytes after the end of the IP packet, as Ethernet adds to short frames.
    #[must_use]
    pub fn padding(mut self, count: usize) -> Self {
        self.padding = count;
        self
    }

    /// TCP control bits.
    #[must_use]
    pub fn flags(mut self, new: TcpFlags) -> Self {
        if let Upper::Tcp { flags, .. } = self.tcp_mut() {
            *flags = new;
        }
        self
    }

    /// TCP sequence and acknowledgement numbers.
    #[must_use]
    pub fn numbers(mut self, new_seq: u32, new_ack: u32) -> Self {
        if let Upper::Tcp { seq, ack, .. } = self.tcp_mut() {
            (*seq, *ack) = (new_seq, new_ack);
        }
        self
    }

    /// TCP receive window.
    #[must_use]
    pub fn window(mut self, new: u16) -> Self {
        if let Upper::Tcp { window, .. } = self.tcp_mut() {
            *window = new;
        }
        self
    }

    /// TCP options, padded with zeroes to a multiple of four; at most 40 bytes.
    #[must_use]
    pub fn tcp_options(mut self, new: &[u8]) -> Self {
        if let Upper::Tcp { options, .. } = self.tcp_mut() {
            *options = padded_to_words(new);
        }
        self
    }

    /// The maximum segment size option (RFC 9293 section 3.7.1) as the only one.
    #[must_use]
    pub fn mss(self, mss: u16) -> Self {
        let [high, low] = mss.to_be_bytes();
        self.tcp_options(&[2, 4, high, low])
    }

    /// Makes one thing wrong.
    #[must_use]
    pub fn defect(mut self, defect: Defect) -> Self {
        self.defects.push(defect);
        self
    }

    fn tcp_mut(&mut self) -> &mut Upper {
        assert!(matches!(self.upper, Upper::Tcp { .. }), "only a TCP packet has this");
        &mut self.upper
    }

    /// The frame's bytes.
    pub fn build(&self) -> Vec<u8> {
        let mut frame = self.ethernet_header();
        frame.extend(self.ip_packet());
        frame.resize(frame.len() + self.padding, 0);
        if let Some(length) = wrong!(self, TruncatedTo) {
            frame.truncate(length);
        }
        frame
    }

    fn ethernet_header(&self) -> Vec<u8> {
        let mut header = [self.macs.1.0, self.macs.0.0].concat();
        if let Some(vlan) = self.vlan {
            header.extend(ETHERTYPE_VLAN.to_be_bytes());
            header.extend(vlan.to_be_bytes());
        }
        header.extend(ETHERTYPE_IPV4.to_be_bytes());
        header
    }

    fn ip_packet(&self) -> Vec<u8> {
        let segment = self.segment();
        let header_length = 20 + self.ip_options.len();
        let words = u8::try_from(header_length / 4).expect("at most 60 bytes");
        let total_length = u16::try_from(header_length + segment.len()).expect("at most 65,535 bytes");
        let mut packet = Vec::with_capacity(usize::from(total_length));
        packet
            .push((wrong!(self, IpVersion).unwrap_or(4) << 4) | wrong!(self, IpHeaderWords).unwrap_or(words));
        packet.push(self.tos);
        packet.extend(wrong!(self, IpTotalLength).unwrap_or(total_length).to_be_bytes());
        packet.extend(self.id.to_be_bytes());
        packet.extend(self.fragment_word.to_be_bytes());
        packet.extend([self.ttl, self.protocol, 0, 0]);
        packet.extend(self.src.octets());
        packet.extend(self.dst.octets());
        packet.extend(&self.ip_options);
        let flipped = u16::from(self.has(Defect::IpChecksum));
        let checksum = internet_checksum(&packet) ^ flipped;
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        packet.extend(segment);
        packet
    }

    /// Transport header and payload with the checksum filled in.
    fn segment(&self) -> Vec<u8> {
        let (mut segment, checksum_at) = self.segment_without_checksum();
        segment.extend(&self.payload);
        if let Some(at) = checksum_at {
            let checksum = self.transport_checksum(&segment);
            segment[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        }
        segment
    }

    /// The transport header and where its checksum stands.
    fn segment_without_checksum(&self) -> (Vec<u8>, Option<usize>) {
        match &self.upper {
            Upper::Tcp { ports, seq, ack, flags, window, options } => {
                let mut header = ports_bytes(*ports);
                header.extend(seq.to_be_bytes());
                header.extend(ack.to_be_bytes());
                let words = u8::try_from(5 + options.len() / 4).expect("at most 15 words");
                header.extend([wrong!(self, TcpDataOffsetWords).unwrap_or(words) << 4, flags.0]);
                header.extend(window.to_be_bytes());
                header.extend([0; 4]);
                header.extend(options);
                (header, Some(16))
            }
            Upper::Udp { ports } => {
                let mut header = ports_bytes(*ports);
                let length = u16::try_from(8 + self.payload.len()).expect("at most 65,535 bytes");
                header.extend(wrong!(self, UdpLength).unwrap_or(length).to_be_bytes());
                header.extend([0; 2]);
                (header, Some(6))
            }
            Upper::Icmp { kind, code, rest } => {
                let mut header = vec![*kind, *code, 0, 0];
                header.extend(rest);
                (header, Some(2))
            }
            Upper::Raw => (Vec::new(), None),
        }
    }

    fn transport_checksum(&self, segment: &[u8]) -> u16 {
        if self.has(Defect::UdpChecksumAbsent) {
            return 0;
        }
        if self.has(Defect::TransportChecksumPartial) {
            return super::pseudo_header_sum(self.src, self.dst, self.protocol, segment.len());
        }
        let checksum = match self.upper {
            Upper::Icmp { .. } => internet_checksum(segment),
            _ => segment_checksum(self.src, self.dst, self.protocol, segment),
        };
        let flipped = checksum ^ u16::from(self.has(Defect::TransportChecksum));
        // RFC 768: a computed zero is sent as all ones, since zero means "none".
        if self.protocol == PROTOCOL_UDP && flipped == 0 { 0xffff } else { flipped }
    }

    fn has(&self, defect: Defect) -> bool {
        self.defects.contains(&defect)
    }
}

/// An address and a port, as a value or as text.
pub trait Endpoint {
    /// The value. Panics on text that is none.
    fn endpoint(self) -> SocketAddrV4;
}

impl Endpoint for SocketAddrV4 {
    fn endpoint(self) -> SocketAddrV4 {
        self
    }
}

impl Endpoint for (Ipv4Addr, u16) {
    fn endpoint(self) -> SocketAddrV4 {
        SocketAddrV4::new(self.0, self.1)
    }
}

impl Endpoint for &str {
    fn endpoint(self) -> SocketAddrV4 {
        self.parse().unwrap_or_else(|_| panic!("{self:?} is not an address and a port"))
    }
}

fn echo_rest(id: u16, sequence: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (id.to_be_bytes(), sequence.to_be_bytes());
    [a, b, c, d]
}

fn ports_bytes((src, dst): (u16, u16)) -> Vec<u8> {
    [src.to_be_bytes(), dst.to_be_bytes()].concat()
}

fn padded_to_words(options: &[u8]) -> Vec<u8> {
    assert!(options.len() <= 40, "a header has room for 40 bytes of options");
    let mut padded = options.to_vec();
    padded.resize(options.len().next_multiple_of(4), 0);
    padded
}
