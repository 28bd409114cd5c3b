//! What should stand in the tables: a pure function of the configuration and of what the kernel says about the host.
//!
//! Numbers that stand in for names (pools, allow-lists, backends, Maglev slots) are taken from one of two banks, by
//! turns. A new configuration is written beside the old one, then the entries that refer to it are replaced one by
//! one, each in a single step; the old bank is emptied last. So no packet ever meets half of a configuration.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    net::Ipv4Addr,
    time::Duration,
};

use gateway_common::{
    abi::{
        ALLOW_KEY_BITS, Addr, AddressKind, AllowKey, Backend, DESTINATION_KEY_BITS, DestinationKey,
        Interface, Listener, ListenerFlags, ListenerKey, OwnedAddress, Pool, PoolFlags, Port, Protocol,
        Settings, Side, TenantId, TenantSource, Timeouts,
    },
    limits,
    maglev::{self, Candidate},
    port_slice::PortSlices,
};
use ipnet::Ipv4Net;
use thiserror::Error;

use super::host::{Host, HostLink};
use crate::config::{self, Config};

/// Bit that tells the banks of pool, allow-list and backend numbers apart.
pub const BANK_BIT: u32 = 1 << 31;

/// The bank of a generation: [`BANK_BIT`] or 0.
pub const fn bank_of(generation: u32) -> u32 {
    if generation % 2 == 1 { BANK_BIT } else { 0 }
}

/// Seed of the flow hash: any constant that all nodes share.
const HASH_SEED: u64 = 0x7477_6f2d_6970_2d67;

/// A key of a longest-prefix table: how many leading bits count, and the bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix<K> {
    /// Bits that must match.
    pub bits: u32,
    /// The key; what lies beyond `bits` is zero.
    pub key: K,
}

impl<K> Prefix<K> {
    const fn new(bits: u32, key: K) -> Self {
        Self { bits, key }
    }
}

/// Contents of all tables that the daemon fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Node-wide settings.
    pub settings: Settings,
    /// Local addresses.
    pub addresses: Vec<(Addr, OwnedAddress)>,
    /// Listeners and egress mappings.
    pub listeners: Vec<(ListenerKey, Listener)>,
    /// Allow-lists.
    pub allow_lists: Vec<(Prefix<AllowKey>, u32)>,
    /// Source prefixes.
    pub sources: Vec<(Prefix<Addr>, u32)>,
    /// Destinations.
    pub destinations: Vec<(Prefix<DestinationKey>, u32)>,
    /// Pools.
    pub pools: Vec<(u32, Pool)>,
    /// Maglev slots: the first slot of this generation's bank, and what follows there.
    pub maglev: (u32, Vec<u32>),
    /// Backends.
    pub backends: Vec<(u32, Backend)>,
    /// Interfaces.
    pub interfaces: Vec<(u32, Interface)>,
}

/// A configuration that does not fit the tables or the host.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DesiredError {
    /// The interface vanished between the check of the configuration and now.
    #[error("interface {0} does not exist on this host")]
    NoInterface(String),
    /// Frames of a VLAN device pass its parent's hook first, which would take them for the parent's side.
    #[error(
        "{vlan} and {parent}, the interface below it, are on different sides: use a VLAN device for each side"
    )]
    AcrossSides {
        /// The VLAN device.
        vlan: String,
        /// The interface below it.
        parent: String,
    },
    /// The Maglev tables of all pools are too large together.
    #[error("the pools need {wanted} hash slots, {max} fit: use fewer or smaller pools")]
    TooManySlots {
        /// What they need.
        wanted: usize,
        /// What fits.
        max: usize,
    },
}

/// Refuses what fits neither the tables nor the host, before anything is changed.
///
/// # Errors
///
/// As [`desired`].
pub fn check(config: &Config, host: &Host) -> Result<(), DesiredError> {
    desired(config, host, &TenantIds::new(), 0).map(drop)
}

/// Numbers of tenants by name; see [`super::tables::Tables::tenant_ids`].
pub type TenantIds = BTreeMap<String, TenantId>;

/// Computes the contents for one generation of the configuration.
pub fn desired(
    config: &Config,
    host: &Host,
    tenants: &TenantIds,
    generation: u32,
) -> Result<Desired, DesiredError> {
    let mut builder = Builder::new(config, tenants, generation);
    for tenant in config.tenants.iter() {
        builder.tenant(tenant);
    }
    let max = limits::MAGLEV_SLOTS_MAX as usize / 2;
    if builder.slots.len() > max {
        return Err(DesiredError::TooManySlots { wanted: builder.slots.len(), max });
    }
    Ok(Desired {
        settings: settings(config, generation),
        addresses: addresses(config, host, tenants),
        interfaces: interfaces(config, host)?,
        listeners: builder.listeners,
        allow_lists: builder.allow_lists,
        sources: builder.sources,
        destinations: builder.destinations,
        pools: builder.pools,
        maglev: (builder.first_slot, builder.slots),
        backends: builder.backends,
    })
}

