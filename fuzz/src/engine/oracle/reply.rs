//! An answer of the gateway itself.

use gateway_common::abi::Side;

use super::Passage;
use crate::engine::{
    plan::{EGRESS_VIP, GATEWAY_MAC, HOST, INGRESS_VIP},
    read::{ICMP, Ip, link},
};

/// The longest packet that a short one may be answered with: an IP and an ICMP header, and a quote of an IP header with
/// options and eight bytes (RFC 792).
const SHORT: usize = 20 + 8 + 60 + 8;

/// It goes back to who asked, shows an address of the gateway's to NPCI, is right in every checksum that depends on the
/// gateway alone, and amplifies nothing.
pub fn check(passage: &Passage<'_>) {
    assert_eq!(passage.after[..6], passage.before[6..12], "it goes back to who asked");
    let Some(sent) = link(passage.after).and_then(|_| Ip::of_frame(passage.after)) else {
        return check_arp(passage);
    };
    let came = Ip::of_frame(passage.before).expect("only sound packets are answered");
    assert_eq!(sent.dst(), came.src(), "it goes back to who asked");
    if passage.side == Side::External {
        assert!([INGRESS_VIP, EGRESS_VIP, HOST].contains(&sent.src()), "NPCI saw {}", sent.src());
    }
    assert!(passage.after.len() <= passage.before.len().max(SHORT + 18), "an answer that amplifies");
    let is_echo = sent.protocol() == ICMP && sent.payload.first() == Some(&0);
    if is_echo {
        assert_eq!(sent.transport_sum() % 0xffff, came.transport_sum() % 0xffff, "as right as the request");
    } else {
        assert!(sent.header_is_valid() && sent.transport_is_valid(), "checksums: {passage:02x?}");
    }
}

fn check_arp(passage: &Passage<'_>) {
    let start = if passage.after[12..14] == [0x81, 0x00] { 18 } else { 14 };
    assert_eq!(passage.after[start - 2..start], [0x08, 0x06], "neither IPv4 nor ARP: {passage:02x?}");
    let (asked, told) = (&passage.before[start..], &passage.after[start..]);
    assert_eq!(told[6..8], [0, 2], "a reply");
    assert_eq!(told[8..14], GATEWAY_MAC, "the gateway's link address");
    assert_eq!((&told[14..18], &told[24..28]), (&asked[24..28], &asked[14..18]), "addresses, swapped");
}
