use super::{
    frame::{ACK, Frame, RST, SYN, SYN_ACK},
    world::{EXTERNAL_IF, INTERNAL_IF, NOW, Plan, SECOND, forward, send},
};
use crate::{
    abi::{Counter, FlowEnd, Side},
    drop_reason::DropReason,
    forward::{Expiry, expire},
    limits::{self, CHALLENGE_LINGER_NS},
    memory::MemoryTables,
    tables::{FlowChange, FlowTable},
    verdict::Verdict,
    wire::checksum::compute,
};
use std::{format, string::String, vec::Vec};

const VIP: &str = "192.0.2.10:8441";
const OTHER: &str = "192.0.2.10:8442";
const HALF_OPEN_PLACES: usize = limits::HALF_OPEN_PLACES as usize;
const ABOVE: u16 = 100;
/// A reset as it answers a segment with an ACK: without one.
const BARE_RST: u8 = 0x04;

fn tables(challenge_above: u16) -> MemoryTables {
    let mut tables = Plan::three_tenants().tables();
    tables.half_open.capacity = 4 * HALF_OPEN_PLACES;
    let settings = tables.settings.as_mut().unwrap();
    settings.challenge_above = challenge_above;
    settings.cookie_key = [3, 4];
    tables
}

fn syn(tables: &MemoryTables, client: &str, listener: &str, now_ns: u64) -> (Verdict, Vec<u8>) {
    let mut packet = Frame::tcp(SYN, client, listener).packet(EXTERNAL_IF);
    (send(tables, &mut packet, Side::External, now_ns), packet.bytes)
}

/// Addresses that nobody answers for.
fn flood(tables: &MemoryTables, count: usize, now_ns: u64) -> Vec<Verdict> {
    let client = |number: usize| format!("203.0.113.{}:{}", number % 200, 1024 + number / 200);
    (0..count).map(|number| syn(tables, &client(number), VIP, now_ns).0).collect()
}

/// Sends a client's reset with this sequence number, as its stack answers a challenge.
fn reset(tables: &MemoryTables, client: &str, sequence_number: [u8; 4], now_ns: u64) -> Verdict {
    let mut bytes = Frame { payload: Vec::new(), ..Frame::tcp(BARE_RST, client, VIP) }.build();
    bytes[38..42].copy_from_slice(&sequence_number);
    let mut packet = crate::memory::BytesPacket { bytes, ingress_ifindex: EXTERNAL_IF };
    send(tables, &mut packet, Side::External, now_ns)
}

fn cookie(challenge: &[u8]) -> [u8; 4] {
    challenge[42..46].try_into().unwrap()
}

/// A client in a flood: challenged, answers, is let in.
fn gets_in(tables: &MemoryTables, client: &str, now_ns: u64) {
    let (verdict, challenge) = syn(tables, client, VIP, now_ns);
    assert_eq!(verdict, Verdict::Reply, "{client}");
    assert_eq!(
        reset(tables, client, cookie(&challenge), now_ns),
        Verdict::Drop(DropReason::ChallengeAnswered)
    );
    let (verdict, _) = syn(tables, client, VIP, now_ns + SECOND);
    assert!(matches!(verdict, Verdict::Redirect { .. }), "{client}: {verdict:?}");
}

