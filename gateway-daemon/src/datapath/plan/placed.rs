//! One tenant in the tables: what it has there, and the writes that make it what the configuration says.
//!
//! A pool keeps its number for life; when its members change it gets another run of slots, and one write of the pool's
//! entry moves it over. Allow-lists are never changed in place: another list gets another number. So a packet meets the
//! old state of a tenant or the new one.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    net::Ipv4Addr,
    time::Duration,
};

use gateway_common::{
    abi::{
        ALLOW_KEY_BITS, Addr, AllowKey, Backend, DESTINATION_KEY_BITS, DestinationKey, HairpinKey, Listener,
        ListenerFlags, ListenerKey, OwnedAddress, Pool, PoolFlags, Port, Protocol, TenantFlags, TenantId,
        TenantSettings, TenantSource,
    },
    maglev::{self, Candidate},
};
use ipnet::Ipv4Net;
use litemap::LiteMap;

use super::{
    PlanError, Shares, TenantIds,
    numbers::{Ids, Run, Runs},
    ports::Reserved,
};
use crate::{
    config::{self, Config},
    datapath::{
        changes::{Changes, TableChanges},
        contents::{Prefix, Slots},
    },
    tenancy::spec::AdminState,
};

/// Numbers of all tenants.
#[derive(Debug, Default)]
pub struct Numbers {
    /// Of pools.
    pub pools: Ids,
    /// Of backends.
    pub backends: Ids,
    /// Of allow-lists.
    pub lists: Ids,
    /// Slots.
    pub runs: Runs,
}

/// Which pool of its tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PoolKey {
    /// A pool of the configuration, by name.
    Inside(String),
    /// The one endpoint behind an addressed egress: protocol and port of the NAT IP.
    Egress(u8, u16),
    /// Found in the tables, by number, and not matched with the configuration.
    Found(u32),
}

/// A pool in the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedPool {
    /// Its number.
    pub id: u32,
    /// Its entry.
    pub value: Pool,
    /// Hash of its members and their shares; unknown when found in the tables.
    pub members: Option<u64>,
    /// Hash of its slots.
    pub slots: u64,
}

impl PlacedPool {
    /// Its slots.
    pub fn run(&self) -> Run {
        Run { first: self.value.maglev_offset, len: self.value.maglev_len }
    }
}

/// A tenant in the tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// Its NAT IP.
    pub addresses: Vec<(Addr, OwnedAddress)>,
    /// Its listeners and egress mappings.
    pub listeners: Vec<(ListenerKey, Listener)>,
    /// What holds for it alone.
    pub tenants: Vec<(u32, TenantSettings)>,
    /// Its source prefixes.
    pub sources: Vec<(Prefix<Addr>, u32)>,
    /// Where it may call.
    pub destinations: Vec<(Prefix<DestinationKey>, u32)>,
    /// The tenants that it may call.
    pub hairpins: Vec<(HairpinKey, u32)>,
    /// Its allow-lists: number, and prefixes in order.
    pub lists: Vec<(u32, Vec<Ipv4Net>)>,
    /// Its pools.
    pub pools: LiteMap<PoolKey, PlacedPool>,
    /// Its backends: number by address and port.
    pub backends: BTreeMap<(Ipv4Addr, u16), u32>,
}

impl Placed {
    /// Gives back what its lists have too much: there are thousands of them.
    fn shrink(&mut self) {
        self.listeners.shrink_to_fit();
        self.sources.shrink_to_fit();
        self.destinations.shrink_to_fit();
        self.hairpins.shrink_to_fit();
        self.lists.shrink_to_fit();
    }
}

