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
mod context;
mod expire;
mod log;
mod maps;
mod resume;
mod route;
mod stages;

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
use maps::KernelTables;
use route::{Tc, Xdp};

/// Interfaces on NPCI's side.
#[xdp]
pub fn xdp_external(ctx: XdpContext) -> u32 {
    xdp_gateway(&ctx, Side::External)
}

/// Interfaces on the tenants' side.
#[xdp]
pub fn xdp_internal(ctx: XdpContext) -> u32 {
    xdp_gateway(&ctx, Side::Internal)
}

/// Interfaces on NPCI's side.
#[classifier]
pub fn tc_external(ctx: TcContext) -> i32 {
    tc_gateway(&ctx, Side::External)
}

/// Interfaces on the tenants' side.
#[classifier]
pub fn tc_internal(ctx: TcContext) -> i32 {
    tc_gateway(&ctx, Side::Internal)
}

#[inline(always)]
fn xdp_gateway(ctx: &XdpContext, side: Side) -> u32 {
    let tables = KernelTables::<Xdp>::new(ctx.ctx.cast());
    match forward::begin(&mut XdpPacket(ctx), &tables, side, now_ns()) {
        Step::Done(verdict) => xdp_action(ctx, verdict),
        Step::Next(stage) => stages::enter_xdp(ctx, &tables, stage, side),
    }
}

/// Carries a verdict out.
#[inline(always)]
fn xdp_action(ctx: &XdpContext, verdict: Verdict) -> u32 {
    log::warn_if_broken(ctx, verdict);
    match verdict {
        Verdict::Pass => xdp_action::XDP_PASS,
        // Not XDP_TX: on veth that wakes the far end only if it has an XDP program too (veth_xdp_flush, as of 6.18).
        // Forwarding needs devices that take redirects anyway.
        Verdict::Reply => redirect(ctx.ingress_ifindex() as u32) as u32,
        Verdict::Redirect { ifindex } => redirect(ifindex) as u32,
        // XDP has no neighbour resolution: `process` drops such packets with a reason.
        Verdict::Drop(_) | Verdict::Held | Verdict::RedirectNeighbour { .. } => xdp_action::XDP_DROP,
    }
}

#[inline(always)]
fn tc_gateway(ctx: &TcContext, side: Side) -> i32 {
    let tables = KernelTables::<Tc>::new(ctx.skb.skb.cast());
    let Some(mut packet) = <TcPacket<'_>>::new(ctx, HEADERS_MAX) else {
        tables.count_drop(DropReason::NotLinear, TenantId::NONE);
        return TC_ACT_SHOT;
    };
    match forward::begin(&mut packet, &tables, side, now_ns()) {
        Step::Done(verdict) => tc_action(ctx, &packet, verdict),
        Step::Next(stage) => stages::enter_tc(ctx, &tables, stage, side),
    }
}

/// Carries a verdict out.
#[inline(always)]
fn tc_action(ctx: &TcContext, packet: &TcPacket<'_>, verdict: Verdict) -> i32 {
    log::warn_if_broken(ctx, verdict);
    match verdict {
        // "Next": other programs on the interface see the packet too.
        Verdict::Pass => TC_ACT_UNSPEC,
        Verdict::Reply => redirect(packet.ifindex()) as i32,
        Verdict::Redirect { ifindex } => redirect(ifindex) as i32,
        // SAFETY: a helper call without pointers: null and length 0 mean "ask the routing table".
        Verdict::RedirectNeighbour { ifindex } => unsafe {
            bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0) as i32
        },
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
