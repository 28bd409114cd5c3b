//! Datagrams in parts (RFC 791 section 3.2). Only the first part has ports: it takes the way of a whole packet, and leaves
//! behind where the others go. A part that comes before the first is kept by the daemon for a moment and comes again.
//!
//! A part that overlaps another is refused, so nobody can write over a transport header that was looked at
//! (RFC 1858, RFC 3128), nor give the two ends different datagrams.

use super::{
    Break, Flow, Frame, Step, hop, is_ours, known, pass, pass_ipv4, plan::Plan, settle, stage::Stage, step,
    transport_of,
};
use crate::{
    abi::{Addr, Arrival, Counter, DatagramHead, DatagramKey, FlowKey, Seen, Side},
    drop_reason::DropReason,
    limits::{DATAGRAM_LIFETIME_NS, DATAGRAM_LINGER_NS},
    packet::Packet,
    rewrite,
    tables::{DatagramSlot as _, Tables},
    verdict::Verdict,
    wire::ipv4::Ipv4,
};

/// Decides about the first part of a datagram that came in on `side`: a packet like others, but that its datagram is noted
/// before it is sent.
#[inline(always)]
pub fn first<P: Packet, T: Tables>(packet: &mut P, tables: &T, side: Side) -> Step {
    let mut flow = Flow::unknown(side);
    let outcome = decide_first_part(packet, tables, side, &mut flow);
    step(tables, &flow, outcome)
}

/// Decides about a later part of a datagram that came in on `side`.
#[inline(always)]
pub fn later<P: Packet, T: Tables>(packet: &mut P, tables: &T, side: Side, now_ns: u64) -> Verdict {
    let mut flow = Flow::unknown(side);
    let verdict = match Frame::parse(packet, side) {
        Ok(frame) => match send_later_part(packet, tables, &frame, &mut flow, (Came::Now, now_ns)) {
            Ok(None) => unmatched(packet, tables, &frame, &mut flow),
            Ok(Some(verdict)) => Ok(verdict),
            Err(reason) => Err(reason),
        },
        Err(reason) => Err(reason),
    };
    settle(tables, &flow, verdict)
}

/// Decides about a later part that was kept, again: [`Verdict::Held`] if its first part is still not known.
#[inline(always)]
pub fn resume<P: Packet, T: Tables>(packet: &mut P, tables: &T, side: Side, now_ns: u64) -> Verdict {
    let mut flow = Flow::unknown(side);
    let verdict = match Frame::parse(packet, side) {
        Ok(frame) => send_later_part(packet, tables, &frame, &mut flow, (Came::Before, now_ns)),
        Err(reason) => Err(reason),
    };
    match verdict {
        Ok(Some(verdict)) => verdict,
        Ok(None) => Verdict::Held,
        Err(reason) => settle(tables, &flow, Err(reason)),
    }
}

#[inline(always)]
fn decide_first_part<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    side: Side,
    flow: &mut Flow,
) -> Result<Verdict, Break> {
    let frame = &Frame::parse(packet, side)?;
    if !frame.ip.payload_len().is_multiple_of(8) {
        return refuse(packet, tables, frame, flow);
    }
    let Some(transport) = transport_of(packet, tables, frame, flow)? else {
        return Ok(pass(tables));
    };
    if transport.segment.seen().contains(Seen::SYN) {
        // No stack sends it so. Its options, the segment size among them, would lie where nobody looks (RFC 3128).
        return refuse(packet, tables, frame, flow);
    }
    known::find_live(packet, tables, frame, &transport, flow)?;
    let hop = hop::find(packet, tables, frame, (flow.pair.dst, flow.pair.src), flow.pair.side())?;
    let mut plan = tables.plan().ok_or(DropReason::NotConfigured)?;
    (plan.frame, plan.transport, plan.flow, plan.hop) = (*frame, transport, *flow, hop);
    plan.is_made = true;
    Err(Break::Stage(Stage::Note))
}

/// A first part that cannot be one is dropped if it is the gateway's.
#[inline(always)]
fn refuse<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    frame: &Frame,
    flow: &mut Flow,
) -> Result<Verdict, Break> {
    if is_ours(tables, frame.side, &frame.ip, flow) {
        return Err(DropReason::BadFragment.into());
    }
    Ok(pass_ipv4(packet, tables, frame)?)
}

