//! Policy: what opens no flow, what is refused, and what is none of the gateway's business.

use std::net::Ipv4Addr;

use gateway_common::drop_reason::DropReason;
use gateway_tests::packet::{Packet, TcpFlags};

use crate::expect::{dropped, passed, prohibited};
use crate::places::{EGRESS_VIP, HOST, INGRESS_VIP, NPCI, ROUTED, STRANGER, backend, client, nat_ip};
use crate::rig::{Case, Rig};
use crate::talk::{ACK, FIN_ACK, RST, SYN, SYN_ACK, ping, pong, tcp, udp};

/// All of them.
pub const CASES: &[Case] = &[
    Case::new("refused: source not in the allow-list", not_allowed),
    Case::new("refused: no such listener", no_listener),
    Case::new("refused: first packet from NPCI is no SYN", no_syn),
    Case::new("refused: first packet from a tenant is no SYN", no_syn_from_tenant),
    Case::new("refused: destination in no peer group", not_reachable),
    Case::new("refused: another tenant's NAT IP", foreign_nat_ip),
    Case::new("refused: an unknown port of the tenant's NAT IP", unmapped_port),
    Case::new("refused: a NAT IP from outside", nat_ip_from_outside),
    Case::new("refused: a VIP from inside", vip_from_inside),
    Case::new("refused: straight to a tenant's address", direct),
    Case::new("refused: the egress VIP has no listeners", egress_vip_from_outside),
    Case::new("refused: nobody's packets from one side to the other", crossing),
    Case::new("passed: other addresses", other_addresses),
    Case::new("passed: the host's own addresses", host_addresses),
    Case::new("passed: multicast and broadcast of a tenant", multicast),
    Case::new("passed: other kinds of frames", other_frames),
];

fn not_allowed(rig: &mut Rig) {
    let outside = rig.world.external;
    let refused = || dropped(DropReason::SourceNotAllowed).of(1);
    for source in [client(5), client(63), STRANGER, EGRESS_VIP, backend(1), Ipv4Addr::UNSPECIFIED] {
        rig.step("upi", outside, &tcp(SYN)((source, 40_000), (INGRESS_VIP, 8443)), &refused());
    }
    rig.step("neighbour", outside, &tcp(SYN)((client(101), 40_000), (INGRESS_VIP, 8447)), &refused());
    rig.step("no SYN", outside, &tcp(ACK)((client(5), 40_000), (INGRESS_VIP, 8443)), &refused());
    rig.step("UDP", outside, &udp(b"?")((client(5), 40_000), (INGRESS_VIP, 5353)), &refused());
}

fn no_listener(rig: &mut Rig) {
    let outside = rig.world.external;
    for packet in [
        tcp(SYN)((NPCI, 40_000), (INGRESS_VIP, 8442)),
        tcp(SYN)((NPCI, 40_000), (INGRESS_VIP, 0)),
        tcp(SYN)((NPCI, 40_000), (INGRESS_VIP, 5353)),
        udp(b"?")((NPCI, 40_000), (INGRESS_VIP, 8443)),
        tcp(SYN)((NPCI, 40_000), (INGRESS_VIP, 9001)),
    ] {
        rig.step("unknown port", outside, &packet, &dropped(DropReason::NoListener));
    }
}

/// Everything but a bare SYN.
fn other_than_syn() -> impl Iterator<Item = TcpFlags> {
    let odd = [TcpFlags(0), TcpFlags::FIN, SYN | TcpFlags::FIN, SYN | RST, TcpFlags::PSH, TcpFlags(0xff)];
    odd.into_iter().chain([ACK, SYN_ACK, FIN_ACK, RST, RST | ACK])
}

fn no_syn(rig: &mut Rig) {
    for flags in other_than_syn() {
        let packet = tcp(flags)((NPCI, 40_000), (INGRESS_VIP, 8443));
        rig.step(&format!("{flags:?}"), rig.world.external, &packet, &dropped(DropReason::NoFlow).of(1));
    }
}

fn no_syn_from_tenant(rig: &mut Rig) {
    let inside = rig.world.tenant(1);
    for flags in other_than_syn() {
        for target in [(NPCI, 443), (nat_ip(1), 9001)] {
            let packet = tcp(flags)((backend(1), 50_000), target);
            rig.step(&format!("{flags:?}"), inside, &packet, &dropped(DropReason::NoFlow).of(1));
        }
    }
    let answer = tcp(SYN_ACK)((backend(1), 8080), (NPCI, 40_000));
    rig.step("an answer to nobody", inside, &answer, &prohibited(1, inside, &answer));
    for flags in [RST, RST | ACK] {
        let reset = tcp(flags)((backend(1), 8080), (NPCI, 40_000));
        rig.step("a reset to nobody", inside, &reset, &dropped(DropReason::DestinationNotAllowed).of(1));
    }
}

