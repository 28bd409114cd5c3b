//! NPCI calls a listener.

use std::cell::Cell;

use gateway_common::abi::State;
use gateway_tests::packet::{Packet, TcpFlags};

use crate::expect::{Expect, translated_with};
use crate::places::{INGRESS_VIP, NPCI, ROUTED, backend, client, nat_ip, second_backend};
use crate::rig::{Case, Rig};
use crate::talk::{ACK, DATA, FIN_ACK, RST, SYN, SYN_ACK, Talk, settled, tcp, udp};

/// All of them.
pub const CASES: &[Case] = &[
    Case::new("ingress: a connection from SYN to TIME-WAIT, and its tuple used again", whole_life),
    Case::new("ingress: the server closes first", server_closes_first),
    Case::new("ingress: UDP", datagrams),
    Case::new("ingress: the server sees the client's own address", preserved),
    Case::new("ingress: a client behind a router", routed),
    Case::new("ingress: two tenants, one client port", two_tenants),
    Case::new("ingress: weights", weights),
    Case::new("ingress: fifty clients at once", fifty_clients),
    Case::new("ingress: repeated SYN and SYN-ACK", retransmissions),
    Case::new("ingress: RST, then traffic goes on", reset_and_revived),
    Case::new("ingress: a reset outside the window", reset_out_of_window),
    Case::new("ingress: RST, then the tuple is used again", reset_and_reopened),
    Case::new("ingress: the server refuses", refused_by_server),
    Case::new("ingress: SYN with congestion bits", ecn_setup),
    Case::new("ingress: TCP options and odd flags", tcp_options),
];

fn whole_life(rig: &mut Rig) {
    let talk = Talk::upi(rig, (NPCI, 40_000));
    talk.handshake(rig);
    talk.data(rig);
    talk.forth(rig, "FIN", tcp(FIN_ACK), |expect| expect.established(State::HalfClosed));
    talk.back(rig, "late data", tcp(DATA), |expect| expect.established(State::HalfClosed));
    talk.back(rig, "FIN back", tcp(FIN_ACK), |expect| expect.established(State::Closing));
    talk.forth(rig, "last ACK", tcp(ACK), |expect| expect.established(State::Closing));
    talk.forth(rig, "last ACK again", tcp(ACK), |expect| expect.established(State::Closing));
    talk.forth(rig, "SYN of the next", tcp(SYN), |expect| expect.established(State::HalfOpen));
    talk.back(rig, "SYN-ACK of the next", tcp(SYN_ACK), |expect| expect.established(State::Answered));
    talk.forth(rig, "ACK of the next", tcp(ACK), settled);
    talk.data(rig);
}

fn server_closes_first(rig: &mut Rig) {
    let talk = Talk::upi(rig, (NPCI, 40_001));
    talk.handshake(rig);
    talk.back(rig, "FIN", tcp(FIN_ACK), |expect| expect.established(State::HalfClosed));
    talk.forth(rig, "ACK", tcp(ACK), |expect| expect.established(State::HalfClosed));
    talk.forth(rig, "FIN back", tcp(FIN_ACK), |expect| expect.established(State::Closing));
    talk.back(rig, "SYN of the server", tcp(SYN), |expect| expect.established(State::Closing));
}

fn datagrams(rig: &mut Rig) {
    let talk = Talk::ingress(rig, 1, (NPCI, 40_002), 5353, (backend(1), 5353));
    talk.forth(rig, "first", udp(b"?"), Expect::opens);
    talk.forth(rig, "second", udp(b""), |expect| expect.half_open(State::HalfOpen));
    talk.back(rig, "answer", udp(b"an answer"), Expect::establishes);
    talk.back(rig, "another", udp(b"an answer of even length"), settled);
    talk.forth(rig, "third", udp(&[0xff; 301]), settled);
}

fn preserved(rig: &mut Rig) {
    let caller = (client(101), 40_003);
    let talk = Talk::ingress(rig, 1, caller, 8445, (backend(1), 8080)).seen_from(caller);
    talk.handshake(rig);
    talk.data(rig);
    talk.back(rig, "FIN", tcp(FIN_ACK), |expect| expect.established(State::HalfClosed));
}

