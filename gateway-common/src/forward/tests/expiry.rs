use super::{
    frame::{ACK, FIN, Frame, RST, SYN, SYN_ACK, end},
    world::{EXTERNAL_IF, INTERNAL_IF, NOW, Plan, SECOND, forward, interface_of},
};
use crate::{
    abi::{CtEntry, EntryFlags, FlowEnd, FlowKey, Protocol, Seen, Side, State, TenantId},
    forward::{Expiry, expire},
    memory::MemoryTables,
    tables::{FlowChange, FlowTable, Insertion, Tables as _},
};
use std::vec::Vec;

const CLIENT: &str = "203.0.113.7:40000";
const VIP: &str = "192.0.2.10:8441";
/// Whose listener that is.
const OWNER: TenantId = TenantId(1);

/// A connection to tenant 1 after these segments of client (true) and backend; its two keys.
fn connection(segments: &[(bool, u8)]) -> (MemoryTables, [FlowKey; 2]) {
    let tables = Plan::three_tenants().tables();
    let original = FlowKey::v4(Side::External, Protocol::Tcp, end(CLIENT), end(VIP));
    let mut reply = original;
    for (client, flags) in segments {
        if *client {
            let packet = Frame::tcp(*flags, CLIENT, VIP).packet(EXTERNAL_IF);
            let (_, sent) = forward(&tables, packet, Side::External, NOW);
            reply = FlowKey::v4(Side::Internal, Protocol::Tcp, sent.dst, sent.src);
        } else {
            let (src, dst) = ((reply.src, reply.src_port), (reply.dst, reply.dst_port));
            let frame = Frame { src, dst, ..Frame::tcp(*flags, CLIENT, VIP) };
            forward(&tables, frame.packet(INTERNAL_IF), Side::Internal, NOW);
        }
    }
    (tables, [original, reply])
}

const HANDSHAKE: [(bool, u8); 3] = [(true, SYN), (false, SYN_ACK), (true, ACK)];

fn established() -> (MemoryTables, [FlowKey; 2]) {
    connection(&HANDSHAKE)
}

fn entries(tables: &MemoryTables) -> [usize; 2] {
    [&tables.established, &tables.half_open].map(|table| table.entries().len())
}

#[test]
fn an_idle_flow_goes_by_either_key_and_takes_both_entries_along() {
    for by in 0..2 {
        let (tables, keys) = established();
        let expire_at = |now_ns| expire(&tables, FlowTable::Established, &keys[by], now_ns);
        assert_eq!(expire_at(NOW + 7_440 * SECOND), Expiry::Kept);
        assert_eq!(entries(&tables), [2, 0]);
        assert_eq!(expire_at(NOW + 7_440 * SECOND + 1), Expiry::Expired);
        assert_eq!(entries(&tables), [0, 0]);
        assert_eq!(expire_at(NOW + 7_440 * SECOND + 1), Expiry::Missing);
        let ended = FlowChange::Ended(FlowEnd::Expired);
        assert_eq!(tables.changes.take(), [(FlowChange::Opened, OWNER, keys), (ended, OWNER, keys)]);
    }
}

#[test]
fn a_connection_that_takes_the_place_of_another_ends_it() {
    let (mut tables, keys) = connection(&[HANDSHAKE[0], HANDSHAKE[1], HANDSHAKE[2], (true, RST)]);
    let elsewhere = end("198.18.99.9:8080");
    for backend in tables.backends.values_mut() {
        (backend.address, backend.port) = elsewhere;
    }
    let route = tables.routes[&keys[1].src];
    tables.routes.insert(elsewhere.0, route);
    let (_, sent) =
        forward(&tables, Frame::tcp(SYN, CLIENT, VIP).packet(EXTERNAL_IF), Side::External, NOW + SECOND);
    let reply = FlowKey::v4(Side::Internal, Protocol::Tcp, sent.dst, sent.src);
    assert_eq!(sent.dst, elsewhere);
    let changes = tables.changes.take();
    let ended = FlowChange::Ended(FlowEnd::Replaced);
    assert_eq!(changes[1..], [(ended, OWNER, keys), (FlowChange::Opened, OWNER, [keys[0], reply])]);
}

#[test]
fn either_direction_keeps_both_entries() {
    for (alive, by) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let (tables, keys) = established();
        let later = NOW + 7_441 * SECOND;
        let own = &keys[alive];
        let frame = Frame {
            src: (own.src, own.src_port),
            dst: (own.dst, own.dst_port),
            ..Frame::tcp(ACK, CLIENT, VIP)
        };
        forward(&tables, frame.packet(interface_of(own.side())), own.side(), later);
        assert_eq!(expire(&tables, FlowTable::Established, &keys[by], later + 7_440 * SECOND), Expiry::Kept);
        assert_eq!(entries(&tables), [2, 0]);
        assert_eq!(
            expire(&tables, FlowTable::Established, &keys[by], later + 7_441 * SECOND),
            Expiry::Expired
        );
        assert_eq!(entries(&tables), [0, 0]);
    }
}

