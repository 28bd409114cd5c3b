//! Parts of datagrams that were kept because they came before the first one: the daemon runs these programs on them, by
//! `BPF_PROG_TEST_RUN` with the interface that they came in by, until the first part is known.

use crate::{
    context::{HEADERS_MAX, KeptPacket},
    hook::Kept,
    maps::KernelTables,
    now_ns, tap,
};
use aya_ebpf::{
    bindings::TC_ACT_SHOT, helpers::generated::bpf_clone_redirect, macros::classifier, programs::TcContext,
};
use gateway_common::{
    abi::Side,
    forward,
    limits::{RESUME_DROPPED, RESUME_SENT, RESUME_UNMATCHED},
    verdict::Verdict,
};

/// External side.
#[classifier]
pub fn resume_external(ctx: TcContext) -> i32 {
    resume(&ctx, Side::External)
}

/// Internal side.
#[classifier]
pub fn resume_internal(ctx: TcContext) -> i32 {
    resume(&ctx, Side::Internal)
}

/// Sends the part on if its first part is known by now.
#[inline(always)]
fn resume(ctx: &TcContext, side: Side) -> i32 {
    // Few packets come here: there is one program for both, whether anybody watches or not.
    let tables = KernelTables::<Kept, true>::new(ctx.skb.skb.cast());
    let Some(mut packet) = KeptPacket::new(ctx, HEADERS_MAX) else {
        return RESUME_DROPPED;
    };
    tap::begin::<Kept>(ctx.skb.skb.cast(), side);
    let verdict = forward::resume(&mut packet, &tables, side, now_ns());
    if let Verdict::Redirect { ifindex } = verdict {
        tap::note_way::<Kept>(ifindex);
    }
    tap::end::<Kept>(ctx.skb.skb.cast(), TC_ACT_SHOT as u32);
    match verdict {
        Verdict::Redirect { ifindex } => {
            // SAFETY: the context of this run. Unlike `bpf_redirect` this sends by itself, in a test run, too.
            let sent = unsafe { bpf_clone_redirect(ctx.skb.skb, ifindex, 0) };
            if sent == 0 { RESUME_SENT } else { RESUME_DROPPED }
        }
        Verdict::Held => RESUME_UNMATCHED,
        _ => RESUME_DROPPED,
    }
}
