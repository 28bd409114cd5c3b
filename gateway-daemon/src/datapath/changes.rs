//! Writes to the tables, in an order that no packet can see through.
//!
//! What others refer to is written first: backends and slots, then pools and lists, then what packets are looked up by.
//! Removal goes the other way. An entry is replaced in one step, so a packet meets the old one or the new one.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
};

use gateway_common::abi::{
    Addr, AllowKey, Backend, DestinationKey, HairpinKey, Interface, Listener, ListenerKey, OwnedAddress,
    Pool, Settings, TenantSettings,
};

use super::contents::{Contents, Prefix, Slots};

/// Writes to one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableChanges<K, V> {
    /// Entries to add or replace.
    pub put: Vec<(K, V)>,
    /// Entries to remove.
    pub remove: Vec<K>,
}

impl<K, V> Default for TableChanges<K, V> {
    fn default() -> Self {
        Self { put: Vec::new(), remove: Vec::new() }
    }
}

impl<K: Copy + Eq + Hash, V: Copy + PartialEq> TableChanges<K, V> {
    /// What makes `wanted` of `actual`.
    pub fn between(actual: &[(K, V)], wanted: &[(K, V)]) -> Self {
        let mut left: HashMap<&K, &V> = actual.iter().map(|(key, value)| (key, value)).collect();
        let differs = |(key, value): &&(K, V)| left.remove(key) != Some(value);
        let put = wanted.iter().filter(differs).copied().collect();
        Self { put, remove: left.into_keys().copied().collect() }
    }

    /// Adds others.
    pub fn extend(&mut self, more: Self) {
        self.put.extend(more.put);
        self.remove.extend(more.remove);
    }

    /// How many entries are written or removed.
    pub fn len(&self) -> usize {
        self.put.len() + self.remove.len()
    }

    /// Is there nothing to do?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A key that moves from one owner to another is written, not removed.
    fn settle(&mut self) {
        if self.remove.is_empty() || self.put.is_empty() {
            return;
        }
        let put: HashSet<&K> = self.put.iter().map(|(key, _)| key).collect();
        self.remove.retain(|key| !put.contains(key));
    }
}

/// Writes to all tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The settings, if they change.
    pub settings: Option<Settings>,
    /// Backends.
    pub backends: TableChanges<u32, Backend>,
    /// Maglev slots. Those that nobody refers to any more stay as they are.
    pub slots: Vec<Slots>,
    /// Pools.
    pub pools: TableChanges<u32, Pool>,
    /// Allow-lists.
    pub allow_lists: TableChanges<Prefix<AllowKey>, u32>,
    /// Destinations.
    pub destinations: TableChanges<Prefix<DestinationKey>, u32>,
    /// Pairs of tenants of which the first may call the second.
    pub hairpins: TableChanges<HairpinKey, u32>,
    /// Interfaces.
    pub interfaces: TableChanges<u32, Interface>,
    /// Listeners and egress mappings.
    pub listeners: TableChanges<ListenerKey, Listener>,
    /// What holds for one tenant alone, by its number.
    pub tenants: TableChanges<u32, TenantSettings>,
    /// Source prefixes.
    pub sources: TableChanges<Prefix<Addr>, u32>,
    /// Local addresses.
    pub addresses: TableChanges<Addr, OwnedAddress>,
}

impl Changes {
    /// What makes `wanted` of `actual`. All slots are written.
    pub fn between(actual: &Contents, wanted: &Contents) -> Self {
        Self {
            settings: (actual.settings != wanted.settings).then_some(wanted.settings),
            backends: TableChanges::between(&actual.backends, &wanted.backends),
            slots: wanted.slots.clone(),
            pools: TableChanges::between(&actual.pools, &wanted.pools),
            allow_lists: TableChanges::between(&actual.allow_lists, &wanted.allow_lists),
            destinations: TableChanges::between(&actual.destinations, &wanted.destinations),
            hairpins: TableChanges::between(&actual.hairpins, &wanted.hairpins),
            interfaces: TableChanges::between(&actual.interfaces, &wanted.interfaces),
            listeners: TableChanges::between(&actual.listeners, &wanted.listeners),
            tenants: TableChanges::between(&actual.tenants, &wanted.tenants),
            sources: TableChanges::between(&actual.sources, &wanted.sources),
            addresses: TableChanges::between(&actual.addresses, &wanted.addresses),
        }
    }

    /// How many entries are written or removed; a run of slots counts as one.
    pub fn len(&self) -> usize {
        usize::from(self.settings.is_some())
            + self.backends.len()
            + self.slots.len()
            + self.pools.len()
            + self.allow_lists.len()
            + self.destinations.len()
            + self.hairpins.len()
            + self.interfaces.len()
            + self.listeners.len()
            + self.tenants.len()
            + self.sources.len()
            + self.addresses.len()
    }

    /// Is there nothing to do?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Resolves what several tenants have asked for: a key that one gives up and another takes is only written.
    pub fn settle(&mut self) {
        self.listeners.settle();
        self.sources.settle();
        self.addresses.settle();
    }
}