fn not_reachable(rig: &mut Rig) {
    let inside = rig.world.tenant(1);
    for packet in [
        tcp(SYN)((backend(1), 50_000), (NPCI, 444)),
        udp(b"?")((backend(1), 50_000), (NPCI, 443)),
        tcp(SYN)((backend(1), 50_000), (NPCI, 53)),
        tcp(SYN)((backend(1), 50_000), (client(101), 443)),
        tcp(SYN)((backend(1), 50_000), (STRANGER, 443)),
        tcp(SYN)((backend(1), 50_000), (backend(2), 8080)),
        tcp(SYN)((backend(1), 50_000), (backend(1), 8080)),
        ping(b"")((backend(1), 50_000), (client(101), 0)),
        pong(b"")((backend(1), 0), (client(101), 50_000)),
    ] {
        rig.step("not allowed", inside, &packet, &prohibited(1, inside, &packet));
    }
    let from_nat_ip = tcp(SYN)((nat_ip(1), 50_000), (STRANGER, 443));
    rig.step("from the NAT IP", inside, &from_nat_ip, &dropped(DropReason::SourceNotTenant).of(1));
    let without_groups = tcp(SYN)((backend(3), 50_000), (NPCI, 443));
    let inside = rig.world.tenant(3);
    rig.step(
        "a tenant without peer groups",
        inside,
        &without_groups,
        &prohibited(3, inside, &without_groups),
    );
}

fn foreign_nat_ip(rig: &mut Rig) {
    let inside = rig.world.tenant(2);
    for packet in [
        tcp(SYN)((backend(2), 50_000), (nat_ip(1), 9001)),
        udp(b"?")((backend(2), 50_000), (nat_ip(1), 9053)),
        ping(b"")((backend(2), 50_000), (nat_ip(1), 0)),
        pong(b"")((backend(2), 0), (nat_ip(1), 50_000)),
    ] {
        rig.step("from tenant 2", inside, &packet, &dropped(DropReason::SourceNotTenant).of(2));
    }
    let stranger = tcp(SYN)((STRANGER, 50_000), (nat_ip(1), 9001));
    rig.step("from nobody", inside, &stranger, &dropped(DropReason::SourceNotTenant));
}

fn unmapped_port(rig: &mut Rig) {
    let inside = rig.world.tenant(1);
    for packet in [
        tcp(SYN)((backend(1), 50_000), (nat_ip(1), 9002)),
        udp(b"?")((backend(1), 50_000), (nat_ip(1), 9001)),
        tcp(SYN)((backend(1), 50_000), (nat_ip(1), 8443)),
    ] {
        rig.step("unknown port", inside, &packet, &dropped(DropReason::NoListener).of(1));
    }
    let stray = pong(b"")((backend(1), 0), (nat_ip(1), 50_000));
    rig.step("echo reply", inside, &stray, &dropped(DropReason::NoFlow).of(1));
}

fn nat_ip_from_outside(rig: &mut Rig) {
    for packet in [
        tcp(SYN)((NPCI, 40_000), (nat_ip(1), 9001)),
        udp(b"?")((NPCI, 40_000), (nat_ip(1), 9053)),
        ping(b"")((NPCI, 40_000), (nat_ip(1), 0)),
        tcp(SYN)((backend(1), 40_000), (nat_ip(1), 9001)),
    ] {
        rig.step("outside", rig.world.external, &packet, &dropped(DropReason::WrongSide).of(1));
    }
}

fn vip_from_inside(rig: &mut Rig) {
    let inside = rig.world.tenant(1);
    for vip in [INGRESS_VIP, EGRESS_VIP] {
        for packet in [
            tcp(SYN)((backend(1), 50_000), (vip, 8443)),
            udp(b"?")((backend(1), 50_000), (vip, 5353)),
            ping(b"")((backend(1), 50_000), (vip, 0)),
        ] {
            rig.step("from a tenant", inside, &packet, &dropped(DropReason::WrongSide).of(1));
        }
        let stranger = tcp(SYN)((NPCI, 50_000), (vip, 8443));
        rig.step("from nobody", inside, &stranger, &dropped(DropReason::WrongSide));
    }
}

fn direct(rig: &mut Rig) {
    for packet in [
        tcp(SYN)((NPCI, 40_000), (backend(1), 8080)),
        udp(b"?")((NPCI, 40_000), (backend(1), 5353)),
        ping(b"")((NPCI, 40_000), (backend(1), 0)),
        tcp(SYN)((backend(2), 40_000), (Ipv4Addr::new(198, 51, 100, 31), 8080)),
    ] {
        rig.step("direct", rig.world.external, &packet, &dropped(DropReason::DirectToTenant).of(1));
    }
}

