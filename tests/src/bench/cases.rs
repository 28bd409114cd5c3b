//! What is measured.

use std::net::SocketAddrV4;

use gateway_common::abi::Side;

use super::rig::{Fate, Rig, Role};
use crate::packet::{Packet, TcpFlags};

/// After Ethernet, IPv4 and transport headers. No program reads it, so its length only keeps frames above the least.
const PAYLOAD: [u8; 64] = [0x5a; 64];
/// Source ports of established flows, above those of new ones.
const ESTABLISHED_PORT: u16 = 65_000;
/// Source port of the first new flow; the ports below are the system's.
const FIRST_NEW_PORT: u16 = 1024;
/// New flows of one case and round: each has a source port, and two entries in the half-open table.
pub const MOST_RUNS: usize = 32_768;

/// The reference that is subtracted.
pub const EMPTY: &str = "empty";
/// The reference that is compared with.
pub const NULL_FORWARDER: &str = "null_forwarder";

/// One kind of packet.
#[derive(Debug)]
pub struct Case {
    /// In JSON and in the documentation.
    pub id: &'static str,
    /// In the table.
    pub title: &'static str,
    /// Which program gets it.
    pub role: Role,
    /// What must become of it.
    pub fate: Fate,
    /// The packets.
    pub frames: Frames,
}

/// What the runs of a case are given.
#[derive(Debug)]
pub enum Frames {
    /// The same each time.
    Same(Vec<u8>),
    /// Another each time, since each opens a flow.
    Fresh(Vec<Vec<u8>>),
}

impl Frames {
    /// The frames of so many runs.
    pub fn iter(&self, runs: usize) -> Box<dyn Iterator<Item = &[u8]> + '_> {
        match self {
            Self::Same(frame) => Box::new(std::iter::repeat_n(frame.as_slice(), runs)),
            Self::Fresh(frames) => Box::new(frames.iter().take(runs).map(Vec::as_slice)),
        }
    }

    /// Entries that so many runs leave in the half-open table.
    pub fn entries(&self, runs: usize) -> usize {
        match self {
            Self::Same(_) => 0,
            Self::Fresh(_) => 2 * runs,
        }
    }
}

/// All of them, in the order of the report. They are the same for XDP and TC, which share the tables.
#[derive(Debug)]
pub struct Cases(pub Vec<Case>);

impl Cases {
    /// Opens the flows that stay established, and makes the packets.
    #[track_caller]
    pub fn prepare(rig: &Rig, runs: usize) -> Self {
        let mut cases = Vec::from(references(rig));
        cases.extend(established(rig));
        cases.extend(new_flows(rig, runs));
        cases.extend(refusals(rig));
        Self(cases)
    }
}

const FROM_NPCI: Role = Role::Gateway(Side::External);
const FROM_TENANT: Role = Role::Gateway(Side::Internal);

fn references(rig: &Rig) -> [Case; 2] {
    let places = &rig.places;
    let packet = || data(Packet::tcp(places.npci, SocketAddrV4::new(places.backends[0], ESTABLISHED_PORT)));
    let same = |role| Frames::Same(rig.frame(role, packet()));
    [
        Case {
            id: EMPTY,
            title: "empty program",
            role: Role::Empty,
            fate: Fate::Pass,
            frames: same(Role::Empty),
        },
        Case {
            id: NULL_FORWARDER,
            title: "null forwarder: parse, FIB, redirect",
            role: Role::NullForwarder,
            fate: Fate::Redirect,
            frames: same(Role::NullForwarder),
        },
    ]
}

/// Identifier and title of a case.
type Label = (&'static str, &'static str);

fn established(rig: &Rig) -> Vec<Case> {
    let places = &rig.places;
    let npci = SocketAddrV4::new(places.second_npci, ESTABLISHED_PORT);
    let tenant = SocketAddrV4::new(places.backends[1], ESTABLISHED_PORT);
    let flows = [
        (
            Flow { opener: FROM_NPCI, packet: Packet::tcp, from: npci, to: places.web, handshake: true },
            ("established_ingress_tcp", "ingress TCP, NPCI to backend"),
            ("established_ingress_tcp_reply", "ingress TCP, its reply"),
        ),
        (
            Flow { opener: FROM_TENANT, packet: Packet::tcp, from: tenant, to: places.npci, handshake: true },
            ("established_egress_tcp", "egress TCP, tenant to NPCI"),
            ("established_egress_tcp_reply", "egress TCP, its reply"),
        ),
        (
            Flow { opener: FROM_NPCI, packet: Packet::udp, from: npci, to: places.echo, handshake: false },
            ("established_ingress_udp", "ingress UDP, NPCI to backend"),
            ("established_ingress_udp_reply", "ingress UDP, its reply"),
        ),
        (
            Flow {
                opener: FROM_TENANT,
                packet: Packet::udp,
                from: tenant,
                to: places.npci,
                handshake: false,
            },
            ("established_egress_udp", "egress UDP, tenant to NPCI"),
            ("established_egress_udp_reply", "egress UDP, its reply"),
        ),
    ];
    let opened = 2 * flows.len();
    let cases =
        flows.into_iter().flat_map(|(flow, request, reply)| flow.cases(rig, request, reply)).collect();
    assert_eq!(rig.entries(), (opened, 0), "every flow is in the table of established flows, twice");
    cases
}

