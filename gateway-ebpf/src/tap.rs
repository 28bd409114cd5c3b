//! Watching: what the programs of [`crate::tapped`] tell the daemon.
//!
//! Every program of the data path begins with a tail call to the one that takes its place while somebody watches. The
//! tables for it are not pinned: the kernel empties them when the daemon dies. Their places are empty when nobody
//! watches, and since they are named by constants the kernel's compiler leaves a few instructions there and no lookup.

use crate::{
    bounds::size_within,
    context::XdpPacket,
    hook::{Kept, Tc, Xdp},
    now_ns,
};
use aya_ebpf::{
    bindings::{__sk_buff, TC_ACT_UNSPEC, xdp_action},
    helpers::generated::{bpf_ktime_get_ns, bpf_skb_load_bytes, bpf_xdp_load_bytes},
    macros::map,
    maps::{Array, PerCpuArray, ProgramArray, RingBuf},
    programs::{TcContext, XdpContext},
};
use core::{ffi::c_void, mem::size_of};
use gateway_common::{
    abi::{FlowKey, Side, Tap, TapCounts, TapFate, TapFlow, TapFrame, TapHead, TapKind, TenantId},
    drop_reason::DropReason,
    forward::Stage,
    limits::{TAP_BYTES, TAP_DROPS_PER_SECOND, TAP_FLOWS_PER_SECOND, TAP_FRAME_MAX, TAP_HEADERS_LEN},
    packet::Packet as _,
    tables::FlowChange,
};

const SECOND_NS: u64 = 1_000_000_000;

#[map]
static TAP: Array<Tap> = Array::with_max_entries(1, 0);
#[map]
static TAP_RING: RingBuf = RingBuf::with_byte_size(TAP_BYTES, 0);
#[map]
static TAP_COUNTS: PerCpuArray<TapCounts> = PerCpuArray::with_max_entries(1, 0);
#[map]
static TAPS_XDP: ProgramArray = ProgramArray::with_max_entries(Stage::TAP_INDICES, 0);
#[map]
static TAPS_TC: ProgramArray = ProgramArray::with_max_entries(Stage::TAP_INDICES, 0);

/// The packet in work as it came in: too large for the stack. By [`Frame::PLACE`].
#[map]
static TAP_FRAME: PerCpuArray<TapFrame> = PerCpuArray::with_max_entries(2, 0);

/// The contexts of the two hooks, as far as a packet is copied from them. Its functions are given the context itself, in a
/// register: the frames of the programs have no room left on the stack.
pub trait Frame {
    /// Where the packet in work is kept.
    const PLACE: u32 = 0;

    /// What a program returns for a packet that is left to the kernel.
    const HAS_PASSED: u32;

    /// Length of the frame in bytes.
    fn len(ctx: *mut c_void) -> u32;

    /// The interface that it came in by.
    fn ifindex(ctx: *mut c_void) -> u32;

    /// The 802.1Q tag that the kernel keeps beside the frame; 0 for none.
    fn vlan_tag(ctx: *mut c_void) -> u16;

    /// Copies the first `len` bytes, of which there are as many, to where there is room for them; false when the kernel
    /// refused.
    fn copy(ctx: *mut c_void, to: *mut c_void, len: u32) -> bool;
}

impl Frame for Xdp {
    const HAS_PASSED: u32 = xdp_action::XDP_PASS;

    #[inline(always)]
    fn len(ctx: *mut c_void) -> u32 {
        XdpPacket(&XdpContext::new(ctx.cast())).len() as u32
    }

    #[inline(always)]
    fn ifindex(ctx: *mut c_void) -> u32 {
        XdpContext::new(ctx.cast()).ingress_ifindex() as u32
    }

    #[inline(always)]
    fn vlan_tag(_ctx: *mut c_void) -> u16 {
        0
    }

    #[inline(always)]
    fn copy(ctx: *mut c_void, to: *mut c_void, len: u32) -> bool {
        // SAFETY: the context is the one of this run; there is room for `len` bytes.
        unsafe { bpf_xdp_load_bytes(ctx.cast(), 0, to, len) == 0 }
    }
}

impl Frame for Tc {
    const HAS_PASSED: u32 = TC_ACT_UNSPEC as u32;

    #[inline(always)]
    fn len(ctx: *mut c_void) -> u32 {
        TcContext::new(ctx.cast()).len()
    }

    #[inline(always)]
    fn ifindex(ctx: *mut c_void) -> u32 {
        // SAFETY: reads a context field, which the verifier checks.
        unsafe { (*ctx.cast::<__sk_buff>()).ifindex }
    }

    #[inline(always)]
    fn vlan_tag(ctx: *mut c_void) -> u16 {
        let skb = ctx.cast::<__sk_buff>();
        // SAFETY: as in `ifindex`.
        let (is_present, tag) = unsafe { ((*skb).vlan_present, (*skb).vlan_tci) };
        if is_present == 0 { 0 } else { tag as u16 }
    }