fn routed(rig: &mut Rig) {
    let talk = Talk::upi(rig, (ROUTED, 40_004));
    talk.handshake(rig);
    talk.data(rig);
}

fn two_tenants(rig: &mut Rig) {
    let caller = (NPCI, 40_005);
    let first = Talk::upi(rig, caller);
    let second = Talk::ingress(rig, 2, caller, 8543, (backend(2), 8080));
    first.handshake(rig);
    second.handshake(rig);
    second.data(rig);
    first.data(rig);
}

/// Three flows to the first server for each one to the second.
fn weights(rig: &mut Rig) {
    let (outside, inside) = (rig.world.external, rig.world.tenant(1));
    let counts = [Cell::new(0_u32), Cell::new(0)];
    for number in 0..120 {
        let (host, port) = (client(70 + number % 40), 41_000 + u16::from(number));
        let packet = Packet::tcp((host, port), (INGRESS_VIP, 8444)).flags(SYN);
        let servers = [backend(1), second_backend(1)];
        let counts = &counts;
        let expect = translated_with(inside, move |chosen| {
            let server = servers.iter().position(|server| *server == chosen.destination);
            let count = &counts[server.expect("a server of the pool")];
            count.set(count.get() + 1);
            Packet::tcp((nat_ip(1), port), (chosen.destination, 8081)).flags(SYN)
        });
        rig.step("SYN", outside, &packet, &expect.of(1).opens());
    }
    let [heavy, light] = counts.map(Cell::into_inner);
    assert_eq!(heavy + light, 3 * 120, "each engine's choice was judged");
    assert!((heavy * 4).abs_diff(3 * (heavy + light)) < 150, "{heavy} to {light} instead of 3 to 1");
}

fn fifty_clients(rig: &mut Rig) {
    let talk = |number: u8| Talk::upi(rig, (client(100 + number), 42_000 + u16::from(number)));
    let talks: Vec<Talk> = (0..50).map(talk).collect();
    for talk in &talks {
        talk.forth(rig, "SYN", tcp(SYN), Expect::opens);
    }
    for talk in &talks {
        talk.back(rig, "SYN-ACK", tcp(SYN_ACK), |expect| expect.half_open(State::Answered));
    }
    for talk in &talks {
        talk.forth(rig, "ACK", tcp(ACK), Expect::establishes);
    }
    assert_eq!(rig.entries(), 100);
}

fn retransmissions(rig: &mut Rig) {
    let talk = Talk::upi(rig, (NPCI, 40_007));
    talk.forth(rig, "SYN", tcp(SYN), Expect::opens);
    talk.forth(rig, "SYN again", tcp(SYN), |expect| expect.half_open(State::HalfOpen));
    talk.back(rig, "SYN-ACK", tcp(SYN_ACK), |expect| expect.half_open(State::Answered));
    talk.forth(rig, "SYN once more", tcp(SYN), |expect| expect.half_open(State::Answered));
    talk.back(rig, "SYN-ACK again", tcp(SYN_ACK), |expect| expect.half_open(State::Answered));
    talk.forth(rig, "ACK", tcp(ACK), Expect::establishes);
    talk.back(rig, "SYN-ACK too late", tcp(SYN_ACK), settled);
}

fn reset_and_revived(rig: &mut Rig) {
    let talk = Talk::upi(rig, (NPCI, 40_008));
    talk.handshake(rig);
    talk.forth(rig, "RST", tcp(RST), |expect| expect.established(State::Reset));
    talk.back(rig, "data from the server, which did not believe it", tcp(DATA), settled);
    talk.data(rig);
    talk.back(rig, "RST of the server", tcp(RST), |expect| expect.established(State::Reset));
    talk.back(rig, "a second one", tcp(RST), |expect| expect.established(State::Reset));
    talk.forth(rig, "data of the client", tcp(DATA), settled);
}

