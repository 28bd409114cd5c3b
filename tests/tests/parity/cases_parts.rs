//! Datagrams in parts.

use gateway_common::drop_reason::DropReason;
use gateway_tests::packet::{IcmpError, Packet, fragments};

use crate::expect::{Expect, dropped, held, passed, refused};
use crate::places::{INGRESS_VIP, NPCI, STRANGER, Wire, backend};
use crate::rig::{Case, Rig};
use crate::talk::{DATA, SYN, SYN_ACK, Talk, ping, tcp, udp};

/// All of them.
pub const CASES: &[Case] = &[
    Case::new("parts: 20 kB in order, both ways", in_order),
    Case::new("parts: the first one comes last", first_comes_last),
    Case::new("parts: overlaps and contradictions", contradictions),
    Case::new("parts: of nobody's, of nothing", of_nothing),
    Case::new("parts: too large for the outgoing link", too_large),
    Case::new("parts: TCP and echo", other_protocols),
    Case::new("parts: a SYN", of_a_syn),
];

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|byte| u8::try_from(byte % 253).expect("below 253")).collect()
}

fn parts(packet: &Packet) -> Vec<Vec<u8>> {
    fragments(&packet.clone().dont_fragment(false).build(), 1480)
}

/// A part as a frame between these neighbours; one that leaves has a time to live of 63.
fn framed(part: &[u8], (src, dst): (Wire, bool)) -> Vec<u8> {
    let mut frame = part.to_vec();
    let (to, from) = if dst { (src.far, src.near) } else { (src.near, src.far) };
    frame[..6].copy_from_slice(&to.0);
    frame[6..12].copy_from_slice(&from.0);
    if dst {
        frame[22] = 63;
        frame[24..26].fill(0);
        let sum: u32 =
            frame[14..34].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).expect("folded");
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }
    frame
}

/// Sends a part in, and wants this one to come out.
#[track_caller]
fn through(rig: &mut Rig, talk: &Talk, forth: bool, (part, out): (&[u8], &[u8])) {
    let (enters, leaves) = if forth { (talk.opener, talk.other) } else { (talk.other, talk.opener) };
    let observed = rig.agree("a part", enters, &framed(part, (enters, false)));
    let ran = observed.ran.expect("memory runs everything");
    assert_eq!(ran.frame, framed(out, (leaves, true)), "what leaves");
}

fn in_order(rig: &mut Rig) {
    let data = payload(20_000);
    for talk in [
        Talk::egress(rig, 1, (backend(1), 50_000), (NPCI, 53)),
        Talk::ingress(rig, 1, (NPCI, 40_000), 5353, (backend(1), 5353)),
    ] {
        for round in 0..3 {
            let datagram = |src, dst| udp(&data)(src, dst).id(100 + round);
            let (sent, seen) =
                (parts(&datagram(talk.near.0, talk.near.1)), parts(&datagram(talk.far.0, talk.far.1)));
            assert_eq!(sent.len(), 14);
            sent.iter().zip(&seen).for_each(|(part, out)| through(rig, &talk, true, (part, out)));
            let (sent, seen) =
                (parts(&datagram(talk.far.1, talk.far.0)), parts(&datagram(talk.near.1, talk.near.0)));
            sent.iter().zip(&seen).for_each(|(part, out)| through(rig, &talk, false, (part, out)));
        }
    }
}

fn first_comes_last(rig: &mut Rig) {
    let talk = Talk::egress(rig, 1, (backend(1), 50_001), (NPCI, 53));
    let (sent, seen) =
        (udp(&payload(4000))(talk.near.0, talk.near.1), udp(&payload(4000))(talk.far.0, talk.far.1));
    let (sent, seen) = (parts(&sent), parts(&seen));
    for part in &sent[1..] {
        rig.step_bytes("early", talk.opener, &framed(part, (talk.opener, false)), &held());
    }
    for (part, out) in sent.iter().zip(&seen) {
        through(rig, &talk, true, (part, out));
    }
}