    #[inline(always)]
    fn copy(ctx: *mut c_void, to: *mut c_void, len: u32) -> bool {
        // SAFETY: as in XDP.
        unsafe { bpf_skb_load_bytes(ctx, 0, to, len) == 0 }
    }
}

impl Frame for Kept {
    // Where the kernel does not hold off interrupts while the daemon runs a program (6.1), packets come in between.
    const PLACE: u32 = 1;
    // The program says what becomes of a packet in words of its own; it passes none.
    const HAS_PASSED: u32 = Tc::HAS_PASSED;

    #[inline(always)]
    fn len(ctx: *mut c_void) -> u32 {
        Tc::len(ctx)
    }

    #[inline(always)]
    fn ifindex(ctx: *mut c_void) -> u32 {
        Tc::ifindex(ctx)
    }

    #[inline(always)]
    fn vlan_tag(ctx: *mut c_void) -> u16 {
        Tc::vlan_tag(ctx)
    }

    #[inline(always)]
    fn copy(ctx: *mut c_void, to: *mut c_void, len: u32) -> bool {
        Tc::copy(ctx, to, len)
    }
}

/// Goes on in the program that watches, if there is one.
#[inline(always)]
pub fn divert_xdp(ctx: &XdpContext, stage: Option<Stage>, side: Side) {
    // SAFETY: nothing that would have to be dropped is alive; the context is the one of this run.
    unsafe { TAPS_XDP.tail_call(ctx, Stage::tap_index(stage, side)) }
}

/// As [`divert_xdp`].
#[inline(always)]
pub fn divert_tc(ctx: &TcContext, stage: Option<Stage>, side: Side) {
    // SAFETY: as in `divert_xdp`.
    unsafe { TAPS_TC.tail_call(ctx, Stage::tap_index(stage, side)) }
}

/// Notes whose packet is in work.
#[inline(always)]
pub fn note_tenant<F: Frame>(tenant: TenantId) {
    if let Some(frame) = TAP_FRAME.get_ptr_mut(F::PLACE) {
        // SAFETY: a map value, mapped for the run of the program, written by this CPU alone.
        unsafe { (*frame).head.tenant = tenant }
    }
}

/// Notes whose packet is dropped, and why.
#[inline(always)]
pub fn note_drop<F: Frame>(reason: DropReason, tenant: TenantId) {
    if let Some(frame) = TAP_FRAME.get_ptr_mut(F::PLACE) {
        // SAFETY: as in `note_tenant`.
        unsafe { ((*frame).head.tenant, (*frame).head.why) = (tenant, reason as u8) }
    }
}

/// Notes the interface that the packet goes out by.
#[inline(never)]
pub fn note_way<F: Frame>(ifindex: u32) {
    if let Some(frame) = TAP_FRAME.get_ptr_mut(F::PLACE) {
        // SAFETY: as in `note_tenant`.
        unsafe { (*frame).head.egress_ifindex = ifindex }
    }
}

/// Keeps a packet as it comes in, before anything is decided about it.
#[inline(never)]
pub fn begin<F: Frame>(ctx: *mut c_void, side: Side) {
    let (Some(tap), Some(frame)) = (TAP.get(0), TAP_FRAME.get_ptr_mut(F::PLACE)) else {
        return;
    };
    let mut head = TapHead::new(exact_ns(), side);
    (head.ifindex, head.vlan_tag) = (F::ifindex(ctx), F::vlan_tag(ctx));
    // SAFETY: as in `note_tenant`.
    unsafe { (*frame).head = head };
    keep::<F>(ctx, frame, if is_capturing(tap) { tap.snap_len } else { TAP_HEADERS_LEN });
}

/// The packet's way ends with what its program returns, and it is as it goes out: tells what became of it, as far as
/// anybody wants to know.
#[inline(never)]
pub fn end<F: Frame>(ctx: *mut c_void, action: u32) {
    let (Some(tap), Some(frame)) = (TAP.get(0), TAP_FRAME.get_ptr_mut(F::PLACE)) else {
        return;
    };
    // SAFETY: as in `note_tenant`.
    let head = unsafe { (*frame).head };
    let fate = fate_of(F::HAS_PASSED == action, head.egress_ifindex != 0, head.why != 0);
    if head.why != 0
        && tap.events != 0
        && may_tell_drop()
        && !output(frame, TapKind::Dropped, fate, TAP_HEADERS_LEN)
    {
        count(|counts| counts.events_lost += 1);
    }
    if is_capturing(tap) && head.tenant == tap.capture_tenant && head.tenant != TenantId::NONE {
        capture::<F>(ctx, frame, fate, tap.snap_len);
    }
}