/// What a tenant is placed with.
pub struct Placer<'a> {
    /// The configuration that it belongs to.
    pub config: &'a Config,
    /// The numbers of all tenants.
    pub ids: &'a TenantIds,
    /// Whose ports are whose.
    pub reserved: &'a Reserved,
    /// The shares of its backends.
    pub shares: &'a dyn Shares,
    /// The numbers that are free.
    pub numbers: &'a mut Numbers,
    /// Collects the writes.
    pub changes: &'a mut Changes,
    /// Now, for the slots' rest; `CLOCK_MONOTONIC` nanoseconds.
    pub now_ns: u64,
}

impl Placer<'_> {
    /// Makes `old` what the configuration says of `tenant`.
    ///
    /// # Errors
    ///
    /// When its pools do not fit: `old` stays. Seen before anything is to be written, unless the free slots lie in many
    /// small pieces; whoever plans must read the mirror anew in either case.
    pub fn place(
        &mut self,
        id: TenantId,
        tenant: &config::Tenant,
        old: &mut Placed,
    ) -> Result<Placed, PlanError> {
        adopt_found_pools(old, self.config, tenant);
        let wanted = slots_to_take(tenant, old);
        if !self.numbers.runs.fits(wanted, self.now_ns) {
            return Err(PlanError::NoRoomForSlots { tenant: tenant.name.as_str().to_owned(), wanted });
        }
        let mut new = Placed {
            backends: self.backends(id, tenant, old),
            pools: LiteMap::with_capacity(tenant.pools.len() + tenant.egress.len()),
            ..Placed::default()
        };
        new.addresses = vec![(tenant.nat_ip.get().into(), OwnedAddress::nat_ip(id))];
        new.tenants = vec![(u32::from(id.0), self.settings(id, tenant))];
        new.sources = sources(id, tenant);
        new.destinations = destinations(self.config, id, tenant);
        new.hairpins = self.hairpins(id, tenant);
        self.pools(tenant, old, &mut new)?;
        for listener in &tenant.listeners {
            let row = self.listener(id, tenant, listener, old, &mut new);
            new.listeners.push(row);
        }
        for egress in &tenant.egress {
            let row = self.egress(id, tenant, egress, &new);
            new.listeners.push(row);
        }
        self.write_differences(old, &new);
        self.give_back(old, &new);
        new.shrink();
        Ok(new)
    }

    /// Removes a tenant.
    pub fn remove(&mut self, old: &Placed) {
        let nothing = Placed::default();
        self.write_differences(old, &nothing);
        self.give_back(old, &nothing);
    }

    /// What holds for the tenant alone.
    fn settings(&self, id: TenantId, tenant: &config::Tenant) -> TenantSettings {
        let limits = &tenant.limits;
        TenantSettings {
            nat: tenant.nat_ip.get().into(),
            mss: limits.mss_clamp.unwrap_or(0),
            flags: if limits.loose_source { TenantFlags::LOOSE_SOURCE } else { TenantFlags::default() },
            tcp_established_secs: limits.timeouts.tcp_established.map_or(0, seconds),
            udp_secs: limits.timeouts.udp.map_or(0, seconds),
            flows_max: limits.max_flows.unwrap_or(0),
            ports: self.reserved.share_of(id, limits.ports),
            new_flow_interval_ns: limits.new_flows.map_or(0, |new| nanoseconds(new.interval())),
            new_flow_credit_ns: limits.new_flows.map_or(0, |new| nanoseconds(new.credit())),
        }
    }

    /// Those that it may call have numbers: the configuration names no others.
    fn hairpins(&self, id: TenantId, tenant: &config::Tenant) -> Vec<(HairpinKey, u32)> {
        let to = tenant.hairpin_to.iter().filter_map(|name| self.ids.get(name.as_str()));
        to.map(|to| (HairpinKey { from: id, to: *to }, 1)).collect()
    }

    /// A backend that two pools share has one number.
    fn backends(
        &mut self,
        id: TenantId,
        tenant: &config::Tenant,
        old: &Placed,
    ) -> BTreeMap<(Ipv4Addr, u16), u32> {
        let inside = tenant.pools.iter().flat_map(|pool| &pool.backends);
        let inside = inside.map(|backend| (backend.address.get(), backend.port.get()));
        let outside = tenant.egress.iter().map(|egress| (egress.to.address.get(), egress.to.port.get()));
        let mut backends = BTreeMap::new();
        for place in inside.chain(outside) {
            backends.entry(place).or_insert_with(|| {
                old.backends.get(&place).copied().unwrap_or_else(|| {
                    let number = self.numbers.backends.take();
                    self.changes.backends.put.push((number, backend(place, id)));
                    number
                })
            });
        }
        backends
    }

    fn pools(
        &mut self,
        tenant: &config::Tenant,
        old: &mut Placed,
        new: &mut Placed,
    ) -> Result<(), PlanError> {
        for pool in &tenant.pools {
            let members = pool.backends.iter().map(|backend| {
                let place = (backend.address.get(), backend.port.get());
                (place, self.share(tenant, pool, backend))
            });
            let members = members.collect();
            let key = PoolKey::Inside(pool.name.as_str().to_owned());
            self.pool(tenant, key, members, pool.when_all_down, (old, new))?;
        }
        for egress in &tenant.egress {
            let to = (egress.to.address.get(), egress.to.port.get());
            let key = egress_key(egress);
            self.pool(tenant, key, vec![(to, 1)], config::WhenAllDown::Refuse, (old, new))?;
        }
        Ok(())
    }

    /// In hundredths of the configured weight's unit, so that slow start has steps even for a weight of 1.
    fn share(&self, tenant: &config::Tenant, pool: &config::Pool, backend: &config::Backend) -> u32 {
        if backend.state != AdminState::Active {
            return 0;
        }
        u32::from(backend.weight.get()) * u32::from(self.shares.percent(tenant, pool, backend))
    }

    fn pool(
        &mut self,
        tenant: &config::Tenant,
        key: PoolKey,
        members: Vec<((Ipv4Addr, u16), u32)>,
        when_all_down: config::WhenAllDown,
        (old, new): (&mut Placed, &mut Placed),
    ) -> Result<(), PlanError> {
        let candidates: Vec<Candidate> = members
            .into_iter()
            .map(|(place, weight)| Candidate { id: new.backends[&place], identity: identity(place), weight })
            .collect();
        let hash = hash_of(candidates.iter().map(|member| (member.id, member.weight)));
        let known = old.pools.get(&key).cloned();
        if let Some(known) = &known
            && known.members == Some(hash)
            && known.value == pool_value(known.run(), when_all_down)
        {
            new.pools.insert(key, known.clone());
            return Ok(());
        }
        let slots = maglev::build(&candidates, maglev::table_size(candidates.len()));
        let twin = known.or_else(|| take_twin(old, hash_of_slots(&slots), slots.len()));
        let id = twin.as_ref().map_or_else(|| self.numbers.pools.take(), |twin| twin.id);
        let (run, slots_hash) = self.place_slots(tenant, &candidates, slots, twin.as_ref())?;
        let value = pool_value(run, when_all_down);
        if twin.as_ref().is_none_or(|twin| twin.value != value) {
            self.changes.pools.put.push((id, value));
        }
        if let Some(twin) = twin.filter(|twin| twin.run() != run) {
            self.numbers.runs.give(twin.run(), self.now_ns);
        }
        new.pools.insert(key, PlacedPool { id, value, members: Some(hash), slots: slots_hash });
        Ok(())
    }

    /// Finds a place for a pool's slots; returns it with the hash of what stands there then.
    ///
    /// As long as there is room they get another run, so that all of them change in one step. In a change of thousands of
    /// pools room becomes scarce: then slot by slot in the run that the pool has, even if that is not of the best length.
    fn place_slots(
        &mut self,
        tenant: &config::Tenant,
        candidates: &[Candidate],
        slots: Vec<u32>,
        twin: Option<&PlacedPool>,
    ) -> Result<(Run, u64), PlanError> {
        let hash = hash_of_slots(&slots);
        let len = u32::try_from(slots.len()).unwrap_or(u32::MAX);
        let present = twin.map(PlacedPool::run);
        if let Some((run, known)) = present.zip(twin.map(|twin| twin.slots))
            && run.len == len
            && (known == hash || self.numbers.runs.is_scarce())
        {
            if known != hash {
                self.write_slots(run, slots);
            }
            return Ok((run, hash));
        }
        if let Some(run) = self.numbers.runs.take(len, self.now_ns) {
            self.write_slots(run, slots);
            return Ok((run, hash));
        }
        let no_room = || PlanError::NoRoomForSlots { tenant: tenant.name.as_str().to_owned(), wanted: len };
        let run = present.filter(|run| can_hold(*run, candidates.len())).ok_or_else(no_room)?;
        let slots = maglev::build(candidates, run.len);
        let hash = hash_of_slots(&slots);
        self.write_slots(run, slots);
        Ok((run, hash))
    }

    fn write_slots(&mut self, run: Run, slots: Vec<u32>) {
        if run.len > 0 {
            self.changes.slots.push(Slots { first: run.first, backends: slots });
        }
    }

    fn listener(
        &mut self,
        id: TenantId,
        tenant: &config::Tenant,
        listener: &config::Listener,
        old: &Placed,
        new: &mut Placed,
    ) -> (ListenerKey, Listener) {
        let pool = tenant.pool(listener.pool).name.as_str().to_owned();
        let value = Listener {
            tenant: id,
            flags: listener_flags(tenant, listener),
            pool: new.pools[&PoolKey::Inside(pool)].id,
            allow_list: self.allow_list(&listener.allow, old, new),
            nat: tenant.nat_ip.get().into(),
        };
        (listener_key(self.config, listener), value)
    }

    /// Listeners with the same list share it.
    fn allow_list(&mut self, prefixes: &[Ipv4Net], old: &Placed, new: &mut Placed) -> u32 {
        let mut prefixes: Vec<Ipv4Net> = prefixes.iter().map(Ipv4Net::trunc).collect();
        prefixes.sort();
        prefixes.dedup();
        let same = |(_, known): &&(u32, Vec<Ipv4Net>)| *known == prefixes;
        if let Some((id, _)) = new.lists.iter().find(same) {
            return *id;
        }
        let known = old.lists.iter().find(same).map(|(id, _)| *id);
        let id = known.unwrap_or_else(|| {
            let id = self.numbers.lists.take();
            self.changes.allow_lists.put.extend(allow_rows(id, &prefixes));
            id
        });
        new.lists.push((id, prefixes));
        id
    }

    fn egress(
        &self,
        id: TenantId,
        tenant: &config::Tenant,
        egress: &config::Egress,
        new: &Placed,
    ) -> (ListenerKey, Listener) {
        let address = tenant.nat_ip.get().into();
        let protocol = protocol_of(egress.protocol.into());
        let value = Listener {
            tenant: id,
            flags: ListenerFlags::default(),
            pool: new.pools[&egress_key(egress)].id,
            allow_list: 0,
            nat: self.config.gateway.egress_vip.get().into(),
        };
        (ListenerKey::new(address, protocol, Port::new(egress.port.get())), value)
    }

    fn write_differences(&mut self, old: &Placed, new: &Placed) {
        self.changes.listeners.extend(TableChanges::between(&old.listeners, &new.listeners));
        self.changes.tenants.extend(TableChanges::between(&old.tenants, &new.tenants));
        self.changes.sources.extend(TableChanges::between(&old.sources, &new.sources));
        self.changes.destinations.extend(TableChanges::between(&old.destinations, &new.destinations));
        self.changes.hairpins.extend(TableChanges::between(&old.hairpins, &new.hairpins));
        self.changes.addresses.extend(TableChanges::between(&old.addresses, &new.addresses));
    }

    /// Removes what only the old state had, and gives its numbers back.
    fn give_back(&mut self, old: &Placed, new: &Placed) {
        let kept: HashSet<u32> = new.pools.values().map(|pool| pool.id).collect();
        for pool in old.pools.values().filter(|pool| !kept.contains(&pool.id)) {
            self.changes.pools.remove.push(pool.id);
            self.numbers.pools.give(pool.id);
            self.numbers.runs.give(pool.run(), self.now_ns);
        }
        let kept: HashSet<u32> = new.lists.iter().map(|(id, _)| *id).collect();
        for (id, prefixes) in old.lists.iter().filter(|(id, _)| !kept.contains(id)) {
            self.changes.allow_lists.remove.extend(allow_rows(*id, prefixes).map(|(key, _)| key));
            self.numbers.lists.give(*id);
        }
        for (_, id) in old.backends.iter().filter(|(place, _)| !new.backends.contains_key(place)) {
            self.changes.backends.remove.push(*id);
            self.numbers.backends.give(*id);
        }
    }
}

