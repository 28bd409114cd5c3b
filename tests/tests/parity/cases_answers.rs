//! What is refused aloud: resets and ICMP errors, for new flows that nobody takes and for flows that the daemon ends.

use gateway_common::abi::{ListenerFlags, TenantSource};
use gateway_common::drop_reason::DropReason;
use gateway_common::port_slice::PortSlices;
use gateway_daemon::datapath::contents::Contents;
use gateway_tests::packet::{IcmpError, Packet, TcpFlags};

use crate::expect::{Expect, dropped, prohibited, refused};
use crate::places::{INGRESS_VIP, NPCI, STRANGER, Wire, backend, client, nat_ip};
use crate::rig::{Case, Rig};
use crate::talk::{ACK, DATA, End, FIN_ACK, RST, SYN, SYN_ACK, Talk, ping, settled, tcp, udp};

/// All of them.
pub const CASES: &[Case] = &[
    Case::with("answers: no backend, TCP", without_servers, resets_without_backend),
    Case::with("answers: no backend, UDP", without_servers, errors_without_backend),
    Case::with("answers: no backend, tagged frames", without_servers, tagged),
    Case::with("answers: none where none may be", without_servers, nobody_is_answered),
    Case::with("answers: draining listeners", draining_listeners, draining_listener),
    Case::with("answers: draining tenants", draining_tenants, draining_tenant),
    Case::new("answers: draining under known flows", draining_under_flows),
    Case::new("answers: an ended flow from NPCI", ended_ingress),
    Case::new("answers: an ended flow from a tenant", ended_egress),
    Case::new("answers: an ended half-open flow", ended_half_open),
    Case::new("answers: a SYN on an ended flow", reopened),
    Case::with("answers: no ports", |desired| desired.settings.slices = PortSlices::from_mask(0), no_ports),
];

fn no_ports(rig: &mut Rig) {
    let (outside, inside) = (rig.world.external, rig.world.tenant(1));
    let refused = |wire, answer| refused(DropReason::PortsExhausted, 1, wire, &answer);
    for (wire, src, dst) in [(outside, (NPCI, 40_000), LISTENER), (inside, (backend(1), 50_000), (NPCI, 443))]
    {
        rig.step("SYN", wire, &syn(src, dst), &refused(wire, reset_of_syn(src, dst, 0)));
    }
    let (src, dst) = ((backend(1), 50_000), (nat_ip(1), 9053));
    let datagram = udp(b"?")(src, dst);
    let answer = told(IcmpError::HostUnreachable, src, dst, &datagram);
    rig.step("datagram", inside, &datagram, &refused(inside, answer));
}

fn without_servers(desired: &mut Contents) {
    desired.pools.iter_mut().for_each(|(_, pool)| pool.maglev_len = 0);
}

fn draining_listeners(desired: &mut Contents) {
    let flags = |flags: ListenerFlags| flags.with(ListenerFlags::DRAINING);
    desired.listeners.iter_mut().for_each(|(_, listener)| listener.flags = flags(listener.flags));
}

fn draining_tenants(desired: &mut Contents) {
    let drain = |raw: u32| TenantSource::from_raw(raw).with_draining(true).to_raw();
    desired.sources.iter_mut().for_each(|(_, raw)| *raw = drain(*raw));
}

const LISTENER: End = (INGRESS_VIP, 8443);
/// What a SYN with this number is answered with, given what it carries.
const SEQUENCE: u32 = 0xffff_fff0;

/// What the gateway sends by itself.
fn from_gateway(packet: Packet) -> Packet {
    packet.id(0).ttl(64)
}

fn reset(src: End, dst: End) -> Packet {
    from_gateway(Packet::tcp(src, dst)).window(0)
}

/// The answer to a SYN with [`SEQUENCE`] from `src` that carries so many bytes.
fn reset_of_syn(src: End, dst: End, bytes: u32) -> Packet {
    reset(dst, src).flags(RST | ACK).numbers(0, SEQUENCE.wrapping_add(1 + bytes))
}

