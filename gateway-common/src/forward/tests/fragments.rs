use super::{
    frame::{ACK, Frame, Received, SYN, SYN_ACK, end, seal},
    world::{EXTERNAL_IF, INTERNAL_IF, NOW, Plan, SECOND, Tenant, npci, send},
};
use crate::{
    abi::{DATAGRAMS_PER_SOURCE, HairpinKey, Port, Side, TenantId},
    drop_reason::DropReason,
    forward::resume,
    memory::{BytesPacket, MemoryTables},
    verdict::Verdict,
    wire::checksum::compute,
};
use proptest::prelude::*;
use std::{vec, vec::Vec};

/// Cuts an untagged frame without IP options into parts of at most `len` bytes each, with this identification.
pub fn parts(frame: &[u8], len: usize, id: u16) -> Vec<Vec<u8>> {
    assert_eq!(len % 8, 0);
    let (headers, payload) = frame.split_at(34);
    let chunks: Vec<&[u8]> = payload.chunks(len).collect();
    (0..chunks.len())
        .map(|index| {
            let bits = u16::try_from(index * len / 8).unwrap();
            let more = if index + 1 < chunks.len() { 0x2000 } else { 0 };
            part(headers, chunks[index], bits | more, id)
        })
        .collect()
}

/// One part, with these flags and this offset.
fn part(headers: &[u8], payload: &[u8], bits: u16, id: u16) -> Vec<u8> {
    let mut bytes = [headers, payload].concat();
    bytes[16..18].copy_from_slice(&u16::try_from(20 + payload.len()).unwrap().to_be_bytes());
    bytes[18..20].copy_from_slice(&id.to_be_bytes());
    bytes[20..22].copy_from_slice(&bits.to_be_bytes());
    bytes[24..26].fill(0);
    let checksum = compute(&bytes[14..34], 0).to_ne_bytes();
    bytes[24..26].copy_from_slice(&checksum);
    bytes
}

/// Puts parts together again, as a receiver does, in any order.
fn whole(parts: &[Vec<u8>]) -> Vec<u8> {
    let offset = |part: &[u8]| usize::from(u16::from_be_bytes([part[20], part[21]]) & 0x1fff) * 8;
    let end = parts.iter().map(|part| offset(part) + part.len() - 34).max().unwrap();
    let mut payload = vec![0; end];
    for one in parts {
        assert_eq!(compute(&one[14..34], 0), 0, "header checksum of a part");
        payload[offset(one)..offset(one) + one.len() - 34].copy_from_slice(&one[34..]);
    }
    let first = parts.iter().find(|part| offset(part) == 0).unwrap();
    part(&first[..34], &payload, 0, 0)
}

fn run(tables: &MemoryTables, bytes: Vec<u8>, side: Side, now: u64) -> (Verdict, Vec<u8>) {
    let mut packet = BytesPacket { bytes, ingress_ifindex: side as u32 + 1 };
    let verdict = send(tables, &mut packet, side, now);
    (verdict, packet.bytes)
}

fn sent(tables: &MemoryTables, bytes: Vec<u8>, side: Side) -> Vec<u8> {
    let (verdict, bytes) = run(tables, bytes, side, NOW);
    assert!(matches!(verdict, Verdict::Redirect { .. }), "{verdict:?}");
    bytes
}

fn datagram(len: usize) -> Frame {
    let payload = (0..len).map(|byte| u8::try_from(byte % 251).unwrap()).collect();
    Frame { payload, ..Frame::udp("203.0.113.7:40000", "192.0.2.10:8441") }
}

fn segment(flags: u8) -> Frame {
    Frame::tcp(flags, "203.0.113.7:40000", "192.0.2.10:8441")
}

/// Its options could lie in a part that nobody looks into; no stack sends it so.
#[test]
fn a_syn_in_parts_opens_nothing_and_answers_nothing() {
    let tables = Plan::three_tenants().tables();
    let opening = Frame { payload: vec![7; 100], ..segment(SYN) };
    for part in parts(&opening.build(), 24, 7) {
        assert!(!matches!(run(&tables, part, Side::External, NOW).0, Verdict::Redirect { .. }));
    }
    assert!(tables.half_open.entries().is_empty());
    let called = Received::read(&sent(&tables, segment(SYN).build(), Side::External));
    let answer = Frame { src: called.dst, dst: called.src, payload: vec![7; 100], ..segment(SYN_ACK) };
    let first = parts(&answer.build(), 24, 8).remove(0);
    assert_eq!(run(&tables, first, Side::Internal, NOW).0, Verdict::Drop(DropReason::BadFragment));
    let elsewhere = Frame { dst: end("192.0.2.2:80"), ..opening };
    let first = parts(&elsewhere.build(), 24, 9).remove(0);
    assert_eq!(run(&tables, first, Side::External, NOW).0, Verdict::Pass);
}

