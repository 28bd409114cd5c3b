use super::{LinkHeader, Translation, arp_reply, echo_reply, translate};
use crate::{
    abi::{Addr, FlowKey, LinkAddresses, Mac, Port, Protocol, Side},
    memory::BytesPacket,
    wire::{arp::ArpRequest, checksum::compute, ethernet::Link, ipv4::Ipv4},
};
use proptest::prelude::*;
use std::vec::Vec;

const NEXT_HOP: Mac = Mac::new([2, 0, 0, 0, 0, 9]);
const OWN: Mac = Mac::new([2, 0, 0, 0, 0, 8]);

/// A UDP datagram 192.0.2.1:1000 > 192.0.2.2:2000 with a right checksum, or with none.
fn datagram(tag: Option<u16>, checksum: bool, payload: &[u8]) -> BytesPacket {
    let udp_len = u16::try_from(8 + payload.len()).unwrap().to_be_bytes();
    let mut udp = [&[0x03, 0xe8, 0x07, 0xd0], &udp_len[..], &[0, 0], payload].concat();
    if checksum {
        let pseudo = [&[192, 0, 2, 1, 192, 0, 2, 2, 0, 17], &udp_len[..], &udp].concat();
        let sum = match compute(&pseudo, 0) {
            0 => 0xffff,
            sum => sum,
        };
        udp[6..8].copy_from_slice(&sum.to_ne_bytes());
    }
    let total = u16::try_from(20 + udp.len()).unwrap().to_be_bytes();
    let mut ip = [0x45, 0, total[0], total[1], 0, 0, 0, 0, 9, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
    let sum = compute(&ip, 0).to_ne_bytes();
    ip[10..12].copy_from_slice(&sum);
    let tag = tag.map_or(Vec::new(), |tag| [&[0x81, 0], &tag.to_be_bytes()[..]].concat());
    let bytes = [&[0xaa; 12][..], &tag, &[8, 0], &ip, &udp].concat();
    BytesPacket { bytes, ingress_ifindex: 1 }
}

fn end(octets: [u8; 4], port: u16) -> (Addr, Port) {
    (Addr::new(octets), Port::new(port))
}

/// Translates to 198.51.100.1:3000 > 198.51.100.2:4000.
fn translated(mut packet: BytesPacket, link: LinkHeader) -> Vec<u8> {
    let (from, to) = (end([192, 0, 2, 1], 1000), end([192, 0, 2, 2], 2000));
    let key = FlowKey::v4(Side::External, Protocol::Udp, from, to);
    let (from, to) = (end([198, 51, 100, 2], 4000), end([198, 51, 100, 1], 3000));
    let pair = FlowKey::v4(Side::Internal, Protocol::Udp, from, to);
    let old = Link::parse(&packet).unwrap();
    let ip = Ipv4::parse(&packet, old.header_len()).unwrap();
    let translation = Translation { key: &key, pair: &pair, protocol: Protocol::Udp, link };
    translate(&mut packet, &old, &ip, &translation).unwrap();
    packet.bytes
}

const fn to_vlan(vlan_id: u16) -> LinkHeader {
    LinkHeader { addresses: LinkAddresses::new(NEXT_HOP, OWN), vlan_id }
}

#[test]
fn a_tag_is_added_taken_off_or_exchanged_and_keeps_its_priority() {
    for (old, vlan_id, expected) in [
        (None, 0, &[8, 0][..]),
        (None, 100, &[0x81, 0, 0x00, 100, 8, 0]),
        (Some(0xa007), 0, &[8, 0]),
        (Some(0xa007), 100, &[0x81, 0, 0xa0, 100, 8, 0]),
        (Some(0x0007), 4094, &[0x81, 0, 0x0f, 0xfe, 8, 0]),
    ] {
        let bytes = translated(datagram(old, true, b"abc"), to_vlan(vlan_id));
        assert_eq!(bytes[..12], [NEXT_HOP.octets(), OWN.octets()].concat());
        assert_eq!(&bytes[12..12 + expected.len()], expected);
        assert_eq!(bytes.len(), 12 + expected.len() + 20 + 8 + 3);
        assert_eq!(&bytes[12 + expected.len()..][12..20], [198, 51, 100, 1, 198, 51, 100, 2]);
    }
}

#[test]
fn without_a_link_header_the_kernel_writes_the_addresses() {
    let bytes = translated(datagram(None, true, b"abc"), LinkHeader::BY_KERNEL);
    assert_eq!(bytes[..14], [&[0xaa; 12][..], &[8, 0]].concat());
}

#[test]
fn a_datagram_without_a_checksum_stays_without() {
    let bytes = translated(datagram(None, false, b"abc"), to_vlan(0));
    assert_eq!(bytes[40..42], [0, 0]);
}

proptest! {
    /// Odd lengths, and the payloads whose checksum is zero, included.
    #[test]
    fn both_checksums_verify_and_udp_never_sends_zero(payload in prop::collection::vec(any::<u8>(), 0..9)) {
        let bytes = translated(datagram(None, true, &payload), to_vlan(0));
        prop_assert_eq!(bytes[22], 8, "one hop less");
        prop_assert_eq!(compute(&bytes[14..34], 0), 0);
        let pseudo = [&bytes[26..34], &[0, 17], &bytes[38..40], &bytes[34..]].concat();
        prop_assert_eq!(compute(&pseudo, 0), 0);
        prop_assert_ne!(&bytes[40..42], [0, 0]);
    }

    #[test]
    fn an_echo_reply_verifies_and_goes_back(rest in prop::collection::vec(any::<u8>(), 4..40), tag: Option<u16>) {
        let mut packet = datagram(tag, false, &[]);
        let ip_at = if tag.is_some() { 18 } else { 14 };
        let mut icmp = [&[8, 0, 0, 0][..], &rest].concat();
        let sum = compute(&icmp, 0).to_ne_bytes();
        icmp[2..4].copy_from_slice(&sum);
        packet.bytes.truncate(ip_at + 20);
        packet.bytes.extend(icmp);
        let ip = Ipv4::parse(&packet, ip_at).unwrap();
        prop_assert!(echo_reply(&mut packet, &ip).is_ok());
        prop_assert_eq!(compute(&packet.bytes[ip_at..ip_at + 20], 0), 0);
        prop_assert_eq!(&packet.bytes[ip_at + 12..ip_at + 20], [192, 0, 2, 2, 192, 0, 2, 1]);
        prop_assert_eq!(packet.bytes[ip_at + 8], 64);
        prop_assert_eq!(packet.bytes[ip_at + 20], 0);
        prop_assert_eq!(compute(&packet.bytes[ip_at + 20..], 0), 0);
        prop_assert_eq!(&packet.bytes[ip_at + 24..], &rest[..]);
    }
}

#[test]
fn an_arp_reply_says_who_has_the_address_and_keeps_the_tag() {
    let asked = [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 5, 192, 0, 2, 7, 0, 0, 0, 0, 0, 0, 192, 0, 2, 10];
    let sender = [2, 0, 0, 0, 0, 5];
    for tag in [&[][..], &[0x81, 0, 0, 7]] {
        let bytes = [&[0xff; 6][..], &sender, tag, &[8, 6], &asked].concat();
        let mut packet = BytesPacket { bytes, ingress_ifindex: 1 };
        let link = Link::parse(&packet).unwrap();
        let request = ArpRequest::parse(&packet, link.header_len()).unwrap();
        arp_reply(&mut packet, &link, &request, OWN).unwrap();
        let own = OWN.octets();
        let answer =
            [&[0, 1, 8, 0, 6, 4, 0, 2][..], &own, &[192, 0, 2, 10], &sender, &[192, 0, 2, 7]].concat();
        assert_eq!(packet.bytes, [&sender[..], &own, tag, &[8, 6], &answer].concat());
    }
}