/// A flow that is opened and stays.
struct Flow {
    opener: Role,
    packet: fn(SocketAddrV4, SocketAddrV4) -> Packet,
    from: SocketAddrV4,
    to: SocketAddrV4,
    /// SYN, SYN-ACK and ACK come first.
    handshake: bool,
}

impl Flow {
    /// Opens it and returns a case for each direction.
    #[track_caller]
    fn cases(&self, rig: &Rig, request: Label, reply: Label) -> [Case; 2] {
        let Self { opener, packet, from, to, handshake } = *self;
        let answerer = other_side(opener);
        let first = packet(from, to);
        let opening = if handshake { first.clone().flags(TcpFlags::SYN) } else { first.clone() };
        let translated = rig.translate(opener, opening);
        let (near, far) = translated.endpoints().expect("TCP or UDP");
        let answer = packet(far, near);
        if handshake {
            rig.translate(answerer, answer.clone().flags(TcpFlags::SYN | TcpFlags::ACK));
            rig.translate(opener, first.clone());
        } else {
            rig.translate(answerer, answer.clone());
        }
        [known(rig, request, opener, data(first)), known(rig, reply, answerer, data(answer))]
    }
}

fn known(rig: &Rig, (id, title): Label, role: Role, packet: Packet) -> Case {
    let frames = Frames::Same(rig.frame(role, packet));
    Case { id, title, role, fate: Fate::Redirect, frames }
}

fn new_flows(rig: &Rig, runs: usize) -> [Case; 2] {
    let places = rig.places;
    let from_npci = |port| Packet::tcp((places.second_npci, port), places.web).flags(TcpFlags::SYN);
    let from_tenant = |port| Packet::tcp((places.backends[1], port), places.npci).flags(TcpFlags::SYN);
    [
        Case {
            id: "new_ingress_tcp",
            title: "new ingress flow, SYN",
            role: FROM_NPCI,
            fate: Fate::Redirect,
            frames: fresh(rig, FROM_NPCI, runs, from_npci),
        },
        Case {
            id: "new_egress_tcp",
            title: "new egress flow, SYN",
            role: FROM_TENANT,
            fate: Fate::Redirect,
            frames: fresh(rig, FROM_TENANT, runs, from_tenant),
        },
    ]
}

/// One packet a source port.
fn fresh(rig: &Rig, role: Role, runs: usize, packet: impl Fn(u16) -> Packet) -> Frames {
    assert!(runs <= MOST_RUNS, "at most {MOST_RUNS} runs");
    Frames::Fresh((FIRST_NEW_PORT..).take(runs).map(|port| rig.frame(role, packet(port))).collect())
}

fn refusals(rig: &Rig) -> [Case; 2] {
    let places = &rig.places;
    let stranger = SocketAddrV4::new([203, 0, 113, 9].into(), ESTABLISHED_PORT);
    let syn = Packet::tcp(stranger, places.web).flags(TcpFlags::SYN);
    let passing = data(Packet::tcp(places.npci, stranger));
    [
        Case {
            id: "refused_by_allow_list",
            title: "refused by the allow-list, SYN",
            role: FROM_NPCI,
            fate: Fate::Drop,
            frames: Frames::Same(rig.frame(FROM_NPCI, syn)),
        },
        Case {
            id: "not_ours",
            title: "not ours, left to the kernel",
            role: FROM_NPCI,
            fate: Fate::Pass,
            frames: Frames::Same(rig.frame(FROM_NPCI, passing)),
        },
    ]
}

fn data(packet: Packet) -> Packet {
    packet.payload(&PAYLOAD)
}

fn other_side(role: Role) -> Role {
    if role == FROM_NPCI { FROM_TENANT } else { FROM_NPCI }
}