/// The answer to a segment of an ended flow that acknowledges this number.
fn reset_of_ack(src: End, dst: End, ack: u32) -> Packet {
    reset(dst, src).flags(RST).numbers(ack, 0)
}

fn syn(src: End, dst: End) -> Packet {
    tcp(SYN)(src, dst).numbers(SEQUENCE, 0)
}

/// The ICMP error about a datagram, which quotes its header and eight bytes.
fn unreachable(src: End, dst: End, datagram: &Packet) -> Packet {
    told(IcmpError::PortUnreachable, src, dst, datagram)
}

fn told(error: IcmpError, src: End, dst: End, datagram: &Packet) -> Packet {
    let frame = datagram.build();
    let error = Packet::icmp_error(dst.0, src.0, error, &frame);
    from_gateway(error.payload(&frame[14..14 + 28])).tos(0xc0)
}

/// One new flow of each way in which a pool is asked, all of tenant 1.
fn openers(rig: &Rig) -> [(Wire, End, End); 3] {
    let (outside, inside) = (rig.world.external, rig.world.tenant(1));
    [
        (outside, (NPCI, 40_000), LISTENER),
        (outside, (NPCI, 40_000), (INGRESS_VIP, 8445)),
        (inside, (backend(1), 50_000), (nat_ip(1), 9001)),
    ]
}

fn resets_without_backend(rig: &mut Rig) {
    let refused = |wire, answer| refused(DropReason::RefusedNoBackend, 1, wire, &answer);
    for (wire, src, dst) in openers(rig) {
        rig.step("SYN", wire, &syn(src, dst), &refused(wire, reset_of_syn(src, dst, 0)));
        let ecn = syn(src, dst).flags(SYN | TcpFlags(0xc0)).tos(0xb9);
        rig.step("SYN with ECN", wire, &ecn, &refused(wire, reset_of_syn(src, dst, 0).tos(0xb8)));
        let options =
            syn(src, dst).tcp_options(&[2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7]);
        rig.step("SYN with options", wire, &options, &refused(wire, reset_of_syn(src, dst, 0)));
        for length in [1_u32, 2, 6, 7, 536, 1400] {
            let payload = vec![0xa5; length as usize];
            let early = syn(src, dst).mss(1460).payload(&payload);
            rig.step("SYN with data", wire, &early, &refused(wire, reset_of_syn(src, dst, length)));
        }
        let padded = syn(src, dst).padding(6);
        rig.step("padded", wire, &padded, &refused(wire, reset_of_syn(src, dst, 0)));
    }
    assert_eq!(rig.entries(), 0);
}

fn errors_without_backend(rig: &mut Rig) {
    let (outside, inside) = (rig.world.external, rig.world.tenant(1));
    for (wire, src, dst) in
        [(outside, (NPCI, 40_000), (INGRESS_VIP, 5353)), (inside, (backend(1), 50_000), (nat_ip(1), 9053))]
    {
        for length in [0, 1, 7, 8, 27, 28, 29, 512, 1472] {
            let payload = vec![0x5a; length];
            let datagram = udp(&payload)(src, dst);
            let expect = refused(DropReason::RefusedNoBackend, 1, wire, &unreachable(src, dst, &datagram));
            rig.step(&format!("{length} bytes"), wire, &datagram, &expect);
        }
        let padded = udp(b"?")(src, dst).padding(17);
        let expect =
            refused(DropReason::RefusedNoBackend, 1, wire, &unreachable(src, dst, &udp(b"?")(src, dst)));
        rig.step("padded", wire, &padded, &expect);
    }
    assert_eq!(rig.entries(), 0);
}

/// The tag goes back as it came, priority and all.
fn tagged(rig: &mut Rig) {
    const TAG: u16 = 0x6064;
    let wire = rig.world.external;
    let answer = |answer: Packet| refused(DropReason::RefusedNoBackend, 1, wire, &answer.vlan(TAG));
    let src = (NPCI, 40_000);
    let expect = answer(reset_of_syn(src, LISTENER, 3));
    rig.step("SYN", wire, &syn(src, LISTENER).vlan(TAG).payload(b"abc"), &expect);
    for length in [0, 28, 900] {
        let (dst, payload) = ((INGRESS_VIP, 5353), vec![1; length]);
        let datagram = udp(&payload)(src, dst);
        let expect = answer(unreachable(src, dst, &datagram));
        rig.step("datagram", wire, &datagram.vlan(TAG), &expect);
    }
}

