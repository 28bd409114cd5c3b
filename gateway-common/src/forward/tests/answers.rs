//! What is refused aloud: the reset or the ICMP error, byte by byte, and whose flows get one.

use super::{
    frame::{ACK, FIN, FROM_NEIGHBOUR, Frame, ICMP, Kind, RST, Received, SYN, SYN_ACK, TO_GATEWAY, addr},
    world::{EXTERNAL_IF, INTERNAL_IF, NOW, Plan, SECOND, forward, interface_of, send},
};
use crate::{
    abi::{Addr, EntryFlags, ListenerFlags, PoolFlags, Seen, Side, State, TenantId, TenantSource, Timeouts},
    drop_reason::DropReason,
    forward::{Expiry, expire},
    memory::{BytesPacket, MemoryFlows, MemoryTables},
    port_slice::PortSlices,
    tables::FlowTable,
    verdict::Verdict,
};
use std::{vec, vec::Vec};

const CLIENT: &str = "203.0.113.7:40000";
const VIP: &str = "192.0.2.10:8441";
const TENANT: &str = "198.18.1.9:50000";
const NPCI: &str = "203.0.113.1:443";
const NAT_IP: &str = "198.51.100.1:9001";

/// RST with ACK, and RST alone, of the TCP flags byte.
const RST_ACK: u8 = 0x14;
const BARE_RST: u8 = 0x04;

fn tables(change: impl FnOnce(&mut MemoryTables)) -> MemoryTables {
    let mut tables = Plan::three_tenants().tables();
    change(&mut tables);
    tables
}

pub fn without_backends(tables: &mut MemoryTables) {
    for pool in tables.pools.values_mut() {
        (pool.maglev_len, pool.flags) = (0, PoolFlags::REFUSE);
    }
}

pub fn draining_listeners(tables: &mut MemoryTables) {
    tables.listeners.values_mut().for_each(|listener| listener.flags = ListenerFlags::DRAINING);
}

pub fn draining_sources(tables: &mut MemoryTables) {
    tables.sources.iter_mut().for_each(|(.., source)| *source = source.with_draining(true));
}

/// Ends every flow, as the daemon does.
pub fn end_flows(tables: &MemoryTables) {
    for table in [&tables.established, &tables.half_open] {
        for entry in table.entries() {
            table.replace(&entry.ended(NOW));
        }
    }
}

/// Every way in which a new flow is refused aloud, and the tenant that it is counted for.
fn refused() -> Vec<(DropReason, MemoryTables, Frame, Side)> {
    let (external, internal) = (Side::External, Side::Internal);
    let syn = |src, dst| Frame::tcp(SYN, src, dst);
    let without_ports =
        || tables(|tables| tables.settings.as_mut().unwrap().slices = PortSlices::from_mask(0));
    vec![
        (DropReason::PortsExhausted, without_ports(), syn(CLIENT, VIP), external),
        (DropReason::PortsExhausted, without_ports(), syn(TENANT, NPCI), internal),
        (DropReason::RefusedNoBackend, tables(without_backends), syn(CLIENT, VIP), external),
        (DropReason::RefusedNoBackend, tables(without_backends), syn(TENANT, NAT_IP), internal),
        (DropReason::RefusedDraining, tables(draining_listeners), syn(CLIENT, VIP), external),
        (DropReason::RefusedDraining, tables(draining_sources), syn(TENANT, NPCI), internal),
        (DropReason::RefusedDraining, tables(draining_sources), syn(TENANT, NAT_IP), internal),
    ]
}

/// The same datagram instead of a SYN.
fn as_datagram(frame: &Frame) -> Frame {
    Frame { kind: Kind::Udp { checksum: true }, ..frame.clone() }
}

