//! Scripted ICMP.

use super::{
    dialogue::{ACK, Dialogue, PSH, SYN},
    draw::Draw,
};
use crate::differential::conversation::{Flow, Path, Quote, Quoted, Role, Round, Send, Target, What};

/// Types, codes and the four bytes behind the checksum of every error that a NAT translates (RFC 5508).
const ERRORS: [((u8, u8), [u8; 4]); 10] = [
    ((3, 0), [0; 4]),
    ((3, 1), [0; 4]),
    ((3, 3), [0; 4]),
    ((3, 4), [0, 0, 0x05, 0x14]),
    ((3, 4), [0; 4]),
    ((3, 13), [0; 4]),
    ((11, 0), [0; 4]),
    ((11, 1), [0; 4]),
    ((12, 0), [1, 0, 0, 0]),
    ((12, 0), [20, 0, 0, 0]),
];

/// Messages that quote a packet and that hosts should no longer send or believe: source quench (RFC 6633), redirect.
const RETIRED: [((u8, u8), [u8; 4]); 2] = [((4, 0), [0; 4]), ((5, 1), [192, 0, 2, 170])];

/// Pings through the gateway, answered or not.
pub fn echo(draw: &mut Draw) -> Vec<Round> {
    let mut rounds = Vec::new();
    for sequence in 0..u16::try_from(draw.between(1, 3)).expect("few") {
        let length = draw.length();
        let mut request = Send::new(Role::Client, What::EchoRequest { sequence, length });
        request.ttl = draw.one_of(&[64, 2]);
        rounds.push(vec![request]);
        if draw.percent(80) {
            rounds.push(vec![Send::new(Role::Server, What::EchoReply { sequence, length })]);
        }
    }
    // The other end pings back: an echo of its own, which no flow waits for.
    if draw.percent(20) {
        rounds.push(vec![Send::new(Role::Server, What::EchoRequest { sequence: 9, length: 8 })]);
    }
    rounds
}

/// Pings of the ingress VIP or the tenant's NAT IP, and answers that nobody asked for.
pub fn echo_to_gateway(draw: &mut Draw) -> Vec<Round> {
    let length = draw.length();
    let what = match draw.below(5) {
        0 => What::EchoReply { sequence: 1, length },
        1 => What::Icmp { kind: draw.one_of(&[(13, 0), (15, 0), (17, 0), (8, 1)]) },
        _ => What::EchoRequest { sequence: 1, length },
    };
    let mut send = Send::new(Role::Client, what);
    send.target = Target::Gateway;
    send.tos = draw.one_of(&[0, 0, 0x2e << 2]);
    vec![vec![send]]
}

/// A flow, errors about it from either side, and the flow again.
pub fn about_a_flow(draw: &mut Draw, path: Path) -> Vec<Round> {
    let (mut rounds, more) = match draw.below(5) {
        0 if path == Path::Egress => pinged(draw),
        0..=2 => connected(draw),
        _ => called(draw),
    };
    for _ in 0..draw.between(1, 2) {
        let error = error(draw);
        rounds.push(vec![error]);
    }
    rounds.extend(more);
    rounds
}

/// What comes before the error, and what after it.
type Around = (Vec<Round>, Vec<Round>);

fn called(draw: &mut Draw) -> Around {
    let mut datagram = |from| vec![Send::new(from, What::Udp { length: draw.length() })];
    let before = vec![datagram(Role::Client), datagram(Role::Server)];
    (before, vec![datagram(Role::Client)])
}

fn pinged(draw: &mut Draw) -> Around {
    let length = draw.length();
    let before = vec![
        vec![Send::new(Role::Client, What::EchoRequest { sequence: 1, length })],
        vec![Send::new(Role::Server, What::EchoReply { sequence: 1, length })],
    ];
    (before, vec![vec![Send::new(Role::Client, What::EchoRequest { sequence: 2, length })]])
}

/// A connection that is established, or only asked for.
fn connected(draw: &mut Draw) -> Around {
    let mut dialogue = Dialogue::new(Flow::FIRST, (draw.word(), draw.word()));
    if draw.percent(30) {
        dialogue.say(Role::Client, SYN, 0);
        return (dialogue.rounds, Vec::new());
    }
    dialogue = dialogue.opened();
    dialogue.say(Role::Server, PSH | ACK, draw.length());
    dialogue.say(Role::Client, PSH | ACK, draw.length());
    let after = dialogue.segment(Role::Server, PSH | ACK, 0, draw.length());
    (dialogue.rounds, vec![vec![after]])
}

/// An error about what arrived last at one of the ends, or passed one of the routers on its way there.
fn error(draw: &mut Draw) -> Send {
    let from = draw.one_of(&[Role::Client, Role::Server, Role::ClientRouter, Role::ServerRouter]);
    let (kind, rest) = if draw.percent(6) { draw.one_of(&RETIRED) } else { draw.one_of(&ERRORS) };
    let bytes = draw.one_of(&[8, 8, 20, 28, 64, 548, 2000]);
    let mut send = Send::new(from, What::Error { kind, rest, quote: Quote { of: Quoted::Arrived, bytes } });
    send.dont_fragment = draw.percent(50);
    send.tos = draw.one_of(&[0, 0xc0]);
    send
}

/// Errors that quote nothing of any flow, or too little to tell.
pub fn about_nothing(draw: &mut Draw) -> Vec<Round> {
    let mut rounds = Vec::new();
    let with_flow = draw.percent(40);
    if with_flow {
        rounds = called(draw).0;
    }
    let mut send = error(draw);
    if let What::Error { quote, .. } = &mut send.what {
        *quote = if with_flow {
            Quote { of: Quoted::Arrived, bytes: draw.one_of(&[0, 1, 3, 4, 7]) }
        } else {
            Quote {
                of: draw.one_of(&[Quoted::StrayTcp, Quoted::StrayUdp]),
                bytes: draw.one_of(&[8, 28, 100]),
            }
        };
    }
    rounds.push(vec![send]);
    rounds
}
