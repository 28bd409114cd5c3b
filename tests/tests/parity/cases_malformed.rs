//! Headers that end too early, contradict themselves, or are merely unusual.

use gateway_common::drop_reason::DropReason;
use gateway_tests::packet::{Defect, Packet};

use crate::expect::{Expect, dropped, echo_answered, passed, translated};
use crate::places::{EGRESS_VIP, INGRESS_VIP, NPCI, STRANGER, backend, nat_ip};
use crate::rig::{Case, Rig};
use crate::talk::{DATA, SYN, Talk, ping, pong, settled, tcp, udp};

/// All of them.
pub const CASES: &[Case] = &[
    Case::new("malformed: frames cut at every length", cut),
    Case::new("malformed: tagged frames cut at every length", cut_tagged),
    Case::new("malformed: IP packets too short for their transport header", short_transport),
    Case::new("malformed: IP version and header length", ip_header),
    Case::new("malformed: IP total length", total_length),
    Case::new("malformed: TCP data offset", data_offset),
    Case::new("malformed: UDP length", udp_length),
    Case::new("unusual: bytes behind the packet", padding),
    Case::new("unusual: IP options of every length", options),
    Case::new("unusual: VLAN tags", tags),
    Case::new("unusual: two VLAN tags", two_tags),
    Case::new("other IP protocols", protocols),
    Case::new("payloads of every length to 64", payloads),
];

fn syn() -> Packet {
    tcp(SYN)((NPCI, 40_000), (INGRESS_VIP, 8443))
}

fn cut(rig: &mut Rig) {
    let whole = syn().build().len();
    for length in 0..whole {
        let packet = syn().defect(Defect::TruncatedTo(length));
        rig.step(&format!("{length} bytes"), rig.world.external, &packet, &dropped(DropReason::Truncated));
    }
}

fn cut_tagged(rig: &mut Rig) {
    let whole = syn().vlan(9).build().len();
    for length in 0..whole {
        let packet = syn().vlan(9).defect(Defect::TruncatedTo(length));
        rig.step(&format!("{length} bytes"), rig.world.external, &packet, &dropped(DropReason::Truncated));
    }
}

fn short_transport(rig: &mut Rig) {
    let (outside, inside) = (rig.world.external, rig.world.tenant(1));
    for (protocol, header) in [(6, 20), (17, 8), (1, 8)] {
        for length in 0..header {
            let label = format!("protocol {protocol}, {length} bytes");
            let payload = vec![0; length];
            let packet = |src, dst| Packet::raw(src, dst, protocol).payload(&payload);
            let bad = || dropped(DropReason::BadTransportHeader);
            rig.step(&label, outside, &packet(NPCI, INGRESS_VIP), &bad());
            rig.step(&label, outside, &packet(NPCI, backend(1)), &bad().of(1));
            rig.step(&label, inside, &packet(backend(1), NPCI), &bad().of(1));
            rig.step(&label, outside, &packet(NPCI, STRANGER), &passed());
        }
    }
}

fn ip_header(rig: &mut Rig) {
    let outside = rig.world.external;
    for version in [0, 5, 6, 15] {
        let packet = syn().defect(Defect::IpVersion(version));
        rig.step("version", outside, &packet, &dropped(DropReason::BadIpHeader));
    }
    for words in 0..5 {
        let packet = syn().defect(Defect::IpHeaderWords(words));
        rig.step("header length", outside, &packet, &dropped(DropReason::BadIpHeader));
    }
    let beyond = syn().defect(Defect::IpHeaderWords(15));
    rig.step("a header longer than the packet", outside, &beyond, &dropped(DropReason::BadIpHeader));
    let empty = Packet::raw(NPCI, INGRESS_VIP, 6);
    rig.step("nothing but a header", outside, &empty, &dropped(DropReason::BadTransportHeader));
}

