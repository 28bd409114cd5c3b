//! The pinned maps of one gateway: opened with their types, read, and written in the right order.

mod look;

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context as _, Result, anyhow};
use aya::maps::{Array, MapData, MapError, PerCpuArray, PerCpuValues};
use bytemuck::Zeroable as _;
use gateway_common::{
    abi::{
        Addr, AllowKey, Backend, Counter, CtEntry, DestinationKey, FlowKey, HairpinKey, Interface, Listener,
        ListenerKey, OwnedAddress, Pool, Settings, TenantId, TenantLabel, TenantSettings, TenantStats,
        TenantUse,
    },
    drop_reason::DropReason,
    limits, names,
};

use super::{
    batch,
    changes::Changes,
    contents::{Contents, Prefix},
    element, flows,
    pins::Pins,
    plan::{TenantIds, placed::hash_of_slots},
    table::{Table, open},
};

/// The maps of one gateway.
pub struct Tables {
    settings: Array<MapData, Settings>,
    addresses: Table<Addr, OwnedAddress>,
    listeners: Table<ListenerKey, Listener>,
    allow_lists: Table<Prefix<AllowKey>, u32>,
    sources: Table<Prefix<Addr>, u32>,
    destinations: Table<Prefix<DestinationKey>, u32>,
    hairpins: Table<HairpinKey, u32>,
    pools: Table<u32, Pool>,
    maglev: MapData,
    backends: Table<u32, Backend>,
    interfaces: Table<u32, Interface>,
    tenants: Table<u32, TenantSettings>,
    labels: Table<u32, TenantLabel>,
    flows: Table<FlowKey, CtEntry>,
    half_open: Table<FlowKey, CtEntry>,
    tenant_use: MapData,
    tenant_stats: PerCpuArray<MapData, TenantStats>,
    drops: PerCpuArray<MapData, u64>,
    counters: PerCpuArray<MapData, u64>,
}