fn settings(config: &Config, generation: u32) -> Settings {
    let secs = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    let timeouts = &config.timeouts;
    Settings {
        // One node: it always owns the addresses.
        lease_until_ns: u64::MAX,
        hash_seed: HASH_SEED,
        slices: PortSlices::from_mask(config.node.port_slices.bits()),
        timeouts: Timeouts {
            tcp_established_secs: secs(timeouts.tcp_established),
            tcp_transitory_secs: secs(timeouts.tcp_transitory),
            tcp_half_open_secs: secs(timeouts.tcp_half_open),
            udp_secs: secs(timeouts.udp),
            icmp_secs: secs(timeouts.icmp),
            pad: 0,
        },
        ingress_vip: config.gateway.ingress_vip.get().into(),
        egress_vip: config.gateway.egress_vip.get().into(),
        epoch: 0,
        generation,
        node: config.node.id.get(),
        pad: [0; 7],
    }
}

/// The host's own addresses first: where one of ours stands on an interface as well, it is ours.
fn addresses(config: &Config, host: &Host, tenants: &TenantIds) -> Vec<(Addr, OwnedAddress)> {
    let mut addresses: BTreeMap<Addr, OwnedAddress> = host
        .addresses
        .iter()
        .map(|address| (Addr::from(*address), OwnedAddress::shared(AddressKind::Host)))
        .collect();
    for tenant in config.tenants.iter() {
        addresses.insert(tenant.nat_ip.get().into(), OwnedAddress::nat_ip(id_of(tenants, tenant)));
    }
    let gateway = &config.gateway;
    addresses.insert(gateway.ingress_vip.get().into(), OwnedAddress::shared(AddressKind::IngressVip));
    addresses.insert(gateway.egress_vip.get().into(), OwnedAddress::shared(AddressKind::EgressVip));
    addresses.into_iter().collect()
}

/// The configured interfaces and the VLAN devices on them. A frame for a VLAN device is transmitted on the device below,
/// with the tag.
fn interfaces(config: &Config, host: &Host) -> Result<Vec<(u32, Interface)>, DesiredError> {
    let mut interfaces = BTreeMap::new();
    for configured in config.interfaces.iter() {
        let name = configured.name.as_str();
        let link = host.link(name).ok_or_else(|| DesiredError::NoInterface(name.to_owned()))?;
        let side = side_of(configured.side);
        refuse_other_side_below(config, host, configured, link)?;
        let entry = |link: &HostLink| {
            let (transmit, vlan_id) = link.vlan.unwrap_or((link.index, 0));
            Interface::new(side, transmit, vlan_id, link.mac)
        };
        interfaces.insert(link.index, entry(link));
        for (vlan, _) in host.vlans_on(link.index) {
            interfaces.entry(vlan.index).or_insert(entry(vlan));
        }
    }
    Ok(interfaces.into_iter().collect())
}

fn refuse_other_side_below(
    config: &Config,
    host: &Host,
    configured: &config::Interface,
    link: &HostLink,
) -> Result<(), DesiredError> {
    let below = |other: &&config::Interface| {
        host.link(other.name.as_str())
            .is_some_and(|other| link.vlan.is_some_and(|(parent, _)| parent == other.index))
    };
    match config.interfaces.iter().find(below) {
        Some(parent) if parent.side != configured.side => Err(DesiredError::AcrossSides {
            vlan: link.name.clone(),
            parent: parent.name.as_str().to_owned(),
        }),
        _ => Ok(()),
    }
}

fn side_of(side: config::Side) -> Side {
    match side {
        config::Side::External => Side::External,
        config::Side::Internal => Side::Internal,
    }
}

fn id_of(tenants: &TenantIds, tenant: &config::Tenant) -> TenantId {
    tenants.get(tenant.name.as_str()).copied().unwrap_or(TenantId::NONE)
}

fn protocol_of(protocol: config::Protocol) -> Protocol {
    match protocol {
        config::Protocol::Tcp => Protocol::Tcp,
        config::Protocol::Udp => Protocol::Udp,
        config::Protocol::Icmp => Protocol::Icmp,
    }
}

/// Tables under construction.
struct Builder<'a> {
    config: &'a Config,
    tenants: &'a TenantIds,
    bank: u32,
    first_slot: u32,
    listeners: Vec<(ListenerKey, Listener)>,
    allow_lists: Vec<(Prefix<AllowKey>, u32)>,
    sources: Vec<(Prefix<Addr>, u32)>,
    destinations: Vec<(Prefix<DestinationKey>, u32)>,
    pools: Vec<(u32, Pool)>,
    slots: Vec<u32>,
    backends: Vec<(u32, Backend)>,
    lists: u32,
}

