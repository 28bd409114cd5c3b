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

/// The programs of the stages: in XDP and TC, for both sides. Their names are made from the stage's, for
/// [`gateway_common::names`] to say the same.
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

/// One stage's program for a hook and a side.
macro_rules! program {
    (xdp, $name:ident, $Side:ident, $side:ident, $stage:ident) => {
        #[xdp]
        pub fn ${concat(xdp_, $name, _, $side)}(ctx: XdpContext) -> u32 {
            run_xdp(&ctx, Stage::$stage, Side::$Side)
        }
    };
    (tc, $name:ident, $Side:ident, $side:ident, $stage:ident) => {
        #[classifier]
        pub fn ${concat(tc_, $name, _, $side)}(ctx: TcContext) -> i32 {
            run_tc(&ctx, Stage::$stage, Side::$Side)
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
}
