//! The kernel side of the gateway: entry points only.
//!
//! What a packet means is decided in `gateway_common::forward`, the same source that host tests run. Here stand the
//! hooks (this file), the packet contexts ([`context`]), the maps ([`maps`]) and the routing table ([`route`]).

#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics, macro_metavar_expr_concat)]
#![expect(
    internal_features,
    reason = "atomic operations have no stable name on BPF: core offers them as intrinsics only"
)]
#![expect(
    missing_docs,
    reason = "the entry point macros make functions of their own, without the comments given here"
)]
#![expect(clippy::needless_pass_by_value, reason = "the entry point macros hand contexts over by value")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "helpers take and return registers of 64 bits for what is defined as 32"
)]

mod bench;
mod bounds;
mod context;
mod expire;
mod hook;
mod log;
mod maps;
mod resume;
mod route;
mod stages;
mod tap;
mod tapped;

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action},
    helpers::generated::{bpf_ktime_get_coarse_ns, bpf_redirect, bpf_redirect_neigh},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use context::{HEADERS_MAX, TcPacket, XdpPacket};
use gateway_common::{
    abi::{Side, TenantId},
    drop_reason::DropReason,
    forward::{self, Step},
    tables::Tables as _,
    verdict::Verdict,
};
use hook::{Tc, Xdp};
use maps::KernelTables;

/// Interfaces on NPCI's side.
#[xdp]
pub fn xdp_external(ctx: XdpContext) -> u32 {
    tap::divert_xdp(&ctx, None, Side::External);
    xdp_gateway::<false>(&ctx, Side::External)
}

/// Interfaces on the tenants' side.
#[xdp]
pub fn xdp_internal(ctx: XdpContext) -> u32 {
    tap::divert_xdp(&ctx, None, Side::Internal);
    xdp_gateway::<false>(&ctx, Side::Internal)
}

/// Interfaces on NPCI's side.
#[classifier]
pub fn tc_external(ctx: TcContext) -> i32 {
    tap::divert_tc(&ctx, None, Side::External);
    tc_gateway::<false>(&ctx, Side::External)
}

/// Interfaces on the tenants' side.
#[classifier]
pub fn tc_internal(ctx: TcContext) -> i32 {
    tap::divert_tc(&ctx, None, Side::Internal);
    tc_gateway::<false>(&ctx, Side::Internal)
}

#[inline(always)]
fn xdp_gateway<const TAPPED: bool>(ctx: &XdpContext, side: Side) -> u32 {
    let tables = KernelTables::<Xdp, TAPPED>::new(ctx.ctx.cast());
    if TAPPED {
        tap::begin::<Xdp>(ctx.ctx.cast(), side);
    }
    match forward::begin(&mut XdpPacket(ctx), &tables, side, now_ns()) {
        Step::Done(verdict) => xdp_done::<TAPPED>(ctx, verdict),
        Step::Next(stage) => stages::enter_xdp(ctx, &tables, stage, side),
    }
}

/// The packet's way ends here, as the verdict says.
#[inline(always)]
fn xdp_done<const TAPPED: bool>(ctx: &XdpContext, verdict: Verdict) -> u32 {
    if TAPPED {
        let action = xdp_action::<TAPPED>(ctx, verdict);
        tap::end::<Xdp>(ctx.ctx.cast(), action);
        return action;
    }
    xdp_action::<TAPPED>(ctx, verdict)
}

/// Drops a packet that the engine could not be asked about.
#[inline(always)]
fn xdp_undecided<const TAPPED: bool>(
    ctx: &XdpContext,
    tables: &KernelTables<Xdp, TAPPED>,
    reason: DropReason,
) -> u32 {
    tables.count_drop(reason, TenantId::NONE);
    if TAPPED {
        tap::end::<Xdp>(ctx.ctx.cast(), xdp_action::XDP_DROP);
    }
    xdp_action::XDP_DROP
}