/// Is a run of the length that so many members want, or of another in which their shares are right to a tenth?
fn can_hold(run: Run, members: usize) -> bool {
    run.len == maglev::table_size(members) || run.len as usize >= 10 * members
}

/// Slots for which a tenant needs a new run, if there is no better way.
fn slots_to_take(tenant: &config::Tenant, old: &Placed) -> u32 {
    let of = |key: &PoolKey, members: usize| {
        let present = old.pools.get(key).is_some_and(|pool| can_hold(pool.run(), members));
        if present { 0 } else { maglev::table_size(members) }
    };
    let inside = tenant.pools.iter().map(|pool| {
        let key = PoolKey::Inside(pool.name.as_str().to_owned());
        of(&key, pool.backends.len())
    });
    let egress = tenant.egress.iter().map(|egress| of(&egress_key(egress), 1));
    inside.chain(egress).fold(0, u32::saturating_add)
}

/// Pools that were found in the tables are those of the listeners that lead to them.
fn adopt_found_pools(old: &mut Placed, config: &Config, tenant: &config::Tenant) {
    if !old.pools.keys().any(|key| matches!(key, PoolKey::Found(_))) {
        return;
    }
    let by_key: HashMap<ListenerKey, u32> = old.listeners.iter().map(|(key, row)| (*key, row.pool)).collect();
    let mut adopt = |listener: ListenerKey, key: PoolKey| {
        if let Some(id) = by_key.get(&listener)
            && !old.pools.contains_key(&key)
            && let Some(found) = old.pools.remove(&PoolKey::Found(*id))
        {
            old.pools.insert(key, found);
        }
    };
    for listener in &tenant.listeners {
        let name = tenant.pool(listener.pool).name.as_str().to_owned();
        adopt(listener_key(config, listener), PoolKey::Inside(name));
    }
    for egress in &tenant.egress {
        let address = tenant.nat_ip.get().into();
        let key =
            ListenerKey::new(address, protocol_of(egress.protocol.into()), Port::new(egress.port.get()));
        adopt(key, egress_key(egress));
    }
}

