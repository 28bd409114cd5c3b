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
//! Packets of flows that were opened within the milliseconds between 1 and 3 are dropped until 3, and repeated by their
//! senders. Killed at any point, the daemon does it again at its next start: a flow that the new maps have stays as it
//! is there.

use std::io;

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use gateway_common::{
    abi::{CtEntry, FlowKey, TenantLabel},
    names,
};
use tracing::info;

use super::{
    batch, element,
    pins::Pins,
    table::{Table, open},
    tables::{EarlierCounters, Tables},
};

/// A tracked flow as layout 1 and 2 have it: they differ in other tables.
type EarlierEntry = CtEntry;

/// What an earlier version has left.
pub struct Migration {
    earlier: Pins,
    flows: [MapData; 2],
    counters: EarlierCounters,
}

impl Migration {
    /// Copies tenants' numbers and flows. The old data path goes on meanwhile.
    ///
    /// # Errors
    ///
    /// When a map cannot be read or written. Nothing of the old version has changed then.
    pub fn begin(earlier: Pins, tables: &Tables) -> Result<Self> {
        let labels = Table::<u32, TenantLabel>::open(&earlier, names::TENANT_LABELS)?.all()?;
        tables.put_tenants(&labels)?;
        let flows = [open(&earlier, names::FLOWS)?, open(&earlier, names::HALF_OPEN)?];
        let counters = EarlierCounters::open(&earlier)?;
        let migration = Self { earlier, flows, counters };
        let copied = migration.copy_flows(tables)?;
        info!(from = migration.earlier.version(), entries = copied, "took over flows of an earlier version");
        Ok(migration)
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
        for name in self.earlier.map_names()? {
            self.earlier.remove_map(&name)?;
        }
        self.earlier.remove_directories()?;
        info!(from = self.earlier.version(), entries = copied, "the earlier version is gone");
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

/// Adds the entries that are not there yet.
fn copy(from: &MapData, to: &MapData) -> io::Result<u64> {
    let (mut copied, mut failed) = (0, None);
    batch::for_each::<FlowKey, EarlierEntry>(from, |key, entry| match element::add(to, key, entry) {
        Ok(added) => copied += u64::from(added),
        Err(error) => failed = Some(error),
    })?;
    failed.map_or(Ok(copied), Err)
}
