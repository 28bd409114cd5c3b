//! What the start of a frame says: who sends what to whom, and where the headers end. For people and for capture files;
//! what becomes of a packet is decided elsewhere.

use std::net::Ipv4Addr;

use gateway_common::wire::{
    ethernet::{ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_OFFSET, ETHERTYPE_VLAN, TAG_LEN},
    ipv4::Fragment,
    quote,
};

/// Provider bridges' outer tag (802.1ad).
const ETHERTYPE_OUTER_TAG: u16 = 0x88a8;
/// Both link addresses: the tag stands behind them.
const LINK_ADDRESSES: usize = 12;
const LINK_HEADER: usize = 14;
const ARP_BODY: usize = 28;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Header of UDP and of ICMP, and what an error must quote of a transport header (RFC 792).
const SHORT_HEADER: usize = 8;

/// An IPv4 packet's ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Number of the protocol.
    pub protocol: u8,
    /// Source address and port; 0 where there is none, the identifier of an ICMP echo.
    pub source: (Ipv4Addr, u16),
    /// Destination address and port.
    pub destination: (Ipv4Addr, u16),
}

/// What the start of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// The packet's ends, if it is one of IPv4.
    pub ends: Option<Ends>,
    /// Where the headers end and somebody's data begin; never behind the bytes that are there.
    pub end: usize,
}

impl Headers {
    /// Of a frame, as much of it as there is.
    pub fn of(frame: &[u8]) -> Self {
        let (ethertype, link) = link(frame);
        let found = match ethertype {
            Some(ETHERTYPE_IPV4) => ipv4(frame, link, true),
            Some(ETHERTYPE_ARP) => Self { ends: None, end: link + ARP_BODY },
            _ => Self { ends: None, end: link },
        };
        Self { end: found.end.min(frame.len()), ..found }
    }
}

/// The frame with the tag that the kernel kept beside it.
pub fn with_tag(frame: &[u8], tag: u16) -> Vec<u8> {
    if tag == 0 || frame.len() < LINK_ADDRESSES {
        return frame.to_vec();
    }
    let (addresses, rest) = frame.split_at(LINK_ADDRESSES);
    [addresses, &ETHERTYPE_VLAN.to_be_bytes(), &tag.to_be_bytes(), rest].concat()
}

fn half_word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).and_then(|pair| pair.try_into().ok()).map(u16::from_be_bytes)
}

fn address(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(octets.into())
}

/// What the link header carries, and its length; at most two tags.
fn link(frame: &[u8]) -> (Option<u16>, usize) {
    let (mut at, mut len) = (ETHERTYPE_OFFSET, LINK_HEADER);
    for _ in 0..2 {
        match half_word(frame, at) {
            Some(ETHERTYPE_VLAN | ETHERTYPE_OUTER_TAG) => (at, len) = (at + TAG_LEN, len + TAG_LEN),
            ethertype => return (ethertype, len),
        }
    }
    (half_word(frame, at), len)
}

/// A packet at `at`. Only an outermost one is looked into for a packet that it quotes.
fn ipv4(bytes: &[u8], at: usize, is_outermost: bool) -> Headers {
    let fields = || {
        let first = *bytes.get(at)?;
        let fragment = Fragment::from_bits(half_word(bytes, at + 6)?);
        let ends = (*bytes.get(at + 9)?, address(bytes, at + 12)?, address(bytes, at + 16)?);
        Some((usize::from(first & 0x0f) * 4, fragment, ends))
    };
    let Some((header_len, fragment, (protocol, source, destination))) = fields() else {
        return Headers { ends: None, end: bytes.len() };
    };
    let transport = at + header_len.max(20);
    let ends = |ports: (u16, u16)| {
        Some(Ends { protocol, source: (source, ports.0), destination: (destination, ports.1) })
    };
    if fragment.is_later() {
        return Headers { ends: ends((0, 0)), end: transport };
    }
    let ports = || (half_word(bytes, transport).unwrap_or(0), half_word(bytes, transport + 2).unwrap_or(0));
    match protocol {
        TCP => Headers { ends: ends(ports()), end: transport + tcp_header_len(bytes, transport) },
        UDP => Headers { ends: ends(ports()), end: transport + SHORT_HEADER },
        ICMP => icmp(bytes, transport, is_outermost, ends),
        _ => Headers { ends: ends((0, 0)), end: transport },
    }
}

