//! Checksums at the edges: absent, zero, all ones.

use gateway_tests::packet::{Defect, Frame, Packet};

use crate::expect::{Expect, translated, translated_with};
use crate::places::{EGRESS_VIP, INGRESS_VIP, NPCI, backend, nat_ip};
use crate::rig::{Case, Rig, chosen};
use crate::talk::{End, SYN, Talk, ping, pong, settled, tcp, udp};

/// All of them.
pub const CASES: &[Case] = &[
    Case::new("checksum: UDP without one stays without", absent),
    Case::new("checksum: UDP that becomes zero is sent as all ones", udp_becomes_zero),
    Case::new("checksum: UDP that was all ones", udp_was_ones),
    Case::new("checksum: TCP that becomes zero, or was zero", tcp_zero),
    Case::new("checksum: ICMP that becomes zero, or was zero", icmp_zero),
];

const SERVER: End = (backend(1), 5353);

fn absent(rig: &mut Rig) {
    let talk = Talk::ingress(rig, 1, (NPCI, 40_000), 5353, SERVER);
    let bare = |src, dst| udp(b"odd")(src, dst).defect(Defect::UdpChecksumAbsent);
    talk.forth(rig, "request", bare, Expect::opens);
    talk.back(rig, "answer", bare, Expect::establishes);
    talk.forth(rig, "request with a checksum", udp(b"odd"), settled);
}

fn udp_becomes_zero(rig: &mut Rig) {
    let make = |payload: &[u8]| Packet::udp((nat_ip(1), 40_001), SERVER).payload(payload);
    let payload = payload_for(0xffff, make);
    let sent = udp(&payload)((nat_ip(1), 40_001), SERVER);
    let packet = udp(&payload)((NPCI, 40_001), (INGRESS_VIP, 5353));
    let expect = translated(rig.world.tenant(1), sent).of(1).opens();
    let out = rig.step("becomes zero", rig.world.external, &packet, &expect);
    assert_eq!(checksum(&out), 0xffff);
}

fn udp_was_ones(rig: &mut Rig) {
    let make = |payload: &[u8]| Packet::udp((NPCI, 40_002), (INGRESS_VIP, 5353)).payload(payload);
    let payload = payload_for(0xffff, make);
    let expect = translated(rig.world.tenant(1), udp(&payload)((nat_ip(1), 40_002), SERVER)).of(1).opens();
    rig.step("was all ones", rig.world.external, &make(&payload), &expect);
}

fn tcp_zero(rig: &mut Rig) {
    let (outside, inside) = (rig.world.external, rig.world.tenant(1));
    let before = |payload: &[u8]| tcp(SYN)((NPCI, 40_003), (INGRESS_VIP, 8443)).payload(payload);
    let after = |payload: &[u8]| tcp(SYN)((nat_ip(1), 40_003), (backend(1), 8080)).payload(payload);
    let payload = payload_for(0, after);
    let out = rig.step(
        "becomes zero",
        outside,
        &before(&payload),
        &translated(inside, after(&payload)).of(1).opens(),
    );
    assert_eq!(checksum(&out), 0);
    let payload = payload_for(0, before);
    rig.step("was zero", outside, &before(&payload), &translated(inside, after(&payload)).of(1));
}

/// A small identifier, so that it is replaced: for ICMP nothing else changes the checksum.
fn icmp_zero(rig: &mut Rig) {
    let talk = Talk::egress(rig, 1, (backend(1), 500), (NPCI, 0));
    let request = |source, payload: &[u8]| ping(payload)(source, (NPCI, 0));
    let payload = payload_for(0, |payload| request(talk.near.0, payload));
    let sent = translated_with(talk.other, |chosen| request((EGRESS_VIP, chosen.port), &payload));
    let out = rig.step("was zero", talk.opener, &request(talk.near.0, &payload), &sent.of(1).opens());
    let id = chosen(&out).port;
    let reply = |target, payload: &[u8]| pong(payload)((NPCI, 0), target);
    let payload = payload_for(0, |payload| reply(talk.near.0, payload));
    let back = translated(talk.opener, reply(talk.near.0, &payload)).of(1).establishes();
    rig.step("becomes zero", talk.other, &reply((EGRESS_VIP, id), &payload), &back);
}

/// Two bytes of payload that give a packet this checksum.
fn payload_for(wanted: u16, make: impl Fn(&[u8]) -> Packet) -> Vec<u8> {
    let with = |word: u16| checksum(&make(&word.to_be_bytes()).build());
    let word = (0..=u16::MAX).find(|word| with(*word) == wanted).expect("each checksum has a word");
    word.to_be_bytes().to_vec()
}

fn checksum(frame: &[u8]) -> u16 {
    let frame = Frame::parse(frame).expect("a whole frame");
    let tcp = frame.tcp().map(|tcp| tcp.checksum);
    let udp = frame.udp().map(|udp| udp.checksum);
    tcp.or(udp).or(frame.icmp().map(|icmp| icmp.checksum)).expect("a checksum")
}
