//! The choice of the outside port.

use std::ops::RangeInclusive;

use gateway_common::abi::State;
use gateway_common::drop_reason::DropReason;
use gateway_common::port_slice::PortSlices;
use gateway_tests::packet::Packet;

use crate::expect::{Expect, dropped, translated_with};
use crate::places::{EGRESS_VIP, INGRESS_VIP, NPCI, Wire, backend, client, nat_ip};
use crate::rig::{Case, Rig, chosen};
use crate::talk::{ACK, SYN, SYN_ACK, Talk, ping, pong, settled, tcp, udp};

/// All of them.
pub const CASES: &[Case] = &[
    Case::new("ports: two clients with one port to one server", collision),
    Case::new("ports: two tenants with one port to one endpoint", egress_collision),
    Case::new("ports: two tenants with one port to two endpoints", one_port_two_destinations),
    Case::new("ports: four echoes with one identifier", echo_collision),
    Case::new("ports: a system port is never taken", system_port),
    Case::new("ports: a small echo identifier is replaced", small_identifier),
    Case::with(
        "ports: only slice 5",
        |desired| desired.settings.slices = PortSlices::from_mask(1 << 5),
        one_slice,
    ),
    Case::with(
        "ports: first and last slice",
        |desired| desired.settings.slices = PortSlices::from_mask(1 | 1 << 62),
        outer_slices,
    ),
    Case::with("ports: no slice", |desired| desired.settings.slices = PortSlices::from_mask(0), no_slice),
    Case::new("ports: with the client's own address nothing is chosen", preserved_collision),
];

/// Any port that can be chosen.
const ANY: RangeInclusive<u16> = 1024..=65_535;

/// Opens a flow whose source port is not kept and returns the port that it got. `retries` ports were in use.
#[track_caller]
fn opens_elsewhere<'a>(
    rig: &mut Rig,
    (wire, out, tenant): (Wire, Wire, u8),
    packet: &Packet,
    leaves: impl Fn(u16) -> Packet + 'a,
    (range, retries): (RangeInclusive<u16>, u64),
) -> u16 {
    let expect = translated_with(out, move |chosen| {
        assert!(range.contains(&chosen.port), "the chosen port {} is not in {range:?}", chosen.port);
        leaves(chosen.port)
    });
    let expect = expect.of(tenant).opens_after(retries);
    chosen(&rig.step("first packet of a flow without its own port", wire, packet, &expect)).port
}

fn collision(rig: &mut Rig) {
    let (outside, inside) = (rig.world.external, rig.world.tenant(1));
    let first = Talk::upi(rig, (client(101), 40_000));
    first.handshake(rig);
    let mut taken = vec![40_000];
    for host in 102..=104 {
        let caller = (client(host), 40_000);
        let packet = tcp(SYN)(caller, (INGRESS_VIP, 8443));
        let leaves = |port| tcp(SYN)((nat_ip(1), port), (backend(1), 8080));
        let port = opens_elsewhere(rig, (outside, inside, 1), &packet, leaves, (ANY, 1));
        assert!(!taken.contains(&port), "port {port} has two flows");
        taken.push(port);
        let talk = Talk::upi(rig, caller).seen_from((nat_ip(1), port));
        talk.back(rig, "SYN-ACK", tcp(SYN_ACK), |expect| expect.half_open(State::Answered));
        talk.forth(rig, "ACK", tcp(ACK), Expect::establishes);
        talk.data(rig);
    }
    first.data(rig);
}

fn egress_collision(rig: &mut Rig) {
    let outside = rig.world.external;
    Talk::egress(rig, 1, (backend(1), 50_000), (NPCI, 443)).handshake(rig);
    let packet = tcp(SYN)((backend(2), 50_000), (NPCI, 443));
    let leaves = |port| tcp(SYN)((EGRESS_VIP, port), (NPCI, 443));
    let wires = (rig.world.tenant(2), outside, 2);
    let port = opens_elsewhere(rig, wires, &packet, leaves, (ANY, 1));
    let talk = Talk::egress(rig, 2, (backend(2), 50_000), (NPCI, 443)).seen_from((EGRESS_VIP, port));
    talk.back(rig, "SYN-ACK", tcp(SYN_ACK), |expect| expect.half_open(State::Answered));
    // To another endpoint the same port is free.
    Talk::egress(rig, 2, (backend(2), 50_000), (client(102), 443)).handshake(rig);
}

