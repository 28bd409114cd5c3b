//! From the configuration to writes: what the daemon believes to stand in the tables, and what has to be written so
//! that it is what the configuration says.
//!
//! | module | does |
//! |---|---|
//! | [`placed`] | one tenant |
//! | `shared` | what belongs to none |
//! | `numbers` | gives out the numbers that stand for names |
//! | `ports` | gives out the ports of the egress VIP |
//! | `recover` | reads the state that an earlier daemon left |
//!
//! All of it is pure. A change of one tenant is the same few writes with one tenant and with ten thousand.

mod numbers;
pub mod placed;
mod ports;
mod recover;
mod shared;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use gateway_common::{
    abi::{Addr, Backend, Interface, OwnedAddress, Port, Settings, TenantId, TenantSettings},
    limits, maglev,
};
use thiserror::Error;

use self::{
    placed::{Numbers, Placed, Placer},
    ports::{Claim, Reserved},
};
use super::{
    changes::{Changes, TableChanges},
    contents::Contents,
    host::Host,
};
use crate::config::{self, Config};

/// Numbers of tenants by name; see [`super::tables::Tables::known_tenants`].
pub type TenantIds = BTreeMap<String, TenantId>;

/// A configuration that does not fit the tables or the host.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PlanError {
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
        wanted: u64,
        /// What fits.
        max: u64,
    },
    /// There are enough slots, but not in one piece.
    #[error(
        "no {wanted} hash slots in a row are free for the tenant {tenant}, which stays as it was: use fewer or smaller \
         pools; the daemon tries again"
    )]
    NoRoomForSlots {
        /// Whose pools.
        tenant: String,
        /// How many it needs.
        wanted: u32,
    },
}

/// What health says about the share of new flows that a backend takes.
pub trait Shares {
    /// Parts of 100 of its weight.
    fn percent(&self, tenant: &config::Tenant, pool: &config::Pool, backend: &config::Backend) -> u8;
}

/// Everything is well.
pub struct AllUp;

impl Shares for AllUp {
    fn percent(&self, _: &config::Tenant, _: &config::Pool, _: &config::Backend) -> u8 {
        100
    }
}

/// Which tenants may differ from what stands in the tables.
#[derive(Clone, Debug)]
pub enum Touched {
    /// Any.
    All,
    /// These alone, by name: changed, added or removed.
    These(BTreeSet<String>),
}

/// What the tables are to be brought to.
pub struct Wish<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// What the kernel says about the host.
    pub host: &'a Host,
    /// The tenants' numbers: at least those of all tenants of the configuration and of those that are to be removed.
    pub ids: &'a TenantIds,
    /// The backends' shares.
    pub shares: &'a dyn Shares,
    /// The number that new flows are marked with.
    pub generation: u32,
    /// Key of the cookies that challenges carry.
    pub cookie_key: [u64; 2],
    /// Interfaces where the daemon has switched forwarding on.
    pub forwarding: &'a [u32],
    /// `CLOCK_MONOTONIC` nanoseconds.
    pub now_ns: u64,
}

/// What stands in the tables, as far as the daemon knows.
#[derive(Debug, Default)]
pub struct Mirror {
    settings: Option<Settings>,
    interfaces: Vec<(u32, Interface)>,
    shared: Vec<(Addr, OwnedAddress)>,
    /// Boxed: a hash map has a third more room than entries.
    tenants: HashMap<TenantId, Box<Placed>>,
    numbers: Numbers,
    /// Ports that tenants have for themselves.
    reserved: Reserved,
    /// What was found and belongs to nobody.
    strays: Changes,
}

