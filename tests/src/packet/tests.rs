//! Known answers, round trips, and every defect found by the parser.

use std::net::Ipv4Addr;

use super::*;
use crate::seed::Random;

const SRC: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
const DST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

fn parse(bytes: &[u8]) -> Frame {
    Frame::parse(bytes).unwrap_or_else(|error| panic!("{error} in {bytes:02x?}"))
}

fn parse_good(bytes: &[u8]) -> Frame {
    let frame = parse(bytes);
    frame.assert_checksums();
    frame
}

fn bad_ones(bytes: &[u8]) -> Vec<ChecksumOf> {
    parse(bytes).bad_checksums.iter().map(|bad| bad.of).collect()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte =
        |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal");
    digits.chunks(2).map(byte).collect()
}

fn tcp() -> Packet {
    Packet::tcp((SRC, 40_000), (DST, 8443)).payload(b"hello")
}

fn udp() -> Packet {
    Packet::udp((SRC, 40_000), (DST, 53)).payload(b"hello")
}

/// RFC 1071 section 3: the bytes 00 01 f2 03 f4 f5 f6 f7 sum to ddf2.
#[test]
fn checksum_of_rfc_1071() {
    assert_eq!(internet_checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    assert_eq!(internet_checksum(&[]), 0xffff);
    assert_eq!(internet_checksum(&[0xab]), !0xab00);
}

/// Bytes made by scapy 2.8.0, an independent implementation, with `testdata/make.py`.
#[test]
fn known_answers_of_scapy() {
    let macs = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
    let built = tcp().macs(macs.0, macs.1).flags(TcpFlags::SYN).numbers(0x0102_0304, 0).mss(1460).build();
    assert_eq!(built, hex(include_str!("testdata/tcp.hex")));
    let built = udp().macs(macs.0, macs.1).vlan(100).ip_options(&[7, 7, 4, 0, 0, 0, 0, 0]).build();
    assert_eq!(built, hex(include_str!("testdata/udp.hex")));
    let inner = udp().macs(macs.0, macs.1).build();
    let error = IcmpError::FragmentationNeeded { mtu: 1400 };
    let built = Packet::icmp_error(DST, SRC, error, &inner).macs(macs.0, macs.1).build();
    assert_eq!(built, hex(include_str!("testdata/icmp.hex")));
}

#[test]
fn tcp_round_trip() {
    let flags = TcpFlags::SYN | TcpFlags::ACK;
    let frame = parse_good(&tcp().flags(flags).numbers(7, 9).mss(1400).tos(0x2e).ttl(9).id(77).build());
    let (ip, tcp) = (frame.ipv4().expect("IPv4"), frame.tcp().expect("TCP"));
    assert_eq!((ip.src, ip.dst, ip.tos, ip.ttl, ip.id), (SRC, DST, 0x2e, 9, 77));
    assert!(ip.dont_fragment && !ip.more_fragments);
    assert_eq!((tcp.src_port, tcp.dst_port, tcp.seq, tcp.ack, tcp.flags), (40_000, 8443, 7, 9, flags));
    assert_eq!((&tcp.options[..], &tcp.payload[..]), (&[2, 4, 0x05, 0x78][..], &b"hello"[..]));
}

#[test]
fn every_header_length_round_trips() {
    for words in 5..=15_u8 {
        let options = vec![1; usize::from(words - 5) * 4];
        let frame = parse_good(&udp().ip_options(&options).build());
        assert_eq!(frame.ipv4().expect("IPv4").options, options);
        assert_eq!(frame.udp().expect("UDP").payload, b"hello");
    }
}

#[test]
fn vlan_tag_round_trips() {
    let frame = parse_good(&tcp().vlan(100).build());
    assert_eq!((frame.ethernet.vlan, frame.ethernet.ethertype), (Some(100), ETHERTYPE_IPV4));
}

#[test]
fn echo_round_trips() {
    let frame = parse_good(&Packet::echo_request(SRC, DST, 0x1234, 5).payload(b"abc").build());
    let icmp = frame.icmp().expect("ICMP");
    assert_eq!((icmp.kind, icmp.code), (8, 0));
    assert_eq!(icmp.body, IcmpBody::Echo { id: 0x1234, sequence: 5, payload: b"abc".to_vec() });
}

#[test]
fn quoted_packet_is_parsed_and_its_checksums_verified() {
    let error = IcmpError::FragmentationNeeded { mtu: 1400 };
    let frame = parse_good(&Packet::icmp_error(DST, SRC, error, &tcp().build()).build());
    let IcmpBody::Error { rest, quoted } = &frame.icmp().expect("ICMP").body else { panic!("{frame:?}") };
    assert_eq!(rest, &[0, 0, 0x05, 0x78]);
    assert_eq!((quoted.src, quoted.dst, quoted.ports()), (SRC, DST, Some((40_000, 8443))));

    let wrong_ip = tcp().defect(Defect::IpChecksum).build();
    assert_eq!(bad_ones(&Packet::icmp_error(DST, SRC, error, &wrong_ip).build()), [ChecksumOf::QuotedIp]);
    let wrong_tcp = tcp().defect(Defect::TransportChecksum).build();
    assert_eq!(bad_ones(&Packet::icmp_error(DST, SRC, error, &wrong_tcp).build()), [ChecksumOf::QuotedTcp]);
}

#[test]
fn quoted_packet_may_be_cut_anywhere_after_its_header() {
    let inner = tcp().build();
    for quoted in 20..inner.len() - 14 {
        let cut = &inner[14..14 + quoted];
        let error = Packet::icmp_error(DST, SRC, IcmpError::TtlExceeded, &inner).payload(cut).build();
        let frame = parse_good(&error);
        let IcmpBody::Error { quoted: ip, .. } = &frame.icmp().expect("ICMP").body else {
            panic!("{frame:?}")
        };
        assert_eq!(ip.ports().is_some(), quoted >= 40, "{quoted} bytes quoted");
    }
}

#[test]
fn each_wrong_checksum_is_reported_alone() {
    let icmp = || Packet::echo_request(SRC, DST, 1, 1);
    assert_eq!(bad_ones(&tcp().defect(Defect::IpChecksum).build()), [ChecksumOf::Ip]);
    assert_eq!(bad_ones(&tcp().defect(Defect::TransportChecksum).build()), [ChecksumOf::Tcp]);
    assert_eq!(bad_ones(&udp().defect(Defect::TransportChecksum).build()), [ChecksumOf::Udp]);
    assert_eq!(bad_ones(&icmp().defect(Defect::TransportChecksum).build()), [ChecksumOf::Icmp]);
}

#[test]
fn absent_udp_checksum_is_legal_and_visible() {
    let frame = parse_good(&udp().defect(Defect::UdpChecksumAbsent).build());
    assert_eq!(frame.udp().expect("UDP").checksum, 0);
}

/// The payload is chosen so that the sum comes out as zero, which must go out as ffff (RFC 768).
#[test]
fn computed_zero_is_sent_as_all_ones() {
    let sum_without = parse(&udp().payload(&[0, 0]).build()).udp().expect("UDP").checksum;
    let frame = parse_good(&udp().payload(&sum_without.to_be_bytes()).build());
    assert_eq!(frame.udp().expect("UDP").checksum, 0xffff);
}

#[test]
fn partial_checksum_is_told_from_a_wrong_one() {
    for packet in [tcp(), udp()] {
        let partial = parse(&packet.clone().defect(Defect::TransportChecksumPartial).build());
        assert!(partial.bad_checksums.iter().all(|bad| bad.partial) && partial.bad_checksums.len() == 1);
        let wrong = parse(&packet.defect(Defect::TransportChecksum).build());
        assert!(wrong.bad_checksums.iter().all(|bad| !bad.partial) && wrong.bad_checksums.len() == 1);
    }
}

#[test]
fn contradictions_are_errors() {
    let length = tcp().build().len() - 14;
    let error = |packet: Packet| Frame::parse(&packet.build()).expect_err("contradicts itself");
    assert_eq!(error(tcp().defect(Defect::IpVersion(6))), ParseError::IpVersion(6));
    assert_eq!(error(tcp().defect(Defect::IpHeaderWords(4))), ParseError::IpHeaderWords(4));
    let too_long = u16::try_from(length + 1).expect("small");
    assert_eq!(
        error(tcp().defect(Defect::IpTotalLength(too_long))),
        ParseError::IpTotalLength { claimed: length + 1, available: length }
    );
    assert_eq!(
        error(tcp().defect(Defect::IpTotalLength(19))),
        ParseError::IpTotalLength { claimed: 19, available: length }
    );
    assert_eq!(error(tcp().defect(Defect::TcpDataOffsetWords(4))), ParseError::TcpDataOffset(4));
    assert_eq!(error(tcp().defect(Defect::TcpDataOffsetWords(15))), ParseError::TcpDataOffset(15));
    assert_eq!(
        error(udp().defect(Defect::UdpLength(14))),
        ParseError::UdpLength { claimed: 14, available: 13 }
    );
}

#[test]
fn every_truncation_is_an_error() {
    for packet in [tcp(), udp(), Packet::echo_request(SRC, DST, 1, 1), tcp().vlan(3)] {
        let length = packet.build().len();
        for cut in 0..length {
            let bytes = packet.clone().defect(Defect::TruncatedTo(cut)).build();
            assert!(Frame::parse(&bytes).is_err(), "{cut} of {length} bytes");
        }
    }
}

#[test]
fn ethernet_padding_is_not_payload() {
    let frame = parse_good(&udp().padding(13).build());
    assert_eq!(frame.udp().expect("UDP").payload, b"hello");
}

#[test]
fn fragments_join_to_the_same_packet_in_any_order() {
    let payload = Random::with_seed(3).bytes(3001);
    let frame = udp().dont_fragment(false).payload(&payload).build();
    let mut parts: Vec<Frame> = fragments(&frame, 1400).iter().map(|part| parse_good(part)).collect();
    assert_eq!(parts.len(), 3);
    parts.reverse();
    let joined = reassemble(&parts).expect("parses");
    joined.assert_checksums();
    assert_eq!(joined.udp().expect("UDP").payload, payload);
}

#[test]
#[should_panic(expected = "hole")]
fn hole_between_fragments_is_told() {
    let frame = udp().payload(&[1; 3000]).build();
    let parts: Vec<Frame> = fragments(&frame, 1000).iter().map(|part| parse(part)).collect();
    let _ = reassemble(&[parts[0].clone(), parts[2].clone()]);
}

#[test]
fn arp_is_parsed() {
    let mut bytes = [[0xff; 6], [2, 0, 0, 0, 0, 1]].concat();
    bytes.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1]);
    bytes.extend(SRC.octets());
    bytes.extend([0; 6]);
    bytes.extend(DST.octets());
    let frame = parse(&bytes);
    let arp = frame.arp().expect("ARP");
    assert_eq!(
        (arp.operation, arp.sender, arp.target, arp.sender_mac),
        (1, SRC, DST, Mac([2, 0, 0, 0, 0, 1]))
    );
}

/// Any flipped bit of an untagged packet's IP part is noticed, but for the few that only change the meaning.
#[test]
fn single_bit_flips_are_noticed() {
    let good = tcp().payload(&[0x5a; 32]).build();
    for bit in 14 * 8..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let noticed = Frame::parse(&bytes).map_or(true, |frame| !frame.bad_checksums.is_empty());
        assert!(noticed, "bit {} of byte {}", bit % 8, bit / 8);
    }
}

#[test]
fn random_bytes_never_panic_the_parser() {
    let mut random = Random::from_env();
    for _ in 0..20_000 {
        let mut bytes = tcp().ip_options(&[1; 4]).build();
        for _ in 0..random.below(4) {
            let at = usize::try_from(random.below(bytes.len() as u64)).expect("small");
            bytes[at] = random.bytes(1)[0];
        }
        bytes.truncate(usize::try_from(random.below(bytes.len() as u64 + 1)).expect("small"));
        let _ = Frame::parse(&bytes);
    }
}
