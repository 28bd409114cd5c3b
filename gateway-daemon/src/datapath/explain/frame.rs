//! The packet whose way is explained.

use gateway_common::{
    abi::{Addr, FlowKey, Port, Protocol, Side},
    memory::{BytesPacket, BytesWindow},
    packet::{Packet, Refused},
    wire::{
        checksum,
        ethernet::{ETHERTYPE_IPV4, HEADER_LEN, Link},
        ipv4::{self, Ipv4},
        transport::{ICMP_ECHO_REQUEST, ICMP_HEADER_LEN, TCP_HEADER_LEN, Transport, checksum_offset},
    },
};

/// Length of a UDP header.
const UDP_HEADER_LEN: usize = 8;
/// What hosts send with.
const TTL: u8 = 64;
/// Where the IPv4 header has its own checksum.
const IP_CHECKSUM_AT: usize = 10;

/// A 5-tuple, and what else the packet says that matters to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// The protocol; of ICMP an echo request.
    pub protocol: Protocol,
    /// Source; of an echo its identifier is the port.
    pub source: (Addr, Port),
    /// Destination.
    pub destination: (Addr, Port),
    /// The flags byte of TCP.
    pub tcp_flags: u8,
}

impl Tuple {
    /// The smallest frame that says so. Its link addresses are zeros: the gateway does not look at them.
    pub fn frame(&self) -> Vec<u8> {
        let transport = self.transport();
        let mut frame = vec![0; HEADER_LEN - 2];
        frame.extend_from_slice(&ETHERTYPE_IPV4.to_be_bytes());
        frame.extend_from_slice(&self.ip_header(transport.len()));
        frame.extend_from_slice(&transport);
        frame
    }

    fn ip_header(&self, payload_len: usize) -> [u8; ipv4::HEADER_LEN] {
        let mut header = [0; ipv4::HEADER_LEN];
        header[0] = 0x45;
        header[2..4].copy_from_slice(&length(ipv4::HEADER_LEN + payload_len));
        header[8..10].copy_from_slice(&[TTL, self.protocol as u8]);
        header[12..16].copy_from_slice(&self.source.0.octets());
        header[16..20].copy_from_slice(&self.destination.0.octets());
        let sum = checksum::compute(&header, 0);
        header[IP_CHECKSUM_AT..IP_CHECKSUM_AT + 2].copy_from_slice(&sum.to_ne_bytes());
        header
    }

    fn transport(&self) -> Vec<u8> {
        let [source, destination] =
            [self.source.1, self.destination.1].map(|port| port.number().to_be_bytes());
        let mut header = match self.protocol {
            Protocol::Tcp => {
                let mut header = vec![0; TCP_HEADER_LEN];
                header[12..16].copy_from_slice(&[5 << 4, self.tcp_flags, 0xff, 0xff]);
                header
            }
            Protocol::Udp => {
                let mut header = vec![0; UDP_HEADER_LEN];
                header[4..6].copy_from_slice(&length(UDP_HEADER_LEN));
                header
            }
            Protocol::Icmp => {
                let mut header = vec![0; ICMP_HEADER_LEN];
                header[0] = ICMP_ECHO_REQUEST;
                header[4..6].copy_from_slice(&source);
                header
            }
        };
        if self.protocol != Protocol::Icmp {
            header[..4].copy_from_slice(&[source, destination].concat());
        }
        let at = checksum_offset(self.protocol);
        let sum = self.transport_checksum(&header);
        header[at..at + 2].copy_from_slice(&sum.to_ne_bytes());
        header
    }

    fn transport_checksum(&self, header: &[u8]) -> u16 {
        if self.protocol == Protocol::Icmp {
            return checksum::compute(header, 0);
        }
        let ends = [self.source.0.octets(), self.destination.0.octets()].concat();
        let rest = [[0, self.protocol as u8], length(header.len())].concat();
        match checksum::compute(&[&ends, &rest, header].concat(), 0) {
            // RFC 768: zero means that there is none.
            0 if self.protocol == Protocol::Udp => u16::MAX,
            sum => sum,
        }
    }
}

fn length(len: usize) -> [u8; 2] {
    u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes()
}

/// The 5-tuple of a frame; `None` if it has none that the gateway understands.
pub fn key_of(packet: &BytesPacket, side: Side) -> Option<FlowKey> {
    let link = Link::parse(packet).filter(|link| link.ethertype == ETHERTYPE_IPV4)?;
    let ip = Ipv4::parse(packet, link.header_len()).ok()?;
    Transport::parse(packet, &ip, side).ok().map(|transport| transport.key)
}

/// A packet as the TC hook has it: the kernel keeps its tag beside the frame, and resolves next hops afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcPacket(pub BytesPacket);

impl Packet for TcPacket {
    type Window<'a, const N: usize> = BytesWindow<&'a [u8]>;
    type WindowMut<'a, const N: usize> = BytesWindow<&'a mut [u8]>;

    const TAGS_IN_FRAME: bool = false;
    const RESOLVES_NEIGHBOURS: bool = true;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn ingress_ifindex(&self) -> u32 {
        self.0.ingress_ifindex
    }

    fn window<const N: usize>(&self, offset: usize) -> Option<BytesWindow<&[u8]>> {
        self.0.window::<N>(offset)
    }

    fn window_mut<const N: usize>(&mut self, offset: usize) -> Result<BytesWindow<&mut [u8]>, Refused> {
        self.0.window_mut::<N>(offset)
    }

    fn hold(&self, side: Side) -> bool {
        self.0.hold(side)
    }

    fn resize(&mut self, len: usize) -> Result<(), Refused> {
        self.0.resize(len)
    }
}
