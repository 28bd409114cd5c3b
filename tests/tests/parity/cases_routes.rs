//! The way out: time to live, sizes, and routes that are not what they should be.

use std::net::Ipv4Addr;

use gateway_common::abi::{Event, Side};
use gateway_common::drop_reason::DropReason;
use gateway_tests::packet::{IcmpError, Packet};

use crate::expect::{Expect, dropped, passed, refused, translated, translated_exactly, unresolved};
use crate::places::{EGRESS_VIP, INGRESS_VIP, NPCI, STRANGER, Wire, backend, client, nat_ip};
use crate::rig::{Case, Rig};
use crate::talk::{ACK, DATA, SYN, Talk, settled, tcp, udp};

/// All of them.
pub const CASES: &[Case] = &[
    Case::new("routes: time to live of a first packet", ttl_of_first),
    Case::new("routes: time to live of a tracked flow", ttl_of_known),
    Case::new("routes: larger than the outgoing link", too_large),
    Case::new("routes: fits the outgoing link exactly", fits),
    Case::new("routes: none", no_route),
    Case::new("routes: a tenant's server behind NPCI", wrong_interface),
    Case::new("routes: forwarding is off", forwarding_off),
    Case::new("routes: nobody knows the next hop's address", no_neighbour),
    Case::new("routes: DSCP, identification and DF stay", header_fields),
];

fn ttl_of_first(rig: &mut Rig) {
    let (outside, inside) = (rig.world.external, rig.world.tenant(1));
    let syn = |ttl| tcp(SYN)((NPCI, 40_000), (INGRESS_VIP, 8443)).ttl(ttl);
    for ttl in [0, 1] {
        rig.step("expired", outside, &syn(ttl), &expired(outside, &syn(ttl), INGRESS_VIP));
    }
    for ttl in [2, 255] {
        let sent = tcp(SYN)((nat_ip(1), 40_000), (backend(1), 8080)).ttl(ttl - 1);
        let expect = translated_exactly(inside, sent).of(1);
        rig.step("alive", outside, &syn(ttl), &if ttl == 2 { expect.opens() } else { expect });
    }
    let out = tcp(SYN)((backend(1), 50_000), (NPCI, 443)).ttl(1);
    rig.step("from a tenant", inside, &out, &expired(inside, &out, nat_ip(1)));
    rig.step("not ours", outside, &tcp(SYN)((NPCI, 1), (STRANGER, 2)).ttl(1), &passed());
}

fn ttl_of_known(rig: &mut Rig) {
    let talk = Talk::upi(rig, (NPCI, 40_001));
    talk.handshake(rig);
    let data = tcp(DATA)((NPCI, 40_001), (INGRESS_VIP, 8443)).ttl(1);
    let outside = rig.world.external;
    rig.step("expired", outside, &data, &expired(outside, &data, INGRESS_VIP));
    talk.data(rig);
}

/// What the sender of a packet of tenant 1 is told whose time to live ended here.
fn expired<'a>(wire: Wire, packet: &Packet, own: Ipv4Addr) -> Expect<'a> {
    refused(
        DropReason::TtlExceeded,
        1,
        wire,
        &error(
            packet,
            own,
            if wire.side == Side::External { NPCI } else { backend(1) },
            IcmpError::TtlExceeded,
        ),
    )
}

/// An ICMP error of the gateway's own about a packet: it quotes the header and eight bytes.
fn error(packet: &Packet, own: Ipv4Addr, sender: Ipv4Addr, error: IcmpError) -> Packet {
    let frame = packet.build();
    Packet::icmp_error(own, sender, error, &frame).payload(&frame[14..14 + 28]).id(0).ttl(64).tos(0xc0)
}

/// One byte over.
const OVER: usize = 600 + 1;

