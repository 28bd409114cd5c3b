//! The maximum segment size that two ends agree on, made small enough for the links that they cannot see.

use super::{Break, Flow, Frame, Stage, Step, hop, known, step};
use crate::{
    abi::{Seen, SettingsFlags, Side, TenantId},
    conntrack::Segment,
    drop_reason::DropReason,
    packet::Packet,
    rewrite,
    tables::Tables,
    verdict::Verdict,
    wire::transport::Transport,
};

/// Does a segment tell a size that may have to be lowered?
#[inline(always)]
pub fn is_told<T: Tables>(tables: &T, segment: Segment) -> bool {
    segment.seen().contains(Seen::SYN)
        && match tables.settings() {
            Some(settings) => settings.flags.contains(SettingsFlags::CLAMPS_MSS),
            None => false,
        }
}

/// Sends a SYN of a known flow on, which came in on `side`, with its size lowered.
#[inline(always)]
pub fn process<P: Packet, T: Tables>(packet: &mut P, tables: &T, side: Side, now_ns: u64) -> Step {
    let mut flow = Flow::unknown(side);
    let outcome = decide(packet, tables, side, &mut flow, now_ns);
    step(tables, &flow, outcome)
}

#[inline(always)]
fn decide<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    side: Side,
    flow: &mut Flow,
    now_ns: u64,
) -> Result<Verdict, Break> {
    let frame = &Frame::parse(packet, side)?;
    let transport = Transport::parse(packet, &frame.ip, side)?;
    let hit = known::find(tables, &transport.key).ok_or(DropReason::NoFlow)?;
    (flow.tenant, flow.pair) = (hit.entry.tenant, hit.entry.pair);
    if hit.is_ended() {
        return Err(Break::Stage(Stage::Tell));
    }
    let hop = hop::find(packet, tables, frame, (flow.pair.dst, flow.pair.src), flow.pair.side())?;
    known::advance(tables, &hit, &transport, now_ns)?;
    clamp(packet, tables, transport.offset, (flow.tenant, hop.mss))?;
    hop::send(packet, tables, frame, &transport.key, flow, &hop)?;
    Ok(hop.verdict)
}

/// Lowers the size that a SYN offers to what its tenant and both interfaces allow, of which `outgoing` is one.
///
/// The size tells the other end what it may send, so both ways count: that comes back by the interface that the SYN came
/// in by.
#[inline(never)]
fn clamp<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    offset: usize,
    (tenant, outgoing): (TenantId, u16),
) -> Result<(), DropReason> {
    let incoming = match tables.interface(packet.ingress_ifindex()) {
        Some(interface) => interface.mss,
        None => 0,
    };
    let tenant = match tables.tenant(tenant) {
        Some(tenant) => tenant.mss,
        None => 0,
    };
    let mss = smallest(smallest(incoming, outgoing), tenant);
    if mss == 0 {
        return Ok(());
    }
    rewrite::clamp_mss(packet, offset, mss).map_err(|_| DropReason::RewriteFailed)
}

/// The smaller one of those that are set.
#[inline(always)]
const fn smallest(one: u16, other: u16) -> u16 {
    if one == 0 || (other != 0 && other < one) { other } else { one }
}