impl Mirror {
    /// The writes that bring the tables to `wish`. From then on the mirror takes them for done: if they are not, it
    /// must be read anew with [`Mirror::recover`]. Tenants that do not fit stay as they were and are named.
    pub fn plan(
        &mut self,
        wish: &Wish<'_>,
        touched: &Touched,
    ) -> Result<(Changes, Vec<PlanError>), PlanError> {
        check_slots(wish.config)?;
        let interfaces = interfaces(wish)?;
        let mut changes = std::mem::take(&mut self.strays);
        self.plan_shared(wish, interfaces, &mut changes);
        // What one tenant reserves is taken from all others.
        let touched = if self.reserve(wish) { &Touched::All } else { touched };
        self.plan_removed(wish, touched, &mut changes);
        let mut placer = Placer {
            config: wish.config,
            ids: wish.ids,
            reserved: &self.reserved,
            shares: wish.shares,
            numbers: &mut self.numbers,
            changes: &mut changes,
            now_ns: wish.now_ns,
        };
        let mut misfits = Vec::new();
        for (id, tenant) in touched_tenants(wish, touched) {
            let mut old = self.tenants.remove(&id).unwrap_or_default();
            let new = placer.place(id, tenant, &mut old).unwrap_or_else(|misfit| {
                misfits.push(misfit);
                *old
            });
            self.tenants.insert(id, Box::new(new));
        }
        changes.settle();
        Ok((changes, misfits))
    }

    /// Gives tenants the ports that they reserve; returns whether anybody's have changed by that.
    fn reserve(&mut self, wish: &Wish<'_>) -> bool {
        let claims: Vec<Claim> = touched_tenants(wish, &Touched::All)
            .map(|(tenant, config)| Claim { tenant, places: config.limits.ports.reserved_places() })
            .filter(|claim| claim.places > 0)
            .collect();
        let before = std::mem::take(&mut self.reserved);
        self.reserved = before.settle(&claims);
        self.reserved != before
    }

    fn plan_shared(&mut self, wish: &Wish<'_>, interfaces: Vec<(u32, Interface)>, changes: &mut Changes) {
        let settings = shared::settings(wish.config, wish.generation, wish.cookie_key);
        changes.settings = (self.settings != Some(settings)).then_some(settings);
        self.settings = Some(settings);
        changes.interfaces.extend(TableChanges::between(&self.interfaces, &interfaces));
        self.interfaces = interfaces;
        let addresses = shared::addresses(wish.config, wish.host);
        changes.addresses.extend(TableChanges::between(&self.shared, &addresses));
        self.shared = addresses;
    }

    fn plan_removed(&mut self, wish: &Wish<'_>, touched: &Touched, changes: &mut Changes) {
        let configured: HashSet<TenantId> = touched_tenants(wish, &Touched::All).map(|(id, _)| id).collect();
        let gone: Vec<TenantId> = match touched {
            Touched::All => self.tenants.keys().filter(|id| !configured.contains(id)).copied().collect(),
            Touched::These(names) => {
                let ids = names.iter().filter_map(|name| wish.ids.get(name)).copied();
                ids.filter(|id| !configured.contains(id)).collect()
            }
        };
        let mut placer = Placer {
            config: wish.config,
            ids: wish.ids,
            reserved: &self.reserved,
            shares: wish.shares,
            numbers: &mut self.numbers,
            changes,
            now_ns: wish.now_ns,
        };
        for old in gone.iter().filter_map(|id| self.tenants.remove(id)) {
            placer.remove(&old);
        }
    }

    /// Everything that should stand in the tables, without slots.
    pub fn contents(&self) -> Option<Contents> {
        let tenants = || self.tenants.values();
        let backends = self.tenants.iter().flat_map(|(id, placed)| {
            placed.backends.iter().map(|((address, port), number)| {
                (*number, Backend { address: (*address).into(), port: Port::new(*port), tenant: *id })
            })
        });
        let lists = tenants().flat_map(|tenant| &tenant.lists);
        Some(Contents {
            settings: self.settings?,
            addresses: self
                .shared
                .iter()
                .chain(tenants().flat_map(|tenant| &tenant.addresses))
                .copied()
                .collect(),
            listeners: tenants().flat_map(|tenant| &tenant.listeners).copied().collect(),
            allow_lists: lists.flat_map(|(id, prefixes)| placed::allow_rows(*id, prefixes)).collect(),
            tenants: tenants().flat_map(|tenant| &tenant.tenants).copied().collect(),
            sources: tenants().flat_map(|tenant| &tenant.sources).copied().collect(),
            destinations: tenants().flat_map(|tenant| &tenant.destinations).copied().collect(),
            hairpins: tenants().flat_map(|tenant| &tenant.hairpins).copied().collect(),
            pools: self.pools().map(|pool| (pool.id, pool.value)).collect(),
            slots: Vec::new(),
            backends: backends.collect(),
            interfaces: self.interfaces.clone(),
        })
    }