/// A pool that was found in the tables, that no listener leads to, and that has just these slots.
fn take_twin(old: &mut Placed, slots: u64, len: usize) -> Option<PlacedPool> {
    let is_twin = |(key, pool): &(&PoolKey, &PlacedPool)| {
        matches!(key, PoolKey::Found(_)) && pool.slots == slots && pool.run().len as usize == len
    };
    let key = old.pools.iter().find(is_twin)?.0.clone();
    old.pools.remove(&key)
}

fn backend((address, port): (Ipv4Addr, u16), tenant: TenantId) -> Backend {
    Backend { address: address.into(), port: Port::new(port), tenant }
}

fn pool_value(run: Run, when_all_down: config::WhenAllDown) -> Pool {
    let flags = match when_all_down {
        config::WhenAllDown::Refuse => PoolFlags::REFUSE,
        config::WhenAllDown::Drop => PoolFlags::default(),
    };
    Pool { maglev_offset: run.first, maglev_len: run.len, flags }
}

fn listener_flags(tenant: &config::Tenant, listener: &config::Listener) -> ListenerFlags {
    let flags = match listener.source {
        config::SourceMode::Nat => ListenerFlags::default(),
        config::SourceMode::Preserve => ListenerFlags::PRESERVE_SOURCE,
    };
    if is_active(tenant) { flags } else { flags.with(ListenerFlags::DRAINING) }
}

