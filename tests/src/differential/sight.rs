//! What an end saw, in a form that can be compared between two gateways.
//!
//! Addresses, ports, TTL, lengths, flags, sequence numbers and data stay as they are: the twin labs are equal in all of
//! them. Three things count otherwise, since each gateway may choose them: the port that stands for a client, which is
//! replaced by the client's own; the IP identification of ICMP messages, which a gateway itself may have written; and
//! checksums, of which only the verdict counts.

use std::{
    collections::HashMap,
    fmt, io,
    net::{Ipv4Addr, SocketAddrV4},
};

use crate::packet::{
    ChecksumOf, Frame, Icmp, IcmpBody, Ipv4, PROTOCOL_TCP, PROTOCOL_UDP, ParseError, Tcp, Transport, Udp,
};

/// A wire at whose far end somebody listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// NPCI's.
    Npci,
    /// That of the tenant whose conversations they are.
    Tenant,
    /// The other tenant's.
    OtherTenant,
}

impl Place {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Npci, Self::Tenant, Self::OtherTenant];
}

/// One thing that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// In which round of the script, or at which step of a stream.
    pub round: usize,
    /// Where.
    pub place: Place,
    /// What.
    pub seen: Seen,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A packet, fragments put together.
    Packet {
        /// With the client's own port instead of the one that the gateway chose, see [`Names`].
        ip: Box<Ipv4>,
        /// Checksums that are wrong.
        wrong: Vec<ChecksumOf>,
    },
    /// A packet that contradicts itself.
    Broken(ParseError),
    /// A connection of a real stack came from there, by some port.
    Peer(Ipv4Addr),
    /// A real stack received so many bytes with this SHA-256.
    Received(usize, String),
    /// A real stack was told that the other end has closed.
    End,
    /// A real stack was told this.
    Failed(io::ErrorKind),
}

impl Seen {
    /// The packet, if it is one.
    pub fn ip(&self) -> Option<&Ipv4> {
        match self {
            Self::Packet { ip, .. } => Some(ip),
            _ => None,
        }
    }

    /// Wrong checksums of a packet.
    pub fn wrong(&self) -> &[ChecksumOf] {
        match self {
            Self::Packet { wrong, .. } => wrong,
            _ => &[],
        }
    }
}

impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "round {} at {:?}: ", self.round, self.place)?;
        match &self.seen {
            Seen::Packet { ip, wrong } => {
                write_packet(f, ip)?;
                if wrong.is_empty() { Ok(()) } else { write!(f, " WRONG CHECKSUMS {wrong:?}") }
            }
            other => write!(f, "{other:?}"),
        }
    }
}

fn write_packet(f: &mut fmt::Formatter<'_>, ip: &Ipv4) -> fmt::Result {
    let Ipv4 { src, dst, ttl, tos, id, total_length, protocol, .. } = ip;
    write!(f, "{src} > {dst} ttl {ttl} tos {tos:#x} id {id} length {total_length} ")?;
    if ip.dont_fragment {
        write!(f, "DF ")?;
    }
    match &ip.transport {
        Transport::Tcp(tcp) => {
            let (seq, ack) = (tcp.seq, tcp.ack);
            write!(f, "tcp {} > {} {} seq {seq} ack {ack}", tcp.src_port, tcp.dst_port, flags(tcp.flags.0))?;
            write!(f, " data {}", tcp.payload.len())
        }
        Transport::Udp(udp) => {
            let kind = if udp.checksum == 0 { "without checksum" } else { "" };
            write!(f, "udp {} > {} data {} {kind}", udp.src_port, udp.dst_port, udp.payload.len())
        }
        Transport::Icmp(icmp) => write_icmp(f, icmp),
        Transport::Fragment(bytes) => {
            write!(f, "fragment of {protocol} at {} with {} bytes", ip.fragment_offset, bytes.len())
        }
        Transport::Other(bytes) => write!(f, "protocol {protocol}, {} bytes", bytes.len()),
    }
}

fn write_icmp(f: &mut fmt::Formatter<'_>, icmp: &Icmp) -> fmt::Result {
    write!(f, "icmp {}/{} ", icmp.kind, icmp.code)?;
    match &icmp.body {
        IcmpBody::Echo { id, sequence, payload } => {
            write!(f, "echo id {id} sequence {sequence} data {}", payload.len())
        }
        IcmpBody::Error { rest, quoted } => {
            write!(f, "{rest:?} quotes [")?;
            write_packet(f, quoted)?;
            write!(f, "]")
        }
        IcmpBody::Other(bytes) => write!(f, "with {} bytes", bytes.len()),
    }
}

