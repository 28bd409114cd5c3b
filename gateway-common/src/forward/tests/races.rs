//! Two CPUs (and the expiry of idle flows) on the same tables, in every order with up to three changes of turn.

use super::{
    frame::{ACK, FIN, Frame, Received, SYN, SYN_ACK},
    machine::{Machine, Outcome, Schedule, Shared, Work, after},
    world::{EXTERNAL_IF, INTERNAL_IF, NOW, Plan, SECOND, Tenant},
};
use crate::{
    abi::{Counter, EntryFlags, FlowKey, Port, Protocol, Side, State},
    drop_reason::DropReason,
    forward::Expiry,
    tables::FlowTable,
    verdict::Verdict,
};
use std::{collections::BTreeSet, vec, vec::Vec};

const CLIENT: &str = "203.0.113.7:40000";
const VIP: &str = "192.0.2.10:8441";

fn roomy() -> Shared {
    Shared::empty([64, 64])
}

fn packet(frame: &Frame, side: Side, now_ns: u64) -> Work {
    let ifindex = if side == Side::External { EXTERNAL_IF } else { INTERNAL_IF };
    Work::Packet { packet: frame.packet(ifindex), side, now_ns }
}

fn from_npci(frame: &Frame) -> Work {
    packet(frame, Side::External, NOW)
}

/// One ingress connection: what its client sends, and what the backend answers through the gateway.
struct Connection {
    plan: Plan,
}

impl Connection {
    fn new() -> Self {
        Self { plan: Plan::three_tenants() }
    }

    fn from_client(flags: u8, now_ns: u64) -> Work {
        packet(&Frame::tcp(flags, CLIENT, VIP), Side::External, now_ns)
    }

    /// The backend's answer to what the gateway forwarded to it.
    fn answer(&self, flags: u8, now_ns: u64) -> Work {
        let (_, outcomes) = after(&self.plan, &roomy(), &[Self::from_client(SYN, NOW)]);
        let syn = received(&outcomes[0]).expect("the SYN is forwarded");
        let kind = super::frame::Kind::Tcp(flags);
        packet(&Frame::new(kind, syn.dst, syn.src), Side::Internal, now_ns)
    }

    fn answered(&self, capacities: [usize; 2]) -> Shared {
        let works = [Self::from_client(SYN, NOW), self.answer(SYN_ACK, NOW)];
        after(&self.plan, &Shared::empty(capacities), &works).0
    }

    fn established(&self) -> Shared {
        let handshake = [Self::from_client(SYN, NOW), self.answer(SYN_ACK, NOW), Self::from_client(ACK, NOW)];
        after(&self.plan, &roomy(), &handshake).0
    }

    fn original() -> FlowKey {
        FlowKey::v4(Side::External, Protocol::Tcp, super::frame::end(CLIENT), super::frame::end(VIP))
    }
}

fn received(outcome: &Outcome) -> Option<Received> {
    match outcome {
        Outcome::Packet(Verdict::Redirect { .. }, bytes) => Some(Received::read(bytes)),
        _ => None,
    }
}

/// What happened in one order.
struct End {
    shared: Shared,
    outcomes: Vec<Vec<Outcome>>,
    schedule: Schedule,
}

impl End {
    fn drops(&self) -> Vec<DropReason> {
        let reason = |outcome: &Outcome| match outcome {
            Outcome::Packet(Verdict::Drop(reason), _) => Some(*reason),
            _ => None,
        };
        self.outcomes.iter().flatten().filter_map(reason).collect()
    }
}

/// All ends of two CPUs' work that differ by where they take turns: first, second, first, second.
fn explore(plan: &Plan, before: &Shared, cpus: &[Vec<Work>; 2], mut check: impl FnMut(&End)) {
    Machine::with(plan, cpus, |machine| {
        let mut run = |schedule: Schedule| {
            let (shared, outcomes) = machine.run(before, &schedule);
            let end = End { shared, outcomes, schedule };
            check_untouched(cpus, &end);
            check(&end);
            end.shared.steps
        };
        for (first, second) in [(0, 1), (1, 0)] {
            take_turns(|[a, b, c]| {
                let steps = run(vec![(first, a), (second, b), (first, c), (second, usize::MAX)]);
                [a >= steps[first], b >= steps[second], a + c >= steps[first]]
            });
        }
    });
}