#[track_caller]
fn answer(tables: &MemoryTables, frame: &Frame, side: Side, reason: DropReason) -> BytesPacket {
    let mut packet = frame.packet(side as u32 + 1);
    assert_eq!(send(tables, &mut packet, side, NOW), Verdict::Reply, "{frame:?}");
    assert_eq!(tables.drops.borrow()[&reason], 1);
    assert_eq!(tables.tenants.borrow()[&TenantId(1)].dropped_packets, 1);
    packet
}

/// What goes back has the two ends and the link addresses exchanged.
#[track_caller]
fn goes_back(frame: &Frame, answer: &BytesPacket) -> Received {
    let received = Received::read(&answer.bytes);
    assert_eq!(received.link[..], [FROM_NEIGHBOUR, TO_GATEWAY].concat());
    assert_eq!((received.src.0, received.dst.0), (frame.dst.0, frame.src.0));
    assert_eq!((received.tag, received.ttl), (frame.tag, 64));
    let link_len = if frame.tag.is_some() { 18 } else { 14 };
    let total_len = u16::from_be_bytes([answer.bytes[link_len + 2], answer.bytes[link_len + 3]]);
    assert_eq!(answer.bytes.len(), link_len + usize::from(total_len), "nothing behind the packet");
    received
}

/// Sequence and acknowledgement number, and flags, of what [`Received::rest`] has of a TCP header.
fn numbers(received: &Received) -> (u32, u32, u8) {
    let number = |at: usize| u32::from_be_bytes(received.rest[at..at + 4].try_into().unwrap());
    assert_eq!((received.rest.len(), received.rest[8]), (14, 0x50), "a header without options or data");
    assert_eq!(received.rest[10..], [0; 4], "no window, nothing urgent");
    (number(0), number(4), received.rest[9])
}

#[test]
fn a_refused_syn_is_reset_whatever_it_carries() {
    // A priority: tenants are in no VLAN here.
    for tag in [None, Some(0x2000)] {
        for payload in [vec![], vec![1], b"early data".to_vec(), vec![7; 1400]] {
            for (reason, tables, frame, side) in refused() {
                let frame = Frame { tag, payload: payload.clone(), ..frame };
                let received = goes_back(&frame, &answer(&tables, &frame, side, reason));
                assert_eq!((received.src.1, received.dst.1), (frame.dst.1, frame.src.1));
                // The SYN has sequence number 1 and takes up one number itself.
                let next = 2 + u32::try_from(payload.len()).unwrap();
                assert_eq!(numbers(&received), (0, next, RST_ACK));
                assert_eq!((tables.half_open.entries(), tables.established.entries()), (vec![], vec![]));
            }
        }
    }
}

#[test]
fn a_refused_datagram_is_answered_with_port_unreachable() {
    for tag in [None, Some(0x2000)] {
        for length in [0, 1, 28, 29, 1400] {
            for (reason, tables, frame, side) in refused() {
                let frame = Frame { tag, payload: vec![9; length], ..as_datagram(&frame) };
                let sent = frame.build();
                let answer = answer(&tables, &frame, side, reason);
                let received = goes_back(&frame, &answer);
                assert_eq!(received.protocol, ICMP);
                let link_len = if tag.is_some() { 18 } else { 14 };
                // Type 3; code 3, or 1 where there is no way; unused; the packet's header and eight bytes.
                let code = if reason == DropReason::PortsExhausted { 1 } else { 3 };
                assert_eq!(received.rest, [&[3, code, 0, 0][..], &sent[link_len..link_len + 28]].concat());
            }
        }
    }
}