#[test]
fn a_listener_has_no_more_half_open_flows_than_places_and_the_oldest_makes_way() {
    let tables = tables(0);
    let first = "203.0.113.7:60000";
    assert!(matches!(syn(&tables, first, VIP, NOW).0, Verdict::Redirect { .. }));
    assert!(matches!(syn(&tables, first, OTHER, NOW).0, Verdict::Redirect { .. }));
    assert!(
        flood(&tables, HALF_OPEN_PLACES, NOW)
            .iter()
            .all(|verdict| matches!(verdict, Verdict::Redirect { .. }))
    );
    assert_eq!(tables.counter(Counter::HalfOpenEvicted), 1);
    let changes = tables.changes.take();
    let ended: Vec<_> = changes.iter().filter(|(change, ..)| !matches!(change, FlowChange::Opened)).collect();
    let (_, tenant, keys) = changes[0];
    assert_eq!(ended, [&(FlowChange::Ended(FlowEnd::Evicted), tenant, keys)], "the first");
    assert_eq!(tables.half_open.entries().len(), 2 * (HALF_OPEN_PLACES + 1), "and one of another listener");
    assert!(
        tables
            .half_open
            .entries()
            .iter()
            .all(|entry| entry.key.src_port.number() != 60_000 || entry.key.dst_port.number() == 8442)
    );
    let flows: i64 = tables.tenant_use.borrow().values().map(|used| used.flows).sum();
    assert_eq!(flows, i64::try_from(HALF_OPEN_PLACES).unwrap() + 1);
}

#[test]
fn what_was_answered_makes_no_way() {
    let tables = tables(0);
    let client = "203.0.113.7:60000";
    let (_, sent) = forward(&tables, Frame::tcp(SYN, client, VIP).packet(EXTERNAL_IF), Side::External, NOW);
    let answer = Frame { src: sent.dst, dst: sent.src, ..Frame::tcp(SYN_ACK, client, VIP) };
    forward(&tables, answer.packet(INTERNAL_IF), Side::Internal, NOW);
    forward(&tables, Frame::tcp(ACK, client, VIP).packet(EXTERNAL_IF), Side::External, NOW);
    flood(&tables, 3 * HALF_OPEN_PLACES, NOW);
    assert_eq!(tables.established.entries().len(), 2);
    assert!(matches!(
        send(&tables, &mut Frame::tcp(ACK, client, VIP).packet(EXTERNAL_IF), Side::External, NOW),
        Verdict::Redirect { .. }
    ));
}

#[test]
fn a_tenants_calls_are_bounded_too() {
    let tables = tables(0);
    for number in 0..2 * HALF_OPEN_PLACES {
        let call = Frame::udp(&format!("198.18.1.9:{}", 2000 + number), "203.0.113.1:443");
        forward(&tables, call.packet(INTERNAL_IF), Side::Internal, NOW);
    }
    assert_eq!(tables.half_open.entries().len(), 2 * HALF_OPEN_PLACES);
}

#[test]
fn whoever_always_calls_from_the_same_port_gets_a_flow_each_time() {
    let tables = tables(0);
    for round in 0..=u64::from(limits::HALF_OPEN_PLACES) {
        let now_ns = NOW + round * 40 * SECOND;
        assert!(matches!(syn(&tables, "203.0.113.7:123", VIP, now_ns).0, Verdict::Redirect { .. }));
        let entries = tables.half_open.entries();
        assert_eq!(entries.len(), 2, "round {round}: sent, and its flow is gone");
        let outcome = expire(&tables, FlowTable::HalfOpen, &entries[0].key, now_ns + 31 * SECOND);
        assert_eq!(outcome, Expiry::Expired);
    }
}

#[test]
fn clients_of_a_crowded_listener_are_challenged_and_those_of_others_are_not() {
    let tables = tables(ABOVE);
    let verdicts = flood(&tables, 2 * usize::from(ABOVE), NOW);
    let (let_in, challenged) = verdicts.split_at(usize::from(ABOVE));
    assert!(let_in.iter().all(|verdict| matches!(verdict, Verdict::Redirect { .. })));
    assert!(challenged.iter().all(|verdict| *verdict == Verdict::Reply));
    assert_eq!(tables.drops.borrow()[&DropReason::ClientChallenged], u64::from(ABOVE));
    assert_eq!(tables.half_open.entries().len(), 2 * usize::from(ABOVE), "a challenge leaves nothing behind");
    assert!(matches!(syn(&tables, "203.0.113.7:60000", OTHER, NOW).0, Verdict::Redirect { .. }));
    gets_in(&tables, "203.0.113.7:60000", NOW);
    // One answer counts for all connections of a client.
    assert!(matches!(syn(&tables, "203.0.113.7:60001", VIP, NOW + SECOND).0, Verdict::Redirect { .. }));
    assert_eq!(syn(&tables, "203.0.113.8:60001", VIP, NOW + SECOND).0, Verdict::Reply);
}