/// 20 kB in both directions, TCP and ICMP in parts, too: the far end puts together what was sent.
#[test]
fn datagrams_in_parts_arrive_whole() {
    let outward = Frame::udp("198.18.1.9:50000", "203.0.113.1:443");
    let echo = Frame { dst: (npci(1), Port::NONE), ..Frame::echo_request("198.18.1.9:5", "203.0.113.1:1") };
    for (frame, side) in [
        (datagram(1), Side::External),
        (segment(ACK), Side::External),
        (outward, Side::Internal),
        (echo, Side::Internal),
    ] {
        let frame = Frame { payload: datagram(20_000).payload, ..frame };
        let (tables, direct) = (Plan::three_tenants().tables(), Plan::three_tenants().tables());
        for tables in [&tables, &direct] {
            sent(tables, segment(SYN).build(), Side::External);
        }
        let out: Vec<_> =
            parts(&frame.build(), 1480, 7).into_iter().map(|part| sent(&tables, part, side)).collect();
        let received = Received::read(&whole(&out));
        let wanted = Received::read(&sent(&direct, frame.build(), side));
        assert_eq!((received.src, received.dst, &received.rest), (wanted.src, wanted.dst, &wanted.rest));
    }
}

/// A copy that comes late is refused and leaves nothing behind; the identification may be used again soon.
#[test]
fn a_whole_datagram_is_remembered_for_a_moment() {
    let tables = Plan::three_tenants().tables();
    let cut = parts(&datagram(4000).build(), 1480, 3);
    let later = NOW + SECOND / 10;
    for _ in 0..2 {
        for part in &cut {
            sent(&tables, part.clone(), Side::External);
        }
        for copy in &cut {
            let verdict = run(&tables, copy.clone(), Side::External, later - 1).0;
            assert_eq!(verdict, Verdict::Drop(DropReason::BadFragment));
        }
        assert_eq!(tables.datagrams.borrow().len(), 1);
        let again = run(&tables, cut[0].clone(), Side::External, later).0;
        assert!(matches!(again, Verdict::Redirect { .. }), "{again:?}");
        tables.datagrams.borrow_mut().clear();
    }
}

proptest! {
    /// In any order, cut anywhere: what comes before the first part is kept, and goes on after it.
    #[test]
    fn order_does_not_matter(order in Just((0..14_usize).collect::<Vec<_>>()).prop_shuffle(), cut in 1_usize..180) {
        let (tables, frame) = (Plan::three_tenants().tables(), datagram(cut * 8 * 13 - 3));
        let parts = parts(&frame.build(), cut * 8, 99);
        let (mut kept, mut out) = (Vec::new(), Vec::new());
        for index in order.into_iter().filter(|index| *index < parts.len()) {
            match run(&tables, parts[index].clone(), Side::External, NOW) {
                (Verdict::Held, bytes) => kept.push(bytes),
                (Verdict::Redirect { .. }, bytes) => {
                    out.push(bytes);
                    for bytes in std::mem::take(&mut kept) {
                        let mut packet = BytesPacket { bytes, ingress_ifindex: EXTERNAL_IF };
                        let verdict = resume(&mut packet, &tables, Side::External, NOW);
                        prop_assert!(matches!(verdict, Verdict::Redirect { .. }), "{verdict:?}");
                        out.push(packet.bytes);
                    }
                }
                (verdict, _) => prop_assert!(false, "{verdict:?}"),
            }
        }
        prop_assert_eq!(out.len(), parts.len());
        let received = Received::read(&whole(&out));
        prop_assert_eq!(received.src.0, Tenant::new(1).nat());
    }

    /// Whatever parts come: no byte of a datagram reaches the other side twice.
    #[test]
    fn nothing_is_sent_twice(cuts in prop::collection::vec((0_u16..40, 1_usize..20, any::<bool>()), 1..40)) {
        let tables = Plan::three_tenants().tables();
        let whole = datagram(400).build();
        let mut seen = [false; 64];
        for (offset, units, more) in cuts {
            let payload = if offset == 0 { whole[34..34 + units * 8].to_vec() } else { vec![1; units * 8] };
            let bits = offset | if more || offset == 0 { 0x2000 } else { 0 };
            let (verdict, _) = run(&tables, part(&whole[..34], &payload, bits, 5), Side::External, NOW);
            if matches!(verdict, Verdict::Redirect { .. }) {
                let range = usize::from(offset)..usize::from(offset) + units;
                prop_assert!(!seen[range.clone()].contains(&true), "{offset} {units}");
                seen[range].fill(true);
            }
        }
    }
}

