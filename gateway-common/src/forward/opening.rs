//! Packets of no known flow, and those that start a known connection anew. Policy is asked here, and nowhere else in the
//! way of a packet that is translated.

use super::{
    Break, Decision, Flow, Frame, Stage, Step, answer_echo, challenge, decide_first, half_open, hop, known,
    mss,
    open::{self, Opened},
    pass_ipv4,
    plan::Plan,
    refuse, step, tell,
};
use crate::{
    abi::{FlowEnd, Seen, Side},
    drop_reason::DropReason,
    packet::Packet,
    tables::Tables,
    verdict::Verdict,
    wire::transport::Transport,
};

/// Decides about such a packet that came in on `side`.
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
    // Read into the plan at once: the kernel's stack is short here.
    let mut plan = tables.plan().ok_or(DropReason::NotConfigured)?;
    plan.frame = Frame::parse(packet, side)?;
    plan.transport = Transport::parse(packet, &plan.frame.ip, side)?;
    let Plan { frame, transport, .. } = &*plan;
    let hit = known::find(tables, &transport.key);
    match &hit {
        Some(hit) if !hit.reopens(transport.segment) => {
            (flow.tenant, flow.pair) = (hit.entry.tenant, hit.entry.pair);
            if known::is_elsewhere(packet, frame, &hit.entry) {
                return Err(Break::Stage(Stage::Source));
            }
            if hit.is_ended() {
                return Err(Break::Stage(Stage::Tell));
            }
        }
        _ => match decide_first(tables, side, transport, flow) {
            Decision::Pass => return Ok(pass_ipv4(packet, tables, frame)?),
            Decision::Answer => {
                answer_echo(packet, tables, &frame.ip)?;
                return Ok(Verdict::Reply);
            }
            Decision::Drop(reason)
                if refuse::is_answered(reason, transport.segment)
                    || tell::is_prohibited(reason, transport.segment) =>
            {
                return Err(Break::Stage(Stage::Tell));
            }
            Decision::Drop(reason) if challenge::may_be_answer(reason, transport.segment, side) => {
                return Err(Break::Stage(Stage::Challenge));
            }
            Decision::Drop(reason) => return Err(reason.into()),
            Decision::Open => check_client(packet, tables, frame, transport, flow, now_ns)?,
        },
    }
    // The route does not depend on the port of a new flow, which is chosen last: a refused packet leaves no entry.
    let hop = hop::find(packet, tables, frame, (flow.pair.dst, flow.pair.src), flow.pair.side())?;
    flow.arrivals = (hop::arrival(packet, frame), hop.arrival);
    (plan.flow, plan.hop) = (*flow, hop);
    (plan.is_known, plan.is_made) = (hit.is_some(), true);
    Err(Break::Stage(Stage::Enter))
}

/// Enters the flow as planned, and sends the packet or says which stage does.
#[inline(always)]
pub fn enter<P: Packet, T: Tables>(packet: &mut P, tables: &T, now_ns: u64) -> Step {
    let none = || step(tables, &Flow::unknown(Side::External), Err(DropReason::NotConfigured.into()));
    let Some(mut plan) = tables.plan() else {
        return none();
    };
    if !plan.take() {
        return none();
    }
    let outcome = carry_out(packet, tables, &mut plan, now_ns);
    step(tables, &plan.flow, outcome)
}

#[inline(always)]
fn carry_out<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    plan: &mut Plan,
    now_ns: u64,
) -> Result<Verdict, Break> {
    if let Err(reason) = track(tables, plan, now_ns) {
        let why = (reason, plan.flow.tenant);
        return Ok(refuse::refuse(packet, tables, &plan.frame.ip, plan.transport.segment, why, now_ns)?);
    }
    if plan.frame.ip.fragment.is_part() {
        // Of a known flow now: where it came from.
        return Err(Break::Stage(Stage::FirstPart));
    }
    if mss::is_told(tables, plan.transport.segment) {
        return Err(Break::Stage(Stage::Handshake));
    }
    hop::send(packet, tables, &plan.frame, &plan.transport.key, &plan.flow, &plan.hop)?;
    Ok(plan.hop.verdict)
}

/// Is the sender of a first packet who it says it is, as far as that can be known?
#[inline(always)]
fn check_client<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    frame: &Frame,
    transport: &Transport,
    flow: &Flow,
    now_ns: u64,
) -> Result<(), Break> {
    match frame.side {
        Side::Internal => {
            hop::check_source(packet, tables, frame, (frame.ip.src, flow.tenant)).map_err(Break::Drop)
        }
        Side::External
            if transport.segment.seen().contains(Seen::SYN)
                && half_open::is_challenged(tables, &transport.key, flow, now_ns) =>
        {
            Err(Break::Stage(Stage::Challenge))
        }
        Side::External => Ok(()),
    }
}

/// Enters the flow, or notes the packet of a known one.
#[inline(always)]
fn track<T: Tables>(tables: &T, plan: &mut Plan, now_ns: u64) -> Result<(), DropReason> {
    let Plan { flow, transport, .. } = plan;
    let hit = if plan.is_known { known::find(tables, &transport.key) } else { None };
    match hit {
        Some(hit) if !hit.is_ended() && flow.is_served_by(&hit.entry.pair) => {
            flow.pair = hit.entry.pair;
            return known::advance(tables, &hit, transport, now_ns);
        }
        // The tuple is used again, and policy now sends it elsewhere than the connection that ended; or the daemon ended
        // that, and resets what is left of it; or it idled out.
        Some(hit) => known::forget(tables, hit.table, &transport.key, &hit.entry, FlowEnd::Replaced),
        None => {}
    }
    if open::enter(tables, flow, transport, now_ns)? == Opened::New {
        half_open::take_place(tables, &transport.key, flow);
    }
    Ok(())
}
