//! ARP: the gateway answers for addresses that stand on no interface.

use std::net::Ipv4Addr;

use gateway_common::drop_reason::DropReason;
use gateway_tests::packet::{ETHERTYPE_ARP, ETHERTYPE_VLAN, Mac};

use crate::expect::{arp_answered, dropped, passed};
use crate::places::{EGRESS_VIP, HOST, INGRESS_VIP, NPCI, STRANGER, Wire, backend, client, nat_ip};
use crate::rig::{Case, Rig};

/// All of them.
pub const CASES: &[Case] = &[
    Case::new("arp: for our addresses", ours),
    Case::new("arp: for our addresses on the other side", other_side),
    Case::new("arp: for others", others),
    Case::new("arp: tagged, padded, unicast", unusual),
    Case::new("arp: not a request for IPv4 over Ethernet", other_kinds),
    Case::with("arp: without the lease", |desired| desired.settings.lease_until_ns = 0, without_lease),
    Case::with("arp: by an unknown interface", |desired| desired.interfaces.clear(), unknown_interface),
];

const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// The fields of an ARP packet.
#[derive(Clone, Copy)]
struct Arp {
    link: (Mac, Mac),
    operation: u16,
    sender: (Mac, Ipv4Addr),
    target: (Mac, Ipv4Addr),
}

impl Arp {
    /// "Who has `target`? Tell `sender`", from the far end of a wire.
    fn request(wire: Wire, sender: Ipv4Addr, target: Ipv4Addr) -> Self {
        let nobody = Mac([0; 6]);
        Self {
            link: (wire.far, Mac::BROADCAST),
            operation: REQUEST,
            sender: (wire.far, sender),
            target: (nobody, target),
        }
    }

    /// "`target` is at the near end."
    fn answer(self, wire: Wire) -> Self {
        Self {
            link: (wire.near, self.link.0),
            operation: REPLY,
            sender: (wire.near, self.target.1),
            target: self.sender,
        }
    }

    fn build(self, vlan: Option<u16>) -> Vec<u8> {
        let mut frame = [self.link.1.0, self.link.0.0].concat();
        if let Some(tag) = vlan {
            frame.extend([ETHERTYPE_VLAN.to_be_bytes(), tag.to_be_bytes()].concat());
        }
        frame.extend(ETHERTYPE_ARP.to_be_bytes());
        frame.extend([0, 1, 8, 0, 6, 4]);
        frame.extend(self.operation.to_be_bytes());
        for (mac, address) in [self.sender, self.target] {
            frame.extend(mac.0);
            frame.extend(address.octets());
        }
        frame
    }
}

fn ours(rig: &mut Rig) {
    let (outside, inside) = (rig.world.external, rig.world.tenant(1));
    for (wire, sender, target) in [
        (outside, NPCI, INGRESS_VIP),
        (outside, NPCI, EGRESS_VIP),
        (inside, backend(1), nat_ip(1)),
        // A probe (RFC 5227) for an address of ours: it is taken.
        (outside, Ipv4Addr::UNSPECIFIED, INGRESS_VIP),
        (inside, backend(2), nat_ip(2)),
    ] {
        let request = Arp::request(wire, sender, target);
        rig.step_bytes(
            "request",
            wire,
            &request.build(None),
            &arp_answered(request.answer(wire).build(None)),
        );
    }
}

fn other_side(rig: &mut Rig) {
    let (outside, inside) = (rig.world.external, rig.world.tenant(1));
    for (wire, sender, target) in
        [(inside, backend(1), INGRESS_VIP), (inside, backend(1), EGRESS_VIP), (outside, NPCI, nat_ip(1))]
    {
        let request = Arp::request(wire, sender, target);
        rig.step_bytes("request", wire, &request.build(None), &passed());
    }
}

fn others(rig: &mut Rig) {
    let (outside, inside) = (rig.world.external, rig.world.tenant(1));
    for (wire, sender, target) in [
        (outside, NPCI, HOST),
        (outside, NPCI, client(200)),
        (outside, NPCI, backend(1)),
        (inside, STRANGER, HOST),
    ] {
        rig.step_bytes("request", wire, &Arp::request(wire, sender, target).build(None), &passed());
    }
}

fn unusual(rig: &mut Rig) {
    let wire = rig.world.external;
    let request = Arp::request(wire, NPCI, INGRESS_VIP);
    for vlan in [0, 100, 0xe064] {
        let answer = arp_answered(request.answer(wire).build(Some(vlan)));
        rig.step_bytes("tagged", wire, &request.build(Some(vlan)), &answer);
    }
    let padded = |arp: Arp| [arp.build(None), vec![0xaa; 18]].concat();
    rig.step_bytes("padded", wire, &padded(request), &arp_answered(padded(request.answer(wire))));
    let unicast = Arp { link: (wire.far, wire.near), ..request };
    rig.step_bytes("unicast", wire, &unicast.build(None), &arp_answered(unicast.answer(wire).build(None)));
    // The answer goes to who sent the frame, and names whom the message named.
    let relayed = Arp { sender: (Mac::local(77), NPCI), ..request };
    rig.step_bytes("relayed", wire, &relayed.build(None), &arp_answered(relayed.answer(wire).build(None)));
}

fn other_kinds(rig: &mut Rig) {
    let wire = rig.world.external;
    let request = Arp::request(wire, NPCI, INGRESS_VIP);
    for operation in [0, REPLY, 3, 0x0100, u16::MAX] {
        let other = Arp { operation, ..request };
        rig.step_bytes("operation", wire, &other.build(None), &passed());
    }
    for at in 14..20 {
        let mut frame = request.build(None);
        frame[at] ^= 0x40;
        rig.step_bytes("other hardware or protocol", wire, &frame, &passed());
    }
    for length in 14..42 {
        rig.step_bytes("cut", wire, &request.build(None)[..length], &passed());
    }
}

fn without_lease(rig: &mut Rig) {
    let (outside, inside) = (rig.world.external, rig.world.tenant(1));
    for (wire, target) in [(outside, INGRESS_VIP), (outside, EGRESS_VIP), (inside, nat_ip(1))] {
        let request = Arp::request(wire, NPCI, target);
        rig.step_bytes("ours", wire, &request.build(None), &dropped(DropReason::NoLease));
    }
    rig.step_bytes("another's", outside, &Arp::request(outside, NPCI, HOST).build(None), &passed());
}

fn unknown_interface(rig: &mut Rig) {
    let wire = rig.world.external;
    let request = Arp::request(wire, NPCI, INGRESS_VIP);
    rig.step_bytes("ours", wire, &request.build(None), &dropped(DropReason::NotConfigured));
}