fn total_length(rig: &mut Rig) {
    let outside = rig.world.external;
    for (length, reason) in [
        (0, DropReason::BadIpHeader),
        (19, DropReason::BadIpHeader),
        (20, DropReason::BadTransportHeader),
        (39, DropReason::BadTransportHeader),
        (41, DropReason::Truncated),
        (u16::MAX, DropReason::Truncated),
    ] {
        let packet = syn().defect(Defect::IpTotalLength(length));
        rig.step(&format!("{length}"), outside, &packet, &dropped(reason));
    }
    // What lies behind the announced end is no part of the packet: it travels along, checksummed by nobody.
    let short = |src, dst| tcp(SYN)(src, dst).payload(b"beyond").defect(Defect::IpTotalLength(40));
    let sent = translated(rig.world.tenant(1), short((nat_ip(1), 40_000), (backend(1), 8080))).of(1);
    let packet = short((NPCI, 40_000), (INGRESS_VIP, 8443));
    rig.step("less than the frame", outside, &packet, &sent.opens().defective());
}

fn data_offset(rig: &mut Rig) {
    let outside = rig.world.external;
    for words in (0..5).chain([6, 15]) {
        let packet = syn().defect(Defect::TcpDataOffsetWords(words));
        let label = format!("{words} words");
        rig.step(&label, outside, &packet, &dropped(DropReason::BadTransportHeader));
    }
    let all = |src, dst| tcp(SYN)(src, dst).payload(&[1; 40]).defect(Defect::TcpDataOffsetWords(15));
    let sent = translated(rig.world.tenant(1), all((nat_ip(1), 40_000), (backend(1), 8080))).of(1);
    rig.step("exactly the segment", outside, &all((NPCI, 40_000), (INGRESS_VIP, 8443)), &sent.opens());
}

fn udp_length(rig: &mut Rig) {
    let (outside, inside) = (rig.world.external, rig.world.tenant(1));
    let packet = |src, dst, length| udp(b"four")(src, dst).defect(Defect::UdpLength(length));
    for length in (0..8).chain([13, u16::MAX]) {
        let packet = packet((NPCI, 40_000), (INGRESS_VIP, 5353), length);
        rig.step(&format!("{length}"), outside, &packet, &dropped(DropReason::BadTransportHeader));
    }
    let sent = packet((nat_ip(1), 40_000), (backend(1), 5353), 8);
    let expect = translated(inside, sent).of(1).counting("flows_opened", 1).counting("ports_found_in_1", 1);
    let expect = expect.counting("tenant 1 flows_opened", 1).defective();
    let shorter = packet((NPCI, 40_000), (INGRESS_VIP, 5353), 8);
    rig.step("shorter than the packet", outside, &shorter, &expect);
}

fn padding(rig: &mut Rig) {
    let talk = Talk::upi(rig, (NPCI, 40_000));
    talk.handshake(rig);
    for count in [1, 2, 6, 46] {
        talk.forth(rig, "padded", |src, dst| tcp(DATA)(src, dst).payload(b"odd").padding(count), settled);
        talk.back(rig, "padded", |src, dst| tcp(DATA)(src, dst).padding(count), settled);
        let request = ping(b"odd")((NPCI, 1), (INGRESS_VIP, 0)).padding(count);
        let reply = pong(b"odd")((INGRESS_VIP, 0), (NPCI, 1)).padding(count);
        let wire = rig.world.external;
        rig.step("padded echo", wire, &request, &echo_answered(wire, &reply));
    }
}

fn options(rig: &mut Rig) {
    let outside = rig.world.external;
    for words in 1..=10_u8 {
        let options = vec![1; usize::from(words) * 4];
        let port = 40_000 + u16::from(words);
        let stream = Talk::upi(rig, (NPCI, port));
        stream.forth(rig, "TCP", |src, dst| tcp(SYN)(src, dst).ip_options(&options), Expect::opens);
        let datagrams = Talk::ingress(rig, 1, (NPCI, port), 5353, (backend(1), 5353));
        datagrams.forth(rig, "UDP", |src, dst| udp(b"odd")(src, dst).ip_options(&options), Expect::opens);
        let echo = Talk::egress(rig, 1, (backend(1), port), (NPCI, 0));
        echo.forth(rig, "ICMP", |src, dst| ping(b"odd")(src, dst).ip_options(&options), Expect::opens);
        echo.back(
            rig,
            "ICMP back",
            |src, dst| pong(b"odd")(src, dst).ip_options(&options),
            Expect::establishes,
        );
        let request = ping(b"odd")((NPCI, 1), (EGRESS_VIP, 0)).ip_options(&options);
        let reply = pong(b"odd")((EGRESS_VIP, 0), (NPCI, 1)).ip_options(&options);
        rig.step("echo", outside, &request, &echo_answered(outside, &reply));
    }
}

