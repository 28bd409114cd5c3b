//! The stages as programs of their own, entered by tail calls.

use crate::{
    context::{QUOTED_HEADERS_MAX, TcPacket, XdpPacket},
    hook::{Tc, Xdp},
    maps::{KernelTables, STAGES_TC, STAGES_XDP},
    now_ns, tap, tc_done, tc_undecided, xdp_done, xdp_undecided,
};
use aya_ebpf::{
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use gateway_common::{
    abi::Side,
    drop_reason::DropReason,
    forward::{Stage, Step},
};

/// Goes on in a stage's program. When that is missing the packet is dropped: the daemon puts it back.
#[inline(always)]
pub fn enter_xdp<const TAPPED: bool>(
    ctx: &XdpContext,
    tables: &KernelTables<Xdp, TAPPED>,
    stage: Stage,
    side: Side,
) -> u32 {
    // SAFETY: nothing that would have to be dropped is alive; the context is the one of this run.
    unsafe { STAGES_XDP.tail_call(ctx, stage.index(side)) };
    xdp_undecided(ctx, tables, DropReason::NotConfigured)
}

/// As [`enter_xdp`].
#[inline(always)]
pub fn enter_tc<const TAPPED: bool>(
    ctx: &TcContext,
    tables: &KernelTables<Tc, TAPPED>,
    stage: Stage,
    side: Side,
) -> i32 {
    // SAFETY: as in `enter_xdp`.
    unsafe { STAGES_TC.tail_call(ctx, stage.index(side)) };
    tc_undecided(ctx, tables, DropReason::NotConfigured)
}

#[inline(always)]
fn run_xdp(ctx: &XdpContext, stage: Stage, side: Side) -> u32 {
    tap::divert_xdp(ctx, Some(stage), side);
    stage_xdp::<false>(ctx, stage, side)
}

#[inline(always)]
fn run_tc(ctx: &TcContext, stage: Stage, side: Side) -> i32 {
    tap::divert_tc(ctx, Some(stage), side);
    stage_tc::<false>(ctx, stage, side)
}

/// A stage's work; one that is `TAPPED` tells whoever watches.
#[inline(always)]
pub fn stage_xdp<const TAPPED: bool>(ctx: &XdpContext, stage: Stage, side: Side) -> u32 {
    let tables = KernelTables::<Xdp, TAPPED>::new(ctx.ctx.cast());
    if TAPPED {
        tap::begin::<Xdp>(ctx.ctx.cast(), side);
    }
    match stage.run(&mut XdpPacket(ctx), &tables, side, now_ns()) {
        Step::Done(verdict) => xdp_done::<TAPPED>(ctx, verdict),
        Step::Next(next) => enter_xdp(ctx, &tables, next, side),
    }
}

/// As [`stage_xdp`].
#[inline(always)]
pub fn stage_tc<const TAPPED: bool>(ctx: &TcContext, stage: Stage, side: Side) -> i32 {
    let tables = KernelTables::<Tc, TAPPED>::new(ctx.skb.skb.cast());
    if TAPPED {
        tap::begin::<Tc>(ctx.skb.skb.cast(), side);
    }
    let Some(mut packet) = <TcPacket<'_>>::new(ctx, QUOTED_HEADERS_MAX) else {
        return tc_undecided(ctx, &tables, DropReason::NotLinear);
    };
    match stage.run(&mut packet, &tables, side, now_ns()) {
        Step::Done(verdict) => tc_done::<TAPPED>(ctx, &packet, verdict),
        Step::Next(next) => enter_tc(ctx, &tables, next, side),
    }
}

/// The programs of the stages: in XDP and TC, for both sides, and those that take their place while somebody watches. Their
/// names are made from the stage's, for [`gateway_common::names`] to say the same.
macro_rules! stages {
    ($($stage:ident: $name:ident,)*) => {
        $(
            program!(xdp, $name, External, external, $stage);
            program!(xdp, $name, Internal, internal, $stage);
            program!(tc, $name, External, external, $stage);
            program!(tc, $name, Internal, internal, $stage);
        )*

        // Does not compile while a stage has no line here.
        const _: fn(Stage) = |stage| match stage {
            $(Stage::$stage => {})*
        };
        const _: () = assert!([$(Stage::$stage),*].len() == Stage::ALL.len(), "Stage::ALL lacks one");
    };
}

/// One stage's program for a hook and a side, and the one in its place.
macro_rules! program {
    (xdp, $name:ident, $Side:ident, $side:ident, $stage:ident) => {
        #[xdp]
        pub fn ${concat(xdp_, $name, _, $side)}(ctx: XdpContext) -> u32 {
            run_xdp(&ctx, Stage::$stage, Side::$Side)
        }

        #[xdp]
        pub fn ${concat(tapped_xdp_, $name, _, $side)}(ctx: XdpContext) -> u32 {
            stage_xdp::<true>(&ctx, Stage::$stage, Side::$Side)
        }
    };
    (tc, $name:ident, $Side:ident, $side:ident, $stage:ident) => {
        #[classifier]
        pub fn ${concat(tc_, $name, _, $side)}(ctx: TcContext) -> i32 {
            run_tc(&ctx, Stage::$stage, Side::$Side)
        }

        #[classifier]
        pub fn ${concat(tapped_tc_, $name, _, $side)}(ctx: TcContext) -> i32 {
            stage_tc::<true>(&ctx, Stage::$stage, Side::$Side)
        }
    };
}

stages! {
    Quoted: quoted,
    FirstPart: first_part,
    LaterPart: later_part,
    Tell: tell,
    Challenge: challenge,
    Open: open,
    Handshake: handshake,
    Enter: enter,
    Note: note,
    Source: source,
    Again: again,
}