/// Counts all three turns up, each until the run says that a longer one makes no difference.
fn take_turns(mut run: impl FnMut([usize; 3]) -> [bool; 3]) {
    for a in 0.. {
        let mut ended = [false; 3];
        for b in 1.. {
            for c in 1.. {
                ended = run([a, b, c]);
                if ended != [false; 3] {
                    break;
                }
            }
            if ended[0] || ended[1] {
                break;
            }
        }
        if ended[0] {
            break;
        }
    }
}

/// A packet that is not sent has not been changed; one that is sent is whole.
fn check_untouched(cpus: &[Vec<Work>; 2], end: &End) {
    for (work, outcome) in cpus.iter().flatten().zip(end.outcomes.iter().flatten()) {
        let (Work::Packet { packet, .. }, Outcome::Packet(verdict, bytes)) = (work, outcome) else {
            continue;
        };
        match verdict {
            Verdict::Drop(_) => assert_eq!(packet.bytes, *bytes),
            Verdict::Redirect { .. } => drop(Received::read(bytes)),
            verdict => panic!("{verdict:?} of a packet of ours, {:?}", end.schedule),
        }
    }
}

fn assert_whole(end: &End) {
    assert_eq!(end.shared.fault(), None, "{:?}: {:#?}", end.schedule, end.shared);
}

/// Every packet that left belongs to an entry: it left as the reverse of that entry's pair.
fn assert_leaves_as_tracked(end: &End, key: &FlowKey) {
    let entry = end.shared.entry(key).expect("the flow is tracked");
    for sent in end.outcomes.iter().flatten().filter_map(received) {
        let pair = FlowKey::v4(entry.pair.side(), Protocol::Tcp, sent.dst, sent.src);
        assert!(pair == entry.pair, "left as {sent:?}, tracked as {entry:?}: {:?}", end.schedule);
    }
}

#[test]
fn two_cpus_that_open_one_flow_make_one() {
    let connection = Connection::new();
    let syn = || vec![Connection::from_client(SYN, NOW)];
    let mut adopted = 0;
    explore(&connection.plan, &roomy(), &[syn(), syn()], |end| {
        assert_whole(end);
        assert_eq!(end.drops(), [], "{:?}", end.schedule);
        assert_eq!(end.shared.half_open.entries().count(), 2, "{:?}", end.schedule);
        assert_eq!(end.shared.counter(Counter::FlowsOpened), 1);
        assert_leaves_as_tracked(end, &Connection::original());
        adopted += end.shared.counter(Counter::RacesAdopted);
    });
    assert!(adopted > 0, "no order was a race");
}

#[test]
fn two_flows_that_want_one_port_get_two() {
    // One backend, one client port: both replies would come from the same place to the same port.
    let plan = Plan { tenants: vec![Tenant { backends: 1, ..Tenant::new(1) }], ..Plan::three_tenants() };
    let syn = |client| vec![from_npci(&Frame::tcp(SYN, client, VIP))];
    let mut kept = BTreeSet::new();
    explore(&plan, &roomy(), &[syn(CLIENT), syn("203.0.113.8:40000")], |end| {
        assert_whole(end);
        assert_eq!((end.drops(), end.shared.half_open.entries().count()), (vec![], 4), "{:?}", end.schedule);
        let sent: Vec<_> = end.outcomes.iter().flatten().filter_map(received).collect();
        assert_ne!(sent[0].src, sent[1].src, "{:?}", end.schedule);
        kept.extend(sent.iter().position(|sent| sent.src.1 == Port::new(40_000)));
        assert_eq!(end.shared.counter(Counter::PortRetries), 1);
    });
    assert_eq!(kept.len(), 2, "each was the faster one in some order");
}

