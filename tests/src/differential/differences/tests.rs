//! Each difference with a case that it justifies, and the same case with one thing changed, which it must not.

use std::collections::BTreeSet;

use super::*;
use crate::{
    differential::{
        conversation::{Cut, Order, Path, Quote, Quoted, Topic},
        sight::{Names, Place},
    },
    packet::{Frame, IcmpError, Packet},
};

const DOCUMENT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/differential.md"));
const CLIENT: &str = "192.0.2.150:20000";
const SERVICE: &str = "192.0.2.10:9000";
const SYN: TcpFlags = TcpFlags::SYN;
const ACK: TcpFlags = TcpFlags::ACK;
const RST: TcpFlags = TcpFlags::RST;
const FIN: TcpFlags = TcpFlags::FIN;

/// What was sent in which rounds, and what each gateway made of the last.
struct Example {
    justified_by: Difference,
    rounds: Vec<Send>,
    ours: Option<Seen>,
    theirs: Option<Seen>,
}

impl Example {
    fn judged(&self) -> Option<Difference> {
        let rounds: Vec<_> = self.rounds.iter().map(|send| vec![send.clone()]).collect();
        let discrepancy = Discrepancy {
            round: rounds.len() - 1,
            place: Place::Npci,
            ours: self.ours.clone(),
            theirs: self.theirs.clone(),
        };
        let conversation =
            Conversation { index: 0, topic: Topic::Udp, path: Path::Ingress, talk: Talk::Script(rounds) };
        Difference::justifying(&Case { conversation: &conversation, discrepancy: &discrepancy })
    }
}

fn seen(packet: &Packet) -> Option<Seen> {
    Names::default().frame(&Frame::parse(&packet.build()))
}

fn segment(flags: TcpFlags) -> Packet {
    Packet::tcp(CLIENT, SERVICE).flags(flags)
}

fn tcp_by(from: Role, flags: TcpFlags, seq: u32) -> Send {
    Send::new(from, What::Tcp { flags, seq, ack: 0, length: 0 })
}

fn opened(last: Send) -> Vec<Send> {
    let client = |flags, seq| tcp_by(Role::Client, flags, seq);
    vec![client(SYN, 100), tcp_by(Role::Server, SYN | ACK, 900), client(ACK, 101), last]
}

fn only_ours(justified_by: Difference, rounds: Vec<Send>, ours: &Packet) -> Example {
    Example { justified_by, rounds, ours: seen(ours), theirs: None }
}

fn only_theirs(justified_by: Difference, send: Send, theirs: &Packet) -> Example {
    Example { justified_by, rounds: vec![send], ours: None, theirs: seen(theirs) }
}

fn error_about(kind: (u8, u8)) -> Send {
    let quote = Quote { of: Quoted::Arrived, bytes: 8 };
    Send::new(Role::Server, What::Error { kind, rest: [0; 4], quote })
}

fn datagram() -> Send {
    Send::new(Role::Client, What::Udp { length: 100 })
}

