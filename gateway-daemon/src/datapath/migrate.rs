//! Taking over what an earlier version of the daemon has left, with its flows.
//!
//! The maps of another layout cannot be used, so they are copied, entry by entry:
//!
//! 1. the new maps are made and filled, and get every flow of the old ones ([`Migration::begin`]);
//! 2. each interface's link, with the old program in it, is taken over and gets the new program in one step
//!    ([`Migration::take_links`], then as at every start);
//! 3. flows that were opened in the old maps meanwhile are copied as well, counters are added up, and the old maps are
//!    removed ([`Migration::finish`]).
//!
//! A flow is copied with both directions or not at all. Packets of flows that were opened within the milliseconds between 1 and 3 are dropped until 3, and repeated by their
//! senders. Killed at any point, the daemon does it again at its next start: a flow that the new maps have stays as it
//! is there.

use std::io;

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use gateway_common::{
    abi::{Backend, CtEntry, EntryFlags, FlowKey, Interface, TenantLabel},
    names,
};
use tracing::info;

use super::{
    batch, element,
    pins::Pins,
    table::{Table, open},
    tables::{EarlierCounters, Tables, open_settings},
};

/// A tracked flow as layout 1 and 2 have it: they differ in other tables.
type EarlierEntry = CtEntry;

/// What an earlier version has left.
pub struct Migration {
    earlier: Pins,
    flows: [MapData; 2],
    counters: EarlierCounters,
    backends: Vec<(u32, Backend)>,
}

impl Migration {
    /// Copies tenants' numbers, what belongs to nobody, and flows. The old data path goes on meanwhile.
    ///
    /// # Errors
    ///
    /// When a map cannot be read or written. Nothing of the old version has changed then.
    pub fn begin(earlier: Pins, tables: &mut Tables) -> Result<Self> {
        let labels = Table::<u32, TenantLabel>::open(&earlier, names::TENANT_LABELS)?.all()?;
        tables.put_tenants(&labels)?;
        // Which forwarding switches are the daemon's to switch back stands here.
        tables.put_interfaces(&Table::<u32, Interface>::open(&earlier, names::INTERFACES)?.all()?)?;
        // Whose flows they are stands here.
        tables.put_settings(&open_settings(&earlier)?)?;
        let flows = [open(&earlier, names::FLOWS)?, open(&earlier, names::HALF_OPEN)?];
        let counters = EarlierCounters::open(&earlier)?;
        let backends = Table::<u32, Backend>::open(&earlier, names::BACKENDS)?.all()?;
        let migration = Self { earlier, flows, counters, backends };
        let copied = migration.copy_flows(tables)?;
        info!(from = migration.earlier.version(), flows = copied, "took over flows of an earlier version");
        Ok(migration)
    }

    /// Backends that took new flows: layout 1 knows no health, so all of them.
    pub fn carried(&self) -> impl Iterator<Item = &Backend> {
        self.backends.iter().map(|(_, backend)| backend)
    }

    /// Takes over the links that the old programs are attached by.
    ///
    /// # Errors
    ///
    /// When the file system refuses. Links that were taken stay taken.
    pub fn take_links(&self, pins: &Pins) -> Result<()> {
        for name in self.earlier.link_names()? {
            pins.take_link(&self.earlier, &name)?;
        }
        Ok(())
    }

    /// Copies what came meanwhile, adds up the counters, and removes the old maps.
    ///
    /// # Errors
    ///
    /// When a map cannot be read, written or removed; the next start tries again.
    pub fn finish(self, tables: &mut Tables) -> Result<()> {
        let copied = self.copy_flows(tables)?;
        tables.add_counters(&self.counters).context("cannot add up the counters")?;
        self.earlier.remove_maps()?;
        self.earlier.remove_directories()?;
        info!(from = self.earlier.version(), flows = copied, "the earlier version is gone");
        Ok(())
    }

    fn copy_flows(&self, tables: &Tables) -> Result<u64> {
        let mut copied = 0;
        for (from, to) in self.flows.iter().zip(tables.flow_maps()) {
            copied += copy(from, to).context("cannot take over the flows of an earlier version")?;
        }
        Ok(copied)
    }
}

/// Adds the flows that are not there yet, both directions or none.
fn copy(from: &MapData, to: &MapData) -> io::Result<u64> {
    let (mut copied, mut failed) = (0, None);
    batch::for_each::<FlowKey, EarlierEntry>(from, |_, original| {
        if original.flags.contains(EntryFlags::ORIGINAL) {
            match copy_flow(from, to, original) {
                Ok(added) => copied += u64::from(added),
                Err(error) => failed = Some(error),
            }
        }
    })?;
    failed.map_or(Ok(copied), Err)
}

/// The reply's key first: it decides who has the port, as in the data path.
fn copy_flow(from: &MapData, to: &MapData, original: &EarlierEntry) -> io::Result<bool> {
    let Some(reply) = element::lookup::<_, EarlierEntry>(from, &original.pair)? else { return Ok(false) };
    if reply.pair != original.key || reply.birth_ns != original.birth_ns {
        return Ok(false);
    }
    let is_ours = element::add(to, &reply.key, &reply)?
        || element::lookup::<_, CtEntry>(to, &reply.key)?
            .is_some_and(|found| found.birth_ns == reply.birth_ns);
    if !is_ours {
        return Ok(false);
    }
    element::add(to, &original.key, original)
}