fn is_active(tenant: &config::Tenant) -> bool {
    tenant.state == AdminState::Active
}

/// In whole seconds.
pub(super) fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn sources(id: TenantId, tenant: &config::Tenant) -> Vec<(Prefix<Addr>, u32)> {
    let owner = TenantSource::new(id).with_draining(!is_active(tenant)).to_raw();
    let row = |prefix: &Ipv4Net| {
        (Prefix { bits: u32::from(prefix.prefix_len()), key: prefix.network().into() }, owner)
    };
    tenant.sources.iter().map(row).collect()
}

/// The endpoints of all the tenant's peer groups. Two groups may name the same endpoint.
fn destinations(
    config: &Config,
    id: TenantId,
    tenant: &config::Tenant,
) -> Vec<(Prefix<DestinationKey>, u32)> {
    let endpoints = tenant.peer_groups.iter().flat_map(|group| &config.peer_group(*group).endpoints);
    let row = |endpoint: &config::Endpoint| {
        let port = endpoint.port.map_or(Port::NONE, |port| Port::new(port.get()));
        let address = endpoint.address.network().into();
        let key = DestinationKey::new(id, protocol_of(endpoint.protocol), port, address);
        Prefix { bits: DESTINATION_KEY_BITS + u32::from(endpoint.address.prefix_len()), key }
    };
    let mut seen = HashSet::new();
    endpoints.map(row).filter(|prefix| seen.insert(*prefix)).map(|prefix| (prefix, 1)).collect()
}