/// Gives a pinned array its type. aya compares the sizes of key and value with the kernel's.
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
            addresses: Table::open(pins, names::ADDRESSES)?,
            listeners: Table::open(pins, names::LISTENERS)?,
            allow_lists: Table::open(pins, names::ALLOW_LISTS)?,
            sources: Table::open(pins, names::TENANT_SOURCES)?,
            destinations: Table::open(pins, names::DESTINATIONS)?,
            hairpins: Table::open(pins, names::HAIRPINS)?,
            pools: Table::open(pins, names::POOLS)?,
            maglev: open(pins, names::MAGLEV)?,
            backends: Table::open(pins, names::BACKENDS)?,
            interfaces: Table::open(pins, names::INTERFACES)?,
            tenants: Table::open(pins, names::TENANTS)?,
            labels: Table::open(pins, names::TENANT_LABELS)?,
            flows: Table::open(pins, names::FLOWS)?,
            half_open: Table::open(pins, names::HALF_OPEN)?,
            tenant_use: open(pins, names::TENANT_USE)?,
            tenant_stats: typed!(pins, names::TENANT_STATS, PerCpuArray),
            drops: typed!(pins, names::DROPS, PerCpuArray),
            counters: typed!(pins, names::COUNTERS, PerCpuArray),
        })
    }

    /// The settings in force; node 0 means that none have been written yet.
    pub fn settings(&self) -> Result<Settings> {
        self.settings.get(&0, 0).context("cannot read the settings")
    }

    /// The numbers of all tenants that have a label.
    pub fn known_tenants(&self) -> Result<TenantIds> {
        let labels = self.labels.all()?.into_iter();
        Ok(labels
            .map(|(id, label)| (label.name().to_owned(), TenantId(u16::try_from(id).unwrap_or(0))))
            .collect())
    }

    /// Gives each of `wanted` that is not in `known` the lowest free number, and adds it there.
    ///
    /// A tenant's number stands in its flows and counters, so it must not depend on which other tenants exist; those of
    /// removed tenants are freed by [`Tables::forget_tenants`].
    pub fn number_tenants<'a>(
        &mut self,
        known: &mut TenantIds,
        wanted: impl Iterator<Item = &'a str>,
    ) -> Result<()> {
        let new: BTreeSet<&str> = wanted.filter(|name| !known.contains_key(*name)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let taken: BTreeSet<u32> = known.values().map(|id| u32::from(id.0)).collect();
        let free = (1..limits::TENANTS_MAX).filter(|id| !taken.contains(id));
        let mut labels = Vec::with_capacity(new.len());
        for (name, id) in new.iter().zip(free) {
            let label =
                TenantLabel::new(name).with_context(|| format!("the tenant name {name} is too long"))?;
            labels.push((id, label));
        }
        if labels.len() < new.len() {
            return Err(anyhow!(
                "all {} tenant numbers are taken: those of removed tenants are freed when their last flow ends",
                limits::TENANTS_MAX - 1
            ));
        }
        self.clear_stats(labels.iter().map(|(id, _)| *id))?;
        self.labels.put(&labels)?;
        let named = new.iter().zip(&labels);
        known.extend(
            named.map(|(name, (id, _))| ((*name).to_owned(), TenantId(u16::try_from(*id).unwrap_or(0)))),
        );
        Ok(())
    }

    /// Frees the numbers of tenants.
    pub fn forget_tenants(&mut self, ids: &[TenantId]) -> Result<()> {
        self.labels.remove(&ids.iter().map(|id| u32::from(id.0)).collect::<Vec<_>>())
    }

    fn clear_stats(&mut self, tenants: impl Iterator<Item = u32>) -> Result<()> {
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error).context("cannot count the CPUs")?;
        for tenant in tenants {
            let zero = PerCpuValues::try_from(vec![TenantStats::default(); cpus])?;
            self.tenant_stats.set(tenant, zero, 0).context("cannot clear a tenant's counters")?;
            self.put_use(tenant, &TenantUse::default())?;
        }
        Ok(())
    }

    /// Makes the writes, then the removals; see [`super::changes`] for the order.
    ///
    /// # Errors
    ///
    /// When the kernel refuses one: those before it stand.
    pub fn apply(&mut self, changes: &Changes) -> Result<()> {
        self.backends.put_changes(&changes.backends)?;
        for slots in &changes.slots {
            self.write_slots(slots.first, &slots.backends)?;
        }
        self.pools.put_changes(&changes.pools)?;
        self.allow_lists.put_changes(&changes.allow_lists)?;
        self.destinations.put_changes(&changes.destinations)?;
        self.hairpins.put_changes(&changes.hairpins)?;
        if let Some(settings) = &changes.settings {
            self.put_settings(settings)?;
        }
        self.interfaces.put_changes(&changes.interfaces)?;
        self.tenants.put_changes(&changes.tenants)?;
        self.listeners.put_changes(&changes.listeners)?;
        self.sources.put_changes(&changes.sources)?;
        self.addresses.put_changes(&changes.addresses)?;
        self.remove(changes)
    }

    fn remove(&mut self, changes: &Changes) -> Result<()> {
        self.listeners.remove_changes(&changes.listeners)?;
        self.addresses.remove_changes(&changes.addresses)?;
        self.sources.remove_changes(&changes.sources)?;
        self.tenants.remove_changes(&changes.tenants)?;
        self.interfaces.remove_changes(&changes.interfaces)?;
        self.hairpins.remove_changes(&changes.hairpins)?;
        self.destinations.remove_changes(&changes.destinations)?;
        self.allow_lists.remove_changes(&changes.allow_lists)?;
        self.pools.remove_changes(&changes.pools)?;
        self.backends.remove_changes(&changes.backends)
    }

    fn write_slots(&self, first: u32, backends: &[u32]) -> Result<()> {
        let keys: Vec<u32> = (first..).take(backends.len()).collect();
        batch::update(&self.maglev, &keys, backends).context("cannot write hash slots")
    }

    /// Everything that stands in the tables, without slots.
    pub fn contents(&self) -> Result<Contents> {
        Ok(Contents {
            settings: self.settings()?,
            addresses: self.addresses.all()?,
            listeners: self.listeners.all()?,
            allow_lists: self.allow_lists.all()?,
            tenants: self.tenants.all()?,
            sources: self.sources.all()?,
            destinations: self.destinations.all()?,
            hairpins: self.hairpins.all()?,
            pools: self.pools.all()?,
            slots: Vec::new(),
            backends: self.backends.all()?,
            interfaces: self.interfaces.all()?,
        })
    }

    /// Tells a pool's slots apart.
    pub fn hash_of_slots(&self, pool: &Pool) -> Result<u64> {
        self.slots(pool).map(|slots| hash_of_slots(&slots))
    }

    /// The backends in a pool's slots.
    pub fn slots(&self, pool: &Pool) -> Result<Vec<u32>> {
        if pool.maglev_len == 0 {
            return Ok(Vec::new());
        }
        let slots = batch::array_range(&self.maglev, pool.maglev_offset, pool.maglev_len as usize);
        slots.context("cannot read hash slots")
    }

    /// The interfaces in the table.
    pub fn interfaces(&self) -> Result<Vec<(u32, Interface)>> {
        self.interfaces.all()
    }

    /// Established and half-open flows, for reading in batches.
    pub fn flow_maps(&self) -> [&MapData; 2] {
        [self.flows.map(), self.half_open.map()]
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

    /// What one tenant uses, as the data path counts it.
    pub fn tenant_use(&self, tenant: TenantId) -> Result<TenantUse> {
        let found = element::lookup(&self.tenant_use, &u32::from(tenant.0));
        found.context("cannot read what a tenant uses").map(Option::unwrap_or_default)
    }

    /// What the first so many tenants use, by number.
    pub fn tenant_uses(&self, numbers: usize) -> Result<Vec<TenantUse>> {
        let uses = batch::array_range(&self.tenant_use, 0, numbers);
        uses.context("cannot read what tenants use")
    }

    /// Adds to the number of flows that the data path believes a tenant to have: for flows that were deleted from here, or
    /// after a count. What the data path counts within this microsecond may be lost, which the next counts bring to light.
    pub fn correct_use(&self, tenant: TenantId, by: i64) -> Result<()> {
        let mut usage = self.tenant_use(tenant)?;
        usage.flows += by;
        self.put_use(u32::from(tenant.0), &usage)
    }

    /// Sets the number of flows of every tenant to what the tables of flows hold. Exact as long as no program runs.
    pub fn recount_use(&self) -> Result<()> {
        let mut counted: HashMap<TenantId, i64> = HashMap::new();
        for map in self.flow_maps() {
            for (tenant, flows) in flows::count(map)?.tenants {
                *counted.entry(tenant).or_default() += i64::try_from(flows).unwrap_or(i64::MAX);
            }
        }
        for (number, usage) in (0..).zip(self.tenant_uses(limits::TENANTS_MAX as usize)?) {
            let tenant = TenantId(u16::try_from(number).unwrap_or(0));
            let flows = counted.get(&tenant).copied().unwrap_or(0);
            if usage.flows != flows {
                self.put_use(number, &TenantUse { flows, ..usage })?;
            }
        }
        Ok(())
    }

    fn put_use(&self, number: u32, usage: &TenantUse) -> Result<()> {
        element::replace(&self.tenant_use, &number, usage)
            .context("cannot write what a tenant uses")
            .map(drop)
    }

    /// Entries and capacity of each table whose size matters to an operator. All are counted by reading them.
    pub fn occupancy(&self) -> Result<Vec<(&'static str, u64, u64)>> {
        fn row<K: aya::Pod + Eq + std::hash::Hash, V: aya::Pod>(
            name: &'static str,
            table: &Table<K, V>,
        ) -> Result<(&'static str, u64, u64)> {
            Ok((name, table.count()?, table.capacity()?))
        }
        Ok(vec![
            row(names::FLOWS, &self.flows)?,
            row(names::HALF_OPEN, &self.half_open)?,
            row(names::LISTENERS, &self.listeners)?,
            row(names::BACKENDS, &self.backends)?,
            row(names::POOLS, &self.pools)?,
            row(names::ADDRESSES, &self.addresses)?,
            row(names::ALLOW_LISTS, &self.allow_lists)?,
            row(names::TENANT_SOURCES, &self.sources)?,
            row(names::DESTINATIONS, &self.destinations)?,
            row(names::HAIRPINS, &self.hairpins)?,
        ])
    }

    /// Writes labels of tenants, as an earlier version had them.
    pub fn put_tenants(&self, labels: &[(u32, TenantLabel)]) -> Result<()> {
        self.labels.put(labels)
    }

    /// Writes interfaces, as an earlier version had them.
    pub fn put_interfaces(&self, interfaces: &[(u32, Interface)]) -> Result<()> {
        self.interfaces.put(interfaces)
    }

    /// Writes the settings, as an earlier version had them.
    pub fn put_settings(&mut self, settings: &Settings) -> Result<()> {
        self.settings.set(0, settings, 0).context("cannot write the settings")
    }

    /// Adds counters of an earlier version to these.
    pub fn add_counters(&mut self, earlier: &EarlierCounters) -> Result<()> {
        add(&mut self.tenant_stats, earlier.tenant_stats.as_ref(), TenantStats::add)?;
        add(&mut self.drops, earlier.drops.as_ref(), |sum, more| *sum += more)?;
        add(&mut self.counters, earlier.counters.as_ref(), |sum, more| *sum += more)
    }

    /// Is any flow tracked?
    pub fn has_flows(&self) -> Result<bool> {
        Ok(self.flows.count()? > 0 || self.half_open.count()? > 0)
    }

    /// Entries that fit in the tables of established and of half-open flows.
    pub fn flow_capacities(&self) -> Result<[u64; 2]> {
        Ok([self.flows.capacity()?, self.half_open.capacity()?])
    }
}