/// A packet that is answered also counts as dropped; one that is neither passed, sent nor dropped is kept.
#[inline(always)]
const fn fate_of(is_passed: bool, is_sent: bool, is_dropped: bool) -> TapFate {
    match (is_passed, is_sent, is_dropped) {
        (true, ..) => TapFate::Passed,
        (_, true, true) => TapFate::Answered,
        (_, true, false) => TapFate::Sent,
        (_, false, true) => TapFate::Dropped,
        (_, false, false) => TapFate::Held,
    }
}

/// Tells of a flow that began or ended.
#[inline(never)]
pub fn flow_changed(change: FlowChange, tenant: TenantId, original: &FlowKey, reply: &FlowKey) {
    if TAP.get(0).is_none_or(|tap| tap.events == 0) || !may_tell_flow() {
        return;
    }
    let Some(mut record) = TAP_RING.reserve::<TapFlow>(0) else {
        return count(|counts| counts.events_lost += 1);
    };
    let (kind, why) = match change {
        FlowChange::Opened => (TapKind::Opened, 0),
        FlowChange::Ended(end) => (TapKind::Ended, end as u8),
    };
    let mut head = TapHead::new(exact_ns(), original.side()).about(kind, TapFate::Sent);
    (head.tenant, head.why) = (tenant, why);
    record.write(TapFlow { head, original: *original, reply: *reply });
    record.submit(0);
}

/// `CLOCK_MONOTONIC`, unlike [`now_ns`] to the nanosecond.
#[inline(always)]
fn exact_ns() -> u64 {
    // SAFETY: a helper call without arguments.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
fn is_capturing(tap: &Tap) -> bool {
    now_ns() < tap.capture_until_ns
}

#[inline(always)]
fn capture<F: Frame>(ctx: *mut c_void, frame: *mut TapFrame, fate: TapFate, snap_len: u32) {
    let mut lost = !output(frame, TapKind::Before, fate, snap_len);
    if fate.leaves() {
        keep::<F>(ctx, frame, snap_len);
        lost |= !output(frame, TapKind::After, fate, snap_len);
    }
    if lost {
        count(|counts| counts.frames_lost += 1);
    }
}

/// Copies the packet's start as it is now.
#[inline(always)]
fn keep<F: Frame>(ctx: *mut c_void, frame: *mut TapFrame, most: u32) {
    let len = F::len(ctx);
    // SAFETY: as in `note_tenant`; at most as many bytes are written as there is room for.
    unsafe {
        (*frame).head.frame_len = len;
        (*frame).head.captured = match size_within(core::cmp::min(len, most) as usize, TAP_FRAME_MAX) {
            Some(wanted) if F::copy(ctx, (&raw mut (*frame).bytes).cast(), wanted) => wanted as u16,
            _ => 0,
        };
    }
}

/// Hands the packet's record over; false when there is no room for it.
#[inline(always)]
fn output(frame: *mut TapFrame, kind: TapKind, fate: TapFate, most: u32) -> bool {
    // SAFETY: as in `note_tenant`.
    let captured = unsafe {
        (*frame).head = (*frame).head.about(kind, fate);
        core::cmp::min(u32::from((*frame).head.captured), most) as usize
    };
    let Some(size) = size_within(size_of::<TapHead>() + captured, size_of::<TapFrame>()) else {
        return false;
    };
    // SAFETY: the value is as long as that.
    let bytes = unsafe { core::slice::from_raw_parts(frame.cast::<u8>(), size as usize) };
    TAP_RING.output::<[u8]>(bytes, 0).is_ok()
}

#[inline(always)]
fn may_tell_drop() -> bool {
    may_tell(|counts| {
        counts.drops += 1;
        let told = counts.drops <= TAP_DROPS_PER_SECOND;
        counts.drops_left_out += u64::from(!told);
        told
    })
}

#[inline(always)]
fn may_tell_flow() -> bool {
    may_tell(|counts| {
        counts.flows += 1;
        let told = counts.flows <= TAP_FLOWS_PER_SECOND;
        counts.flows_left_out += u64::from(!told);
        told
    })
}

/// Asks `take` for room in this second.
#[inline(always)]
fn may_tell(take: impl FnOnce(&mut TapCounts) -> bool) -> bool {
    let Some(counts) = TAP_COUNTS.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: as in `note_tenant`.
    let counts = unsafe { &mut *counts };
    let now_ns = now_ns();
    if now_ns - counts.second_ns >= SECOND_NS {
        (counts.second_ns, counts.drops, counts.flows) = (now_ns, 0, 0);
    }
    take(counts)
}

#[inline(always)]
fn count(change: impl FnOnce(&mut TapCounts)) {
    if let Some(counts) = TAP_COUNTS.get_ptr_mut(0) {
        // SAFETY: as in `note_tenant`.
        change(unsafe { &mut *counts });
    }
}