#[test]
fn a_challenge_is_a_whole_segment_that_acknowledges_nothing_of_the_clients() {
    let tables = tables(1);
    flood(&tables, 2, NOW);
    let (verdict, challenge) = syn(&tables, "203.0.113.7:60000", VIP, NOW);
    assert_eq!((verdict, challenge.len(), challenge[47]), (Verdict::Reply, 54, 0x12));
    assert_eq!(compute(&challenge[14..34], 0), 0, "IP checksum");
    let pseudo = [&challenge[26..34], &[0, 6, 0, 20]].concat();
    assert_eq!(compute(&[&pseudo[..], &challenge[34..54]].concat(), 0), 0, "TCP checksum");
    assert_ne!(cookie(&challenge), [0, 0, 0, 2], "of the SYN with number 1");
    let (_, another) = syn(&tables, "203.0.113.7:60001", VIP, NOW);
    assert_ne!(cookie(&another), cookie(&challenge));
}

#[test]
fn only_the_cookie_counts_and_only_for_a_while() {
    let tables = tables(1);
    flood(&tables, 2, NOW);
    let client = "203.0.113.7:60000";
    let cookie = cookie(&syn(&tables, client, VIP, NOW).1);
    let mut wrong = cookie;
    wrong[3] ^= 1;
    let refused = Verdict::Drop(DropReason::NoFlow);
    assert_eq!(reset(&tables, client, wrong, NOW), refused);
    assert_eq!(reset(&tables, "203.0.113.8:60000", cookie, NOW), refused, "another's cookie");
    assert_eq!(reset(&tables, client, cookie, NOW + 18 * SECOND), refused, "too late");
    assert_eq!(syn(&tables, client, VIP, NOW + SECOND).0, Verdict::Reply);
    assert_eq!(
        reset(&tables, client, cookie, NOW + 8 * SECOND),
        Verdict::Drop(DropReason::ChallengeAnswered)
    );
    // An ordinary reset with an ACK is no answer.
    let mut packet = Frame::tcp(RST, client, VIP).packet(EXTERNAL_IF);
    assert_eq!(send(&tables, &mut packet, Side::External, NOW), refused);
}

#[test]
fn where_even_known_clients_are_forged_each_connection_answers_for_itself() {
    let tables = tables(ABOVE);
    flood(&tables, usize::from(ABOVE) + 1, NOW);
    let known = "203.0.113.7";
    gets_in(&tables, &format!("{known}:60000"), NOW);
    let connect = |port: u16| syn(&tables, &format!("{known}:{port}"), VIP, NOW + SECOND).0;
    let let_in = (2000..3000).take_while(|port| matches!(connect(*port), Verdict::Redirect { .. })).count();
    let severe = usize::midpoint(usize::from(ABOVE), HALF_OPEN_PLACES);
    assert_eq!(let_in + usize::from(ABOVE) + 1, severe, "half-open flows");
    gets_in(&tables, &String::from("203.0.113.7:60002"), NOW + SECOND);
}

#[test]
fn challenges_end_some_time_after_the_flood() {
    let tables = tables(ABOVE);
    flood(&tables, usize::from(ABOVE) + 1, NOW);
    let keys: Vec<_> = tables.half_open.entries().iter().map(|entry| entry.key).collect();
    let later = NOW + CHALLENGE_LINGER_NS + SECOND;
    for key in keys {
        let _outcome = crate::forward::expire(&tables, crate::tables::FlowTable::HalfOpen, &key, later);
    }
    assert_eq!(syn(&tables, "203.0.113.7:60000", VIP, NOW + CHALLENGE_LINGER_NS - SECOND).0, Verdict::Reply);
    assert!(matches!(syn(&tables, "203.0.113.7:60000", VIP, later).0, Verdict::Redirect { .. }));
}