#[test]
fn nobody_is_answered_who_may_not_be() {
    let plain = Frame::tcp(SYN, CLIENT, VIP);
    let from = |address: &str| Frame { src: (addr(address), plain.src.1), ..plain.clone() };
    let strangers = ["0.1.2.3", "127.0.0.1", "224.0.0.5", "240.0.0.1", "255.255.255.255"].map(from);
    let options = Frame { option_words: 1, ..plain.clone() };
    let mut broadcast = plain.packet(EXTERNAL_IF);
    broadcast.bytes[..6].fill(0xff);
    let tables = tables(|tables| {
        without_backends(tables);
        tables.allow_lists.values_mut().for_each(|list| list.push((Addr::UNSPECIFIED, 0)));
    });
    let frames = strangers.iter().chain([&options]).map(|frame| frame.packet(EXTERNAL_IF));
    for mut packet in frames.chain([broadcast]) {
        let verdict = send(&tables, &mut packet, Side::External, NOW);
        assert_eq!(verdict, Verdict::Drop(DropReason::RefusedNoBackend), "{packet:?}");
    }
}

#[test]
fn an_echo_request_of_a_draining_tenant_is_dropped_without_an_answer() {
    let tables = tables(draining_sources);
    let mut packet = Frame::echo_request("198.18.1.9:7", "203.0.113.1:0").packet(INTERNAL_IF);
    let verdict = send(&tables, &mut packet, Side::Internal, NOW);
    assert_eq!(verdict, Verdict::Drop(DropReason::RefusedDraining));
}

#[test]
fn a_silent_pool_is_silent() {
    let tables = tables(|tables| {
        without_backends(tables);
        tables.pools.values_mut().for_each(|pool| pool.flags = PoolFlags::default());
    });
    let mut packet = Frame::tcp(SYN, CLIENT, VIP).packet(EXTERNAL_IF);
    let verdict = send(&tables, &mut packet, Side::External, NOW);
    assert_eq!(verdict, Verdict::Drop(DropReason::NoBackend));
}

/// An ingress flow, and the frames of both its ends with any flags.
struct Known {
    tables: MemoryTables,
    client: Frame,
    server: Frame,
}

impl Known {
    fn established() -> Self {
        let mut known = Self::half_open();
        let answer = Frame { kind: Kind::Tcp(SYN_ACK), ..known.server.clone() };
        forward(&known.tables, answer.packet(INTERNAL_IF), Side::Internal, NOW);
        known.client.kind = Kind::Tcp(ACK);
        forward(&known.tables, known.client.packet(EXTERNAL_IF), Side::External, NOW);
        known
    }

    fn half_open() -> Self {
        let tables = Plan::three_tenants().tables();
        let client = Frame::tcp(SYN, CLIENT, VIP);
        let (_, sent) = forward(&tables, client.packet(EXTERNAL_IF), Side::External, NOW);
        let server = Frame { src: sent.dst, dst: sent.src, ..Frame::tcp(ACK, CLIENT, VIP) };
        Self { tables, client, server }
    }

    /// Both ends, each with the side that it is on.
    fn ends(&self) -> [(&Frame, Side); 2] {
        [(&self.client, Side::External), (&self.server, Side::Internal)]
    }

    fn told(&self) -> usize {
        let entries = [&self.tables.established, &self.tables.half_open].map(MemoryFlows::entries);
        entries.concat().iter().filter(|entry| entry.seen.contains(Seen::RST)).count()
    }
}

#[test]
fn known_flows_go_on_while_everything_drains() {
    let mut known = Known::established();
    draining_listeners(&mut known.tables);
    draining_sources(&mut known.tables);
    without_backends(&mut known.tables);
    for (frame, side) in known.ends() {
        forward(&known.tables, frame.packet(interface_of(side)), side, NOW);
    }
}

#[test]
fn both_ends_of_an_ended_flow_get_an_exact_reset() {
    for flags in [ACK, FIN, SYN_ACK] {
        let known = Known::established();
        end_flows(&known.tables);
        for (told, (frame, side)) in (1..).zip(known.ends()) {
            let frame = Frame { kind: Kind::Tcp(flags), ..frame.clone() }.numbers(1, 2);
            let mut packet = frame.packet(interface_of(side));
            assert_eq!(send(&known.tables, &mut packet, side, NOW), Verdict::Reply);
            let received = goes_back(&frame, &packet);
            assert_eq!((received.src, received.dst), (frame.dst, frame.src));
            // The frame acknowledges 2, so that is the number that its sender expects.
            assert_eq!(numbers(&received), (2, 0, BARE_RST));
            assert_eq!(known.told(), told);
        }
        assert_eq!(known.tables.drops.borrow()[&DropReason::FlowReset], 2);
        let entries = known.tables.established.entries();
        assert!(entries.iter().all(|entry| entry.state() == State::Reset), "{entries:?}");
    }
}

