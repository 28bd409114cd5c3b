//! Echo to the addresses of the gateway, and ICMP that is none of its business.

use gateway_common::drop_reason::DropReason;
use gateway_tests::packet::{Defect, Frame, Packet};

use crate::engine::Action;
use crate::expect::{dropped, echo_answered, passed};
use crate::places::{EGRESS_VIP, INGRESS_VIP, NPCI, STRANGER, backend, nat_ip};
use crate::rig::{Case, Rig};
use crate::talk::{SYN, ping, pong, tcp};

/// All of them.
pub const CASES: &[Case] = &[
    Case::new("icmp: echo to both VIPs and to the tenant's NAT IP", answered),
    Case::new("icmp: echo of every payload length to 40, of 1,472 and of every byte", payloads),
    Case::new("icmp: echo with every time to live", time_to_live),
    Case::new("icmp: echo whose reply has checksum zero", checksum_wraps),
    Case::new("icmp: a wrong checksum stays wrong", wrong_checksum),
    Case::new("icmp: other types", other_types),
];

fn answered(rig: &mut Rig) {
    let (outside, inside) = (rig.world.external, rig.world.tenant(1));
    for (wire, sender, address) in
        [(outside, NPCI, INGRESS_VIP), (outside, STRANGER, EGRESS_VIP), (inside, backend(1), nat_ip(1))]
    {
        for id in [0, 1, 0xffff] {
            let reply = pong(b"ping")((address, 0), (sender, id));
            rig.step("echo", wire, &ping(b"ping")((sender, id), (address, 0)), &echo_answered(wire, &reply));
        }
    }
    assert_eq!(rig.entries(), 0);
}

fn payloads(rig: &mut Rig) {
    let wire = rig.world.external;
    let every_byte: Vec<u8> = (0..=255).collect();
    let lengths = (0..=40).chain([1472]).map(|length| vec![b'p'; length]);
    for payload in lengths.chain([every_byte]) {
        let reply = pong(&payload)((INGRESS_VIP, 0), (NPCI, 9));
        rig.step("echo", wire, &ping(&payload)((NPCI, 9), (INGRESS_VIP, 0)), &echo_answered(wire, &reply));
    }
}

/// The reply is a packet of the gateway's own and starts with 64, even when the request would not live on.
fn time_to_live(rig: &mut Rig) {
    let wire = rig.world.external;
    for ttl in [0, 1, 2, 63, 64, 65, 128, 255] {
        let request = ping(b"odd")((NPCI, 9), (INGRESS_VIP, 0)).ttl(ttl).tos(ttl);
        let reply = pong(b"odd")((INGRESS_VIP, 0), (NPCI, 9)).tos(ttl);
        rig.step("echo", wire, &request, &echo_answered(wire, &reply));
    }
}

/// Adding 8 to the checksum carries around for 8 of 65,536 values (katran got these wrong).
fn checksum_wraps(rig: &mut Rig) {
    let wire = rig.world.external;
    for word in 0xf7e0..=0xf808_u16 {
        // Identifier 0 and sequence 1 make the sum of the rest small.
        let payload = word.to_be_bytes();
        let reply = pong(&payload)((INGRESS_VIP, 0), (NPCI, 0));
        rig.step("echo", wire, &ping(&payload)((NPCI, 0), (INGRESS_VIP, 0)), &echo_answered(wire, &reply));
    }
}

fn wrong_checksum(rig: &mut Rig) {
    let wire = rig.world.external;
    for packet in [ping(b"x")((NPCI, 1), (INGRESS_VIP, 0)), tcp(SYN)((NPCI, 40_000), (INGRESS_VIP, 8443))] {
        let damaged = |defect| packet.clone().defect(defect);
        let frame = damaged(Defect::TransportChecksum).macs(wire.far, wire.near).build();
        let ran = rig.agree("wrong checksum", wire, &frame).ran.expect("memory runs everything");
        assert!(matches!(ran.action, Action::Reply | Action::Redirect), "{:?}", ran.action);
        let out = Frame::parse(&ran.frame).expect("a whole frame");
        assert_eq!(out.bad_checksums.len(), 1, "it was healed or spread: {out:?}");
        let refused = dropped(DropReason::BadIpChecksum);
        rig.step("damaged IP header", wire, &damaged(Defect::IpChecksum), &refused);
    }
}

fn other_types(rig: &mut Rig) {
    let outside = rig.world.external;
    let refused = || dropped(DropReason::IcmpTypeNotSupported);
    // Source quench and redirect, too: nobody may pass them on.
    for kind in [(4, 0), (5, 1), (13, 0), (17, 0), (9, 0), (8, 1), (0, 1), (255, 255)] {
        let packet = Packet::icmp(NPCI, INGRESS_VIP, kind, [0; 4]);
        rig.step("to the VIP", outside, &packet, &refused());
        let outward = Packet::icmp(backend(1), NPCI, kind, [0; 4]);
        rig.step("of a tenant", rig.world.tenant(1), &outward, &refused().of(1));
        rig.step("not ours", outside, &Packet::icmp(NPCI, STRANGER, kind, [0; 4]), &passed());
    }
}