/// The links that packets leave by are untagged, so the tag is taken off; an answer keeps it. Nobody is in the tenant's VLANs,
/// so who opens a flow from there is not the tenant.
fn tags(rig: &mut Rig) {
    let (outside, inside) = (rig.world.external, rig.world.tenant(1));
    for (port, vlan) in (40_000..).zip([0, 1, 100, 0x0fff, 0xe064, 0xffff]) {
        let stream = tcp(SYN)((NPCI, port), (INGRESS_VIP, 8443)).vlan(vlan);
        let sent = translated(inside, tcp(SYN)((nat_ip(1), port), (backend(1), 8080))).of(1).opens();
        rig.step("TCP", outside, &stream, &sent);
        let datagram = udp(b"odd")((backend(1), port), (NPCI, 53)).vlan(vlan);
        let sent = if vlan == 0 {
            translated(outside, udp(b"odd")((EGRESS_VIP, port), (NPCI, 53))).of(1).opens()
        } else {
            dropped(DropReason::SourceSpoofed).of(1)
        };
        rig.step("UDP", inside, &datagram, &sent);
        let request = ping(b"odd")((NPCI, 1), (INGRESS_VIP, 0)).vlan(vlan);
        let reply = pong(b"odd")((INGRESS_VIP, 0), (NPCI, 1)).vlan(vlan);
        rig.step("echo", outside, &request, &echo_answered(outside, &reply));
        let other = udp(b"odd")((NPCI, 1), (STRANGER, 53)).vlan(vlan);
        rig.step("not ours", outside, &other, &passed());
        let refused = tcp(SYN)((NPCI, port), (INGRESS_VIP, 1)).vlan(vlan);
        rig.step("refused", outside, &refused, &dropped(DropReason::NoListener));
    }
}

/// More than one tag is not parsed: such a frame is none of the gateway's.
fn two_tags(rig: &mut Rig) {
    let outside = rig.world.external;
    let tagged = syn().vlan(9).macs(outside.far, outside.near).build();
    for outer in [[0x81, 0x00, 0x00, 0x05], [0x88, 0xa8, 0x00, 0x05]] {
        let mut frame = tagged.clone();
        frame.splice(12..12, outer);
        rig.step_bytes("two tags", outside, &frame, &passed());
    }
}

fn protocols(rig: &mut Rig) {
    let (outside, inside) = (rig.world.external, rig.world.tenant(1));
    let refused = || dropped(DropReason::ProtocolNotSupported);
    for protocol in [0, 2, 4, 41, 47, 50, 132, 255] {
        let packet = |src, dst| Packet::raw(src, dst, protocol).payload(&[0; 24]);
        rig.step("to the VIP", outside, &packet(NPCI, INGRESS_VIP), &refused());
        rig.step("to the egress VIP", outside, &packet(NPCI, EGRESS_VIP), &refused());
        rig.step("of a tenant", inside, &packet(backend(1), NPCI), &refused().of(1));
        rig.step("to a NAT IP", inside, &packet(backend(2), nat_ip(1)), &refused().of(2));
        rig.step("not ours", outside, &packet(NPCI, STRANGER), &passed());
    }
}

fn payloads(rig: &mut Rig) {
    let stream = Talk::upi(rig, (NPCI, 40_000));
    let datagrams = Talk::egress(rig, 1, (backend(1), 50_000), (NPCI, 53));
    stream.handshake(rig);
    datagrams.forth(rig, "UDP", udp(b""), Expect::opens);
    datagrams.back(rig, "UDP", udp(b""), Expect::establishes);
    for length in 0..64_u8 {
        let payload: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(37) ^ 0xa5).collect();
        stream.forth(rig, "TCP", |src, dst| tcp(DATA)(src, dst).payload(&payload), settled);
        datagrams.back(rig, "UDP", udp(&payload), settled);
    }
}
