//! Cutting a packet into fragments and joining them again (RFC 791 section 3.2).

use super::ParseError;
use super::build::MORE_FRAGMENTS;
use super::checksum::internet_checksum;
use super::parse::{Body, Frame, Transport};

/// Length of an untagged Ethernet header.
const ETHERNET: usize = 14;

/// Cuts an untagged frame into fragments of at most `size` bytes of IP payload each; `size` must be a
/// multiple of 8.
///
/// Options are copied into every fragment. Checksums of the headers are right.
pub fn fragments(frame: &[u8], size: usize) -> Vec<Vec<u8>> {
    assert!(size > 0 && size.is_multiple_of(8), "fragments are cut at multiples of 8 bytes");
    let header_end = ETHERNET + usize::from(frame[ETHERNET] & 0x0f) * 4;
    let (headers, payload) = frame.split_at(header_end);
    let count = payload.len().div_ceil(size);
    let pieces = payload.chunks(size).enumerate();
    pieces.map(|(index, piece)| one_fragment(headers, piece, index * size / 8, index + 1 < count)).collect()
}

fn one_fragment(headers: &[u8], piece: &[u8], offset_units: usize, more: bool) -> Vec<u8> {
    let mut frame = headers.to_vec();
    let total = u16::try_from(headers.len() - ETHERNET + piece.len()).expect("no longer than before");
    let offset = u16::try_from(offset_units).expect("at most 8,191 units");
    let word = offset | if more { MORE_FRAGMENTS } else { 0 };
    frame[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&total.to_be_bytes());
    frame[ETHERNET + 6..ETHERNET + 8].copy_from_slice(&word.to_be_bytes());
    frame[ETHERNET + 10..ETHERNET + 12].fill(0);
    let checksum = internet_checksum(&frame[ETHERNET..]);
    frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&checksum.to_be_bytes());
    frame.extend(piece);
    frame
}

/// Joins the fragments of one packet, in any order, so that its transport checksum can be verified.
///
/// Panics when there is a hole, an overlap or no last fragment. Options are dropped, the link layer is the
/// first one's.
pub fn reassemble(fragments: &[Frame]) -> Result<Frame, ParseError> {
    let mut pieces: Vec<(usize, bool, &[u8])> = fragments.iter().map(piece_of).collect();
    pieces.sort_by_key(|(offset, ..)| *offset);
    let payload = pieces.iter().fold(Vec::new(), |mut joined, (offset, _, bytes)| {
        assert_eq!(joined.len(), *offset, "a hole or an overlap before this fragment");
        joined.extend(*bytes);
        joined
    });
    let (_, more, _) = pieces.last().expect("at least one fragment");
    assert!(!more, "the last fragment is missing");
    Frame::parse(&whole(&fragments[0], &payload))
}

fn piece_of(frame: &Frame) -> (usize, bool, &[u8]) {
    let Body::Ipv4(ip) = &frame.body else { panic!("not IPv4: {frame:?}") };
    let Transport::Fragment(bytes) = &ip.transport else { panic!("not a fragment: {ip:?}") };
    (usize::from(ip.fragment_offset), ip.more_fragments, bytes)
}

fn whole(first: &Frame, payload: &[u8]) -> Vec<u8> {
    let ip = first.ipv4().expect("checked by the caller");
    super::Packet::raw(ip.src, ip.dst, ip.protocol)
        .macs(first.ethernet.src, first.ethernet.dst)
        .ttl(ip.ttl)
        .tos(ip.tos)
        .id(ip.id)
        .dont_fragment(false)
        .payload(payload)
        .build()
}