fn nobody_is_answered(rig: &mut Rig) {
    let wire = rig.world.external;
    let silent = || dropped(DropReason::RefusedNoBackend).of(1);
    let src = (NPCI, 40_000);
    for packet in [syn(src, LISTENER), udp(b"?")(src, (INGRESS_VIP, 5353))] {
        rig.step("with IP options", wire, &packet.clone().ip_options(&[1, 1, 1, 0]), &silent());
        for group in ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:05"] {
            let frame = packet.clone().macs(wire.far, group.parse().expect("a link address")).build();
            rig.step_bytes("to a group on the link", wire, &frame, &silent());
        }
    }
    let stranger = syn((STRANGER, 40_000), LISTENER);
    rig.step("not allowed", wire, &stranger, &dropped(DropReason::SourceNotAllowed).of(1));
    rig.step("no SYN", wire, &tcp(ACK)(src, LISTENER), &dropped(DropReason::NoFlow).of(1));
    let inside = rig.world.tenant(1);
    let stray = tcp(ACK)((backend(1), 50_000), (nat_ip(1), 9001));
    rig.step("no SYN from a tenant", inside, &stray, &dropped(DropReason::NoFlow).of(1));
}

fn draining_listener(rig: &mut Rig) {
    let wire = rig.world.external;
    let refused = |answer| refused(DropReason::RefusedDraining, 1, wire, &answer);
    let src = (client(200), 40_000);
    for dst in [LISTENER, (INGRESS_VIP, 8445)] {
        rig.step("SYN", wire, &syn(src, dst), &refused(reset_of_syn(src, dst, 0)));
    }
    let (dst, datagram) = ((INGRESS_VIP, 5353), udp(b"query")(src, (INGRESS_VIP, 5353)));
    rig.step("datagram", wire, &datagram, &refused(unreachable(src, dst, &datagram)));
    let options = syn(src, LISTENER).ip_options(&[1, 1, 1, 0]);
    rig.step("with IP options", wire, &options, &dropped(DropReason::RefusedDraining).of(1));
    rig.step("no SYN", wire, &tcp(ACK)(src, LISTENER), &dropped(DropReason::NoFlow).of(1));
    Talk::egress(rig, 1, (backend(1), 50_000), (NPCI, 443)).handshake(rig);
}

fn draining_tenant(rig: &mut Rig) {
    let wire = rig.world.tenant(1);
    let refused = |answer| refused(DropReason::RefusedDraining, 1, wire, &answer);
    let src = (backend(1), 50_000);
    for dst in [(NPCI, 443), (nat_ip(1), 9001)] {
        rig.step("SYN", wire, &syn(src, dst), &refused(reset_of_syn(src, dst, 0)));
        rig.step("no SYN", wire, &tcp(ACK)(src, dst), &dropped(DropReason::NoFlow).of(1));
    }
    for dst in [(NPCI, 53), (nat_ip(1), 9053)] {
        let datagram = udp(b"query")(src, dst);
        rig.step("datagram", wire, &datagram, &refused(unreachable(src, dst, &datagram)));
    }
    let echo = ping(b"there?")((backend(1), 7), (NPCI, 0));
    rig.step("echo request", wire, &echo, &dropped(DropReason::RefusedDraining).of(1));
    let elsewhere = syn(src, (NPCI, 444));
    rig.step("not allowed", wire, &elsewhere, &prohibited(1, wire, &elsewhere));
    Talk::upi(rig, (NPCI, 40_000)).handshake(rig);
}

