//! A translated ICMP error (RFC 5508 section 4): its quote names a flow, outer and quoted headers change alike.

use gateway_common::abi::{EntryFlags, FlowKey, Protocol, Side};

use super::{Passage, books::Books, policy};
use crate::engine::{
    plan,
    read::{ICMP, Ip, TCP, UDP, sum},
    world::World,
};

/// Returns the tenant whose flow is quoted.
pub fn check(
    world: &World,
    passage: &Passage<'_>,
    after: &Books,
    (came, quote): (&Ip<'_>, &[u8]),
    sent: &Ip<'_>,
) -> u8 {
    assert!(came.is_whole(), "an error in fragments can't be judged by its first one");
    let asked = Ip::in_error(quote).expect("an error that was translated quotes a packet");
    let told = Ip::in_error(sent.quote().expect("it stays an error")).expect("the quote stays a packet");
    // The gateway sent the quoted packet: its answers are what the flow's key names.
    let key = quoted_key(passage.side, &asked);
    let entry = *passage.books.entry(&key).unwrap_or_else(|| panic!("the quote is of no flow: {key:?}"));
    assert!(!entry.flags.is_ended(), "the flow is over: {key:?}");
    assert_eq!(came.dst(), asked.src(), "an error goes to the sender of what it quotes");
    assert_eq!(sent.dst(), entry.pair.src, "it goes to who sent the quoted packet");
    assert_eq!(quoted_key(passage.leaves_by(came), &told), flipped(&entry.pair), "the quote as it was sent");
    check_source(passage.side, came, sent, &entry.pair);
    policy::check_source(world, passage, &key);
    check_sums(passage, (came, &asked), (sent, &told));
    check_rest((came, &asked), (sent, &told));
    after.assert_same_flows(passage.books);
    let is_original = entry.flags.contains(EntryFlags::ORIGINAL);
    let stays = passage.leaves_by(came) == passage.side;
    let is_callers = if stays { is_original } else { passage.side == Side::Internal };
    let inside = if is_callers { asked.dst() } else { told.src() };
    let tenant = plan::owner(inside).expect("an inside address");
    assert_eq!(u16::from(tenant), entry.tenant.0, "another tenant's flow");
    tenant
}

/// Towards NPCI it comes from the flow's VIP, whoever sent it. Inwards a router keeps its address (RFC 5508 REQ-4), and
/// the flow's far end is shown as in its packets.
fn check_source(side: Side, came: &Ip<'_>, sent: &Ip<'_>, pair: &FlowKey) {
    let as_far_end = sent.src() == pair.dst;
    let unchanged = sent.src() == came.src();
    assert!(as_far_end || (side == Side::External && unchanged), "{} is shown as {}", came.src(), sent.src());
}

/// Outer ICMP, quoted IP header and quoted transport: each as right as it was.
fn check_sums(passage: &Passage<'_>, came: (&Ip<'_>, &Ip<'_>), sent: (&Ip<'_>, &Ip<'_>)) {
    if came.0.transport_is_valid() {
        assert!(sent.0.transport_is_valid(), "the ICMP checksum was right: {passage:02x?}");
    }
    let header = |ip: &Ip<'_>| sum(ip.header) % 0xffff;
    assert_eq!(header(sent.1), header(came.1), "the quoted header's checksum is as right as it was");
    assert_eq!(sent.1.checksum_at(), came.1.checksum_at(), "a quoted checksum stays, as does its absence");
    if came.1.checksum_at().is_some() {
        let quoted = |ip: &Ip<'_>| ip.transport_sum() % 0xffff;
        assert_eq!(quoted(sent.1), quoted(came.1), "the quoted transport's checksum is as right as it was");
    }
}

/// All but addresses, ports and checksums is as it was.
fn check_rest(came: (&Ip<'_>, &Ip<'_>), sent: (&Ip<'_>, &Ip<'_>)) {
    assert_eq!(sent.0.payload.len(), came.0.payload.len(), "length");
    assert_eq!(outer(sent.0), outer(came.0), "type, code and the rest of the ICMP header");
    assert_eq!(quoted_header(sent.1), quoted_header(came.1), "the quoted header's other fields");
    assert_eq!(quoted_payload(sent.1, came.1), quoted_payload(came.1, came.1), "the quoted payload");
    let behind = |(outer, quote): (&Ip<'_>, &Ip<'_>)| {
        outer.payload[8 + quote.header.len() + quote.payload.len()..].to_vec()
    };
    assert_eq!(behind(sent), behind(came), "what follows the quote");
}

fn outer(ip: &Ip<'_>) -> Vec<u8> {
    [&ip.payload[..2], &ip.payload[4..8]].concat()
}

fn quoted_header(ip: &Ip<'_>) -> Vec<u8> {
    [&ip.header[..10], &ip.header[20..]].concat()
}

fn quoted_payload(ip: &Ip<'_>, came: &Ip<'_>) -> Vec<u8> {
    let mut bytes = ip.payload.to_vec();
    bytes[if ip.protocol() == ICMP { 4..6 } else { 0..4 }].fill(0);
    if let Some(at) = came.checksum_at() {
        bytes[at..at + 2].fill(0);
    }
    bytes
}

/// The key of the answers to a quoted packet.
fn quoted_key(side: Side, ip: &Ip<'_>) -> FlowKey {
    assert_eq!(ip.fragment().0, 0, "a later fragment has no ports");
    let protocol = Protocol::from_number(ip.protocol()).expect("a protocol that is tracked");
    assert!(ip.payload.len() >= 8 || !matches!(ip.protocol(), TCP | UDP | ICMP), "eight bytes at least");
    let (src, dst) = ip.ports().expect("ports, or an echo");
    FlowKey::v4(side, protocol, (ip.dst(), dst), (ip.src(), src))
}

/// Quoted by the other side, the packet that the pair's own key names goes the other way.
fn flipped(pair: &FlowKey) -> FlowKey {
    let protocol = pair.protocol().expect("a key of ours");
    FlowKey::v4(pair.side(), protocol, (pair.dst, pair.dst_port), (pair.src, pair.src_port))
}
