//! Copying tracked flows into a table of another shape, entry by entry.
//!
//! A flow is copied with both directions or not at all. What cannot be copied stays in the old table for as long as the
//! old programs run, and is unknown to the new ones: its packets are dropped and counted as those of any unknown flow.

use std::io;

use anyhow::{Result, bail};
use aya::{Pod, maps::MapData};
use gateway_common::abi::{CtEntry, EntryFlags, FlowKey};
use tracing::{info, warn};

use crate::datapath::{batch, element};

/// One direction of a flow, as an earlier layout has it.
pub trait EarlierEntry: Pod {
    /// What it is stored under.
    type Key: Pod;

    /// The key of the other direction.
    fn pair(&self) -> Self::Key;

    /// The same in today's layout; none if that cannot say it.
    fn convert(&self) -> Option<CtEntry>;
}

impl EarlierEntry for CtEntry {
    type Key = FlowKey;

    fn pair(&self) -> FlowKey {
        self.pair
    }

    fn convert(&self) -> Option<CtEntry> {
        Some(*self)
    }
}

/// What became of the flows of one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Flows that were copied.
    pub flows: u64,
    /// Entries, two a flow, that today's layout cannot say.
    pub inconvertible: u64,
    /// Flows that found no room.
    pub no_room: u64,
}

impl Copied {
    /// Writes a line to the log, and a warning if something is lost.
    pub fn log(&self, table: &str) {
        info!(table, flows = self.flows, "copied flows of an earlier version");
        if self.inconvertible > 0 {
            warn!(
                table,
                entries = self.inconvertible,
                "entries of an earlier version mean nothing to this one: their flows are not taken over, and their \
                 packets will be dropped"
            );
        }
    }

    /// # Errors
    ///
    /// When flows found no room in a table whose size comes from `setting`.
    pub fn require_room(&self, setting: &str) -> Result<()> {
        if self.no_room > 0 {
            bail!(
                "{} flows of the earlier version have no room: raise {setting}; the earlier version goes on",
                self.no_room
            );
        }
        Ok(())
    }
}

/// Adds the flows that are not there yet.
///
/// # Errors
///
/// What the kernel says, but that the table is full. What was copied before stays.
pub fn copy<E: EarlierEntry>(from: &MapData, to: &MapData) -> io::Result<Copied> {
    let (mut copied, mut failed) = (Copied::default(), None);
    batch::for_each::<E::Key, E>(from, |_, entry| {
        let Some(original) = entry.convert() else {
            copied.inconvertible += 1;
            return;
        };
        if original.flags.contains(EntryFlags::ORIGINAL) {
            match copy_flow(from, to, entry, &original) {
                Ok(outcome) => outcome.count(&mut copied),
                Err(error) => failed = Some(error),
            }
        }
    })?;
    failed.map_or(Ok(copied), Err)
}

/// What became of one flow.
enum Outcome {
    Copied,
    /// It is half a flow, it is there already, or its port is another one's by now.
    LeftOut,
    NoRoom,
}

impl Outcome {
    fn count(self, copied: &mut Copied) {
        match self {
            Self::Copied => copied.flows += 1,
            Self::NoRoom => copied.no_room += 1,
            Self::LeftOut => {}
        }
    }
}

fn copy_flow<E: EarlierEntry>(
    from: &MapData,
    to: &MapData,
    entry: &E,
    original: &CtEntry,
) -> io::Result<Outcome> {
    match element::lookup::<E::Key, E>(from, &entry.pair())?.and_then(|reply| reply.convert()) {
        Some(reply) if reply.pair == original.key && reply.birth_ns == original.birth_ns => {
            enter(to, original, &reply)
        }
        _ => Ok(Outcome::LeftOut),
    }
}

/// The reply's key first: it decides who has the port, as in the data path.
fn enter(to: &MapData, original: &CtEntry, reply: &CtEntry) -> io::Result<Outcome> {
    let Some(is_new) = add(to, reply)? else { return Ok(Outcome::NoRoom) };
    if !is_new && !is_same_flow(to, reply)? {
        return Ok(Outcome::LeftOut);
    }
    match add(to, original)? {
        Some(true) => Ok(Outcome::Copied),
        Some(false) => Ok(Outcome::LeftOut),
        None => {
            if is_new {
                element::remove::<_, CtEntry>(to, &reply.key)?;
            }
            Ok(Outcome::NoRoom)
        }
    }
}

fn is_same_flow(to: &MapData, reply: &CtEntry) -> io::Result<bool> {
    let found = element::lookup::<_, CtEntry>(to, &reply.key)?;
    Ok(found.is_some_and(|found| found.birth_ns == reply.birth_ns))
}

/// Was it new? None if the table is full.
fn add(to: &MapData, entry: &CtEntry) -> io::Result<Option<bool>> {
    match element::add(to, &entry.key, entry) {
        Err(error) if error.raw_os_error() == Some(libc::E2BIG) => Ok(None),
        result => result.map(Some),
    }
}