fn contradictions(rig: &mut Rig) {
    let talk = Talk::egress(rig, 1, (backend(1), 50_002), (NPCI, 53));
    let (sent, seen) =
        (udp(&payload(6000))(talk.near.0, talk.near.1), udp(&payload(6000))(talk.far.0, talk.far.1));
    let (sent, seen) = (parts(&sent), parts(&seen));
    through(rig, &talk, true, (&sent[0], &seen[0]));
    let bad = |changes: bool| {
        let expect = dropped(DropReason::BadFragment).of(1);
        if changes { expect.though_noted() } else { expect }
    };
    let again = framed(&sent[0], (talk.opener, false));
    rig.step_bytes("the first part again", talk.opener, &again, &bad(true));
    let part = |offset, more, length| udp(&payload(length))(talk.near.0, talk.near.1).fragment(offset, more);
    for (what, offset, more, length) in [
        ("over the first part", 8, true, 64),
        ("over its end", 1472, true, 64),
        ("no multiple of 8", 4800, true, 61),
        ("beyond 64 KiB", 65_520, false, 64),
    ] {
        rig.step(what, talk.opener, &part(offset, more, length), &bad(false));
    }
    through(rig, &talk, true, (&sent[1], &seen[1]));
    let odd = part(0, true, 13).id(9);
    rig.step("a first part that is no multiple of 8", talk.opener, &odd, &bad(false));
}

fn of_nothing(rig: &mut Rig) {
    let (outside, inside) = (rig.world.external, rig.world.tenant(1));
    for (offset, more) in [(8, true), (1480, false)] {
        let inward = udp(b"a part")((NPCI, 40_000), (INGRESS_VIP, 5353)).fragment(offset, more);
        rig.step("to the VIP", outside, &inward, &held());
        let outward = udp(b"a part")((backend(1), 50_000), (NPCI, 53)).fragment(offset, more);
        rig.step("of a tenant", inside, &outward, &held());
        let long = udp(&[0; 2100])((backend(1), 50_000), (NPCI, 53)).fragment(offset, more);
        rig.step("too long to be kept", inside, &long, &dropped(DropReason::FragmentUnmatched).of(1));
        let other = udp(b"a part")((NPCI, 40_000), (STRANGER, 5353)).fragment(offset, more);
        rig.step("not ours", outside, &other, &passed());
    }
    let other = udp(&[0; 8])((NPCI, 40_000), (STRANGER, 5353)).fragment(0, true);
    rig.step("not ours", outside, &other, &passed());
    let direct = udp(&[0; 8])((NPCI, 40_000), (backend(1), 5353)).fragment(0, true);
    rig.step("straight to a tenant", outside, &direct, &dropped(DropReason::DirectToTenant).of(1));
}

fn too_large(rig: &mut Rig) {
    let outside = rig.world.external;
    let talk = Talk::ingress(rig, 3, (NPCI, 40_000), 8643, (backend(3), 8080));
    talk.handshake(rig);
    let first = tcp(DATA)(talk.near.0, talk.near.1).payload(&payload(1460)).fragment(0, true);
    let frame = first.build();
    let error = Packet::icmp_error(INGRESS_VIP, NPCI, IcmpError::FragmentationNeeded { mtu: 600 }, &frame);
    let error = error.payload(&frame[14..14 + 28]).id(0).ttl(64).tos(0xc0);
    rig.step("the first part", outside, &first, &refused(DropReason::MtuExceeded, 3, outside, &error));
}

fn other_protocols(rig: &mut Rig) {
    let talk = Talk::upi(rig, (NPCI, 40_003));
    talk.handshake(rig);
    let data = payload(3000);
    let (sent, seen) = (tcp(DATA)(talk.near.0, talk.near.1), tcp(DATA)(talk.far.0, talk.far.1));
    let (sent, seen) = (parts(&sent.payload(&data)), parts(&seen.payload(&data)));
    sent.iter().zip(&seen).for_each(|(part, out)| through(rig, &talk, true, (part, out)));
    let talk = Talk::egress(rig, 1, (backend(1), 8_000), (NPCI, 0));
    let (sent, seen) =
        (parts(&ping(&data)(talk.near.0, talk.near.1)), parts(&ping(&data)(talk.far.0, talk.far.1)));
    sent.iter().zip(&seen).for_each(|(part, out)| through(rig, &talk, true, (part, out)));
}

fn of_a_syn(rig: &mut Rig) {
    let talk = Talk::upi(rig, (NPCI, 40_004));
    let part = tcp(SYN)(talk.near.0, talk.near.1).payload(&payload(44)).fragment(0, true);
    rig.step("that would open a flow", talk.opener, &part, &dropped(DropReason::BadFragment));
    talk.forth(rig, "SYN", tcp(SYN), Expect::opens);
    let part = tcp(SYN_ACK)(talk.far.1, talk.far.0).payload(&payload(44)).fragment(0, true);
    rig.step("of a known flow", talk.other, &part, &dropped(DropReason::BadFragment).of(1));
    let part = tcp(SYN)(talk.near.0, (STRANGER, 80)).payload(&payload(44)).fragment(0, true);
    rig.step("not ours", talk.opener, &part, &passed());
}
