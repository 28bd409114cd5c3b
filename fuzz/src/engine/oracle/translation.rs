//! A translated packet: addresses and ports as its flow says, checksums as right as they were, the rest untouched.

use gateway_common::abi::{Counter, CtEntry, EntryFlags, FlowKey, Port, Protocol, Side, State};

use super::{Passage, books::Books, mss, policy, resets};
use crate::engine::{
    plan::{self, EGRESS_VIP, INGRESS_VIP},
    read::{ICMP, Ip, TCP, link},
    world::World,
};

const SYN: u8 = 0x02;
const RST: u8 = 0x04;

/// What holds for every packet that is sent on: link header, IP header, VIP towards NPCI.
pub fn check_headers(world: &World, passage: &Passage<'_>, came: &Ip<'_>, sent: &Ip<'_>) {
    let (_, tag) = link(passage.after).expect("a sound frame");
    let leaves_by = passage.leaves_by(came);
    let vlan = world.plan.vlans[leaves_by as usize];
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
        assert!(sent.src() == INGRESS_VIP || sent.src() == EGRESS_VIP, "{} was shown", sent.src());
    }
    match leaves_by {
        Side::External => assert!(plan::is_npci(sent.dst()), "{} is not NPCI's", sent.dst()),
        Side::Internal => assert!(plan::owner(sent.dst()).is_some(), "{} is no tenant's", sent.dst()),
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
    let mut left = key_of(passage.leaves_by(came), sent);
    if is_taken_for_request(came) {
        (left.src_port, left.dst_port) = (left.dst_port, left.src_port);
    }
    assert_eq!(reversed(&left), entry.pair, "it left in another way than its flow says");
    assert!(!entry.flags.is_ended(), "{key:?} was ended, and goes on");
    let inside = passage.inside(came, sent);
    let tenant = plan::owner(inside).expect("an inside address");
    assert_eq!(u16::from(tenant), entry.tenant.0, "{inside} has another tenant than its flow");
    check_direction(world, tenant, &entry, &key);
    check_change(passage, after, came, &entry);
    resets::check(passage, after, came, &entry);
    if after.since(passage.books, Counter::FlowsOpened) != 0 {
        policy::check_opening(world, passage, tenant, &entry, came);
        world.came_elsewhere.insert(key, passage.elsewhere);
        world.came_elsewhere.remove(&entry.pair);
    } else {
        assert!(passage.books.entry(&key).is_some(), "{key:?} was opened, and not counted");
        policy::check_source(world, passage, &key);
        world.came_elsewhere.insert(key, passage.elsewhere);
    }
    check_bytes(came, sent);
    mss::check(world, passage, tenant, came, sent);
    if keeps_alive(passage, after, &key, came) {
        world.last_sent.insert(key, world.now_ns);
    }
    tenant
}

/// Resets that follow a reset keep nothing alive: RFC 7857 section 7.1. Nor do those that nobody believes.
fn keeps_alive(passage: &Passage<'_>, after: &Books, key: &FlowKey, came: &Ip<'_>) -> bool {
    let was_reset = passage.books.entry(key).is_some_and(|before| before.state() == State::Reset);
    let is_reset = after.entry(key).is_some_and(|after| after.state() == State::Reset);
    !((was_reset || !is_reset) && came.tcp_flags() & RST != 0)
}

/// May this packet be a flow's first one? A bare SYN, a datagram, an echo request.
pub fn opens(ip: &Ip<'_>) -> bool {
    let is_known = Protocol::from_number(ip.protocol()).is_some();
    match (ip.protocol(), ip.payload.first()) {
        (TCP, _) => ip.ports().is_some() && ip.tcp_flags() & 0x17 == SYN,
        (ICMP, kind) => kind == Some(&8) && ip.ports().is_some(),
        _ => is_known && ip.ports().is_some() && ip.fragment().0 == 0,
    }
}

/// The outside end of the flow is a VIP, on a port that this tenant or this node owns.
fn check_direction(world: &World, tenant: u8, entry: &CtEntry, key: &FlowKey) {
    let is_original = entry.flags.contains(EntryFlags::ORIGINAL);
    let (original, reply) = if is_original { (*key, entry.pair) } else { (entry.pair, *key) };
    let (called, shown) = ((original.dst, original.dst_port), (reply.dst, reply.dst_port));
    if entry.flags.contains(EntryFlags::INGRESS) {
        assert_eq!(called, (INGRESS_VIP, plan::listener(tenant)), "the listener of tenant {tenant}");
        return;
    }
    assert_eq!(shown.0, EGRESS_VIP);
    assert!(world.plan.may_be_shown(tenant, shown.1), "port {} is not for tenant {tenant} here", shown.1);
    if reply.side() == Side::Internal {
        let to = plan::listens_at(called).expect("inside, only listeners are called");
        assert!(world.plan.rights.may_hairpin(tenant, to), "tenant {tenant} may not call tenant {to}");
        let target = (reply.src, reply.src_port);
        assert!(plan::is_backend(to, target), "{target:?} is no backend of tenant {to}");
    }
}

/// A known flow keeps its translation, unless a SYN starts it anew.
fn check_change(passage: &Passage<'_>, after: &Books, came: &Ip<'_>, entry: &CtEntry) {
    let Some(before) = passage.books.entry(&entry.key) else { return };
    let is_syn = came.protocol() == TCP && came.payload[13] & SYN != 0;
    let was_ended = before.flags.is_ended();
    let is_opened = after.since(passage.books, Counter::FlowsOpened) != 0;
    assert!(!was_ended || is_opened, "{:?} was over, and goes on", entry.key);
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
    let ports = if came.protocol() == ICMP { 4..6 } else { 0..4 };
    bytes[ports].fill(0);
    if let Some(at) = came.checksum_at() {
        bytes[at..at + 2].fill(0);
    }
    if let Some(at) = mss::place(came) {
        let mss = |ip: &Ip<'_>| u16::from_be_bytes([ip.payload[at], ip.payload[at + 1]]);
        assert!(mss(ip) <= mss(came), "a clamp never raises the segment size");
        bytes[at..at + 2].fill(0);
    }
    bytes
}

/// An echo reply with the identifier 0 has the key of the request with that identifier, whose sender may send it: it says
/// nothing that the request does not.
fn is_taken_for_request(ip: &Ip<'_>) -> bool {
    ip.protocol() == ICMP && ip.payload[0] == 0 && ip.ports() == Some((Port::NONE, Port::NONE))
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