fn egress_vip_from_outside(rig: &mut Rig) {
    for packet in [
        tcp(SYN)((NPCI, 443), (EGRESS_VIP, 50_000)),
        tcp(SYN_ACK)((NPCI, 443), (EGRESS_VIP, 50_000)),
        tcp(SYN)((NPCI, 40_000), (EGRESS_VIP, 8443)),
        udp(b"?")((NPCI, 53), (EGRESS_VIP, 50_000)),
        pong(b"")((NPCI, 0), (EGRESS_VIP, 50_000)),
        pong(b"")((NPCI, 0), (INGRESS_VIP, 50_000)),
    ] {
        rig.step("no flow", rig.world.external, &packet, &dropped(DropReason::NoFlow));
    }
}

fn other_addresses(rig: &mut Rig) {
    let (outside, inside) = (rig.world.external, rig.world.tenant(1));
    rig.step("outside TCP", outside, &tcp(SYN)((NPCI, 40_000), (client(200), 8443)), &passed());
    rig.step("outside UDP", outside, &udp(b"?")((INGRESS_VIP, 40_000), (STRANGER, 53)), &passed());
    rig.step("outside echo", outside, &ping(b"")((NPCI, 1), (STRANGER, 0)), &passed());
    rig.step("inside, without a route", inside, &tcp(SYN)((NPCI, 50_000), (STRANGER, 443)), &passed());
    rig.step(
        "inside, towards a tenant",
        inside,
        &tcp(SYN)((STRANGER, 50_000), (backend(1), 8080)),
        &dropped(DropReason::DirectToTenant),
    );
}

/// Nobody's packets that the kernel would carry from one side to the other, untranslated.
fn crossing(rig: &mut Rig) {
    let (outside, inside) = (rig.world.external, rig.world.tenant(1));
    let refused = || dropped(DropReason::CrossesSides);
    for target in [NPCI, client(200), ROUTED] {
        rig.step("TCP", inside, &tcp(SYN)((STRANGER, 50_000), (target, 443)), &refused());
        rig.step("echo", inside, &ping(b"")((STRANGER, 1), (target, 0)), &refused());
        let other = Packet::raw(STRANGER, target, 47).payload(b"tunnelled");
        rig.step("GRE", inside, &other, &refused());
        let part = udp(b"a part")((STRANGER, 50_000), (target, 53)).fragment(8, true);
        rig.step("fragment", inside, &part, &refused());
        let large = udp(&[0; 1000])((STRANGER, 50_000), (target, 53)).ttl(1);
        rig.step("large and old", inside, &large, &refused());
        rig.step("the same outside", outside, &tcp(SYN)((STRANGER, 50_000), (target, 443)), &passed());
    }
    // Where forwarding is off the kernel carries nothing across.
    rig.step("blocked", rig.world.tenant(4), &tcp(SYN)((STRANGER, 50_000), (NPCI, 443)), &passed());
}

fn host_addresses(rig: &mut Rig) {
    let (outside, inside) = (rig.world.external, rig.world.tenant(1));
    rig.step("SSH from outside", outside, &tcp(SYN)((NPCI, 40_000), (HOST, 22)), &passed());
    rig.step("ping from outside", outside, &ping(b"")((NPCI, 40_000), (HOST, 0)), &passed());
    rig.step(
        "the inside address from outside",
        outside,
        &tcp(SYN)((NPCI, 40_000), (gateway(1), 22)),
        &passed(),
    );
    rig.step("DNS from inside", inside, &udp(b"?")((backend(1), 50_000), (gateway(1), 53)), &passed());
    rig.step("ping from inside", inside, &ping(b"")((backend(1), 50_000), (HOST, 0)), &passed());
}

/// The gateway host's own address in a tenant's network.
fn gateway(tenant: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, 16 * tenant + 1)
}

fn multicast(rig: &mut Rig) {
    let inside = rig.world.tenant(1);
    for group in [Ipv4Addr::new(224, 0, 0, 1), Ipv4Addr::new(239, 255, 255, 255), Ipv4Addr::BROADCAST] {
        rig.step("group", inside, &udp(b"mDNS")((backend(1), 5353), (group, 5353)), &passed());
    }
    let unicast = udp(b"")((backend(1), 5353), (Ipv4Addr::new(240, 0, 0, 1), 5353));
    rig.step("no group", inside, &unicast, &prohibited(1, inside, &unicast));
}

fn other_frames(rig: &mut Rig) {
    for wire in [rig.world.external, rig.world.tenant(1)] {
        for ethertype in [0x86dd_u16, 0x88cc, 0x8863, 0x88a8, 0x0000, 0xffff, 0x0801] {
            let mut frame = ping(&[0; 20])((NPCI, 1), (INGRESS_VIP, 0)).macs(wire.far, wire.near).build();
            frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
            rig.step_bytes(&format!("{ethertype:#06x}"), wire, &frame, &passed());
        }
    }
}
