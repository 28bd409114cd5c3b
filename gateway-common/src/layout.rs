//! Since which version each map is as it is now.
//!
//! Where a map has not changed between two versions of the daemon, the later one uses the map of the earlier one as it
//! is: for a moment the programs of both run on it. What has changed is made anew.
//!
//! The kernel knows a map's kind, sizes and flags, and they are compared when a map is taken over. What it does not know
//! is the meaning of the bytes. That is what [`Layout::since`] is for. A test in the daemon (`datapath/shape/tests.rs`)
//! fails when a type of a map has changed and its number here has not.

use crate::{limits::ABI_VERSION, names};

/// One map's place in the history of layouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Its name.
    pub map: &'static str,
    /// The [`crate::limits::ABI_VERSION`] that brought keys and values of today's bytes and meaning.
    pub since: u32,
    /// What it is taken over with.
    pub group: Group,
}

/// Maps that are taken over together or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// What the configuration says. Entries refer to each other by numbers, so all are of one version.
    Configuration,
    /// Tracked flows, established and half-open: a flow moves from one table to the other.
    Flows,
    /// It refers to nothing.
    Alone,
}

impl Layout {
    /// Are both taken over, or neither?
    pub fn goes_with(&self, other: &Self) -> bool {
        self.map == other.map || (self.group == other.group && self.group != Group::Alone)
    }
}

/// Every pinned map: those that hold state and configuration, so that they outlive the daemon.
pub const LAYOUTS: &[Layout] = &[
    // 3: challenges, quarantine.
    of(Group::Configuration, names::SETTINGS, 3),
    of(Group::Configuration, names::ADDRESSES, 1),
    // 2: a bit for draining; twice the room.
    of(Group::Configuration, names::LISTENERS, 2),
    of(Group::Configuration, names::ALLOW_LISTS, 1),
    // 2: a bit for draining; twice the room.
    of(Group::Configuration, names::TENANT_SOURCES, 2),
    // 2: values without a meaning; twice the room.
    of(Group::Configuration, names::DESTINATIONS, 2),
    // 2: flags.
    of(Group::Configuration, names::POOLS, 2),
    // 2: twice the room.
    of(Group::Configuration, names::MAGLEV, 2),
    of(Group::Configuration, names::BACKENDS, 1),
    // 3: a segment size.
    of(Group::Configuration, names::INTERFACES, 3),
    of(Group::Configuration, names::TENANTS, 3),
    of(Group::Configuration, names::HAIRPINS, 3),
    // In 3 an entry's padding became its place of arrival, and its epoch, which was always zero, became what is acknowledged:
    // of both zero says nothing. What was the generation is the epoch now; nobody has ever read either.
    of(Group::Flows, names::FLOWS, 1),
    of(Group::Flows, names::HALF_OPEN, 1),
    of(Group::Alone, names::TENANT_STATS, 1),
    // 2, 3: more reasons.
    of(Group::Alone, names::DROPS, 3),
    // 2, 3: more counters.
    of(Group::Alone, names::COUNTERS, 3),
    of(Group::Alone, names::TENANT_LABELS, 1),
    of(Group::Alone, names::EVENTS, 1),
    of(Group::Alone, names::TENANT_USE, 3),
    of(Group::Alone, names::HALF_OPEN_RINGS, 3),
    of(Group::Alone, names::CLIENTS, 3),
    of(Group::Alone, names::DATAGRAMS, 3),
    of(Group::Alone, names::HELD, 3),
    // Programs call each other's stages by number, and leave each other plans: never those of another version.
    of(Group::Alone, names::PLAN, ABI_VERSION),
    of(Group::Alone, names::STAGES_XDP, ABI_VERSION),
    of(Group::Alone, names::STAGES_TC, ABI_VERSION),
];

const fn of(group: Group, map: &'static str, since: u32) -> Layout {
    Layout { map, since, group }
}