/// Notes the datagram as planned, and sends its first part.
#[inline(always)]
pub fn note<P: Packet, T: Tables>(packet: &mut P, tables: &T, now_ns: u64) -> Verdict {
    let none = || settle(tables, &Flow::unknown(Side::External), Err(DropReason::NotConfigured));
    let Some(mut plan) = tables.plan() else {
        return none();
    };
    if !plan.take() {
        return none();
    }
    let outcome = carry_out(packet, tables, &plan, now_ns);
    settle(tables, &plan.flow, outcome)
}

#[inline(always)]
fn carry_out<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    plan: &Plan,
    now_ns: u64,
) -> Result<Verdict, DropReason> {
    let Plan { frame, transport, flow, hop, .. } = plan;
    let part = FirstPart::of(&frame.ip, hop::arrival(packet, frame));
    remember(tables, &transport.key, flow, part, now_ns)?;
    let hit = known::find(tables, &transport.key).ok_or(DropReason::NoFlow);
    if let Err(reason) = hit.and_then(|hit| known::advance(tables, &hit, transport, now_ns)) {
        forget(tables, &transport.key, frame.ip.id, now_ns);
        return Err(reason);
    }
    hop::send(packet, tables, frame, &transport.key, flow, hop)?;
    Ok(hop.verdict)
}

/// What has to be known of a first part besides its 5-tuple.
#[derive(Clone, Copy, Debug)]
struct FirstPart {
    /// Identification, as it stands in memory.
    id: u16,
    /// Length of its payload in units of 8 bytes.
    units: u16,
    /// Where it came in.
    arrival: Arrival,
}

impl FirstPart {
    #[inline(always)]
    const fn of(ip: &Ipv4, arrival: Arrival) -> Self {
        Self { id: ip.id, units: units(ip.payload_len()), arrival }
    }
}

/// Notes where the parts of a datagram go, of which this is the first.
#[inline(always)]
fn remember<T: Tables>(
    tables: &T,
    flow_key: &FlowKey,
    flow: &Flow,
    part: FirstPart,
    now_ns: u64,
) -> Result<(), DropReason> {
    let mut key = DatagramKey::new(flow_key.side(), flow_key.src, part.id);
    if !is_under_way(tables, &mut key, flow_key, part.id, now_ns) {
        let head = DatagramHead {
            dst: flow_key.dst,
            id: part.id,
            protocol: flow_key.protocol_number(),
            stays: u8::from(flow_key.side() as u8 == flow.pair.side() as u8),
            new_src: flow.pair.dst,
            new_dst: flow.pair.src,
            tenant: flow.tenant,
            arrival: part.arrival,
            pad2: [0; 2],
            deadline_ns: now_ns + DATAGRAM_LIFETIME_NS,
        };
        if !tables.begin_datagram(&key, &head) {
            return Err(DropReason::FragmentUnmatched);
        }
    }
    let datagram = tables.datagram(&key).ok_or(DropReason::FragmentUnmatched)?;
    if datagram.claim(0, part.units) { Ok(()) } else { Err(DropReason::BadFragment) }
}

/// The first part is not sent: the others shall not be either.
#[inline(always)]
fn forget<T: Tables>(tables: &T, flow_key: &FlowKey, id: u16, now_ns: u64) {
    let mut key = DatagramKey::new(flow_key.side(), flow_key.src, id);
    if is_under_way(tables, &mut key, flow_key, id, now_ns) {
        tables.forget_datagram(&key);
    }
}

/// Has a first part of this very datagram come before? `key` becomes the place where it is, or is to be.
#[inline(always)]
fn is_under_way<T: Tables>(
    tables: &T,
    key: &mut DatagramKey,
    flow_key: &FlowKey,
    id: u16,
    now_ns: u64,
) -> bool {
    let wanted = (flow_key.dst, id, flow_key.protocol_number());
    let other = key.other(id);
    let first_until = match tables.datagram(key) {
        Some(datagram) if datagram.is_of(wanted, now_ns) => return true,
        Some(datagram) => datagram.deadline_ns(),
        None => 0,
    };
    let other_until = match tables.datagram(&other) {
        Some(datagram) if datagram.is_of(wanted, now_ns) => {
            *key = other;
            return true;
        }
        Some(datagram) => datagram.deadline_ns(),
        None => 0,
    };
    // A free place, or that of the datagram that has taken longest already.
    if other_until < first_until {
        *key = other;
    }
    false
}