impl<'a> Builder<'a> {
    fn new(config: &'a Config, tenants: &'a TenantIds, generation: u32) -> Self {
        let odd = generation % 2 == 1;
        Self {
            config,
            tenants,
            bank: bank_of(generation),
            first_slot: if odd { limits::MAGLEV_SLOTS_MAX / 2 } else { 0 },
            listeners: Vec::new(),
            allow_lists: Vec::new(),
            sources: Vec::new(),
            destinations: Vec::new(),
            pools: Vec::new(),
            slots: Vec::new(),
            backends: Vec::new(),
            lists: 0,
        }
    }

    fn tenant(&mut self, tenant: &config::Tenant) {
        let id = id_of(self.tenants, tenant);
        for prefix in &tenant.sources {
            let key = Prefix::new(u32::from(prefix.prefix_len()), prefix.network().into());
            self.sources.push((key, TenantSource::new(id).to_raw()));
        }
        self.destinations(tenant, id);
        let pools: Vec<u32> = tenant.pools.iter().map(|pool| self.inside_pool(id, pool)).collect();
        for listener in &tenant.listeners {
            self.listener(tenant, id, listener, pools[listener.pool.get()]);
        }
        for egress in &tenant.egress {
            self.egress(tenant, id, egress);
        }
    }

    /// The endpoints of all the tenant's peer groups. Two groups may name the same endpoint.
    fn destinations(&mut self, tenant: &config::Tenant, id: TenantId) {
        let mut seen = HashSet::new();
        for index in &tenant.peer_groups {
            for endpoint in &self.config.peer_group(*index).endpoints {
                let port = endpoint.port.map_or(Port::NONE, |port| Port::new(port.get()));
                let address = endpoint.address.network().into();
                let key = DestinationKey::new(id, protocol_of(endpoint.protocol), port, address);
                let prefix =
                    Prefix::new(DESTINATION_KEY_BITS + u32::from(endpoint.address.prefix_len()), key);
                if seen.insert(prefix) {
                    self.destinations.push((prefix, number(index.get())));
                }
            }
        }
    }

    fn inside_pool(&mut self, tenant: TenantId, pool: &config::Pool) -> u32 {
        let members = pool.backends.iter().map(|backend| {
            (backend.address.get(), Port::new(backend.port.get()), u32::from(backend.weight.get()))
        });
        self.pool(tenant, members.collect())
    }

    fn pool(&mut self, tenant: TenantId, members: Vec<(Ipv4Addr, Port, u32)>) -> u32 {
        let mut candidates = Vec::with_capacity(members.len());
        for (address, port, weight) in members {
            let id = self.bank | number(self.backends.len());
            self.backends.push((id, Backend { address: address.into(), port, tenant }));
            candidates.push(Candidate { id, identity: identity(address, port), weight });
        }
        let table = maglev::build(&candidates, maglev::table_size(candidates.len()));
        let pool = Pool {
            maglev_offset: self.first_slot + number(self.slots.len()),
            maglev_len: number(table.len()),
            flags: PoolFlags::REFUSE,
        };
        let id = self.bank | number(self.pools.len());
        self.slots.extend(table);
        self.pools.push((id, pool));
        id
    }

    fn listener(&mut self, tenant: &config::Tenant, id: TenantId, listener: &config::Listener, pool: u32) {
        let key = ListenerKey::new(
            self.config.gateway.ingress_vip.get().into(),
            protocol_of(listener.protocol.into()),
            Port::new(listener.port.get()),
        );
        let flags = match listener.source {
            config::SourceMode::Nat => ListenerFlags::default(),
            config::SourceMode::Preserve => ListenerFlags::PRESERVE_SOURCE,
        };
        let allow_list = self.allow_list(&listener.allow);
        let nat = tenant.nat_ip.get().into();
        self.listeners.push((key, Listener { tenant: id, flags, pool, allow_list, nat }));
    }

    fn allow_list(&mut self, prefixes: &[Ipv4Net]) -> u32 {
        let list = self.bank | self.lists;
        self.lists += 1;
        let mut unique = prefixes.to_vec();
        unique.sort();
        unique.dedup();
        for prefix in unique {
            let bits = ALLOW_KEY_BITS + u32::from(prefix.prefix_len());
            self.allow_lists.push((Prefix::new(bits, AllowKey::new(list, prefix.network().into())), 1));
        }
        list
    }

    fn egress(&mut self, tenant: &config::Tenant, id: TenantId, egress: &config::Egress) {
        let key = ListenerKey::new(
            tenant.nat_ip.get().into(),
            protocol_of(egress.protocol.into()),
            Port::new(egress.port.get()),
        );
        let pool = self.pool(id, vec![(egress.to.address.get(), Port::new(egress.to.port.get()), 1)]);
        let nat = self.config.gateway.egress_vip.get().into();
        let listener = Listener { tenant: id, flags: ListenerFlags::default(), pool, allow_list: 0, nat };
        self.listeners.push((key, listener));
    }
}

/// Limits of the configuration keep every count far below 2^31.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// What a backend's place in the Maglev table depends on: the same on every node and after every restart.
fn identity(address: Ipv4Addr, port: Port) -> u64 {
    let mut hasher = DefaultHasher::new();
    (address.octets(), port.number()).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
