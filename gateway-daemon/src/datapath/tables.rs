//! The pinned maps: opened with their types, and brought to the desired contents.

use std::{
    collections::{HashMap as StdHashMap, HashSet},
    hash::Hash,
};

use anyhow::{Context as _, Result, anyhow};
use aya::{
    Pod,
    maps::{Array, HashMap, LpmTrie, MapData, MapError, PerCpuArray, lpm_trie::Key},
};
use bytemuck::NoUninit;
use gateway_common::{
    abi::{
        Addr, AllowKey, Backend, Counter, CtEntry, DestinationKey, FlowKey, Interface, Listener, ListenerKey,
        OwnedAddress, Pool, Settings, TenantId, TenantLabel, TenantStats,
    },
    drop_reason::DropReason,
    limits, names,
};
use tracing::info;

use super::{
    batch,
    desired::{BANK_BIT, Desired, Prefix, TenantIds, bank_of},
    pins::Pins,
};

/// The maps of one gateway.
pub struct Tables {
    settings: Array<MapData, Settings>,
    addresses: HashMap<MapData, Addr, OwnedAddress>,
    listeners: HashMap<MapData, ListenerKey, Listener>,
    allow_lists: LpmTrie<MapData, AllowKey, u32>,
    sources: LpmTrie<MapData, Addr, u32>,
    destinations: LpmTrie<MapData, DestinationKey, u32>,
    pools: HashMap<MapData, u32, Pool>,
    maglev: Array<MapData, u32>,
    backends: HashMap<MapData, u32, Backend>,
    interfaces: HashMap<MapData, u32, Interface>,
    labels: HashMap<MapData, u32, TenantLabel>,
    flows: MapData,
    half_open: MapData,
    tenant_stats: PerCpuArray<MapData, TenantStats>,
    drops: PerCpuArray<MapData, u64>,
    counters: PerCpuArray<MapData, u64>,
}

fn open(pins: &Pins, name: &str) -> Result<MapData> {
    let path = pins.map(name);
    MapData::from_pin(&path).with_context(|| format!("cannot open the pinned map {}", path.display()))
}

/// Gives a pinned map its type. aya compares the sizes of key and value with the kernel's.
macro_rules! typed {
    ($pins:expr, $name:expr, $variant:ident) => {{
        let map = aya::maps::Map::$variant(open($pins, $name)?);
        map.try_into().map_err(|error: MapError| {
            anyhow!(error).context(format!(
                "the pinned map {} has another layout than this daemon: run `gateway-daemon unload`, which ends all flows",
                $pins.map($name).display()
            ))
        })?
    }};
}

impl Tables {
    /// Opens every pinned map.
    ///
    /// # Errors
    ///
    /// When one is missing or of another layout. Nothing is changed then.
    pub fn open(pins: &Pins) -> Result<Self> {
        Ok(Self {
            settings: typed!(pins, names::SETTINGS, Array),
            addresses: typed!(pins, names::ADDRESSES, HashMap),
            listeners: typed!(pins, names::LISTENERS, HashMap),
            allow_lists: typed!(pins, names::ALLOW_LISTS, LpmTrie),
            sources: typed!(pins, names::TENANT_SOURCES, LpmTrie),
            destinations: typed!(pins, names::DESTINATIONS, LpmTrie),
            pools: typed!(pins, names::POOLS, HashMap),
            maglev: typed!(pins, names::MAGLEV, Array),
            backends: typed!(pins, names::BACKENDS, HashMap),
            interfaces: typed!(pins, names::INTERFACES, HashMap),
            labels: typed!(pins, names::TENANT_LABELS, HashMap),
            flows: open(pins, names::FLOWS)?,
            half_open: open(pins, names::HALF_OPEN)?,
            tenant_stats: typed!(pins, names::TENANT_STATS, PerCpuArray),
            drops: typed!(pins, names::DROPS, PerCpuArray),
            counters: typed!(pins, names::COUNTERS, PerCpuArray),
        })
    }

    /// The settings in force; node 0 means that none have been written yet.
    pub fn settings(&self) -> Result<Settings> {
        self.settings.get(&0, 0).context("cannot read the settings")
    }