#[test]
fn one_free_port_goes_to_one_flow_and_the_other_leaves_nothing() {
    let plan =
        Plan { slices: 1, tenants: vec![Tenant { backends: 1, ..Tenant::new(1) }], ..Plan::three_tenants() };
    let syn = |port: u16| from_npci(&Frame::tcp(SYN, &std::format!("203.0.113.9:{port}"), VIP));
    // Takes all but one of slice 0's ports, each flow keeping its client's.
    let backend = std::format!("{}:{}", plan.tenants[0].backend(1).0, plan.tenants[0].backend(1).1);
    let established = |port: u16| {
        let (client, nat) =
            (std::format!("203.0.113.9:{port}"), std::format!("{}:{port}", plan.tenants[0].nat()));
        let answer = packet(&Frame::tcp(SYN_ACK, &backend, &nat), Side::Internal, NOW);
        [syn(port), answer, from_npci(&Frame::tcp(ACK, &client, VIP))]
    };
    let taken: Vec<_> = (1024..2047).flat_map(established).collect();
    let (before, outcomes) = after(&plan, &Shared::empty([4096; 2]), &taken);
    assert!(outcomes.iter().all(|outcome| received(outcome).is_some()));
    let works = [(8, 2047), (7, 2047)]
        .map(|(host, port)| vec![from_npci(&Frame::tcp(SYN, &std::format!("203.0.113.{host}:{port}"), VIP))]);
    Machine::with(&plan, &works, |machine| {
        for first in 0..8 {
            for schedule in [vec![(0, first), (1, usize::MAX)], vec![(1, first), (0, usize::MAX)]] {
                let (shared, outcomes) = machine.run(&before, &schedule);
                let end = End { shared, outcomes, schedule };
                assert_whole(&end);
                let is_refused = |outcome: &&Outcome| matches!(outcome, Outcome::Packet(Verdict::Reply, _));
                let refused = end.outcomes.iter().flatten().filter(is_refused).count();
                assert_eq!((refused, end.drops()), (1, vec![]), "{:?}", end.schedule);
                let entries =
                    [&end.shared.established, &end.shared.half_open].map(|table| table.entries().count());
                assert_eq!(entries, [2 * 1023, 2], "{:?}", end.schedule);
            }
        }
    });
}

/// Drops of packets that deserve none: see `a_packet_of_a_live_flow_is_never_dropped`.
fn is_spurious(reason: DropReason) -> bool {
    matches!(reason, DropReason::NoFlow | DropReason::NoListener)
}

fn assert_no_other_drops(end: &End) {
    assert!(end.drops().into_iter().all(is_spurious), "{:?} {:?}", end.drops(), end.schedule);
}

#[test]
fn promotion_races_with_a_second_packet() {
    let connection = Connection::new();
    let before = connection.answered([64, 64]);
    let second = [
        Connection::from_client(ACK, NOW),
        Connection::from_client(SYN, NOW),
        Connection::from_client(FIN, NOW),
        connection.answer(SYN_ACK, NOW),
        connection.answer(ACK, NOW),
    ];
    for second in second {
        explore(
            &connection.plan,
            &before,
            &[vec![Connection::from_client(ACK, NOW)], vec![second.clone()]],
            |end| {
                assert_whole(end);
                assert_no_other_drops(end);
                assert_eq!(end.shared.established.entries().count(), 2, "{:?}", end.schedule);
                assert_eq!(end.shared.half_open.entries().count(), 0, "{:?}", end.schedule);
                assert!(end.shared.counter(Counter::FlowsEstablished) <= 1, "{:?}", end.schedule);
            },
        );
    }
}