    /// What holds for each tenant alone.
    pub fn tenant_settings(&self) -> impl Iterator<Item = (TenantId, TenantSettings)> + '_ {
        self.tenants.iter().flat_map(|(id, placed)| placed.tenants.iter().map(|(_, row)| (*id, *row)))
    }

    /// What holds for one tenant alone.
    pub fn settings_of(&self, id: TenantId) -> Option<&TenantSettings> {
        self.tenants.get(&id)?.tenants.first().map(|(_, row)| row)
    }

    /// The interfaces that should stand in their table.
    pub fn interfaces(&self) -> &[(u32, Interface)] {
        &self.interfaces
    }

    /// Every pool.
    pub fn pools(&self) -> impl Iterator<Item = &placed::PlacedPool> {
        self.tenants.values().flat_map(|tenant| tenant.pools.values())
    }

    /// Does this tenant stand in the tables?
    pub fn has(&self, id: TenantId) -> bool {
        self.tenants.contains_key(&id)
    }
}

fn interfaces(wish: &Wish<'_>) -> Result<Vec<(u32, Interface)>, PlanError> {
    let mut interfaces = shared::interfaces(wish.config, wish.host)?;
    for (index, interface) in &mut interfaces {
        *interface = interface.with_forwarding_switched_on(wish.forwarding.contains(index));
    }
    Ok(interfaces)
}

fn touched_tenants<'a>(
    wish: &'a Wish<'_>,
    touched: &'a Touched,
) -> impl Iterator<Item = (TenantId, &'a config::Tenant)> {
    let is_touched = move |tenant: &&config::Tenant| match touched {
        Touched::All => true,
        Touched::These(names) => names.contains(tenant.name.as_str()),
    };
    let tenants = wish.config.tenants.iter().map(|tenant| &**tenant).filter(is_touched);
    tenants.map(|tenant| (wish.ids.get(tenant.name.as_str()).copied().unwrap_or(TenantId::NONE), tenant))
}

/// Refuses what can't fit, before anything is changed. Nine tenths are promised: the rest is for the new run of a pool
/// that changes, and for gaps.
pub fn check_slots(config: &Config) -> Result<(), PlanError> {
    let max = u64::from(limits::MAGLEV_SLOTS_MAX) / 10 * 9;
    let pools = config.tenants.iter().flat_map(|tenant| &tenant.pools);
    let wanted: u64 = pools.map(|pool| u64::from(maglev::table_size(pool.backends.len()))).sum();
    if wanted > max { Err(PlanError::TooManySlots { wanted, max }) } else { Ok(()) }
}

/// Refuses what fits neither the tables nor the host, before anything is changed.
pub fn check(config: &Config, host: &Host) -> Result<(), PlanError> {
    check_slots(config)?;
    shared::check_interfaces(config, host)
}

/// Key of the cookies where a configuration is only tried out.
const COOKIE_KEY_OF_TESTS: [u64; 2] = [0x6761_7465, 0x7761_7921];

/// The contents of all tables for a configuration, beginning with empty tables and with every backend up.
pub fn contents(
    config: &Config,
    host: &Host,
    ids: &TenantIds,
    generation: u32,
) -> Result<Contents, PlanError> {
    check(config, host)?;
    let mut mirror = Mirror::default();
    let wish = Wish {
        config,
        host,
        ids,
        shares: &AllUp,
        generation,
        cookie_key: COOKIE_KEY_OF_TESTS,
        forwarding: &[],
        now_ns: 0,
    };
    let (changes, misfits) = mirror.plan(&wish, &Touched::All)?;
    if let Some(misfit) = misfits.into_iter().next() {
        return Err(misfit);
    }
    Ok(Contents {
        settings: shared::settings(config, generation, COOKIE_KEY_OF_TESTS),
        addresses: changes.addresses.put,
        listeners: changes.listeners.put,
        allow_lists: changes.allow_lists.put,
        tenants: changes.tenants.put,
        sources: changes.sources.put,
        destinations: changes.destinations.put,
        hairpins: changes.hairpins.put,
        pools: changes.pools.put,
        slots: changes.slots,
        backends: changes.backends.put,
        interfaces: changes.interfaces.put,
    })
}

#[cfg(test)]
mod tests;