#[test]
fn an_end_that_resets_an_ended_flow_needs_no_answer() {
    let known = Known::established();
    end_flows(&known.tables);
    for (told, (frame, side)) in (1..).zip(known.ends()) {
        let dropped = |flags| {
            let frame = Frame { kind: Kind::Tcp(flags), ..frame.clone() };
            let verdict = send(&known.tables, &mut frame.packet(interface_of(side)), side, NOW);
            assert_eq!(verdict, Verdict::Drop(DropReason::FlowReset), "{flags:#04x}");
            known.told()
        };
        // Without an ACK there is no telling which number is expected.
        assert_eq!([0x00, 0x01, 0x08].map(dropped), [told - 1; 3]);
        assert_eq!([RST, BARE_RST].map(dropped), [told; 2]);
    }
}

#[test]
fn a_syn_opens_an_ended_flow_anew_with_entries_of_its_own() {
    for known in [Known::established(), Known::half_open()] {
        end_flows(&known.tables);
        let syn = Frame { kind: Kind::Tcp(SYN), ..known.client.clone() };
        forward(&known.tables, syn.packet(EXTERNAL_IF), Side::External, NOW);
        assert_eq!(known.tables.established.entries(), []);
        let entries = known.tables.half_open.entries();
        assert_eq!(entries.len(), 2);
        assert!(entries.iter().all(|entry| !entry.flags.contains(EntryFlags::RESET)));
    }
}

#[test]
fn a_syn_on_an_ended_flow_is_refused_where_new_flows_are() {
    let mut known = Known::established();
    end_flows(&known.tables);
    without_backends(&mut known.tables);
    let syn = Frame { kind: Kind::Tcp(SYN), ..known.client.clone() };
    answer(&known.tables, &syn, Side::External, DropReason::RefusedNoBackend);
    assert_eq!(known.tables.established.entries().len(), 2, "the other end may still be told");
}

#[test]
fn datagrams_of_an_ended_flow_are_dropped() {
    let tables = Plan::three_tenants().tables();
    let frame = Frame::udp(CLIENT, VIP);
    forward(&tables, frame.packet(EXTERNAL_IF), Side::External, NOW);
    end_flows(&tables);
    let verdict = send(&tables, &mut frame.packet(EXTERNAL_IF), Side::External, NOW);
    assert_eq!(verdict, Verdict::Drop(DropReason::FlowReset));
}

#[test]
fn an_ended_flow_expires_like_one_that_was_reset() {
    let known = Known::established();
    end_flows(&known.tables);
    let key = known.tables.established.entries()[0].key;
    let seconds = u64::from(Timeouts::DEFAULT.tcp_transitory_secs);
    let at = |seconds: u64| expire(&known.tables, FlowTable::Established, &key, NOW + seconds * SECOND);
    assert_eq!(at(seconds), Expiry::Kept);
    assert_eq!(at(seconds + 1), Expiry::Expired);
}

#[test]
fn the_draining_mark_leaves_the_tenant_alone() {
    let source = TenantSource::new(TenantId(u16::MAX));
    assert!(!source.is_draining() && source.with_draining(true).is_draining());
    assert_eq!(source.with_draining(true).tenant(), TenantId(u16::MAX));
    assert_eq!(source.with_draining(true).with_draining(false), source);
    assert_eq!(TenantSource::from_raw(7).tenant(), TenantId(7), "plain numbers are not draining");
}
