//! A tenant calls NPCI.

use std::net::Ipv4Addr;

use gateway_common::abi::State;
use gateway_common::drop_reason::DropReason;

use crate::expect::{Expect, dropped, prohibited};
use crate::places::{EGRESS_VIP, NPCI, ROUTED, backend, client, nat_ip, second_backend};
use crate::rig::{Case, Rig};
use crate::talk::{ACK, End, FIN_ACK, RST, SYN, SYN_ACK, Talk, ping, pong, settled, tcp, udp};

/// All of them.
pub const CASES: &[Case] = &[
    Case::new("egress: a connection", connection),
    Case::new("egress: a simultaneous open", simultaneous_open),
    Case::new("egress: UDP", datagrams),
    Case::new("egress: echo", echo),
    Case::new("egress: any port of a prefix", any_port),
    Case::new("egress: to the tenant's own NAT IP, TCP", addressed),
    Case::new("egress: to the tenant's own NAT IP, UDP", addressed_datagrams),
    Case::new("egress: from another address of the tenant", second_address),
    Case::new("egress: peer groups are the tenant's own", peer_groups),
    Case::new("egress and ingress between the same two hosts", both_directions),
];

const ENDPOINT: End = (NPCI, 443);

fn connection(rig: &mut Rig) {
    let talk = Talk::egress(rig, 1, (backend(1), 50_000), ENDPOINT);
    talk.handshake(rig);
    talk.data(rig);
    talk.forth(rig, "FIN", tcp(FIN_ACK), |expect| expect.established(State::HalfClosed));
    talk.back(rig, "FIN back", tcp(FIN_ACK), |expect| expect.established(State::Closing));
    talk.forth(rig, "last ACK", tcp(ACK), |expect| expect.established(State::Closing));
    talk.forth(rig, "RST", tcp(RST), |expect| expect.established(State::Reset));
    talk.forth(rig, "SYN", tcp(SYN), |expect| expect.established(State::HalfOpen));
}

/// Both ends connect at once (RFC 9293 section 3.5, figure 7). NPCI's SYN was nobody's before the tenant's had passed.
fn simultaneous_open(rig: &mut Rig) {
    let talk = Talk::egress(rig, 1, (backend(1), 50_008), ENDPOINT);
    let unsolicited = tcp(SYN)(ENDPOINT, (EGRESS_VIP, 50_008));
    rig.step("SYN of NPCI, too early", rig.world.external, &unsolicited, &dropped(DropReason::NoFlow));
    talk.forth(rig, "SYN", tcp(SYN), Expect::opens);
    talk.back(rig, "SYN of NPCI", tcp(SYN), |expect| expect.half_open(State::Answered));
    talk.forth(rig, "SYN-ACK", tcp(SYN_ACK), Expect::establishes);
    talk.back(rig, "SYN-ACK of NPCI", tcp(SYN_ACK), settled);
    talk.data(rig);
}

fn datagrams(rig: &mut Rig) {
    let talk = Talk::egress(rig, 1, (backend(1), 50_001), (NPCI, 53));
    talk.forth(rig, "query", udp(b"npci.example"), Expect::opens);
    talk.back(rig, "answer", udp(b"192.0.2.100"), Expect::establishes);
    talk.forth(rig, "empty", udp(b""), settled);
}

fn echo(rig: &mut Rig) {
    let talk = Talk::egress(rig, 1, (backend(1), 50_002), (NPCI, 0));
    talk.forth(rig, "request", ping(b"abc"), Expect::opens);
    talk.forth(rig, "request without an answer yet", ping(b"abcd"), |expect| {
        expect.half_open(State::HalfOpen)
    });
    talk.back(rig, "reply", pong(b"abc"), Expect::establishes);
    talk.back(rig, "reply again", pong(b""), settled);
    talk.forth(rig, "next request", ping(&[0; 512]), settled);
}

fn any_port(rig: &mut Rig) {
    for port in [1, 443, 65_535] {
        let talk = Talk::egress(rig, 1, (backend(1), 50_003), (ROUTED, port));
        talk.handshake(rig);
        talk.data(rig);
    }
    let inside = rig.world.tenant(1);
    let beyond = tcp(SYN)((backend(1), 50_003), (Ipv4Addr::new(198, 18, 0, 16), 443));
    rig.step("beyond the prefix", inside, &beyond, &prohibited(1, inside, &beyond));
}

/// The tenant talks to its NAT IP and never sees NPCI's address.
fn addressed_talk(rig: &Rig, source: End, port: u16, target: End) -> Talk {
    let direct = Talk::egress(rig, 1, source, target);
    Talk { near: (source, (nat_ip(1), port)), ..direct }
}

fn addressed(rig: &mut Rig) {
    let talk = addressed_talk(rig, (backend(1), 50_004), 9001, ENDPOINT);
    talk.handshake(rig);
    talk.data(rig);
    talk.back(rig, "RST", tcp(RST), |expect| expect.established(State::Reset));
    talk.forth(rig, "data", tcp(ACK), settled);
}

fn addressed_datagrams(rig: &mut Rig) {
    let talk = addressed_talk(rig, (backend(1), 50_005), 9053, (NPCI, 53));
    talk.forth(rig, "query", udp(b"odd"), Expect::opens);
    talk.back(rig, "answer", udp(b"even"), Expect::establishes);
}

fn second_address(rig: &mut Rig) {
    let talk = Talk::egress(rig, 1, (second_backend(1), 50_006), ENDPOINT);
    talk.handshake(rig);
}

fn peer_groups(rig: &mut Rig) {
    let recovery = (client(102), 443);
    Talk::egress(rig, 2, (backend(2), 50_007), recovery).handshake(rig);
    let inside = rig.world.tenant(1);
    let foreign = tcp(SYN)((backend(1), 50_007), recovery);
    rig.step("of another tenant", inside, &foreign, &prohibited(1, inside, &foreign));
}

/// NPCI's host is client and endpoint at once: the VIPs keep the flows apart, though all ports are equal.
fn both_directions(rig: &mut Rig) {
    let inward = Talk::ingress(rig, 1, (NPCI, 8443), 8443, (backend(1), 8080));
    let outward = Talk::egress(rig, 1, (backend(1), 8443), ENDPOINT);
    inward.handshake(rig);
    outward.handshake(rig);
    inward.data(rig);
    outward.data(rig);
    let outside = rig.world.external;
    let crossed = tcp(ACK)((NPCI, 8443), (EGRESS_VIP, 8443));
    rig.step("of neither flow", outside, &crossed, &dropped(DropReason::NoFlow));
}
