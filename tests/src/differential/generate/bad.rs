//! What must not get through, and what hardly does.

use super::{
    dialogue::{ACK, Dialogue, PSH, SYN},
    draw::Draw,
};
use crate::{
    differential::conversation::{Flow, Forbidden, Role, Round, Send, Target, What},
    packet::Defect,
};

/// Protocols that no flow of ours has: IPIP, GRE, ESP, SCTP, UDP-Lite and one that is unassigned.
const PROTOCOLS: [u8; 6] = [4, 47, 50, 132, 136, 200];

/// A flow of TCP or UDP with one packet in it that is wrong in itself; now and then it is the first.
pub fn packet(draw: &mut Draw) -> Vec<Round> {
    if draw.percent(20) {
        let protocol = What::Protocol { number: draw.one_of(&PROTOCOLS) };
        return vec![vec![Send::new(draw.one_of(&[Role::Client, Role::Server]), protocol)]];
    }
    let is_tcp = draw.percent(50);
    let (mut rounds, mut bad) = if is_tcp { in_a_connection(draw) } else { among_datagrams(draw) };
    bad.defect = Some(defect(draw, is_tcp));
    let at = draw.one_of(&[rounds.len(), rounds.len(), 0]);
    rounds.insert(at, vec![bad]);
    rounds
}

fn in_a_connection(draw: &mut Draw) -> (Vec<Round>, Send) {
    let dialogue = Dialogue::new(Flow::FIRST, (draw.word(), draw.word())).opened();
    let from = draw.one_of(&[Role::Client, Role::Server]);
    let segment = dialogue.segment(from, PSH | ACK, 0, draw.between(20, 200));
    (dialogue.rounds, segment)
}

fn among_datagrams(draw: &mut Draw) -> (Vec<Round>, Send) {
    let datagram = |from, length| Send::new(from, What::Udp { length });
    let rounds = [Role::Client, Role::Server].map(|from| vec![datagram(from, draw.length())]);
    (rounds.into(), datagram(draw.one_of(&[Role::Client, Role::Server]), draw.between(20, 200)))
}

fn defect(draw: &mut Draw, is_tcp: bool) -> Defect {
    let common = [
        Defect::IpVersion(6),
        Defect::IpHeaderWords(4),
        Defect::IpHeaderWords(0),
        Defect::IpTotalLength(19),
        Defect::IpTotalLength(24),
        Defect::IpTotalLength(1500),
        Defect::IpChecksum,
        Defect::TransportChecksum,
        Defect::TransportChecksum,
        Defect::TruncatedTo(14 + 19),
        Defect::TruncatedTo(14 + 20),
        Defect::TruncatedTo(14 + 25),
    ];
    let tcp = [Defect::TcpDataOffsetWords(4), Defect::TcpDataOffsetWords(0), Defect::TcpDataOffsetWords(15)];
    let udp = [Defect::UdpLength(7), Defect::UdpLength(0), Defect::UdpLength(1000), Defect::UdpLength(12)];
    let special: &[Defect] = if is_tcp { &tcp } else { &udp };
    if draw.percent(35) { draw.one_of(special) } else { draw.one_of(&common) }
}

/// A packet whose time to live ends at the gateway, in a flow or as its first.
pub fn last_hop(draw: &mut Draw) -> Vec<Round> {
    let (mut rounds, mut last) = if draw.percent(50) { in_a_connection(draw) } else { among_datagrams(draw) };
    if draw.percent(40) {
        rounds.clear();
        last = Send::new(Role::Client, What::Udp { length: draw.length() });
    }
    last.ttl = draw.one_of(&[1, 1, 0]);
    rounds.push(vec![last]);
    rounds
}

/// A packet that policy refuses, twice.
pub fn forbidden(draw: &mut Draw) -> Vec<Round> {
    let what = match draw.below(3) {
        0 => What::Udp { length: draw.length() },
        1 => What::Tcp { flags: SYN, seq: draw.word(), ack: 0, length: 0 },
        _ => What::Tcp { flags: SYN, seq: draw.word(), ack: 0, length: 16 },
    };
    let mut send = Send::new(Role::Client, what);
    send.target = Target::Forbidden(draw.one_of(&Forbidden::ALL));
    vec![vec![send.clone()], vec![send]]
}