/// Carries a verdict out.
#[inline(always)]
fn xdp_action<const TAPPED: bool>(ctx: &XdpContext, verdict: Verdict) -> u32 {
    log::warn_if_broken(ctx, verdict);
    match verdict {
        Verdict::Pass => xdp_action::XDP_PASS,
        // Not XDP_TX: on veth that wakes the far end only if it has an XDP program too (veth_xdp_flush, as of 6.18).
        // Forwarding needs devices that take redirects anyway.
        Verdict::Reply => send::<Xdp, TAPPED>(ctx.ingress_ifindex() as u32) as u32,
        Verdict::Redirect { ifindex } => send::<Xdp, TAPPED>(ifindex) as u32,
        // XDP has no neighbour resolution: `process` drops such packets with a reason.
        Verdict::Drop(_) | Verdict::Held | Verdict::RedirectNeighbour { .. } => xdp_action::XDP_DROP,
    }
}

#[inline(always)]
fn tc_gateway<const TAPPED: bool>(ctx: &TcContext, side: Side) -> i32 {
    let tables = KernelTables::<Tc, TAPPED>::new(ctx.skb.skb.cast());
    if TAPPED {
        tap::begin::<Tc>(ctx.skb.skb.cast(), side);
    }
    let Some(mut packet) = <TcPacket<'_>>::new(ctx, HEADERS_MAX) else {
        return tc_undecided(ctx, &tables, DropReason::NotLinear);
    };
    match forward::begin(&mut packet, &tables, side, now_ns()) {
        Step::Done(verdict) => tc_done::<TAPPED>(ctx, &packet, verdict),
        Step::Next(stage) => stages::enter_tc(ctx, &tables, stage, side),
    }
}

/// As [`xdp_done`].
#[inline(always)]
fn tc_done<const TAPPED: bool>(ctx: &TcContext, packet: &TcPacket<'_>, verdict: Verdict) -> i32 {
    if TAPPED {
        let action = tc_action::<TAPPED>(ctx, packet, verdict);
        tap::end::<Tc>(ctx.skb.skb.cast(), action as u32);
        return action;
    }
    tc_action::<TAPPED>(ctx, packet, verdict)
}

/// As [`xdp_undecided`].
#[inline(always)]
fn tc_undecided<const TAPPED: bool>(
    ctx: &TcContext,
    tables: &KernelTables<Tc, TAPPED>,
    reason: DropReason,
) -> i32 {
    tables.count_drop(reason, TenantId::NONE);
    if TAPPED {
        tap::end::<Tc>(ctx.skb.skb.cast(), TC_ACT_SHOT as u32);
    }
    TC_ACT_SHOT
}

/// Carries a verdict out.
#[inline(always)]
fn tc_action<const TAPPED: bool>(ctx: &TcContext, packet: &TcPacket<'_>, verdict: Verdict) -> i32 {
    log::warn_if_broken(ctx, verdict);
    match verdict {
        // "Next": other programs on the interface see the packet too.
        Verdict::Pass => TC_ACT_UNSPEC,
        Verdict::Reply => send::<Tc, TAPPED>(packet.ifindex()) as i32,
        Verdict::Redirect { ifindex } => send::<Tc, TAPPED>(ifindex) as i32,
        Verdict::RedirectNeighbour { ifindex } => {
            if TAPPED {
                tap::note_way::<Tc>(ifindex);
            }
            // SAFETY: a helper call without pointers: null and length 0 mean "ask the routing table".
            unsafe { bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0) as i32 }
        }
        Verdict::Drop(_) | Verdict::Held => TC_ACT_SHOT,
    }
}

/// `CLOCK_MONOTONIC` to the last timer tick (at most 10 ms old): all that timeouts of seconds need, at a fraction of
/// the price of the exact clock. Since kernel 5.11 (commit d05512618056).
#[inline(always)]
pub(crate) fn now_ns() -> u64 {
    // SAFETY: a helper call without arguments.
    unsafe { bpf_ktime_get_coarse_ns() }
}

#[inline(always)]
fn send<F: tap::Frame, const TAPPED: bool>(ifindex: u32) -> i64 {
    if TAPPED {
        tap::note_way::<F>(ifindex);
    }
    redirect(ifindex)
}

#[inline(always)]
pub(crate) fn redirect(ifindex: u32) -> i64 {
    // SAFETY: a helper call without pointers; it returns the hook's redirect action or its drop action.
    unsafe { bpf_redirect(ifindex, 0) }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing here may panic; if the compiler can not prove it, an endless loop makes the verifier refuse the program.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
