//! Packets of a known flow that came in elsewhere than the flow's packets do: the route has changed, or somebody uses the
//! address of a tenant who is reached by another interface (RFC 3704 section 2.2). The common path compares one number and
//! leaves the question to this stage.

use super::{Break, Flow, Frame, Stage, Step, hop, known, step};
use crate::{
    abi::Side,
    drop_reason::DropReason,
    packet::Packet,
    tables::{FlowSlot as _, Tables},
    verdict::Verdict,
    wire::transport::Transport,
};

/// Decides about such a packet that came in on `side`.
#[inline(always)]
pub fn process<P: Packet, T: Tables>(packet: &mut P, tables: &T, side: Side) -> Step {
    let mut flow = Flow::unknown(side);
    let outcome = decide(packet, tables, side, &mut flow);
    step(tables, &flow, outcome)
}

/// One that came the right way teaches its flow that way, and begins anew.
#[inline(always)]
fn decide<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    side: Side,
    flow: &mut Flow,
) -> Result<Verdict, Break> {
    let frame = &Frame::parse(packet, side)?;
    let transport = Transport::parse(packet, &frame.ip, side)?;
    let hit = known::find(tables, &transport.key).ok_or(DropReason::NoFlow)?;
    (flow.tenant, flow.pair) = (hit.entry.tenant, hit.entry.pair);
    // Of a hairpin, the one who answers is another tenant than the one whose flow it is.
    let sender = (frame.ip.src, tables.tenant_of(frame.ip.src).unwrap_or(flow.tenant));
    hop::check_source(packet, tables, frame, sender)?;
    hit.slot.set_arrival(&transport.key, hop::arrival(packet, frame));
    Err(Break::Stage(Stage::Again))
}