#[test]
fn promotion_races_with_opening_on_the_same_tuple() {
    // A repeated SYN meets the flow half-open, on its way, or established; one from a new client wants its port.
    let plan = Plan { tenants: vec![Tenant { backends: 1, ..Tenant::new(1) }], ..Plan::three_tenants() };
    let connection = Connection { plan };
    let before = connection.answered([64, 64]);
    let other = "203.0.113.8:40000";
    for (client, entries) in [(CLIENT, 2), (other, 4)] {
        let works = [vec![Connection::from_client(ACK, NOW)], vec![from_npci(&Frame::tcp(SYN, client, VIP))]];
        explore(&connection.plan, &before, &works, |end| {
            assert_whole(end);
            assert_no_other_drops(end);
            let [established, half_open] =
                [&end.shared.established, &end.shared.half_open].map(|table| table.entries().count());
            assert_eq!((established, half_open), (2, entries - 2), "{:?}", end.schedule);
        });
    }
}

#[test]
fn a_whole_handshake_between_any_two_steps_of_a_repeated_syn() {
    let connection = Connection::new();
    let handshake = vec![
        Connection::from_client(SYN, NOW),
        connection.answer(SYN_ACK, NOW),
        Connection::from_client(ACK, NOW),
    ];
    explore(&connection.plan, &roomy(), &[vec![Connection::from_client(SYN, NOW)], handshake], |end| {
        assert_whole(end);
        assert_no_other_drops(end);
        assert!(end.shared.counter(Counter::FlowsOpened) <= 1, "{:?}", end.schedule);
    });
}

fn expire(table: FlowTable, key: FlowKey, now_ns: u64) -> Vec<Work> {
    vec![Work::Expire { table, key, now_ns }]
}

/// Both keys of the connection's flow.
fn keys(shared: &Shared) -> [FlowKey; 2] {
    let original = Connection::original();
    [original, shared.entry(&original).unwrap().pair]
}

#[test]
fn expiry_races_with_a_flow_that_revives() {
    let connection = Connection::new();
    let before = connection.established();
    let later = NOW + 7_441 * SECOND;
    let packets =
        [Connection::from_client(ACK, later), connection.answer(ACK, later), connection.answer(FIN, later)];
    for (key, packet) in
        keys(&before).into_iter().flat_map(|key| packets.iter().map(move |packet| (key, packet)))
    {
        let mut ends = BTreeSet::new();
        let works = [expire(FlowTable::Established, key, later), vec![packet.clone()]];
        explore(&connection.plan, &before, &works, |end| {
            assert_whole(end);
            let left = end.shared.established.entries().count();
            let kept = end.outcomes[0][0] == Outcome::Expiry(Expiry::Kept);
            assert_eq!(left, if kept { 2 } else { 0 }, "both entries or none: {:?}", end.schedule);
            ends.insert(kept);
        });
        assert_eq!(ends.len(), 2, "each was the faster one in some order");
    }
}

#[test]
fn expiry_races_with_a_syn_that_uses_a_closed_tuple_again() {
    let connection = Connection::new();
    let closing = [
        Connection::from_client(SYN, NOW),
        connection.answer(SYN_ACK, NOW),
        Connection::from_client(FIN, NOW),
        connection.answer(FIN, NOW),
    ];
    let before = after(&connection.plan, &roomy(), &closing).0;
    let original = Connection::original();
    assert_eq!(before.established.entry(&original).unwrap().state(), State::Closing);
    let later = NOW + 241 * SECOND;
    for key in keys(&before) {
        let works = [
            expire(FlowTable::Established, key, later),
            vec![Connection::from_client(SYN, later), Connection::from_client(SYN, later)],
        ];
        explore(&connection.plan, &before, &works, |end| {
            assert_whole(end);
            assert_no_other_drops(end);
        });
    }
}

#[test]
fn expiry_of_a_half_open_flow_races_with_a_repeated_syn() {
    let connection = Connection::new();
    let before = after(&connection.plan, &roomy(), &[Connection::from_client(SYN, NOW)]).0;
    let later = NOW + 31 * SECOND;
    for key in keys(&before) {
        let works = [expire(FlowTable::HalfOpen, key, later), vec![Connection::from_client(SYN, later)]];
        explore(&connection.plan, &before, &works, |end| {
            assert_no_other_drops(end);
            assert_whole(end);
        });
    }
}

