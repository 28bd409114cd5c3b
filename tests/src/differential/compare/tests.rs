//! Whatever single thing differs between two records is reported, and nothing excuses it in an ordinary conversation.

use super::*;
use crate::{
    differential::{
        conversation::{Conversation, Talk, Topic},
        frame::Map,
        generate,
        report::Report,
        script::Running,
    },
    packet::{ChecksumOf, IcmpBody, Ipv4, Mac, ParseError, Transport},
    seed::Random,
};

/// Conversations that both gateways must treat alike in everything.
const ORDINARY: [Topic; 8] = [
    Topic::TcpOrderly,
    Topic::TcpReopened,
    Topic::TcpRepeated,
    Topic::TcpSimultaneous,
    Topic::Udp,
    Topic::SamePort,
    Topic::SystemPort,
    Topic::Echo,
];

type Mutation = fn(&mut Vec<Sight>, usize);

/// One thing that a broken gateway could do to what is seen.
const MUTATIONS: [(&str, Mutation); 15] = [
    ("a packet is missing", |record, at| drop(record.remove(at))),
    ("a packet comes twice", |record, at| record.insert(at, record[at].clone())),
    ("a packet comes later", |record, at| record[at].round += 1),
    ("a packet comes elsewhere", |record, at| record[at].place = Place::OtherTenant),
    ("another source", |record, at| packet(record, at).src = [192, 0, 2, 99].into()),
    ("another destination", |record, at| packet(record, at).dst = [192, 0, 2, 99].into()),
    ("another time to live", |record, at| packet(record, at).ttl -= 1),
    ("another type of service", |record, at| packet(record, at).tos ^= 4),
    ("another length", |record, at| packet(record, at).total_length += 1),
    ("another identification", |record, at| packet(record, at).id += 1),
    ("another fragment bit", |record, at| packet(record, at).dont_fragment ^= true),
    ("another port", |record, at| *port(&mut packet(record, at).transport) ^= 1),
    ("other data", |record, at| data(&mut packet(record, at).transport).push(0)),
    ("a wrong checksum", |record, at| {
        if let Seen::Packet { wrong, .. } = &mut record[at].seen {
            wrong.push(ChecksumOf::Ip);
        }
    }),
    ("a packet that can't be read", |record, at| record[at].seen = Seen::Broken(ParseError::IpVersion(6))),
];

fn packet(record: &mut [Sight], at: usize) -> &mut Ipv4 {
    match &mut record[at].seen {
        Seen::Packet { ip, .. } => ip,
        other => panic!("not a packet: {other:?}"),
    }
}

fn port(transport: &mut Transport) -> &mut u16 {
    match transport {
        Transport::Tcp(tcp) => &mut tcp.src_port,
        Transport::Udp(udp) => &mut udp.dst_port,
        Transport::Icmp(icmp) => match &mut icmp.body {
            IcmpBody::Echo { id, .. } => id,
            other => panic!("not an echo: {other:?}"),
        },
        other => panic!("without ports: {other:?}"),
    }
}

fn data(transport: &mut Transport) -> &mut Vec<u8> {
    match transport {
        Transport::Tcp(tcp) => &mut tcp.payload,
        Transport::Udp(udp) => &mut udp.payload,
        Transport::Icmp(icmp) => match &mut icmp.body {
            IcmpBody::Echo { payload, .. } => payload,
            other => panic!("not an echo: {other:?}"),
        },
        other => panic!("without data: {other:?}"),
    }
}

/// What is seen if every packet arrives at the other side as it was sent.
fn record(map: &Map, conversation: &Conversation) -> Vec<Sight> {
    let Talk::Script(rounds) = &conversation.talk else { panic!("not scripted") };
    let mut running = Running::new(map, conversation, rounds);
    for round in 0..rounds.len() {
        for (place, frame) in running.round(round, |_| (Mac::local(1), Mac::local(2))) {
            let across = if place == Place::Npci { Place::Tenant } else { Place::Npci };
            running.arrived(round, across, frame);
        }
    }
    running.sights()
}

fn ordinary_conversations() -> impl Iterator<Item = Conversation> {
    let all = (0..600).map(|index| generate::conversation(11, index));
    all.filter(|conversation| ORDINARY.contains(&conversation.topic))
}

fn judge(conversation: &Conversation, ours: &[Sight], theirs: &[Sight]) -> Report {
    let mut report = Report::default();
    report.note(conversation.clone(), ours, theirs);
    report
}

#[test]
fn equal_records_have_no_discrepancy() {
    let map = Map::usual();
    for conversation in ordinary_conversations() {
        let record = record(&map, &conversation);
        assert!(!record.is_empty());
        assert_eq!(judge(&conversation, &record, &record).differences_found(), 0);
    }
}

#[test]
fn every_mutation_is_a_failure_whichever_gateway_it_is() {
    let (map, mut random) = (Map::usual(), Random::from_env());
    for conversation in ordinary_conversations() {
        let sound = record(&map, &conversation);
        let at = usize::try_from(random.below(sound.len() as u64)).expect("a position");
        for (what, mutate) in MUTATIONS {
            let mut mutated = sound.clone();
            mutate(&mut mutated, at);
            for (ours, theirs) in [(&sound, &mutated), (&mutated, &sound)] {
                let report = judge(&conversation, ours, theirs);
                assert_eq!(report.failures.len(), 1, "{what} at {at} of {conversation:?}");
                assert!(!report.passed());
            }
        }
    }
}

#[test]
fn another_order_is_a_discrepancy() {
    let map = Map::usual();
    let conversation =
        ordinary_conversations().find(|told| told.topic == Topic::SamePort).expect("there is one");
    let mut sound = record(&map, &conversation);
    // As if the two clients had spoken in one round.
    sound[1].round = sound[0].round;
    let mut swapped = sound.clone();
    swapped.swap(0, 1);
    assert_eq!(discrepancies(&sound, &swapped).len(), 2);
}

#[test]
fn streams_are_compared() {
    let sight = |seen| Sight { round: 0, place: Place::Tenant, seen };
    let sound = sight(Seen::Peer([198, 51, 100, 30].into()));
    for other in [Seen::Peer([192, 0, 2, 100].into()), Seen::End, Seen::Received(3, String::from("abc"))] {
        assert_eq!(discrepancies(std::slice::from_ref(&sound), &[sight(other)]).len(), 1);
    }
}

#[test]
fn one_that_lost_everything_is_seen_as_such() {
    let map = Map::usual();
    let mut report = Report::default();
    for conversation in ordinary_conversations().take(150) {
        let record = record(&map, &conversation);
        report.note(conversation, &[], &record);
    }
    assert_eq!((report.alive, report.failures.len()), (0, 150));
    assert!(!report.is_alive());
}

#[test]
fn two_gateways_that_let_nothing_pass_prove_nothing() {
    let mut report = Report::default();
    ordinary_conversations().take(150).for_each(|conversation| report.note(conversation, &[], &[]));
    assert_eq!(report.differences_found(), 0);
    assert!(!report.passed());
}