/// Bytes as units of 8.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "an IP packet is shorter than 64 KiB")]
const fn units(bytes: usize) -> u16 {
    bytes.div_ceil(8) as u16
}

/// When a later part came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// Now.
    Now,
    /// Before its first part: it was kept, after its sender had been checked. In TC its tag is forgotten.
    Before,
}

/// A later part: it goes where the first one went, if that is known.
#[inline(always)]
fn send_later_part<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    frame: &Frame,
    flow: &mut Flow,
    (came, now_ns): (Came, u64),
) -> Result<Option<Verdict>, DropReason> {
    let ip = &frame.ip;
    let mut key = DatagramKey::new(frame.side, ip.src, ip.id);
    let found = match find(tables, &key, ip, now_ns) {
        None => {
            key = key.other(ip.id);
            find(tables, &key, ip, now_ns)
        }
        found => found,
    };
    let Some((datagram, head)) = found else {
        return Ok(None);
    };
    flow.tenant = head.tenant;
    let is_checked = matches!(frame.side, Side::External) || matches!(came, Came::Before);
    if !is_checked && head.arrival != hop::arrival(packet, frame) {
        let sender = (ip.src, tables.tenant_of(ip.src).unwrap_or(head.tenant));
        hop::check_source(packet, tables, frame, sender)?;
    }
    let (first, end) = extent(ip).ok_or(DropReason::BadFragment)?;
    let addresses: (Addr, Addr) = (head.new_src, head.new_dst);
    let leaves_by = if head.stays == 0 { frame.side.opposite() } else { frame.side };
    let hop = hop::find(packet, tables, frame, addresses, leaves_by).map_err(|no_way| no_way.reason)?;
    if !datagram.claim(first, end) {
        return Err(DropReason::BadFragment);
    }
    if !ip.fragment.more_follow() {
        datagram.set_total(end);
    }
    if datagram.is_complete() {
        // Not forgotten at once: a part that comes twice would begin it anew, and be in the way of the next datagram with
        // this identification.
        datagram.set_deadline_ns(now_ns + DATAGRAM_LINGER_NS);
    }
    let bytes = packet.len() as u64;
    rewrite::translate_part(packet, &frame.link, ip, addresses, hop.link)
        .map_err(|_| DropReason::RewriteFailed)?;
    tables.count(Counter::Translated, 1);
    tables.count_translated(flow.tenant, matches!(frame.side, Side::Internal), bytes);
    Ok(Some(hop.verdict))
}

#[inline(always)]
fn find<T: Tables>(
    tables: &T,
    key: &DatagramKey,
    ip: &Ipv4,
    now_ns: u64,
) -> Option<(T::Datagram, DatagramHead)> {
    let datagram = tables.datagram(key)?;
    if !datagram.is_of((ip.dst, ip.id, ip.protocol), now_ns) {
        return None;
    }
    let head = datagram.head();
    Some((datagram, head))
}

/// The units that a later part covers; `None` when it contradicts itself or reaches beyond what a datagram can hold.
#[inline(always)]
fn extent(ip: &Ipv4) -> Option<(u16, u16)> {
    const UNITS_MAX: u16 = 8189;
    let len = ip.payload_len();
    let whole = len.is_multiple_of(8) || !ip.fragment.more_follow();
    let first = ip.fragment.offset_units();
    let end = first + units(len);
    if len == 0 || !whole || end > UNITS_MAX { None } else { Some((first, end)) }
}

/// No first part is known: the daemon keeps the packet if it is the gateway's.
#[inline(always)]
fn unmatched<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    frame: &Frame,
    flow: &mut Flow,
) -> Result<Verdict, DropReason> {
    if !is_ours(tables, frame.side, &frame.ip, flow) {
        return pass_ipv4(packet, tables, frame);
    }
    if matches!(frame.side, Side::Internal) {
        // Before it takes the room of its sender's parts.
        hop::check_source(packet, tables, frame, (frame.ip.src, flow.tenant))?;
    }
    if !packet.hold(frame.side) {
        return Err(DropReason::FragmentUnmatched);
    }
    tables.count(Counter::FragmentsHeld, 1);
    Ok(Verdict::Held)
}
