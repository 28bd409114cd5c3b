//! Expiry: the daemon hands over candidates as a "packet", this re-checks each at the moment of deletion.

use crate::{hook::Xdp, maps::KernelTables, now_ns};
use aya_ebpf::{macros::xdp, programs::XdpContext};
use gateway_common::{
    abi::FlowKey,
    forward::{self, Expiry},
    limits::EXPIRE_BATCH,
    tables::FlowTable,
};

/// Bytes before the keys: which table (0 established, 1 half-open), then explicit padding.
const HEADER_LEN: usize = 16;

/// Never attached: run by `BPF_PROG_TEST_RUN` with a header and up to [`EXPIRE_BATCH`] keys of [`FlowKey`] as packet.
/// Returns how many flows it ended: deleted or put in quarantine.
#[xdp]
pub fn expire(ctx: XdpContext) -> u32 {
    let (start, end) = (ctx.data(), ctx.data_end());
    if start + HEADER_LEN > end {
        return 0;
    }
    // SAFETY: the first byte lies within the packet, as just checked.
    let table = if unsafe { (start as *const u8).read() } == 0 {
        FlowTable::Established
    } else {
        FlowTable::HalfOpen
    };
    let tables = KernelTables::<Xdp, true>::new(ctx.ctx.cast());
    let now_ns = now_ns();
    let mut expired = 0;
    for index in 0..EXPIRE_BATCH {
        let at = start + HEADER_LEN + index * core::mem::size_of::<FlowKey>();
        if at + core::mem::size_of::<FlowKey>() > end {
            break;
        }
        // SAFETY: the key lies within the packet, as just checked; any bytes are a valid key.
        let key = unsafe { (at as *const FlowKey).read() };
        if matches!(forward::expire(&tables, table, &key, now_ns), Expiry::Expired | Expiry::Quarantined) {
            expired += 1;
        }
    }
    expired
}
