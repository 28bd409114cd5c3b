//! Taking over what an earlier version of the daemon has left, with its flows.
//!
//! 1. Maps that have not changed since that version are pinned for this one as well ([`Migration::begin`]). From here on
//!    both versions have the same flows, unless the flow tables themselves have changed.
//! 2. The other maps are made anew and filled; flows are copied where their tables are others ([`Migration::fill`]).
//! 3. Each interface's link, with the old program in it, is taken over and gets the new program in one step
//!    ([`Migration::take_links`], then as at every start).
//! 4. Where the flow tables are others, flows that were opened in the old ones meanwhile are copied as well. Counters are
//!    added up, and the old version is removed in one step ([`Migration::finish`]).
//!
//! If anything fails before 3, what was made is removed and the old version goes on as if nothing had been
//! ([`Migration::undo`]). Killed at any point, the daemon does it again at its next start: a flow that the new maps have
//! stays as it is there.
//!
//! | module | does |
//! |---|---|
//! | `share` | which maps have not changed |
//! | [`mod@copy`] | flows into tables of another shape, entry by entry |

pub mod copy;
mod share;

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use gateway_common::{
    abi::{Backend, CtEntry, Interface, TenantLabel},
    names,
};
use tracing::{info, warn};

use self::copy::{Copied, copy};
use super::{
    pins::Pins,
    table::{Table, open},
    tables::{EarlierCounters, Tables, open_settings},
};

/// The oldest layout that is taken over.
pub const OLDEST_VERSION: u32 = 1;

/// A direction of a tracked flow as every layout from [`OLDEST_VERSION`] on has it. When that of today becomes another
/// one, give the earlier one a type here, with its [`copy::EarlierEntry`].
type EarlierEntry = CtEntry;

/// Tables that are read from an earlier version by the types of today, with the layout up to which these read what
/// [`OLDEST_VERSION`] wrote.
#[cfg(test)]
const READ_AS_OF_TODAY: &[(&str, u32)] = &[
    (names::TENANT_LABELS, OLDEST_VERSION),
    // 3: a segment size stands where zeros stood, and zero means none.
    (names::INTERFACES, 3),
    (names::BACKENDS, OLDEST_VERSION),
    (names::TENANT_STATS, OLDEST_VERSION),
    (names::FLOWS, OLDEST_VERSION),
    (names::HALF_OPEN, OLDEST_VERSION),
];

/// The flow tables, and the settings that their room comes from.
const FLOW_TABLES: [(&str, &str); 2] =
    [(names::FLOWS, "limits.flows"), (names::HALF_OPEN, "limits.half_open_flows")];

/// What an earlier version has left, while this one takes it over.
pub struct Migration {
    earlier: Pins,
    /// Maps that both versions use.
    shared: BTreeSet<&'static str>,
}

impl Migration {
    /// Pins the maps that have not changed for this version, too. To be called before the programs are loaded: they
    /// use what is pinned, and make the rest.
    ///
    /// # Errors
    ///
    /// When a map cannot be looked at or pinned. Nothing of the old version has changed then, and nothing new is there.
    pub fn begin(earlier: Pins, pins: &Pins) -> Result<Self> {
        let shared = share::share(&earlier, pins).inspect_err(|_| clean_up(pins))?;
        Ok(Self { earlier, shared })
    }

    /// Fills the maps that were made anew: tenants' numbers, what belongs to nobody, flows. The old data path goes on
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// When a map cannot be read or written, or flows have no room. Nothing of the old version has changed then.
    pub fn fill(&self, tables: &mut Tables) -> Result<()> {
        if !self.shares(names::TENANT_LABELS) {
            tables
                .put_tenants(&Table::<u32, TenantLabel>::open(&self.earlier, names::TENANT_LABELS)?.all()?)?;
        }
        if !self.shares(names::SETTINGS) {
            // Which forwarding switches are the daemon's to switch back stands here.
            let interfaces = Table::<u32, Interface>::open(&self.earlier, names::INTERFACES)?;
            tables.put_interfaces(&interfaces.all()?)?;
            // Whose flows they are stands here.
            tables.put_settings(&open_settings(&self.earlier)?)?;
        }
        for (copied, (_, setting)) in self.copy_flows(tables)?.into_iter().zip(FLOW_TABLES) {
            copied.require_room(setting)?;
        }
        let (from, shared) = (self.earlier.version(), self.shared.len());
        info!(from, shared, "taking over from an earlier version");
        Ok(())
    }

    /// Backends that took new flows, where the tables of this version do not say so: layout 1 knows no health, so all
    /// of them.
    pub fn carried(&self) -> Result<Vec<Backend>> {
        if self.shares(names::BACKENDS) {
            return Ok(Vec::new());
        }
        let backends = Table::<u32, Backend>::open(&self.earlier, names::BACKENDS)?.all()?;
        Ok(backends.into_iter().map(|(_, backend)| backend).collect())
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

    /// Removes what was made for this version, as long as no link was taken: the old one goes on, and may be started
    /// again.
    pub fn undo(&self, pins: &Pins) {
        clean_up(pins);
    }

    /// Copies what came meanwhile, removes the old version, and adds up the counters.
    ///
    /// # Errors
    ///
    /// When a map cannot be read or written, or the old version not be removed; the next start tries again.
    pub fn finish(self, tables: &mut Tables) -> Result<()> {
        for (copied, (table, _)) in self.copy_flows(tables)?.into_iter().zip(FLOW_TABLES) {
            // No reason to stop: what the old programs have opened last meets a full table, as any new flow does.
            if copied.no_room > 0 {
                warn!(table, flows = copied.no_room, "the table is full: the last flows were not taken over");
            }
        }
        let counters = EarlierCounters::open(&self.earlier, |name| !self.shares(name))?;
        // Before they are added up: killed in between, the daemon would add them twice.
        self.earlier.discard()?;
        tables.add_counters(&counters).context("cannot add up the counters")?;
        info!(from = self.earlier.version(), "the earlier version is gone");
        Ok(())
    }

    fn shares(&self, map: &str) -> bool {
        self.shared.contains(map)
    }

    /// One result a table; nothing is to be done where both versions have the same.
    fn copy_flows(&self, tables: &Tables) -> Result<[Copied; 2]> {
        let mut results = [Copied::default(); 2];
        if self.shares(names::FLOWS) {
            return Ok(results);
        }
        for ((result, to), (table, _)) in results.iter_mut().zip(tables.flow_maps()).zip(FLOW_TABLES) {
            let from = open(&self.earlier, table)?;
            *result = copy::<EarlierEntry>(&from, to).with_context(|| format!("cannot take over {table}"))?;
            result.log(table);
        }
        Ok(results)
    }
}

fn clean_up(pins: &Pins) {
    if let Err(error) = share::remove_unused(pins) {
        warn!("cannot clean up after the failed migration: {error:#}");
    }
}

#[cfg(test)]
mod tests {
    use gateway_common::layout::LAYOUTS;

    use super::READ_AS_OF_TODAY;

    #[test]
    fn what_is_read_by_the_types_of_today_has_not_changed() {
        for (name, readable) in READ_AS_OF_TODAY {
            let layout = LAYOUTS.iter().find(|layout| layout.map == *name).expect("every map has a layout");
            assert!(layout.since <= *readable, "{name}: `migrate` has to read it by the earlier types");
        }
    }
}
