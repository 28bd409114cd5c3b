//! Tenants that call each other, that pretend to be each other, and whose segments are to be small.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use super::{dropped, try_connect};
use crate::{
    capture::{Capture, Recording},
    lab::Lab,
    packet::{Frame, Packet, TcpFlags},
    raw::{Direction, RawSocket},
    topology::{Mode, Topology},
    world::World,
};

/// All of them.
const TENANTS: usize = 3;
/// Who may call whom; nobody else may call anybody.
const MAY_CALL: (usize, usize) = (3, 2);
/// Whose segments are clamped.
const CLAMPED: usize = 1;
/// To so many bytes: what a link with an MTU of 1,300 has room for.
pub const CLAMP: u16 = 1260;
/// Longer than any handshake takes here, shorter than the second SYN.
const HANDSHAKE: Duration = Duration::from_millis(200);
/// For what must succeed.
const PATIENCE: Duration = Duration::from_secs(5);
/// Whose address is used.
const VICTIM: usize = 2;
/// Who uses it.
const LIAR: usize = 1;
/// What it says.
const NOT_ME: &[u8] = b"not me";
/// Packets with the source of somebody else, half of them in flows of whose address it is.
pub const SPOOFED: u16 = 100;
/// Of their first source port.
const SPOOFED_PORT: u16 = 20_000;

/// What was seen.
#[derive(Debug)]
pub struct Isolation {
    /// Pairs that may not and did connect, in words.
    pub connected: Vec<String>,
    /// How many pairs may not.
    pub denied: usize,
    /// Why the pair that may did not connect.
    pub not_allowed: Option<String>,
    /// Spoofed packets that were not counted as `source_spoofed`.
    pub uncounted: u64,
    /// Spoofed packets that came out somewhere, in words.
    pub passed: Vec<String>,
    /// Handshake packets of the clamped tenant that left the gateway, and those that offer larger segments, in words.
    pub clamped: (usize, Vec<String>),
    /// The same of a tenant whose segments are left alone, and those that are not, in words.
    pub left_alone: (usize, Vec<String>),
}

/// All of it in one lab.
#[track_caller]
pub fn run() -> Isolation {
    let lab = Lab::with(Topology::builder().mode(Mode::Tc).tenants(TENANTS));
    let world = World::start_with(&lab, |config| {
        config.tenant(CLAMPED).limits.mss_clamp = Some(CLAMP);
        let (from, to) = MAY_CALL;
        config.tenant(from).limits.hairpin_to = vec![lab.tenant(to).plan.name.clone()];
    });
    lab.warm_neighbours();
    let (denied, connected) = call_who_may_not(&lab, &world);
    let (from, to) = MAY_CALL;
    let allowed = try_connect(&lab.tenant(from).namespace, world.web(to), PATIENCE);
    let (uncounted, passed) = spoof(&lab, &world);
    let [clamped, left_alone] =
        [(CLAMPED, CLAMP), (2, 1460)].map(|(tenant, size)| handshakes(&lab, &world, tenant, size));
    Isolation {
        connected,
        denied,
        not_allowed: allowed.err().map(|error| format!("{MAY_CALL:?}: {error}")),
        uncounted,
        passed,
        clamped,
        left_alone,
    }
}

/// Every tenant calls every tenant in each way there is: how many calls may not succeed, and those that did.
fn call_who_may_not(lab: &Lab, world: &World<'_>) -> (usize, Vec<String>) {
    let (mut denied, mut connected) = (0, Vec::new());
    for from in 1..=TENANTS {
        for to in 1..=TENANTS {
            for (way, target) in ways(lab, world, from, to) {
                denied += 1;
                if try_connect(&lab.tenant(from).namespace, target, HANDSHAKE).is_ok() {
                    connected.push(format!("tenant {from} to tenant {to} by {way}"));
                }
            }
        }
    }
    (denied, connected)
}

