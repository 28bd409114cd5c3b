//! Packets whose sender is told that they go no further: policy refuses them aloud, their flow was ended, their time to
//! live ends here, or the next link is too small (as of every router: RFC 1812 sections 4.3.3 and 5.3.1). The common path
//! has found that out, and comes here; everything is looked up again. No host gets more errors than [`error_rate`] admits,
//! but for those that path MTU discovery needs.
//!
//! The gateway never makes fragments: a packet that is too large is refused with the size that fits even if it allows
//! to be cut, which every stack takes into account.

use super::{
    Decision, Flow, Frame, decide_first, error_rate,
    hop::{self, NoWay},
    known,
    plan::Plan,
    refuse::{self, may_be_answered},
    settle,
};
use crate::{
    abi::{Addr, Counter, Seen, Side},
    conntrack::Segment,
    drop_reason::DropReason,
    packet::Packet,
    rewrite::{self, Complaint},
    tables::Tables,
    verdict::Verdict,
    wire::transport::Transport,
};

/// Turns a packet that came in on `side` into an ICMP error about itself, or drops it. It counts as dropped either way.
#[inline(always)]
pub fn process<P: Packet, T: Tables>(packet: &mut P, tables: &T, side: Side, now_ns: u64) -> Verdict {
    let mut flow = Flow::unknown(side);
    let verdict = decide(packet, tables, side, &mut flow, now_ns);
    settle(tables, &flow, verdict)
}

#[inline(always)]
fn decide<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    side: Side,
    flow: &mut Flow,
    now_ns: u64,
) -> Result<Verdict, DropReason> {
    // The room of a plan, which nobody carries out: the kernel's stack is short here.
    let mut room = tables.plan().ok_or(DropReason::NotConfigured)?;
    room.frame = Frame::parse(packet, side)?;
    room.transport = Transport::parse(packet, &room.frame.ip, side)?;
    let Plan { frame, transport, .. } = &*room;
    match known::find(tables, &transport.key) {
        Some(hit) if !hit.reopens(transport.segment) => {
            (flow.tenant, flow.pair) = (hit.entry.tenant, hit.entry.pair);
            if hit.is_ended() {
                let flow = (&transport.key, &hit);
                return refuse::refuse_ended(packet, tables, &frame.ip, transport.segment, flow, now_ns);
            }
        }
        _ => match decide_first(tables, side, transport, flow) {
            Decision::Open => {}
            Decision::Drop(reason) if is_prohibited(reason, transport.segment) => {
                // A stranger with a tenant's address is not told whom the tenant may call.
                hop::check_source(packet, tables, frame, (frame.ip.src, flow.tenant))?;
                return tell(packet, tables, frame, flow, reason.into(), now_ns);
            }
            Decision::Drop(reason) => {
                let why = (reason, flow.tenant);
                return refuse::refuse(packet, tables, &frame.ip, transport.segment, why, now_ns);
            }
            Decision::Pass | Decision::Answer => return Err(DropReason::NoFlow),
        },
    }
    match hop::find(packet, tables, frame, (flow.pair.dst, flow.pair.src), flow.pair.side()) {
        Err(no_way) if no_way.is_told() => tell(packet, tables, frame, flow, no_way, now_ns),
        Err(no_way) => Err(no_way.reason),
        // The route has changed since the common path asked: the sender tries again.
        Ok(_) => Err(DropReason::NoRoute),
    }
}

#[inline(always)]
fn tell<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    frame: &Frame,
    flow: &Flow,
    no_way: NoWay,
    now_ns: u64,
) -> Result<Verdict, DropReason> {
    let Some(src) = own_address(tables, frame, flow) else {
        return Err(no_way.reason);
    };
    let complaint = match no_way.reason {
        DropReason::MtuExceeded => Complaint::fragmentation_needed(no_way.mtu),
        DropReason::DestinationNotAllowed => Complaint::PROHIBITED,
        _ => Complaint::TIME_EXCEEDED,
    };
    // Without it a connection stands still; it is a small packet for each large one.
    let is_needed = matches!(no_way.reason, DropReason::MtuExceeded);
    let is_told = may_be_answered(packet, &frame.ip)
        && (is_needed || error_rate::admits(tables, frame.ip.src, now_ns))
        && rewrite::icmp_error(packet, &frame.ip, src, complaint).is_ok();
    if !is_told {
        return Err(no_way.reason);
    }
    tables.count_drop(no_way.reason, flow.tenant);
    tables.count(Counter::RefusalsSent, 1);
    Ok(Verdict::Reply)
}

/// Is a tenant's packet that policy refuses for this reason answered with an error (RFC 5508 REQ-8)? Not a reset: nobody
/// waits for an answer to that.
#[inline(always)]
pub const fn is_prohibited(reason: DropReason, segment: Segment) -> bool {
    matches!(reason, DropReason::DestinationNotAllowed) && !segment.seen().contains(Seen::RST)
}

/// The address that the sender knows the gateway by: the VIP that it called, or its NAT IP.
#[inline(always)]
fn own_address<T: Tables>(tables: &T, frame: &Frame, flow: &Flow) -> Option<Addr> {
    match frame.side {
        Side::External => Some(frame.ip.dst),
        Side::Internal => tables.tenant(flow.tenant).map(|tenant| tenant.nat),
    }
}
