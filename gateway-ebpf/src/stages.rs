//! The stages as programs of their own, entered by tail calls.

use crate::{
    context::{QUOTED_HEADERS_MAX, TcPacket, XdpPacket},
    maps::{KernelTables, STAGES_TC, STAGES_XDP},
    now_ns,
    route::{Tc, Xdp},
    tc_action, xdp_action,
};
use aya_ebpf::{
    bindings::{TC_ACT_SHOT, xdp_action::XDP_DROP},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use gateway_common::{
    abi::{Side, TenantId},
    drop_reason::DropReason,
    forward::{Stage, Step},
    tables::Tables as _,
};

/// Goes on in a stage's program. When that is missing the packet is dropped: the daemon puts it back.
#[inline(always)]
pub fn enter_xdp(ctx: &XdpContext, tables: &KernelTables<Xdp>, stage: Stage, side: Side) -> u32 {
    // SAFETY: nothing that would have to be dropped is alive; the context is the one of this run.
    unsafe { STAGES_XDP.tail_call(ctx, stage.index(side)) };
    tables.count_drop(DropReason::NotConfigured, TenantId::NONE);
    XDP_DROP
}

/// As [`enter_xdp`].
#[inline(always)]
pub fn enter_tc(ctx: &TcContext, tables: &KernelTables<Tc>, stage: Stage, side: Side) -> i32 {
    // SAFETY: as in `enter_xdp`.
    unsafe { STAGES_TC.tail_call(ctx, stage.index(side)) };
    tables.count_drop(DropReason::NotConfigured, TenantId::NONE);
    TC_ACT_SHOT
}

#[inline(always)]
fn run_xdp(ctx: &XdpContext, stage: Stage, side: Side) -> u32 {
    let tables = KernelTables::<Xdp>::new(ctx.ctx.cast());
    match stage.run(&mut XdpPacket(ctx), &tables, side, now_ns()) {
        Step::Done(verdict) => xdp_action(ctx, verdict),
        Step::Next(next) => enter_xdp(ctx, &tables, next, side),
    }
}

#[inline(always)]
fn run_tc(ctx: &TcContext, stage: Stage, side: Side) -> i32 {
    let tables = KernelTables::<Tc>::new(ctx.skb.skb.cast());
    let Some(mut packet) = <TcPacket<'_>>::new(ctx, QUOTED_HEADERS_MAX) else {
        tables.count_drop(DropReason::NotLinear, TenantId::NONE);
        return TC_ACT_SHOT;
    };
    match stage.run(&mut packet, &tables, side, now_ns()) {
        Step::Done(verdict) => tc_action(ctx, &packet, verdict),
        Step::Next(next) => enter_tc(ctx, &tables, next, side),
    }
}

/// ICMP errors, external side.
#[xdp]
pub fn xdp_quoted_external(ctx: XdpContext) -> u32 {
    run_xdp(&ctx, Stage::Quoted, Side::External)
}

/// ICMP errors, internal side.
#[xdp]
pub fn xdp_quoted_internal(ctx: XdpContext) -> u32 {
    run_xdp(&ctx, Stage::Quoted, Side::Internal)
}

/// First parts of datagrams, external side.
#[xdp]
pub fn xdp_first_part_external(ctx: XdpContext) -> u32 {
    run_xdp(&ctx, Stage::FirstPart, Side::External)
}

/// First parts of datagrams, internal side.
#[xdp]
pub fn xdp_first_part_internal(ctx: XdpContext) -> u32 {
    run_xdp(&ctx, Stage::FirstPart, Side::Internal)
}

/// Later parts of datagrams, external side.
#[xdp]
pub fn xdp_later_part_external(ctx: XdpContext) -> u32 {
    run_xdp(&ctx, Stage::LaterPart, Side::External)
}

/// Later parts of datagrams, internal side.
#[xdp]
pub fn xdp_later_part_internal(ctx: XdpContext) -> u32 {
    run_xdp(&ctx, Stage::LaterPart, Side::Internal)
}

/// Packets whose sender is told that they cannot go on, external side.
#[xdp]
pub fn xdp_tell_external(ctx: XdpContext) -> u32 {
    run_xdp(&ctx, Stage::Tell, Side::External)
}

/// Packets whose sender is told that they cannot go on, internal side.
#[xdp]
pub fn xdp_tell_internal(ctx: XdpContext) -> u32 {
    run_xdp(&ctx, Stage::Tell, Side::Internal)
}

/// ICMP errors, external side.
#[classifier]
pub fn tc_quoted_external(ctx: TcContext) -> i32 {
    run_tc(&ctx, Stage::Quoted, Side::External)
}

/// ICMP errors, internal side.
#[classifier]
pub fn tc_quoted_internal(ctx: TcContext) -> i32 {
    run_tc(&ctx, Stage::Quoted, Side::Internal)
}

/// First parts of datagrams, external side.
#[classifier]
pub fn tc_first_part_external(ctx: TcContext) -> i32 {
    run_tc(&ctx, Stage::FirstPart, Side::External)
}

/// First parts of datagrams, internal side.
#[classifier]
pub fn tc_first_part_internal(ctx: TcContext) -> i32 {
    run_tc(&ctx, Stage::FirstPart, Side::Internal)
}

