//! A translated packet: addresses and ports as its flow says, checksums as right as they were, the rest untouched.

use gateway_common::abi::{CtEntry, EntryFlags, FlowKey, Protocol, Side};

use super::{Passage, books::Books, policy};
use crate::engine::{
    plan::{self, EGRESS_VIP, INGRESS_VIP},
    read::{Ip, TCP, link},
    world::World,
};

const SYN: u8 = 0x02;

/// What holds for every packet that is sent on: link header, IP header, VIP towards NPCI.
pub fn check_headers(world: &World, passage: &Passage<'_>, came: &Ip<'_>, sent: &Ip<'_>) {
    let (_, tag) = link(passage.after).expect("a sound frame");
    let vlan = world.plan.vlans[passage.side.opposite() as usize];
    let priority = link(passage.before).and_then(|(_, tag)| tag).map_or(0, |tag| tag & 0xf000);
    assert_eq!(tag, (vlan != 0).then_some(vlan | priority), "the tag of the way out");
    assert_eq!(passage.after[..12], [plan::NEXT_HOP_MAC, plan::GATEWAY_MAC].concat(), "link addresses");
    assert_eq!(sent.ttl() + 1, came.ttl(), "one hop");
    let rest = |ip: &Ip<'_>| [&ip.header[..8], &ip.header[9..10], &ip.header[20..]].concat();
    assert_eq!(rest(sent), rest(came), "the header's other fields");
    if came.header_is_valid() {
        assert!(sent.header_is_valid(), "the header's checksum was right: {passage:02x?}");
    }
    if passage.side == Side::Internal {
        assert!(sent.src() == INGRESS_VIP || sent.src() == EGRESS_VIP, "NPCI saw {}", sent.src());
        assert!(plan::is_npci(sent.dst()), "{} is not NPCI's", sent.dst());
    } else {
        assert!(plan::owner(sent.dst()).is_some(), "{} is no tenant's", sent.dst());
    }
    assert_same_trailer(passage, came, sent);
}

/// What follows the IP packet in its frame.
fn assert_same_trailer(passage: &Passage<'_>, came: &Ip<'_>, sent: &Ip<'_>) {
    let behind = |frame: &[u8], ip: &Ip<'_>| {
        let start = link(frame).map_or(0, |(start, _)| start) + ip.total_len();
        frame[start..].to_vec()
    };
    assert_eq!(behind(passage.after, sent), behind(passage.before, came), "bytes behind the packet");
}

/// Whole packets and first fragments. Returns the tenant whose flow it is.
pub fn check(world: &mut World, passage: &Passage<'_>, after: &Books, came: &Ip<'_>, sent: &Ip<'_>) -> u8 {
    let key = key_of(passage.side, came);
    let entry = *after.entry(&key).unwrap_or_else(|| panic!("{key:?} was translated without an entry"));
    let left = key_of(passage.side.opposite(), sent);
    assert_eq!(reversed(&left), entry.pair, "it left in another way than its flow says");
    assert!(!entry.flags.contains(EntryFlags::RESET), "{key:?} was ended, and goes on");
    let inside = if passage.side == Side::Internal { came.src() } else { sent.dst() };
    let tenant = plan::owner(inside).expect("an inside address");
    assert_eq!(u16::from(tenant), entry.tenant.0, "{inside} has another tenant than its flow");
    check_direction(world, tenant, &entry, &key);
    check_change(passage, after, came, &entry);
    if passage
        .books
        .entry(&key)
        .is_none_or(|before| before.birth_ns != entry.birth_ns || before.pair != entry.pair)
    {
        policy::check_opening(world, tenant, &key, &entry, came);
    }
    check_bytes(came, sent);
    world.last_sent.insert(key, world.now_ns);
    tenant
}