/// The ways from one tenant to another that are closed.
fn ways(lab: &Lab, world: &World<'_>, from: usize, to: usize) -> Vec<(&'static str, SocketAddrV4)> {
    let plan = &lab.tenant(to).plan;
    let web = SocketAddrV4::new(plan.backend(), 8080);
    let mut ways = Vec::new();
    if (from, to) != MAY_CALL {
        ways.push(("the ingress VIP", world.web(to)));
    }
    if from != to {
        ways.extend([("its NAT IP", world.mapped(to)), ("its backend", web)]);
    }
    ways
}

/// The first tenant sends with the source of the second, to open flows and within flows that this has opened: how many of
/// these were not counted, and where they came out.
fn spoof(lab: &Lab, world: &World<'_>) -> (u64, Vec<String>) {
    let wires = [lab.capture_npci(), lab.capture_tenant(2), lab.capture_tenant(3)];
    let before = dropped(world, "source_spoofed");
    for number in (0..SPOOFED).step_by(2) {
        send_as_victim(lab, VICTIM, number, b"me");
    }
    lab.settle();
    for number in 0..SPOOFED {
        send_as_victim(lab, LIAR, number, NOT_ME);
    }
    lab.settle();
    let counted = dropped(world, "source_spoofed") - before;
    let [npci, others @ ..] = wires.map(Capture::stop);
    assert_eq!(datagrams(lab, &npci, b"me").len(), usize::from(SPOOFED / 2), "flows of the victim");
    let passed = [npci].into_iter().chain(others).flat_map(|wire| datagrams(lab, &wire, NOT_ME)).collect();
    (u64::from(SPOOFED).saturating_sub(counted), passed)
}

/// A datagram with the victim's address and one of its ports, from the link of tenant `sender`.
fn send_as_victim(lab: &Lab, sender: usize, number: u16, payload: &[u8]) {
    let link = &lab.tenant(sender).link;
    let from = (lab.tenant(VICTIM).plan.backend(), SPOOFED_PORT + number);
    let packet = Packet::udp(from, lab.plan.npci_endpoint()).macs(link.far_mac, link.near_mac);
    RawSocket::open(&lab.tenant(sender).namespace, &link.far).send(&packet.payload(payload).build());
}

/// Datagrams to NPCI's endpoint with this payload that came in.
fn datagrams(lab: &Lab, wire: &Recording, payload: &[u8]) -> Vec<String> {
    let is_one = |frame: &Frame| {
        frame.udp().is_some_and(|udp| udp.payload == payload)
            && frame.ipv4().is_some_and(|ip| ip.dst == *lab.plan.npci_endpoint().ip())
    };
    let frames = wire.going(Direction::In).frames();
    frames.iter().filter(|frame| is_one(frame)).map(|frame| format!("{frame:?}")).collect()
}

/// Connections in both directions: handshake packets that left the gateway, and those that offer other than `wanted`.
fn handshakes(lab: &Lab, world: &World<'_>, number: usize, wanted: u16) -> (usize, Vec<String>) {
    let tenant = lab.tenant(number);
    let wires = [lab.capture_npci(), lab.capture_tenant(number)];
    for (from, target) in [(&lab.npci, world.web(number)), (&tenant.namespace, lab.plan.npci_endpoint())] {
        try_connect(from, target, PATIENCE)
            .unwrap_or_else(|error| panic!("{} to {target}: {error}", from.role()));
    }
    let (mut seen, mut wrong) = (0, Vec::new());
    for wire in wires {
        for frame in wire.stop().going(Direction::In).frames() {
            let Some(tcp) = frame.tcp().filter(|tcp| tcp.flags.contains(TcpFlags::SYN)) else { continue };
            seen += 1;
            if tcp.segment_size() != Some(wanted) {
                wrong.push(format!("{} bytes wanted: {tcp:?} to {:?}", wanted, receiver(&frame)));
            }
        }
    }
    (seen, wrong)
}

fn receiver(frame: &Frame) -> Option<Ipv4Addr> {
    frame.ipv4().map(|ip| ip.dst)
}
