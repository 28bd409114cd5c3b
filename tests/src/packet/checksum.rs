//! The Internet checksum (RFC 1071), computed in full every time, never incrementally.

use std::net::Ipv4Addr;

/// The checksum of the bytes: the complement of their one's complement sum. Zero over data whose checksum
/// field is right.
pub fn internet_checksum(bytes: &[u8]) -> u16 {
    !fold(sum_words(bytes))
}

/// The checksum of a TCP or UDP segment with its pseudo-header (RFC 9293 section 3.1, RFC 768).
pub(super) fn segment_checksum(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, segment: &[u8]) -> u16 {
    !fold(pseudo_header(src, dst, protocol, segment.len()) + sum_words(segment))
}

/// The folded, not complemented sum of the pseudo-header alone: what a sender with checksum offload leaves in
/// the field.
pub fn pseudo_header_sum(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, length: usize) -> u16 {
    fold(pseudo_header(src, dst, protocol, length))
}

fn pseudo_header(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, length: usize) -> u64 {
    sum_words(&src.octets()) + sum_words(&dst.octets()) + u64::from(protocol) + length as u64
}

/// An odd last byte counts as the high half of a word.
fn sum_words(bytes: &[u8]) -> u64 {
    bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0))).sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("folded to 16 bits")
}