fn flags(bits: u8) -> String {
    let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    let set = (0..8).filter(|bit| bits & (1 << bit) != 0).map(|bit| names[bit]);
    set.collect::<Vec<_>>().join("|")
}

/// Undoes what a gateway may choose.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// By the socket that stands for a client: the client's own port.
    clients: HashMap<SocketAddrV4, u16>,
    /// The identification of the script's first packet.
    first_id: u16,
    /// One that stands apart, and what it is replaced by.
    special_id: (u16, u16),
}

impl Names {
    /// Nothing was seen yet.
    pub fn new(first_id: u16, special_id: (u16, u16)) -> Self {
        Self { clients: HashMap::new(), first_id, special_id }
    }

    /// The gateway shows a client by this socket. Only the first one of a flow may be bound: a gateway that changes it in the
    /// middle is seen to do so.
    pub fn bind(&mut self, shown: SocketAddrV4, own_port: u16) {
        self.clients.entry(shown).or_insert(own_port);
    }

    /// What a frame shows, once frames are whole packets.
    pub fn frame(&self, frame: &Result<Frame, ParseError>) -> Option<Seen> {
        match frame {
            Ok(frame) => {
                let mut ip = frame.ipv4()?.clone();
                self.packet(&mut ip);
                forget_checksums(&mut ip.transport);
                if matches!(ip.transport, Transport::Icmp(_)) {
                    ip.id = 0;
                }
                let wrong = frame.bad_checksums.iter().map(|bad| bad.of).collect();
                Some(Seen::Packet { ip: Box::new(ip), wrong })
            }
            Err(error) => Some(Seen::Broken(*error)),
        }
    }

    fn packet(&self, ip: &mut Ipv4) {
        ip.id = match self.special_id {
            (special, name) if ip.id == special => name,
            _ => ip.id.wrapping_sub(self.first_id),
        };
        let (src, dst) = (ip.src, ip.dst);
        match &mut ip.transport {
            Transport::Tcp(Tcp { src_port, dst_port, checksum, .. })
            | Transport::Udp(Udp { src_port, dst_port, checksum, .. }) => {
                for (port, address) in [(src_port, src), (dst_port, dst)] {
                    let name = self.port(address, *port);
                    *checksum = with_other_word(*checksum, *port, name);
                    *port = name;
                }
            }
            Transport::Icmp(Icmp { body: IcmpBody::Echo { id, .. }, .. }) => {
                *id = self.port(dst, self.port(src, *id));
            }
            Transport::Icmp(Icmp { body: IcmpBody::Error { quoted, .. }, .. }) => self.packet(quoted),
            Transport::Fragment(bytes) | Transport::Other(bytes)
                if ip.fragment_offset == 0 && matches!(ip.protocol, PROTOCOL_TCP | PROTOCOL_UDP) =>
            {
                self.port_in(src, bytes, 0);
                self.port_in(dst, bytes, 2);
            }
            Transport::Icmp(_) | Transport::Fragment(_) | Transport::Other(_) => {}
        }
    }

    fn port(&self, address: Ipv4Addr, port: u16) -> u16 {
        self.clients.get(&SocketAddrV4::new(address, port)).copied().unwrap_or(port)
    }

    /// In a transport header that is not all there.
    fn port_in(&self, address: Ipv4Addr, header: &mut [u8], at: usize) {
        if let Some(pair) = header.get_mut(at..at + 2) {
            let port = self.port(address, u16::from_be_bytes([pair[0], pair[1]]));
            pair.copy_from_slice(&port.to_be_bytes());
        }
    }
}

/// The checksum after a word was replaced (RFC 1624 equation 3). Zero, which says that there is none, stays; and so that
/// nobody can take one for the other, what would become zero is all ones.
fn with_other_word(checksum: u16, old: u16, new: u16) -> u16 {
    if checksum == 0 {
        return 0;
    }
    let sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    match !u16::try_from(sum).expect("folded") {
        0 => 0xffff,
        checksum => checksum,
    }
}

/// The parser has judged them. Those in quoted packets stay: where a quote is cut nobody can judge them, so they have to
/// be equal.
fn forget_checksums(transport: &mut Transport) {
    match transport {
        Transport::Tcp(tcp) => tcp.checksum = 0,
        // Zero means that there is none, and must stay so.
        Transport::Udp(udp) => udp.checksum = udp.checksum.min(1),
        Transport::Icmp(icmp) => icmp.checksum = 0,
        Transport::Fragment(_) | Transport::Other(_) => {}
    }
}