#[test]
fn a_part_that_overlaps_is_refused() {
    let tables = Plan::three_tenants().tables();
    let frame = datagram(4000).build();
    let cut = parts(&frame, 1480, 3);
    sent(&tables, cut[0].clone(), Side::External);
    let refused = (Verdict::Drop(DropReason::BadFragment), cut[0].clone());
    assert_eq!(run(&tables, cut[0].clone(), Side::External, NOW), refused, "the first part again");
    for (offset, len) in [(1, 8), (184, 16), (184, 8), (100, 1480)] {
        let overlapping = part(&frame[..34], &vec![9; len], offset | 0x2000, 3);
        let verdict = run(&tables, overlapping, Side::External, NOW).0;
        assert_eq!(verdict, Verdict::Drop(DropReason::BadFragment), "{offset}");
    }
    sent(&tables, cut[1].clone(), Side::External);
}

#[test]
fn parts_that_contradict_themselves_are_refused() {
    let tables = Plan::three_tenants().tables();
    let frame = datagram(4000).build();
    sent(&tables, parts(&frame, 1480, 3)[0].clone(), Side::External);
    let bad = Verdict::Drop(DropReason::BadFragment);
    for (what, payload, bits) in [
        ("not a multiple of 8, and more follow", 13, 0x212c),
        ("empty", 0, 300),
        ("beyond the largest datagram", 1480, 8180),
    ] {
        let bytes = part(&frame[..34], &vec![1; payload], bits, 3);
        assert_eq!(run(&tables, bytes, Side::External, NOW).0, bad, "{what}");
    }
    let short = part(&frame[..34], &frame[34..34 + 20], 0x2000, 4);
    assert_eq!(run(&tables, short, Side::External, NOW).0, bad, "a first part of 20 bytes");
    let tiny = Frame::tcp(super::frame::SYN, "203.0.113.7:1", "192.0.2.10:8441").build();
    let tiny = part(&tiny[..34], &tiny[34..50], 0x2000, 4);
    let verdict = run(&tables, tiny, Side::External, NOW).0;
    assert_eq!(verdict, Verdict::Drop(DropReason::BadTransportHeader), "TCP flags in the second part");
}

#[test]
fn parts_that_come_too_late_or_of_another_datagram_are_unmatched() {
    let tables = Plan::three_tenants().tables();
    let cut = parts(&datagram(4000).build(), 1480, 3);
    sent(&tables, cut[0].clone(), Side::External);
    assert_eq!(run(&tables, cut[1].clone(), Side::External, NOW + 15 * SECOND).0, Verdict::Held);
    for change in [|bytes: &mut Vec<u8>| bytes[19] ^= 1, |bytes: &mut Vec<u8>| bytes[23] = 6] {
        let mut other = cut[1].clone();
        change(&mut other);
        seal(&mut other);
        assert_eq!(run(&tables, other, Side::External, NOW).0, Verdict::Held);
    }
}

#[test]
fn one_source_fills_its_own_places_alone() {
    let tables = Plan::three_tenants().tables();
    let quiet = Frame { src: end("203.0.113.8:40000"), ..datagram(4000) };
    let quiet = parts(&quiet.build(), 1480, 1);
    sent(&tables, quiet[0].clone(), Side::External);
    for id in 0..1000 {
        sent(&tables, parts(&datagram(4000).build(), 1480, id)[0].clone(), Side::External);
    }
    let most = usize::from(DATAGRAMS_PER_SOURCE) + 1;
    assert!((most / 2..=most).contains(&tables.datagrams.borrow().len()));
    sent(&tables, quiet[1].clone(), Side::External);
}

/// A later part goes where its first part went, and only from the side that this came in on.
#[test]
fn later_parts_follow_the_first_of_their_own_side() {
    let tables = Plan::three_tenants().tables();
    let cut = parts(&datagram(4000).build(), 1480, 3);
    let first = sent(&tables, cut[0].clone(), Side::External);
    let mut packet = BytesPacket { bytes: cut[1].clone(), ingress_ifindex: INTERNAL_IF };
    assert_eq!(resume(&mut packet, &tables, Side::Internal, NOW), Verdict::Held);
    let later = sent(&tables, cut[1].clone(), Side::External);
    assert_eq!(later[26..34], first[26..34], "source and destination");
}

#[test]
fn parts_of_a_call_to_a_listener_from_inside_stay_inside() {
    let mut tables = Plan::three_tenants().tables();
    tables.hairpins.insert(HairpinKey { from: TenantId(1), to: TenantId(2) });
    let call = Frame { payload: vec![7; 60], ..Frame::udp("198.18.1.9:50000", "192.0.2.10:8442") };
    let sent: Vec<Vec<u8>> = parts(&call.build(), 16, 77)
        .into_iter()
        .map(|part| {
            let (verdict, sent) = run(&tables, part, Side::Internal, NOW);
            assert_eq!(verdict, Verdict::Redirect { ifindex: INTERNAL_IF });
            sent
        })
        .collect();
    assert_eq!(Received::read(&whole(&sent)).rest[2..], call.payload);
}
