//! Tracked flows as the daemon reads them.

use std::{collections::HashMap, io};

use aya::maps::MapData;
use gateway_common::abi::{CtEntry, EntryFlags, FlowKey, TenantId};

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