/// The outside end of the flow is a VIP, on a port that this tenant or this node owns.
fn check_direction(world: &World, tenant: u8, entry: &CtEntry, key: &FlowKey) {
    let outside = if key.side() == Side::External { *key } else { entry.pair };
    let vip = (outside.dst, outside.dst_port);
    if entry.flags.contains(EntryFlags::INGRESS) {
        assert_eq!(vip, (INGRESS_VIP, plan::listener(tenant)), "the listener of tenant {tenant}");
    } else {
        assert_eq!(vip.0, EGRESS_VIP);
        assert!(world.plan.owns(vip.1), "port {} is not this node's", vip.1);
    }
}

/// A known flow keeps its translation, unless a SYN starts it anew.
fn check_change(passage: &Passage<'_>, after: &Books, came: &Ip<'_>, entry: &CtEntry) {
    let Some(before) = passage.books.entry(&entry.key) else { return };
    let is_syn = came.protocol() == TCP && came.payload[13] & SYN != 0;
    let was_ended = before.flags.contains(EntryFlags::RESET);
    assert!(before.pair == entry.pair || is_syn || was_ended, "{:?} leads elsewhere now", entry.key);
    let was_established = passage.books.established(&entry.key).is_some();
    let is_established = after.established(&entry.key).is_some();
    assert!(!was_established || is_established || is_syn || was_ended, "an established flow lost its place");
}

/// Only addresses, ports, checksums and the maximum segment size are the gateway's to change.
fn check_bytes(came: &Ip<'_>, sent: &Ip<'_>) {
    assert_eq!(sent.payload.len(), came.payload.len(), "length");
    assert_eq!(sent.checksum_at().is_some(), came.checksum_at().is_some(), "UDP without a checksum stays so");
    if came.checksum_at().is_some() {
        let [before, now] = [came, sent].map(|ip| ip.transport_sum() % 0xffff);
        assert_eq!(now, before, "the transport's checksum is as right as it was");
    }
    assert_eq!(others(sent, came), others(came, came), "bytes that are not the gateway's to change");
}

/// The segment without what the gateway may change; `came` tells where that is.
fn others(ip: &Ip<'_>, came: &Ip<'_>) -> Vec<u8> {
    let mut bytes = ip.payload.to_vec();
    let ports = if came.protocol() == super::super::read::ICMP { 4..6 } else { 0..4 };
    bytes[ports].fill(0);
    if let Some(at) = came.checksum_at() {
        bytes[at..at + 2].fill(0);
    }
    if let Some(at) = mss_at(came) {
        let mss = |ip: &Ip<'_>| u16::from_be_bytes([ip.payload[at], ip.payload[at + 1]]);
        assert!(mss(ip) <= mss(came), "a clamp never raises the segment size");
        bytes[at..at + 2].fill(0);
    }
    bytes
}

/// Where the value of a SYN's maximum segment size stands (RFC 9293 section 3.7.1), walking over its options.
fn mss_at(ip: &Ip<'_>) -> Option<usize> {
    if ip.protocol() != TCP || ip.payload.get(13)? & SYN == 0 {
        return None;
    }
    let end = usize::from(ip.payload[12] >> 4) * 4;
    let mut at = 20;
    while at + 1 < end.min(ip.payload.len()) {
        match (ip.payload[at], ip.payload[at + 1]) {
            (0, _) => return None,
            (1, _) => at += 1,
            (2, 4) => return (at + 4 <= ip.payload.len()).then_some(at + 2),
            (_, len) => at += usize::from(len.max(2)),
        }
    }
    None
}

/// The 5-tuple of a whole packet or a first fragment.
pub fn key_of(side: Side, ip: &Ip<'_>) -> FlowKey {
    let protocol = Protocol::from_number(ip.protocol()).expect("only these three are translated");
    let (src, dst) = ip.ports().expect("a transport header");
    FlowKey::v4(side, protocol, (ip.src(), src), (ip.dst(), dst))
}

/// The tuple of the answers.
fn reversed(key: &FlowKey) -> FlowKey {
    let protocol = key.protocol().expect("a key of ours");
    FlowKey::v4(key.side(), protocol, (key.dst, key.dst_port), (key.src, key.src_port))
}