fn too_large(rig: &mut Rig) {
    let outside = rig.world.external;
    let talk = Talk::ingress(rig, 3, (NPCI, 40_002), 8643, (backend(3), 8080));
    talk.handshake(rig);
    let large = tcp(DATA)((NPCI, 40_002), (INGRESS_VIP, 8643)).payload(&[b'x'; OVER - 40]);
    let told = |packet: &Packet| {
        let error = error(packet, INGRESS_VIP, NPCI, IcmpError::FragmentationNeeded { mtu: 600 });
        refused(DropReason::MtuExceeded, 3, outside, &error)
    };
    rig.step("data", outside, &large, &told(&large));
    let opening = tcp(SYN)((NPCI, 40_003), (INGRESS_VIP, 8643)).payload(&[b'x'; OVER - 40]);
    rig.step("first packet", outside, &opening, &told(&opening));
    let unmarked = large.dont_fragment(false);
    rig.step("may be cut, but not here", outside, &unmarked, &told(&unmarked));
    let back = |src, dst| tcp(DATA)(src, dst).payload(&[b'x'; OVER - 40]);
    talk.back(rig, "the other link is wider", back, settled);
}

fn fits(rig: &mut Rig) {
    let talk = Talk::ingress(rig, 3, (NPCI, 40_004), 8643, (backend(3), 8080));
    talk.handshake(rig);
    talk.forth(rig, "600 bytes", |src, dst| tcp(DATA)(src, dst).payload(&[b'x'; 560]), settled);
    let wide = Talk::upi(rig, (NPCI, 40_005));
    wide.handshake(rig);
    wide.forth(rig, "1,500 bytes", |src, dst| tcp(DATA)(src, dst).payload(&[b'x'; 1460]), settled);
}

fn no_route(rig: &mut Rig) {
    let syn = tcp(SYN)((NPCI, 40_006), (INGRESS_VIP, 8645));
    rig.step("SYN", rig.world.external, &syn, &dropped(DropReason::NoRoute).of(3));
}

fn wrong_interface(rig: &mut Rig) {
    let syn = tcp(SYN)((NPCI, 40_007), (INGRESS_VIP, 8644));
    rig.step("SYN", rig.world.external, &syn, &dropped(DropReason::WrongInterface).of(3));
}

fn forwarding_off(rig: &mut Rig) {
    let inside = rig.world.tenant(4);
    let syn = tcp(SYN)((backend(4), 50_000), (NPCI, 443));
    rig.step("egress", inside, &syn, &dropped(DropReason::ForwardingDisabled).of(4));
    let talk = Talk::ingress(rig, 4, (NPCI, 40_008), 8743, (backend(4), 8080));
    talk.forth(rig, "the other way is open", tcp(SYN), Expect::opens);
    let answer = tcp(ACK)((backend(4), 8080), (nat_ip(4), 40_008));
    rig.step("answer", inside, &answer, &dropped(DropReason::ForwardingDisabled).of(4));
}

/// The one difference between the hooks: XDP has to drop, TC lets the kernel resolve.
fn no_neighbour(rig: &mut Rig) {
    let (outside, inside) = (rig.world.external, rig.world.tenant(2));
    let nobody = Ipv4Addr::new(198, 51, 100, 37);
    let syn = tcp(SYN)((client(101), 40_009), (INGRESS_VIP, 8544));
    let event = format!("event {:?}", Event::no_neighbour(inside.ifindex, nobody.into()));
    let refused = dropped(DropReason::NoNeighbour).of(2).counting(&event, 1);
    let sent = tcp(SYN)((nat_ip(2), 40_009), (nobody, 8080));
    let expect = refused.in_tc(unresolved(sent).of(2).opens());
    rig.step("SYN", outside, &syn, &expect);
}

fn header_fields(rig: &mut Rig) {
    let (outside, inside) = (rig.world.external, rig.world.tenant(1));
    let fields = [(0, 0, true), (0xff, 0xffff, false), (0x28, 1, true)];
    for (port, (tos, id, keep)) in (40_010..).zip(fields) {
        let make = |src, dst| udp(b"odd")(src, dst).tos(tos).id(id).dont_fragment(keep);
        let sent = make((nat_ip(1), port), (backend(1), 5353));
        let expect = translated(inside, sent).of(1).opens();
        rig.step("ingress", outside, &make((NPCI, port), (INGRESS_VIP, 5353)), &expect);
        let sent = make((EGRESS_VIP, port), (NPCI, 53));
        let expect = translated(outside, sent).of(1).opens();
        rig.step("egress", inside, &make((backend(1), port), (NPCI, 53)), &expect);
    }
}