fn examples() -> Vec<Example> {
    let (client, gateway) = ([192, 0, 2, 150].into(), [192, 0, 2, 10].into());
    let answer = Packet::echo_reply(gateway, client, 20_000, 1);
    let ping = Send::new(Role::Client, What::EchoRequest { sequence: 1, length: 0 });
    let mut wrong = datagram();
    wrong.defect = Some(Defect::TransportChecksum);
    let [mut cut, mut last] = [(); 2].map(|()| datagram());
    cut.cut = Some(Cut { size: 48, order: Order::LastMissing });
    last.ttl = 1;
    let quoted = Packet::udp(CLIENT, SERVICE).payload(&[7; 100]).build();
    let error = Packet::icmp_error(gateway, client, IcmpError::TtlExceeded, &quoted);
    let refused = vec![
        tcp_by(Role::Client, SYN, 100),
        tcp_by(Role::Server, RST | ACK, 0),
        tcp_by(Role::Client, ACK, 101),
    ];
    let nat_ip = [198, 51, 100, 30].into();
    let mut forbidden = tcp_by(Role::Client, SYN, 100);
    forbidden.target = Target::Forbidden(Forbidden::NoPeer);
    vec![
        Example {
            justified_by: Difference::EchoKeepsDontFragment,
            rounds: vec![ping],
            ours: seen(&answer),
            theirs: seen(&answer.clone().dont_fragment(false)),
        },
        only_ours(Difference::OddFlags, opened(tcp_by(Role::Client, SYN | FIN, 101)), &segment(SYN | FIN)),
        only_ours(
            Difference::WrongTransportChecksum,
            vec![wrong],
            &Packet::udp(CLIENT, SERVICE).defect(Defect::TransportChecksum),
        ),
        only_ours(Difference::AfterRefusal, refused, &segment(ACK)),
        only_ours(
            Difference::ResetOutOfWindow,
            opened(tcp_by(Role::Client, RST, 101 + (1 << 20))),
            &segment(RST),
        ),
        only_ours(Difference::SynInConnection, opened(tcp_by(Role::Server, SYN, 7)), &segment(SYN)),
        only_theirs(
            Difference::SourceQuench,
            error_about((4, 0)),
            &Packet::icmp(client, gateway, (4, 0), [0; 4]).payload(&[0; 28]),
        ),
        Example {
            justified_by: Difference::ShortQuote,
            rounds: vec![last],
            ours: seen(&error.clone().payload(&quoted[14..14 + 28])),
            theirs: seen(&error.dont_fragment(false)),
        },
        only_ours(Difference::IncompleteDatagram, vec![cut], &Packet::udp(CLIENT, SERVICE).fragment(0, true)),
        only_ours(
            Difference::Prohibited,
            vec![forbidden],
            &Packet::icmp_error(nat_ip, client, IcmpError::AdministrativelyProhibited, &quoted)
                .payload(&quoted[14..14 + 28]),
        ),
    ]
}

#[test]
fn every_difference_justifies_its_example() {
    for example in examples() {
        assert_eq!(example.judged(), Some(example.justified_by));
    }
    let shown: BTreeSet<_> = examples().iter().map(|example| example.justified_by).collect();
    assert_eq!(shown, Difference::ALL.iter().copied().collect(), "each has an example");
}

#[test]
fn none_justifies_it_the_other_way_round() {
    for mut example in examples() {
        std::mem::swap(&mut example.ours, &mut example.theirs);
        assert_eq!(example.judged(), None, "{:?}", example.justified_by);
    }
}

#[test]
fn none_justifies_it_when_ordinary_packets_were_sent() {
    for mut example in examples() {
        example.rounds = vec![datagram(); example.rounds.len()];
        assert_eq!(example.judged(), None, "{:?}", example.justified_by);
    }
}

#[test]
fn none_justifies_something_else_in_its_place() {
    let other = Packet::udp("192.0.2.99:1", "192.0.2.98:2");
    for mut example in examples() {
        for side in [&mut example.ours, &mut example.theirs] {
            *side = side.as_ref().and_then(|_| seen(&other));
        }
        assert_eq!(example.judged(), None, "{:?}", example.justified_by);
    }
}

#[test]
fn a_reset_in_the_window_must_pass_both() {
    let rounds = opened(tcp_by(Role::Client, RST, 101 + 1000));
    assert_eq!(only_ours(Difference::ResetOutOfWindow, rounds, &segment(RST)).judged(), None);
}

#[test]
fn names_are_unique() {
    let names: BTreeSet<_> = Difference::ALL.iter().copied().map(Difference::name).collect();
    assert_eq!(names.len(), Difference::ALL.len());
}

/// `| name | justification |`, as in docs/differential.md.
fn row(difference: Difference) -> String {
    format!("| `{}` | {} |", difference.name(), difference.justification())
}

#[test]
fn the_document_has_the_list() {
    let documented: Vec<&str> = DOCUMENT.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<String> = Difference::ALL.iter().copied().map(row).collect();
    assert_eq!(documented, expected, "docs/differential.md should have:\n{}", expected.join("\n"));
}
