//! Expiry of idle flows. The daemon finds candidates by scanning; this decides, in the kernel, at the moment of
//! deletion: between its look at the flow and the deletion lie nanoseconds, not the time of a scan.

use super::known;
use crate::{
    abi::FlowKey,
    conntrack,
    tables::{FlowTable, Tables},
};

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// It is alive, or another node's.
    Kept,
    /// Both its entries are gone.
    Expired,
    /// It was not there.
    Missing,
}

/// Deletes the flow that `key` belongs to if it is still idle for too long and this node owns it: both entries.
///
/// An entry without its other half (someone deleted that from outside) expires by its own time.
#[inline(always)]
pub fn expire<T: Tables>(tables: &T, table: FlowTable, key: &FlowKey, now_ns: u64) -> Expiry {
    let Some(hit) = known::find_in(tables, table, key) else {
        return Expiry::Missing;
    };
    let Some(settings) = tables.settings() else {
        return Expiry::Kept;
    };
    let Some(protocol) = key.protocol() else {
        return Expiry::Kept;
    };
    let entry = hit.entry;
    let pair = known::find_in(tables, table, &entry.pair).map(|hit| hit.entry);
    let expired = conntrack::is_expired(table, protocol, &entry, pair.as_ref(), &settings.timeouts, now_ns);
    if entry.owner != settings.node || !expired {
        return Expiry::Kept;
    }
    known::forget(tables, table, key, &entry.pair);
    Expiry::Expired
}