#[test]
fn each_state_has_its_own_life() {
    let closing = [&HANDSHAKE[..], &[(true, FIN), (false, FIN)]].concat();
    let reset = [&HANDSHAKE[..], &[(false, RST)]].concat();
    let half_closed = [&HANDSHAKE[..], &[(true, FIN)]].concat();
    let cases = [
        (HANDSHAKE[..1].to_vec(), FlowTable::HalfOpen, 30),
        (HANDSHAKE[..2].to_vec(), FlowTable::HalfOpen, 30),
        (half_closed, FlowTable::Established, 7_440),
        (closing, FlowTable::Established, 240),
        (reset, FlowTable::Established, 240),
    ];
    for (segments, table, secs) in cases {
        let (tables, [key, _]) = connection(&segments);
        assert_eq!(expire(&tables, table, &key, NOW + secs * SECOND), Expiry::Kept, "{segments:?}");
        assert_eq!(expire(&tables, table, &key, NOW + secs * SECOND + 1), Expiry::Expired, "{segments:?}");
        assert_eq!(entries(&tables), [0, 0], "{segments:?}");
    }
}

#[test]
fn unanswered_datagrams_and_echoes_have_theirs() {
    let datagram = (Frame::udp(CLIENT, VIP), Protocol::Udp, Side::External, 120);
    let echo = (Frame::echo_request("198.18.1.1:77", "203.0.113.1:0"), Protocol::Icmp, Side::Internal, 60);
    for (frame, protocol, side, secs) in [datagram, echo] {
        let tables = Plan::three_tenants().tables();
        forward(&tables, frame.packet(side as u32 + 1), side, NOW);
        let key = FlowKey::v4(side, protocol, frame.src, frame.dst);
        assert_eq!(expire(&tables, FlowTable::HalfOpen, &key, NOW + secs * SECOND), Expiry::Kept);
        assert_eq!(expire(&tables, FlowTable::HalfOpen, &key, NOW + secs * SECOND + 1), Expiry::Expired);
    }
}

#[test]
fn a_key_is_looked_for_in_its_table_alone() {
    let (tables, [key, _]) = established();
    assert_eq!(expire(&tables, FlowTable::HalfOpen, &key, u64::MAX), Expiry::Missing);
    assert_eq!(entries(&tables), [2, 0]);
}

#[test]
fn only_the_owner_expires_a_flow() {
    for (node, expected) in [(1, Expiry::Expired), (2, Expiry::Kept), (0, Expiry::Kept)] {
        let (mut tables, [key, _]) = established();
        tables.settings.as_mut().unwrap().node = node;
        assert_eq!(expire(&tables, FlowTable::Established, &key, u64::MAX), expected, "node {node}");
    }
}

#[test]
fn nothing_expires_without_settings() {
    let (mut tables, [key, _]) = established();
    tables.settings = None;
    assert_eq!(expire(&tables, FlowTable::Established, &key, u64::MAX), Expiry::Kept);
    assert_eq!(entries(&tables), [2, 0]);
}

#[test]
fn half_a_flow_expires_by_its_own_time() {
    for missing in 0..2 {
        let (tables, keys) = established();
        tables.remove(FlowTable::Established, &keys[missing]);
        let orphan = keys[1 - missing];
        assert_eq!(expire(&tables, FlowTable::Established, &orphan, NOW + 7_440 * SECOND), Expiry::Kept);
        assert_eq!(expire(&tables, FlowTable::Established, &orphan, NOW + 7_441 * SECOND), Expiry::Expired);
        assert_eq!(entries(&tables), [0, 0]);
    }
}

#[test]
fn a_clock_of_another_cpu_that_is_behind_expires_nothing() {
    let (tables, [key, _]) = established();
    assert_eq!(expire(&tables, FlowTable::Established, &key, NOW - SECOND), Expiry::Kept);
}

#[test]
fn bytes_that_are_no_key_are_kept_for_a_look() {
    let tables = Plan::three_tenants().tables();
    let key: FlowKey = bytemuck::Zeroable::zeroed();
    let mut entry = CtEntry::open(key, key, TenantId(1), EntryFlags::ORIGINAL, 0);
    entry.owner = 1;
    assert_eq!(tables.insert(FlowTable::Established, &entry), Insertion::Inserted);
    assert_eq!(expire(&tables, FlowTable::Established, &key, u64::MAX), Expiry::Kept);
}

#[test]
fn a_refused_connection_is_gone_as_soon_as_an_unanswered_one() {
    let (tables, [key, _]) = connection(&[(true, SYN), (false, RST)]);
    assert_eq!(expire(&tables, FlowTable::HalfOpen, &key, NOW + 31 * SECOND), Expiry::Expired);
}

#[test]
fn a_flow_that_could_not_be_promoted_is_gone_after_the_half_open_time() {
    let (mut tables, [key, reply]) = connection(&HANDSHAKE[..2]);
    tables.established.capacity = 0;
    let mut packet = Frame::tcp(ACK, CLIENT, VIP).packet(EXTERNAL_IF);
    let _dropped = super::world::send(&tables, &mut packet, Side::External, NOW);
    assert_eq!(entries(&tables), [0, 2]);
    assert_eq!(expire(&tables, FlowTable::HalfOpen, &key, NOW + 31 * SECOND), Expiry::Expired, "{reply:?}");
}

#[test]
fn traffic_restores_what_a_forged_reset_and_syn_have_shortened() {
    let forged = [(true, RST), (true, SYN)];
    let traffic = [(false, ACK), (true, ACK), (false, ACK)];
    let (tables, keys) = connection(&[&HANDSHAKE[..], &forged, &traffic].concat());
    let states: Vec<_> = keys.iter().map(|key| tables.established.entry(key).unwrap().state()).collect();
    assert_eq!(states, [State::Established; 2]);
    assert!(tables.established.entry(&keys[0]).unwrap().seen.contains(Seen::ACK));
}