    /// The numbers of the named tenants: kept for those that have one, the lowest free one for the others.
    ///
    /// A tenant's number stands in its flows and counters, so it must not depend on which other tenants exist. Writes
    /// the labels of new tenants; those of removed ones go with [`Tables::forget_tenants`].
    pub fn tenant_ids<'a>(&mut self, wanted: impl Iterator<Item = &'a str>) -> Result<TenantIds> {
        let mut known = self.known_tenants()?;
        let mut ids = TenantIds::new();
        let mut next = 1;
        for name in wanted {
            if let Some(id) = known.get(name) {
                ids.insert(name.to_owned(), *id);
                continue;
            }
            while known.values().any(|id| u32::from(id.0) == next) {
                next += 1;
            }
            let id = TenantId(
                u16::try_from(next)
                    .ok()
                    .filter(|_| next < limits::TENANTS_MAX)
                    .context("too many tenants")?,
            );
            let label =
                TenantLabel::new(name).with_context(|| format!("the tenant name {name} is too long"))?;
            self.labels.insert(next, label, 0).context("cannot write a tenant's label")?;
            self.clear_stats(next)?;
            known.insert(name.to_owned(), id);
            ids.insert(name.to_owned(), id);
        }
        Ok(ids)
    }

    /// The numbers of all tenants that have a label.
    pub fn known_tenants(&self) -> Result<TenantIds> {
        let mut known = TenantIds::new();
        for entry in &self.labels {
            let (id, label) = entry.context("cannot read the tenants' labels")?;
            known.insert(label.name().to_owned(), TenantId(u16::try_from(id).unwrap_or(0)));
        }
        Ok(known)
    }

    /// Frees the numbers of tenants that are no longer configured and have no flow left.
    pub fn forget_tenants(
        &mut self,
        configured: &TenantIds,
        has_flows: impl Fn(TenantId) -> bool,
    ) -> Result<()> {
        for (name, id) in self.known_tenants()? {
            if !configured.contains_key(&name) && !has_flows(id) {
                self.labels.remove(&u32::from(id.0)).context("cannot remove a tenant's label")?;
            }
        }
        Ok(())
    }

    fn clear_stats(&mut self, tenant: u32) -> Result<()> {
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error).context("cannot count the CPUs")?;
        let zero = aya::maps::PerCpuValues::try_from(vec![TenantStats::default(); cpus])?;
        self.tenant_stats.set(tenant, zero, 0).context("cannot clear a tenant's counters")
    }

    /// Brings every table to the desired contents and returns how many entries were written or removed.
    ///
    /// What others refer to comes first: backends and slots, then pools, lists, listeners. What nobody refers to any
    /// more goes last, in the reverse order.
    pub fn apply(&mut self, desired: &Desired) -> Result<usize> {
        let mut changes = 0;
        self.drop_listeners_of(bank_of(desired.settings.generation)).context("listeners")?;
        changes += upsert(&mut self.backends, &desired.backends).context("backends")?;
        changes += self.write_maglev(desired).context("hash slots")?;
        changes += upsert(&mut self.pools, &desired.pools).context("pools")?;
        changes += upsert_trie(&mut self.allow_lists, &desired.allow_lists).context("allow-lists")?;
        changes += upsert_trie(&mut self.destinations, &desired.destinations).context("destinations")?;
        changes += self.write_settings(&desired.settings)?;
        changes += upsert(&mut self.interfaces, &desired.interfaces).context("interfaces")?;
        changes += upsert(&mut self.listeners, &desired.listeners).context("listeners")?;
        changes += upsert_trie(&mut self.sources, &desired.sources).context("sources")?;
        changes += upsert(&mut self.addresses, &desired.addresses).context("addresses")?;
        changes += retain(&mut self.listeners, &desired.listeners).context("listeners")?;
        changes += retain(&mut self.addresses, &desired.addresses).context("addresses")?;
        changes += retain_trie(&mut self.sources, &desired.sources).context("sources")?;
        changes += retain(&mut self.interfaces, &desired.interfaces).context("interfaces")?;
        changes += retain_trie(&mut self.destinations, &desired.destinations).context("destinations")?;
        changes += retain_trie(&mut self.allow_lists, &desired.allow_lists).context("allow-lists")?;
        changes += retain(&mut self.pools, &desired.pools).context("pools")?;
        changes += retain(&mut self.backends, &desired.backends).context("backends")?;
        if changes > 0 {
            info!(changes, generation = desired.settings.generation, "tables brought to the configuration");
        }
        Ok(changes)
    }

    /// Do the tables already hold exactly this?
    pub fn holds(&self, desired: &Desired) -> Result<bool> {
        Ok(self.settings()? == desired.settings
            && same(&self.backends, &desired.backends)?
            && same(&self.pools, &desired.pools)?
            && same(&self.listeners, &desired.listeners)?
            && same(&self.addresses, &desired.addresses)?
            && same(&self.interfaces, &desired.interfaces)?
            && same_trie(&self.allow_lists, &desired.allow_lists)?
            && same_trie(&self.destinations, &desired.destinations)?
            && same_trie(&self.sources, &desired.sources)?
            && self.holds_maglev(desired)?)
    }

    fn write_settings(&mut self, settings: &Settings) -> Result<usize> {
        if self.settings()? == *settings {
            return Ok(0);
        }
        self.settings.set(0, settings, 0).context("cannot write the settings")?;
        Ok(1)
    }

    fn holds_maglev(&self, desired: &Desired) -> Result<bool> {
        let (first, slots) = &desired.maglev;
        for (slot, backend) in (*first..).zip(slots) {
            if self.maglev.get(&slot, 0)? != *backend {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes listeners that refer to the bank which is about to be written. There are none, unless an earlier daemon
    /// was killed between two writes: then they would point to what means something else by now.
    fn drop_listeners_of(&mut self, bank: u32) -> Result<()> {
        for (key, listener) in contents(&self.listeners)? {
            if listener.pool & BANK_BIT == bank {
                self.listeners.remove(&key)?;
            }
        }
        Ok(())
    }

    fn write_maglev(&mut self, desired: &Desired) -> Result<usize> {
        let (first, slots) = &desired.maglev;
        let mut changes = 0;
        for (slot, backend) in (*first..).zip(slots) {
            if self.maglev.get(&slot, 0)? != *backend {
                self.maglev.set(slot, backend, 0)?;
                changes += 1;
            }
        }
        Ok(changes)
    }

    /// The interfaces in the table.
    pub fn interfaces(&self) -> Result<StdHashMap<u32, Interface>> {
        Ok(self.interfaces.iter().collect::<Result<_, _>>()?)
    }

    /// Established and half-open flows, for reading in batches.
    pub fn flow_maps(&self) -> [&MapData; 2] {
        [&self.flows, &self.half_open]
    }

    /// Packets dropped, by reason; reasons that never occurred are left out.
    pub fn drops(&self) -> Result<Vec<(DropReason, u64)>> {
        let mut drops = Vec::new();
        for reason in DropReason::ALL {
            let packets: u64 = self.drops.get(&u32::from(*reason as u8), 0)?.iter().sum();
            if packets > 0 {
                drops.push((*reason, packets));
            }
        }
        Ok(drops)
    }

    /// Node-wide counters.
    pub fn counters(&self) -> Result<Vec<(Counter, u64)>> {
        let value = |counter: Counter| Ok((counter, self.counters.get(&(counter as u32), 0)?.iter().sum()));
        Counter::ALL.iter().copied().map(value).collect()
    }

    /// Counters of one tenant.
    pub fn tenant_stats(&self, tenant: TenantId) -> Result<TenantStats> {
        let mut sum = TenantStats::default();
        for stats in self.tenant_stats.get(&u32::from(tenant.0), 0)?.iter() {
            sum.add(stats);
        }
        Ok(sum)
    }

    /// Entries and capacity of each table whose size matters to an operator. Flow tables are counted by scanning.
    pub fn occupancy(&self) -> Result<Vec<(&'static str, u64, u64)>> {
        let mut rows = Vec::new();
        for (name, map) in [(names::FLOWS, &self.flows), (names::HALF_OPEN, &self.half_open)] {
            let mut entries = 0;
            batch::for_each::<FlowKey, CtEntry>(map, |_, _| entries += 1).context("cannot count flows")?;
            rows.push((name, entries, capacity(map)?));
        }
        rows.push((names::LISTENERS, count(self.listeners.keys())?, u64::from(limits::LISTENERS_MAX)));
        rows.push((names::BACKENDS, count(self.backends.keys())?, u64::from(limits::BACKENDS_MAX)));
        rows.push((names::POOLS, count(self.pools.keys())?, u64::from(limits::POOLS_MAX)));
        rows.push((names::ADDRESSES, count(self.addresses.keys())?, u64::from(limits::ADDRESSES_MAX)));
        rows.push((
            names::ALLOW_LISTS,
            count(self.allow_lists.keys())?,
            u64::from(limits::ALLOW_PREFIXES_MAX),
        ));
        rows.push((
            names::TENANT_SOURCES,
            count(self.sources.keys())?,
            u64::from(limits::SOURCE_PREFIXES_MAX),
        ));
        rows.push((
            names::DESTINATIONS,
            count(self.destinations.keys())?,
            u64::from(limits::DESTINATIONS_MAX),
        ));
        Ok(rows)
    }

    /// Is any flow tracked?
    pub fn has_flows(&self) -> Result<bool> {
        for map in self.flow_maps() {
            let mut found = false;
            batch::for_each::<FlowKey, CtEntry>(map, |_, _| found = true).context("cannot read flows")?;
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Entries that fit in the tables of established and of half-open flows.
    pub fn flow_capacities(&self) -> Result<[u64; 2]> {
        Ok([capacity(&self.flows)?, capacity(&self.half_open)?])
    }
}

fn capacity(map: &MapData) -> Result<u64> {
    Ok(u64::from(map.info()?.max_entries()))
}

fn count<K>(keys: impl Iterator<Item = Result<K, MapError>>) -> Result<u64> {
    let mut count = 0;
    for key in keys {
        key?;
        count += 1;
    }
    Ok(count)
}

/// Keys and values are compared by their bytes: what is in the map is bytes.
fn bytes<T: NoUninit>(value: &T) -> &[u8] {
    bytemuck::bytes_of(value)
}

fn contents<K: Pod + NoUninit + Eq + Hash, V: Pod>(map: &HashMap<MapData, K, V>) -> Result<StdHashMap<K, V>> {
    Ok(map.iter().collect::<Result<_, _>>()?)
}

fn upsert<K, V>(map: &mut HashMap<MapData, K, V>, desired: &[(K, V)]) -> Result<usize>
where
    K: Pod + NoUninit + Eq + Hash,
    V: Pod + NoUninit,
{
    let actual = contents(map)?;
    let mut changes = 0;
    for (key, value) in desired {
        if actual.get(key).is_none_or(|found| bytes(found) != bytes(value)) {
            map.insert(key, value, 0)?;
            changes += 1;
        }
    }
    Ok(changes)
}

fn retain<K, V>(map: &mut HashMap<MapData, K, V>, desired: &[(K, V)]) -> Result<usize>
where
    K: Pod + NoUninit + Eq + Hash,
    V: Pod,
{
    let wanted: HashSet<&K> = desired.iter().map(|(key, _)| key).collect();
    let mut changes = 0;
    for key in contents(map)?.keys().filter(|key| !wanted.contains(key)) {
        map.remove(key)?;
        changes += 1;
    }
    Ok(changes)
}

fn same<K, V>(map: &HashMap<MapData, K, V>, desired: &[(K, V)]) -> Result<bool>
where
    K: Pod + NoUninit + Eq + Hash,
    V: Pod + NoUninit,
{
    let actual = contents(map)?;
    Ok(actual.len() == desired.len()
        && desired
            .iter()
            .all(|(key, value)| actual.get(key).is_some_and(|found| bytes(found) == bytes(value))))
}

fn trie_contents<K: Pod + Eq + Hash>(map: &LpmTrie<MapData, K, u32>) -> Result<StdHashMap<Prefix<K>, u32>> {
    let mut contents = StdHashMap::new();
    for entry in map {
        let (key, value) = entry?;
        contents.insert(Prefix { bits: key.prefix_len(), key: key.data() }, value);
    }
    Ok(contents)
}

fn upsert_trie<K: Pod + Eq + Hash>(
    map: &mut LpmTrie<MapData, K, u32>,
    desired: &[(Prefix<K>, u32)],
) -> Result<usize> {
    let actual = trie_contents(map)?;
    let mut changes = 0;
    for (prefix, value) in desired {
        if actual.get(prefix) != Some(value) {
            map.insert(&Key::new(prefix.bits, prefix.key), value, 0)?;
            changes += 1;
        }
    }
    Ok(changes)
}

fn retain_trie<K: Pod + Eq + Hash>(
    map: &mut LpmTrie<MapData, K, u32>,
    desired: &[(Prefix<K>, u32)],
) -> Result<usize> {
    let wanted: HashSet<&Prefix<K>> = desired.iter().map(|(prefix, _)| prefix).collect();
    let mut changes = 0;
    for prefix in trie_contents(map)?.keys().filter(|prefix| !wanted.contains(prefix)) {
        map.remove(&Key::new(prefix.bits, prefix.key))?;
        changes += 1;
    }
    Ok(changes)
}

fn same_trie<K: Pod + Eq + Hash>(
    map: &LpmTrie<MapData, K, u32>,
    desired: &[(Prefix<K>, u32)],
) -> Result<bool> {
    let actual = trie_contents(map)?;
    Ok(actual.len() == desired.len()
        && desired.iter().all(|(prefix, value)| actual.get(prefix) == Some(value)))
}

/// Refuses a table size that the pinned maps do not have, in words for the operator.
pub fn size_warnings(tables: &Tables, wanted: [u64; 2]) -> Result<Vec<String>> {
    let names = ["limits.flows", "limits.half_open_flows"];
    let mut warnings = Vec::new();
    for ((name, wanted), actual) in names.into_iter().zip(wanted).zip(tables.flow_capacities()?) {
        if wanted != actual {
            warnings.push(format!(
                "{name} asks for {} flows, the table that is in use holds {}: the change takes effect after \
                 `gateway-daemon unload`, which ends all flows",
                wanted / 2,
                actual / 2
            ));
        }
    }
    Ok(warnings)
}
