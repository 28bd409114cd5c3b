//! Kernel log lines for what should never happen, at most one a second and CPU. Never one a packet.

use crate::now_ns;
use aya_ebpf::{EbpfContext, macros::map, maps::PerCpuArray};
use aya_log_ebpf::warn;
use gateway_common::{drop_reason::DropReason, verdict::Verdict};

const INTERVAL_NS: u64 = 1_000_000_000;

#[map]
static LAST_LOG_NS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Tells the daemon's log when the tables contradict each other or the kernel refused a planned change.
#[inline(always)]
pub fn warn_if_broken<C: EbpfContext>(ctx: &C, verdict: Verdict) {
    let Verdict::Drop(reason @ (DropReason::NotConfigured | DropReason::RewriteFailed)) = verdict else {
        return;
    };
    let Some(last) = LAST_LOG_NS.get_ptr_mut(0) else {
        return;
    };
    let now_ns = now_ns();
    // SAFETY: a map value, mapped for the run of the program, written by this CPU alone.
    unsafe {
        if now_ns - *last < INTERVAL_NS {
            return;
        }
        *last = now_ns;
    }
    warn!(ctx, "packets are dropped, reason {}", reason as u8);
}