/// The rows of an allow-list.
pub fn allow_rows(list: u32, prefixes: &[Ipv4Net]) -> impl Iterator<Item = (Prefix<AllowKey>, u32)> {
    prefixes.iter().map(move |prefix| {
        let bits = ALLOW_KEY_BITS + u32::from(prefix.prefix_len());
        (Prefix { bits, key: AllowKey::new(list, prefix.network().into()) }, 1)
    })
}

fn listener_key(config: &Config, listener: &config::Listener) -> ListenerKey {
    let vip = config.gateway.ingress_vip.get().into();
    ListenerKey::new(vip, protocol_of(listener.protocol.into()), Port::new(listener.port.get()))
}

fn egress_key(egress: &config::Egress) -> PoolKey {
    PoolKey::Egress(protocol_of(egress.protocol.into()) as u8, egress.port.get())
}

fn protocol_of(protocol: config::Protocol) -> Protocol {
    match protocol {
        config::Protocol::Tcp => Protocol::Tcp,
        config::Protocol::Udp => Protocol::Udp,
        config::Protocol::Icmp => Protocol::Icmp,
    }
}

/// What a backend's place in the Maglev table depends on: the same on every node and after every restart.
fn identity((address, port): (Ipv4Addr, u16)) -> u64 {
    let mut hasher = DefaultHasher::new();
    (address.octets(), port).hash(&mut hasher);
    hasher.finish()
}

/// Tells slots apart.
pub fn hash_of_slots(slots: &[u32]) -> u64 {
    hash_of(slots.iter().copied())
}

/// Tells lists apart: the same on every node and after every restart.
pub fn hash_of<T: Hash>(items: impl Iterator<Item = T>) -> u64 {
    let mut hasher = DefaultHasher::new();
    items.for_each(|item| item.hash(&mut hasher));
    hasher.finish()
}