/// Later parts of datagrams, external side.
#[classifier]
pub fn tc_later_part_external(ctx: TcContext) -> i32 {
    run_tc(&ctx, Stage::LaterPart, Side::External)
}

/// Later parts of datagrams, internal side.
#[classifier]
pub fn tc_later_part_internal(ctx: TcContext) -> i32 {
    run_tc(&ctx, Stage::LaterPart, Side::Internal)
}

/// Packets whose sender is told that they cannot go on, external side.
#[classifier]
pub fn tc_tell_external(ctx: TcContext) -> i32 {
    run_tc(&ctx, Stage::Tell, Side::External)
}

/// Packets whose sender is told that they cannot go on, internal side.
#[classifier]
pub fn tc_tell_internal(ctx: TcContext) -> i32 {
    run_tc(&ctx, Stage::Tell, Side::Internal)
}

/// Connections to crowded listeners, and answers to challenges, external side.
#[xdp]
pub fn xdp_challenge_external(ctx: XdpContext) -> u32 {
    run_xdp(&ctx, Stage::Challenge, Side::External)
}

/// Connections to crowded listeners, and answers to challenges, internal side.
#[xdp]
pub fn xdp_challenge_internal(ctx: XdpContext) -> u32 {
    run_xdp(&ctx, Stage::Challenge, Side::Internal)
}

/// Connections to crowded listeners, and answers to challenges, external side.
#[classifier]
pub fn tc_challenge_external(ctx: TcContext) -> i32 {
    run_tc(&ctx, Stage::Challenge, Side::External)
}

/// Connections to crowded listeners, and answers to challenges, internal side.
#[classifier]
pub fn tc_challenge_internal(ctx: TcContext) -> i32 {
    run_tc(&ctx, Stage::Challenge, Side::Internal)
}

/// Packets of no known flow, external side.
#[xdp]
pub fn xdp_open_external(ctx: XdpContext) -> u32 {
    run_xdp(&ctx, Stage::Open, Side::External)
}

/// Packets of no known flow, internal side.
#[xdp]
pub fn xdp_open_internal(ctx: XdpContext) -> u32 {
    run_xdp(&ctx, Stage::Open, Side::Internal)
}

/// Packets of no known flow, external side.
#[classifier]
pub fn tc_open_external(ctx: TcContext) -> i32 {
    run_tc(&ctx, Stage::Open, Side::External)
}

/// Packets of no known flow, internal side.
#[classifier]
pub fn tc_open_internal(ctx: TcContext) -> i32 {
    run_tc(&ctx, Stage::Open, Side::Internal)
}

/// SYNs whose segment size may be too large, external side.
#[xdp]
pub fn xdp_handshake_external(ctx: XdpContext) -> u32 {
    run_xdp(&ctx, Stage::Handshake, Side::External)
}

/// SYNs whose segment size may be too large, internal side.
#[xdp]
pub fn xdp_handshake_internal(ctx: XdpContext) -> u32 {
    run_xdp(&ctx, Stage::Handshake, Side::Internal)
}

/// SYNs whose segment size may be too large, external side.
#[classifier]
pub fn tc_handshake_external(ctx: TcContext) -> i32 {
    run_tc(&ctx, Stage::Handshake, Side::External)
}

/// SYNs whose segment size may be too large, internal side.
#[classifier]
pub fn tc_handshake_internal(ctx: TcContext) -> i32 {
    run_tc(&ctx, Stage::Handshake, Side::Internal)
}

/// Flows that are entered, external side.
#[xdp]
pub fn xdp_enter_external(ctx: XdpContext) -> u32 {
    run_xdp(&ctx, Stage::Enter, Side::External)
}

/// Flows that are entered, internal side.
#[xdp]
pub fn xdp_enter_internal(ctx: XdpContext) -> u32 {
    run_xdp(&ctx, Stage::Enter, Side::Internal)
}

/// First parts whose datagram is noted, external side.
#[xdp]
pub fn xdp_note_external(ctx: XdpContext) -> u32 {
    run_xdp(&ctx, Stage::Note, Side::External)
}

/// First parts whose datagram is noted, internal side.
#[xdp]
pub fn xdp_note_internal(ctx: XdpContext) -> u32 {
    run_xdp(&ctx, Stage::Note, Side::Internal)
}

/// Flows that are entered, external side.
#[classifier]
pub fn tc_enter_external(ctx: TcContext) -> i32 {
    run_tc(&ctx, Stage::Enter, Side::External)
}

/// Flows that are entered, internal side.
#[classifier]
pub fn tc_enter_internal(ctx: TcContext) -> i32 {
    run_tc(&ctx, Stage::Enter, Side::Internal)
}

/// First parts whose datagram is noted, external side.
#[classifier]
pub fn tc_note_external(ctx: TcContext) -> i32 {
    run_tc(&ctx, Stage::Note, Side::External)
}

/// First parts whose datagram is noted, internal side.
#[classifier]
pub fn tc_note_internal(ctx: TcContext) -> i32 {
    run_tc(&ctx, Stage::Note, Side::Internal)
}