fn echo_collision(rig: &mut Rig) {
    let outside = rig.world.external;
    let first = Talk::egress(rig, 1, (backend(1), 7777), (NPCI, 0));
    first.forth(rig, "request", ping(b"1"), Expect::opens);
    let packet = ping(b"2")((backend(2), 7777), (NPCI, 0));
    let leaves = |id| ping(b"2")((EGRESS_VIP, id), (NPCI, 0));
    let wires = (rig.world.tenant(2), outside, 2);
    let id = opens_elsewhere(rig, wires, &packet, leaves, (ANY, 1));
    let second = Talk::egress(rig, 2, (backend(2), 7777), (NPCI, 0)).seen_from((EGRESS_VIP, id));
    second.back(rig, "reply to the second", pong(b"2"), Expect::establishes);
    first.back(rig, "reply to the first", pong(b"1"), Expect::establishes);
    second.forth(rig, "second again", ping(b"odd"), settled);
}

/// A port that is in use towards one endpoint is free towards another, so both keep it.
fn one_port_two_destinations(rig: &mut Rig) {
    let talks = [(1, NPCI), (2, client(102))]
        .map(|(tenant, target)| Talk::egress(rig, tenant, (backend(tenant), 50_020), (target, 443)));
    for talk in &talks {
        talk.handshake(rig);
    }
    for talk in &talks {
        talk.data(rig);
    }
}

fn system_port(rig: &mut Rig) {
    let (outside, inside) = (rig.world.external, rig.world.tenant(1));
    for port in [0, 1, 443, 1023] {
        let packet = tcp(SYN)((NPCI, port), (INGRESS_VIP, 8443));
        let leaves = |port| tcp(SYN)((nat_ip(1), port), (backend(1), 8080));
        opens_elsewhere(rig, (outside, inside, 1), &packet, leaves, (ANY, 0));
    }
    Talk::upi(rig, (NPCI, 1024)).handshake(rig);
    Talk::upi(rig, (NPCI, 65_535)).handshake(rig);
}

fn small_identifier(rig: &mut Rig) {
    let (inside, outside) = (rig.world.tenant(1), rig.world.external);
    for id in [0, 1, 1023] {
        let packet = ping(b"odd")((backend(1), id), (NPCI, 0));
        let leaves = |id| ping(b"odd")((EGRESS_VIP, id), (NPCI, 0));
        let got = opens_elsewhere(rig, (inside, outside, 1), &packet, leaves, (ANY, 0));
        let talk = Talk::egress(rig, 1, (backend(1), id), (NPCI, 0)).seen_from((EGRESS_VIP, got));
        talk.back(rig, "reply", pong(b"odd"), Expect::establishes);
    }
}

fn one_slice(rig: &mut Rig) {
    let (outside, inside) = (rig.world.external, rig.world.tenant(1));
    let slice = 1024 * 6..=1024 * 7 - 1;
    for port in [6143, 7168, 40_000] {
        let packet = tcp(SYN)((NPCI, port), (INGRESS_VIP, 8443));
        let leaves = |port| tcp(SYN)((nat_ip(1), port), (backend(1), 8080));
        opens_elsewhere(rig, (outside, inside, 1), &packet, leaves, (slice.clone(), 0));
    }
    Talk::upi(rig, (NPCI, *slice.start())).handshake(rig);
    Talk::upi(rig, (NPCI, *slice.end())).handshake(rig);
    let packet = udp(b"?")((backend(1), 50_000), (NPCI, 53));
    let leaves = |port| udp(b"?")((EGRESS_VIP, port), (NPCI, 53));
    opens_elsewhere(rig, (inside, outside, 1), &packet, leaves, (slice, 0));
}

fn outer_slices(rig: &mut Rig) {
    let (outside, inside) = (rig.world.external, rig.world.tenant(1));
    for port in [2048, 64_511] {
        let packet = tcp(SYN)((NPCI, port), (INGRESS_VIP, 8443));
        let leaves = |port| {
            assert!(!(2048..64_512).contains(&port), "port {port} is in neither slice");
            tcp(SYN)((nat_ip(1), port), (backend(1), 8080))
        };
        opens_elsewhere(rig, (outside, inside, 1), &packet, leaves, (ANY, 0));
    }
    Talk::upi(rig, (NPCI, 2047)).handshake(rig);
    Talk::upi(rig, (NPCI, 64_512)).handshake(rig);
}

fn no_slice(rig: &mut Rig) {
    // Who sends TCP or UDP is told, which `cases_answers.rs` looks at.
    let exhausted = dropped(DropReason::PortsExhausted).of(1);
    let echo = ping(b"")((backend(1), 50_000), (NPCI, 0));
    rig.step("echo", rig.world.tenant(1), &echo, &exhausted);
}

fn preserved_collision(rig: &mut Rig) {
    let caller = (client(101), 40_000);
    let talk = Talk::ingress(rig, 1, caller, 8445, (backend(1), 8080)).seen_from(caller);
    talk.handshake(rig);
    let second = tcp(SYN)(caller, (INGRESS_VIP, 8446));
    rig.step("by another listener", rig.world.external, &second, &dropped(DropReason::TupleInUse).of(1));
    talk.data(rig);
}