#[test]
fn expiry_races_with_a_late_third_packet() {
    let connection = Connection::new();
    let before = connection.answered([64, 64]);
    let later = NOW + 31 * SECOND;
    for key in keys(&before) {
        let works = [expire(FlowTable::HalfOpen, key, later), vec![Connection::from_client(ACK, later)]];
        explore(&connection.plan, &before, &works, assert_whole);
    }
}

#[test]
fn a_packet_of_a_live_flow_is_never_dropped() {
    let connection = Connection::new();
    let before = connection.answered([64, 64]);
    let second = [
        Connection::from_client(ACK, NOW),
        Connection::from_client(SYN, NOW),
        Connection::from_client(FIN, NOW),
        connection.answer(SYN_ACK, NOW),
        connection.answer(ACK, NOW),
        connection.answer(FIN, NOW),
    ];
    for second in second {
        explore(
            &connection.plan,
            &before,
            &[vec![Connection::from_client(ACK, NOW)], vec![second.clone()]],
            |end| {
                assert_eq!(end.drops(), [], "{:?} {second:?}", end.schedule);
            },
        );
    }
}

#[test]
fn two_cpus_that_open_one_flow_with_a_preserved_source_make_one() {
    let plan = Plan { tenants: vec![Tenant { preserve: true, ..Tenant::new(1) }], ..Plan::three_tenants() };
    let datagram = || vec![from_npci(&Frame::udp(CLIENT, VIP))];
    explore(&plan, &roomy(), &[datagram(), datagram()], |end| {
        assert_whole(end);
        assert_eq!(end.drops(), [], "{:?}", end.schedule);
    });
}

#[test]
fn a_stale_write_never_changes_another_flow() {
    let connection = Connection::new();
    let before = connection.established();
    let later = NOW + 7_441 * SECOND;
    // The old flow's FIN; meanwhile it expires and another connection takes its elements.
    let other = "203.0.113.8:41000";
    let works = |backend: Work| {
        let expiry = expire(FlowTable::Established, Connection::original(), later).remove(0);
        let third = from_npci_at(&Frame::tcp(ACK, other, VIP), later);
        [vec![Connection::from_client(FIN, later)], vec![expiry, backend, third]]
    };
    let syn = from_npci_at(&Frame::tcp(SYN, other, VIP), later);
    let (_, outcomes) = after(&connection.plan, &roomy(), std::slice::from_ref(&syn));
    let seen = received(&outcomes[0]).unwrap();
    let answer =
        packet(&Frame::new(super::frame::Kind::Tcp(SYN_ACK), seen.dst, seen.src), Side::Internal, later);
    let before = after(&connection.plan, &before, &[syn]).0;
    explore(&connection.plan, &before, &works(answer), |end| {
        let key =
            FlowKey::v4(Side::External, Protocol::Tcp, super::frame::end(other), super::frame::end(VIP));
        let entry = end.shared.entry(&key).unwrap();
        assert_eq!(entry.state(), State::Established, "{:?}", end.schedule);
    });
}

fn from_npci_at(frame: &Frame, now_ns: u64) -> Work {
    packet(frame, Side::External, now_ns)
}

#[test]
fn a_full_table_of_established_flows_leaves_both_entries_where_they_were() {
    let connection = Connection::new();
    for capacity in [0, 1] {
        let before = connection.answered([capacity, 64]);
        let ack = || vec![Connection::from_client(ACK, NOW)];
        explore(&connection.plan, &before, &[ack(), ack()], |end| {
            assert_eq!(end.shared.fault(), None, "{:?}", end.schedule);
            let drops = end.drops();
            assert!(!drops.is_empty() && drops.iter().all(|reason| *reason == DropReason::FlowTableFull));
            assert_eq!(end.shared.half_open.entries().count(), 2, "{:?}", end.schedule);
            let original = end.shared.entry(&Connection::original()).unwrap();
            assert!(original.flags.contains(EntryFlags::ORIGINAL));
        });
    }
}