/// The settings of an earlier version.
pub fn open_settings(pins: &Pins) -> Result<Settings> {
    let size = open(pins, names::SETTINGS)?.info().context("cannot look at the settings")?.value_size();
    if size as usize == size_of::<Settings>() {
        return first::<Settings>(pins);
    }
    let earlier = first::<EarlierSettings>(pins)?;
    let mut today = Settings::zeroed();
    bytemuck::bytes_of_mut(&mut today)[..earlier.len()].copy_from_slice(&earlier);
    Ok(today)
}

/// Settings as the layouts 1 and 2 have them. Today's begin with the same fields; what came later stands where these end,
/// or where they have zeros, and means nothing while it is zero.
type EarlierSettings = [u8; 144];

fn first<S: aya::Pod>(pins: &Pins) -> Result<S> {
    Table::<u32, S>::open(pins, names::SETTINGS)?.find(&0)?.context("an array has no first element")
}

/// Per-CPU counters of an earlier version, those that this one does not share.
pub struct EarlierCounters {
    tenant_stats: Option<PerCpuArray<MapData, TenantStats>>,
    drops: Option<PerCpuArray<MapData, u64>>,
    counters: Option<PerCpuArray<MapData, u64>>,
}

impl EarlierCounters {
    /// Opens the `wanted` ones.
    pub fn open(pins: &Pins, wanted: impl Fn(&str) -> bool) -> Result<Self> {
        Ok(Self {
            tenant_stats: open_counters(pins, names::TENANT_STATS, &wanted)?,
            drops: open_counters(pins, names::DROPS, &wanted)?,
            counters: open_counters(pins, names::COUNTERS, &wanted)?,
        })
    }
}

fn open_counters<V: aya::Pod>(
    pins: &Pins,
    name: &str,
    wanted: impl Fn(&str) -> bool,
) -> Result<Option<PerCpuArray<MapData, V>>> {
    if wanted(name) { Ok(Some(typed!(pins, name, PerCpuArray))) } else { Ok(None) }
}

fn add<V: aya::Pod>(
    sums: &mut PerCpuArray<MapData, V>,
    earlier: Option<&PerCpuArray<MapData, V>>,
    add: impl Fn(&mut V, &V),
) -> Result<()> {
    let Some(earlier) = earlier else { return Ok(()) };
    for index in 0..sums.len().min(earlier.len()) {
        let mut values = sums.get(&index, 0)?.to_vec();
        for (sum, more) in values.iter_mut().zip(earlier.get(&index, 0)?.iter()) {
            add(sum, more);
        }
        sums.set(index, PerCpuValues::try_from(values)?, 0)?;
    }
    Ok(())
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