/// A header whose length is not there, or is none, ends where the shortest does.
fn tcp_header_len(bytes: &[u8], at: usize) -> usize {
    let words = bytes.get(at + 12).map_or(0, |byte| usize::from(byte >> 4));
    if words < 5 { 20 } else { words * 4 }
}

/// An error holds the headers of the packet that it is about.
fn icmp(bytes: &[u8], at: usize, is_outermost: bool, ends: impl Fn((u16, u16)) -> Option<Ends>) -> Headers {
    let kind = bytes.get(at).copied().unwrap_or(0);
    if is_outermost && quote::is_error(kind) {
        return Headers { ends: ends((0, 0)), end: ipv4(bytes, at + SHORT_HEADER, false).end };
    }
    Headers { ends: ends((half_word(bytes, at + 4).unwrap_or(0), 0)), end: at + SHORT_HEADER }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ethernet, IPv4 with `protocol` and these words of options, and what it carries.
    fn frame(protocol: u8, options: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        frame.extend([0x08, 0x00]);
        frame.extend(packet(protocol, options, payload));
        frame
    }

    fn packet(protocol: u8, options: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet =
            vec![0x45 + options, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2];
        packet.extend(vec![1; usize::from(options) * 4]);
        packet.extend(payload);
        packet
    }

    /// Ports 258 and 772, a header of so many words, and data.
    fn tcp(words: u8) -> Vec<u8> {
        let mut segment = vec![1, 2, 3, 4];
        segment.resize(12, 0);
        segment.push(words << 4);
        segment.resize(usize::from(words) * 4, 0);
        segment.extend(b"secret");
        segment
    }

    #[test]
    fn the_data_behind_the_headers_begin_at_the_end() {
        let later = {
            let mut frame = frame(UDP, 0, b"secret and more");
            frame[20..22].copy_from_slice(&[0, 1]);
            frame
        };
        let lying = {
            let mut frame = frame(TCP, 0, &tcp(5));
            frame[14 + 20 + 12] = 0x10;
            frame
        };
        let quoting = |inner: &[u8]| frame(ICMP, 0, &[&[3, 1, 0, 0, 0, 0, 0, 0], inner].concat());
        for (what, frame, end) in [
            ("tcp", frame(TCP, 0, &tcp(5)), 14 + 20 + 20),
            ("tcp with options", frame(TCP, 2, &tcp(8)), 14 + 28 + 32),
            ("tcp that lies about its length", lying, 14 + 20 + 20),
            ("udp", frame(UDP, 0, &[0; 30]), 14 + 20 + 8),
            ("echo", frame(ICMP, 0, &[8; 30]), 14 + 20 + 8),
            ("error about udp", quoting(&packet(UDP, 0, &[0; 30])), 14 + 20 + 8 + 20 + 8),
            ("error about tcp", quoting(&packet(TCP, 0, &tcp(5))), 14 + 20 + 8 + 20 + 20),
            ("error about an error", quoting(&packet(ICMP, 0, &[3; 30])), 14 + 20 + 8 + 20 + 8),
            ("a later part", later, 14 + 20),
            ("another protocol", frame(47, 0, b"secret"), 14 + 20),
            ("another ethertype", [&[2; 12][..], &[0x86, 0xdd], b"secret"].concat(), 14),
        ] {
            assert_eq!(Headers::of(&frame).end, end, "{what}");
        }
    }

    #[test]
    fn the_ends_are_read_behind_tags_too() {
        let plain = frame(TCP, 0, &tcp(5));
        let ends = Ends {
            protocol: TCP,
            source: (Ipv4Addr::new(192, 0, 2, 1), 258),
            destination: (Ipv4Addr::new(198, 51, 100, 2), 772),
        };
        let tagged = with_tag(&plain, 100);
        assert_eq!(tagged[12..18], [0x81, 0, 0, 100, 0x08, 0]);
        for (frame, end) in [(plain, 54), (tagged.clone(), 58), (with_tag(&tagged, 7), 62)] {
            assert_eq!(Headers::of(&frame), Headers { ends: Some(ends), end });
        }
    }

    #[test]
    fn whatever_is_cut_off_the_end_lies_within_the_frame() {
        let whole = with_tag(
            &frame(ICMP, 1, &[&[3, 4, 0, 0, 0, 0, 0, 0], &packet(TCP, 3, &tcp(15))[..]].concat()),
            5,
        );
        for len in 0..=whole.len() {
            assert!(Headers::of(&whole[..len]).end <= len, "{len} bytes");
        }
    }
}
