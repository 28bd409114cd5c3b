//! Expiry of idle flows. The daemon finds candidates by scanning; this decides, in the kernel, at the moment of
//! deletion: between its look at the flow and the deletion lie nanoseconds, not the time of a scan.

use super::known;
use crate::{
    abi::{EntryFlags, EntryView, FlowEnd, FlowKey, State, Timeouts},
    conntrack,
    tables::{FlowSlot as _, FlowTable, Tables},
};

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// It is alive, or another node's.
    Kept,
    /// It was idle for too long: nothing of it is translated any more, its ports are not used again yet.
    Quarantined,
    /// Both its entries are gone.
    Expired,
    /// Both its entries are gone, and it had been in quarantine.
    Released,
    /// It was not there.
    Missing,
}

/// Ends the flow that `key` belongs to if it is still idle for too long and this node owns it: puts it in quarantine, or
/// deletes both entries.
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
    let pair = known::find_in(tables, table, &entry.pair);
    let timeouts = match tables.tenant(entry.tenant) {
        Some(tenant) => settings.timeouts.of_tenant(&tenant),
        None => settings.timeouts,
    };
    let pair_entry = pair.as_ref().map(|hit| &hit.entry);
    let expired = conntrack::is_expired(table, protocol, &entry, pair_entry, &timeouts, now_ns);
    if entry.owner != settings.node || !expired {
        return Expiry::Kept;
    }
    if is_quarantined_first(table, &entry, &timeouts) {
        known::tell_end(tables, key, &entry, FlowEnd::Expired);
        hit.slot.end(key, EntryFlags::EXPIRED, now_ns);
        if let Some(pair) = &pair {
            pair.slot.end(&entry.pair, EntryFlags::EXPIRED, now_ns);
        }
        return Expiry::Quarantined;
    }
    known::forget(tables, table, key, &entry, FlowEnd::Expired);
    if entry.flags.contains(EntryFlags::EXPIRED) { Expiry::Released } else { Expiry::Expired }
}

/// Are the ports of this flow kept from others for a while? Its ends may still believe in it, and would take another
/// flow's packets for its own. The transitory timeout has served for that when they have closed it.
#[inline(always)]
const fn is_quarantined_first(table: FlowTable, entry: &EntryView, timeouts: &Timeouts) -> bool {
    let idled_out = matches!(entry.state, State::Established | State::HalfClosed);
    matches!(table, FlowTable::Established)
        && idled_out
        && !entry.flags.is_ended()
        && timeouts.quarantine_secs != 0
}
