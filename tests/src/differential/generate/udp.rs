//! Scripted UDP, and fragments of anything.

use super::{
    dialogue::{ACK, Dialogue, PSH},
    draw::Draw,
};
use crate::{
    differential::conversation::{ClientAddress, Cut, Flow, Order, Path, Role, Round, Send, What},
    packet::Defect,
};

const COMPLETE: [Order; 7] = [
    Order::Straight,
    Order::Straight,
    Order::Straight,
    Order::Reversed,
    Order::Reversed,
    Order::FirstLast,
    Order::Doubled,
];
const INCOMPLETE: [Order; 2] = [Order::LastMissing, Order::FirstMissing];

/// Some datagrams both ways, by one or two sockets, several in a round.
pub fn datagrams(draw: &mut Draw) -> Vec<Round> {
    let sockets = u16::try_from(draw.between(1, 2)).expect("one or two");
    let mut rounds = vec![(0..sockets).map(|port| datagram(draw, Role::Client, port)).collect()];
    for _ in 0..draw.between(1, 3) {
        let round = (0..draw.between(1, 3)).map(|_| {
            let from = draw.one_of(&[Role::Client, Role::Server]);
            let port = u16::try_from(draw.below(u64::from(sockets))).expect("one or two");
            datagram(draw, from, port)
        });
        rounds.push(round.collect());
    }
    rounds
}

fn datagram(draw: &mut Draw, from: Role, port: u16) -> Send {
    let mut send = Send::new(from, What::Udp { length: draw.length() }).of(Flow { port, ..Flow::FIRST });
    send.dont_fragment = draw.percent(50);
    send.tos = draw.one_of(&[0, 0, 0x2e << 2, 0x01, 0x03]);
    send.ttl = draw.one_of(&[64, 128, 255, 2, 3]);
    send.options = draw.percent(5);
    send.defect = draw.percent(15).then_some(Defect::UdpChecksumAbsent);
    send
}

/// Two clients of one network call the same service from the same port, and both are answered.
pub fn same_port(draw: &mut Draw) -> Vec<Round> {
    let second = Flow { client: ClientAddress::Second, ..Flow::FIRST };
    let mut order = [Flow::FIRST, second];
    if draw.percent(50) {
        order.reverse();
    }
    let mut rounds = Vec::new();
    for from in [Role::Client, Role::Server, Role::Client] {
        for flow in order {
            rounds.push(vec![Send::new(from, What::Udp { length: draw.length() }).of(flow)]);
        }
    }
    rounds
}

/// A client that calls from a system port, by UDP or by TCP.
pub fn system_port(draw: &mut Draw) -> Vec<Round> {
    let flow = Flow { client: ClientAddress::System, port: 0 };
    if draw.percent(50) {
        let mut dialogue = Dialogue::new(flow, (draw.word(), draw.word())).opened();
        dialogue.say(Role::Server, PSH | ACK, draw.length());
        dialogue.close(Role::Client, Role::Server);
        return dialogue.rounds;
    }
    let ends = [Role::Client, Role::Server, Role::Client];
    ends.map(|from| vec![Send::new(from, What::Udp { length: draw.length() }).of(flow)]).into()
}

/// A flow in which packets come in fragments; now and then its very first does.
pub fn fragments(draw: &mut Draw, path: Path) -> Vec<Round> {
    match draw.below(4) {
        0 => segments_in_fragments(draw),
        1 if path == Path::Egress => pings_in_fragments(draw),
        _ => datagrams_in_fragments(draw),
    }
}

fn datagrams_in_fragments(draw: &mut Draw) -> Vec<Round> {
    let mut rounds = Vec::new();
    let ends = [Role::Client, Role::Server, Role::Client, Role::Server];
    let cut_from = draw.between(0, 1);
    for (number, from) in ends.into_iter().take(draw.between(2, 4)).enumerate() {
        let length = draw.one_of(&[200, 1400, 3000, 8000, 20_000]);
        let send = Send::new(from, What::Udp { length });
        rounds.push(vec![if number >= cut_from || length > 1400 { cut(draw, send) } else { send }]);
    }
    if draw.percent(30) {
        rounds.push(vec![incomplete(draw)]);
    }
    rounds
}

fn segments_in_fragments(draw: &mut Draw) -> Vec<Round> {
    let mut dialogue = Dialogue::new(Flow::FIRST, (draw.word(), draw.word())).opened();
    let from = draw.one_of(&[Role::Client, Role::Server]);
    let segment = dialogue.segment(from, PSH | ACK, 0, draw.between(100, 1400));
    dialogue.rounds.push(vec![cut(draw, segment)]);
    dialogue.rounds
}

fn pings_in_fragments(draw: &mut Draw) -> Vec<Round> {
    let length = draw.one_of(&[200, 1400, 4000]);
    let request = Send::new(Role::Client, What::EchoRequest { sequence: 1, length });
    let reply = Send::new(Role::Server, What::EchoReply { sequence: 1, length });
    vec![vec![cut(draw, request)], vec![cut(draw, reply)]]
}

/// A datagram of which a fragment never comes; one a conversation, see [`crate::differential::script::incomplete_id`].
fn incomplete(draw: &mut Draw) -> Send {
    let from = draw.one_of(&[Role::Client, Role::Server]);
    let length = draw.one_of(&[200, 3000, 8000]);
    let mut send = cut(draw, Send::new(from, What::Udp { length }));
    send.cut = send.cut.map(|cut| Cut { order: draw.one_of(&INCOMPLETE), ..cut });
    send
}

fn cut(draw: &mut Draw, mut send: Send) -> Send {
    let size =
        if payload(&send) > 2000 { draw.one_of(&[1480, 1200, 800]) } else { draw.one_of(&[48, 64, 104]) };
    send.cut = Some(Cut { size, order: draw.one_of(&COMPLETE) });
    send.dont_fragment = false;
    send
}

fn payload(send: &Send) -> usize {
    match send.what {
        What::Tcp { length, .. }
        | What::Udp { length }
        | What::EchoRequest { length, .. }
        | What::EchoReply { length, .. } => length,
        What::Error { .. } | What::Icmp { .. } | What::Protocol { .. } => 0,
    }
}