fn draining_under_flows(rig: &mut Rig) {
    let flows = [Talk::upi(rig, (NPCI, 40_000)), Talk::egress(rig, 1, (backend(1), 50_000), (NPCI, 443))];
    for talk in &flows {
        talk.handshake(rig);
    }
    rig.reconfigure(|desired| {
        draining_listeners(desired);
        draining_tenants(desired);
        without_servers(desired);
    });
    for talk in &flows {
        talk.data(rig);
    }
}

/// Segments of an end that are answered, and what they acknowledge.
fn answered() -> [(&'static str, TcpFlags, &'static [u8]); 4] {
    [("ACK", ACK, b""), ("data", DATA, b"<0800/>"), ("FIN", FIN_ACK, b""), ("SYN-ACK", SYN_ACK, b"")]
}

/// One end of an ended flow speaks.
fn ended_end(rig: &mut Rig, wire: Wire, (src, dst): (End, End)) {
    let gone = || dropped(DropReason::FlowReset).of(1);
    for flags in [TcpFlags(0), TcpFlags::PSH, TcpFlags::FIN] {
        rig.step("without an ACK", wire, &tcp(flags)(src, dst), &gone());
    }
    let options = tcp(ACK)(src, dst).ip_options(&[1, 1, 1, 0]);
    rig.step("with IP options", wire, &options, &gone());
    for (label, flags, payload) in answered() {
        let segment = tcp(flags)(src, dst).numbers(7, 0xfedc_ba98).payload(payload);
        let answer = reset_of_ack(src, dst, 0xfedc_ba98);
        let expect = refused(DropReason::FlowReset, 1, wire, &answer).though_noted();
        rig.step(label, wire, &segment, &expect);
    }
    for flags in [RST, RST | ACK] {
        rig.step("reset by itself", wire, &tcp(flags)(src, dst), &gone().though_noted());
    }
    let tagged = tcp(ACK)(src, dst).numbers(7, 8).vlan(100);
    let expect = refused(DropReason::FlowReset, 1, wire, &reset_of_ack(src, dst, 8).vlan(100));
    // A tenant is not in a VLAN that its link does not have.
    let expect = if wire == rig.world.external { expect } else { dropped(DropReason::SourceSpoofed).of(1) };
    rig.step("tagged", wire, &tagged, &expect);
}

fn ended(rig: &mut Rig, talk: Talk) {
    talk.handshake(rig);
    talk.data(rig);
    rig.end_flows();
    ended_end(rig, talk.opener, talk.near);
    ended_end(rig, talk.other, (talk.far.1, talk.far.0));
    assert_eq!(rig.entries(), 2);
}

fn ended_ingress(rig: &mut Rig) {
    let talk = Talk::upi(rig, (NPCI, 40_000));
    ended(rig, talk);
}

fn ended_egress(rig: &mut Rig) {
    let talk = Talk::egress(rig, 1, (backend(1), 50_000), (NPCI, 443));
    ended(rig, talk);
}

fn ended_half_open(rig: &mut Rig) {
    let talk = Talk::upi(rig, (NPCI, 40_000));
    talk.forth(rig, "SYN", tcp(SYN), Expect::opens);
    rig.end_flows();
    ended_end(rig, talk.other, (talk.far.1, talk.far.0));
}

/// The tuple is free at once, and the new flow has nothing of the old one's.
fn reopened(rig: &mut Rig) {
    let talk = Talk::upi(rig, (NPCI, 40_000));
    talk.handshake(rig);
    rig.end_flows();
    talk.forth(rig, "SYN", tcp(SYN), Expect::opens);
    assert_eq!(rig.entries(), 2);
    let late = tcp(ACK)(talk.far.1, talk.far.0);
    let expect = crate::expect::translated(talk.opener, tcp(ACK)(talk.near.1, talk.near.0)).of(1);
    rig.step("the old server's", talk.other, &late, &expect);
    talk.back(rig, "SYN-ACK", tcp(SYN_ACK), |expect| expect);
    talk.forth(rig, "ACK", tcp(ACK), Expect::establishes);
    talk.forth(rig, "data", tcp(DATA), settled);
}