/// A reset that its receiver will not believe goes on to it, and changes nothing: as long as nobody else says otherwise the
/// connection is there.
fn reset_out_of_window(rig: &mut Rig) {
    let talk = Talk::upi(rig, (NPCI, 40_011));
    talk.handshake(rig);
    let numbers = |flags, seq, ack| move |src, dst| tcp(flags)(src, dst).numbers(seq, ack);
    talk.forth(rig, "a request", numbers(DATA, 1_000, 5_000), settled);
    talk.back(rig, "a response", numbers(DATA, 5_000, u32::MAX), settled);
    let ignored = |expect: Expect<'static>| settled(expect).counting("resets_not_believed", 1);
    for (seq, what) in [(u32::MAX - 2, "two before"), (65_535, "one behind"), (0x8000_0000, "far from it")] {
        talk.forth(rig, what, numbers(RST, seq, 0), ignored);
        talk.forth(rig, what, numbers(RST | ACK, seq, 77), ignored);
    }
    talk.back(rig, "of the other end", numbers(RST, 4_998, 0), ignored);
    talk.forth(rig, "the last of the window", numbers(RST, 65_534, 0), |expect| {
        expect.established(State::Reset)
    });
    talk.back(rig, "a challenge", numbers(ACK, 5_000, u32::MAX), settled);
    talk.forth(rig, "from its FIN", numbers(RST, u32::MAX - 1, 0), |expect| expect.established(State::Reset));
    talk.back(rig, "a challenge", numbers(ACK, 5_000, u32::MAX), settled);
    talk.forth(rig, "exactly", numbers(RST, u32::MAX, 0), |expect| expect.established(State::Reset));
    talk.back(rig, "data", numbers(DATA, 5_000, u32::MAX), settled);
    // The server has lost its state, and its port is closed: the client calls again.
    talk.forth(rig, "SYN", numbers(SYN, 77_777, 0), settled);
    talk.back(rig, "a refusal", numbers(RST | ACK, 0, 77_778), |expect| expect.established(State::Reset));
}

fn reset_and_reopened(rig: &mut Rig) {
    let talk = Talk::upi(rig, (NPCI, 40_009));
    talk.handshake(rig);
    talk.back(rig, "RST", tcp(RST), |expect| expect.established(State::Reset));
    talk.forth(rig, "SYN", tcp(SYN), |expect| expect.established(State::HalfOpen));
    talk.back(rig, "SYN-ACK", tcp(SYN_ACK), |expect| expect.established(State::Answered));
    talk.forth(rig, "ACK", tcp(ACK), settled);
}

fn refused_by_server(rig: &mut Rig) {
    let talk = Talk::upi(rig, (NPCI, 40_010));
    talk.forth(rig, "SYN", tcp(SYN), Expect::opens);
    talk.back(rig, "RST-ACK", tcp(RST | ACK), |expect| expect.half_open(State::Reset));
    talk.forth(rig, "SYN again", tcp(SYN), |expect| expect.half_open(State::HalfOpen));
    talk.back(rig, "SYN-ACK", tcp(SYN_ACK), |expect| expect.half_open(State::Answered));
    talk.forth(rig, "ACK", tcp(ACK), Expect::establishes);
}

/// ECE and CWR beside SYN ask for congestion notification (RFC 3168 section 6.1.1): still a bare SYN.
fn ecn_setup(rig: &mut Rig) {
    let talk = Talk::upi(rig, (NPCI, 40_011));
    talk.forth(rig, "SYN", |src, dst| tcp(TcpFlags(0xc2))(src, dst).tos(0x02), Expect::opens);
    talk.back(rig, "SYN-ACK", tcp(TcpFlags(0x52)), |expect| expect.half_open(State::Answered));
    talk.forth(rig, "ACK", tcp(ACK), Expect::establishes);
}

fn tcp_options(rig: &mut Rig) {
    let talk = Talk::upi(rig, (NPCI, 40_012));
    talk.forth(rig, "SYN", |src, dst| tcp(SYN)(src, dst).mss(1460), Expect::opens);
    talk.back(rig, "SYN-ACK", |src, dst| tcp(SYN_ACK)(src, dst).mss(536), |e| e.half_open(State::Answered));
    let full = |src, dst| tcp(ACK)(src, dst).tcp_options(&[1; 40]).payload(b"behind 60 bytes of header");
    talk.forth(rig, "ACK", full, Expect::establishes);
    let urgent = |src, dst| tcp(DATA | TcpFlags::URG)(src, dst).payload(&[0; 1]).tos(0xb8).id(0);
    talk.back(rig, "urgent", urgent, settled);
    talk.forth(rig, "may be fragmented", |src, dst| tcp(DATA)(src, dst).dont_fragment(false), settled);
}
