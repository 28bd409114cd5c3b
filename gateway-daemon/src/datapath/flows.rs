//! Tracked flows as the daemon reads them.

use std::{collections::HashMap, io};

use aya::maps::MapData;
use gateway_common::{
    abi::{CtEntry, EntryFlags, FlowKey, TenantId, Timeouts},
    conntrack::lifetime_ns,
    tables::FlowTable,
};

use super::batch;

/// Counts of flows by tenant, and in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowCounts {
    /// By tenant.
    pub tenants: HashMap<TenantId, u64>,
    /// All of them.
    pub total: u64,
}

/// Counts flows: each once, by the entry of its original direction.
pub fn count(map: &MapData) -> io::Result<FlowCounts> {
    let mut counts = FlowCounts::default();
    batch::for_each::<FlowKey, CtEntry>(map, |_, entry| {
        if entry.flags.contains(EntryFlags::ORIGINAL) {
            counts.total += 1;
            *counts.tenants.entry(entry.tenant).or_default() += 1;
        }
    })?;
    Ok(counts)
}

/// When one direction of each flow was last heard, by its key. The other direction's entry may be younger.
pub type LastSeen = HashMap<FlowKey, u64>;

/// Reads all entries of the original direction that `wanted` accepts, and when their answers were last seen.
pub fn list(map: &MapData, mut wanted: impl FnMut(&CtEntry) -> bool) -> io::Result<(Vec<CtEntry>, LastSeen)> {
    let (mut flows, mut replies) = (Vec::new(), LastSeen::new());
    batch::for_each::<FlowKey, CtEntry>(map, |_, entry| {
        if !entry.flags.contains(EntryFlags::ORIGINAL) {
            replies.insert(entry.key, entry.last_seen_ns);
        } else if wanted(entry) {
            flows.push(*entry);
        }
    })?;
    Ok((flows, replies))
}

/// Candidates for expiry: keys of entries that look idle for too long by their own time. Whether their other direction
/// keeps them alive is for the kernel to see.
pub fn idle(map: &MapData, table: FlowTable, timeouts: &Timeouts, now_ns: u64) -> io::Result<Vec<FlowKey>> {
    let mut keys = Vec::new();
    batch::for_each::<FlowKey, CtEntry>(map, |key, entry| {
        let Some(protocol) = key.protocol() else { return };
        if now_ns.saturating_sub(entry.last_seen_ns) > lifetime_ns(table, protocol, entry.state(), timeouts) {
            keys.push(*key);
        }
    })?;
    Ok(keys)
}
