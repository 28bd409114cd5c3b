//! Bringing the tables to a configuration.

use std::{collections::HashSet, net::Ipv4Addr};

use anyhow::{Context as _, Result};
use gateway_common::abi::TenantId;
use tracing::{error, info};

use super::{Gateway, State, attach, forwarding};
use crate::{
    config::{self, Config},
    datapath::{
        flows,
        migrate::Migration,
        monotonic_ns,
        plan::{Mirror, Shares, Touched, Wish, placed::hash_of_slots},
        programs,
        tables::Tables,
    },
    health::{BackendId, Standing, Standings, from_config},
};

/// Reads what stands in the tables.
pub fn recover(tables: &Tables) -> Result<Mirror> {
    Mirror::recover(tables.contents()?, |pool| tables.hash_of_slots(pool))
}

/// Tenant, address and port of backends.
pub type Carried = HashSet<(TenantId, Ipv4Addr, u16)>;

/// As [`recover`], with the backends that new flows go to, as the tables say, or those of an earlier version. Reading the
/// slots is most of the work, so it is done once for both.
pub fn recover_carried(tables: &Tables, migration: Option<&Migration>) -> Result<(Mirror, Carried)> {
    let contents = tables.contents()?;
    let backends = contents.backends.clone();
    let mut in_slots: HashSet<u32> = HashSet::new();
    let mirror = Mirror::recover(contents, |pool| {
        let slots = tables.slots(pool)?;
        in_slots.extend(&slots);
        anyhow::Ok(hash_of_slots(&slots))
    })?;
    let carried = backends.iter().filter(|(id, _)| in_slots.contains(id)).map(|(_, row)| row);
    let earlier = migration.map(Migration::carried).transpose()?.unwrap_or_default();
    let carried = carried.chain(&earlier);
    let carried = carried.map(|row| (row.tenant, row.address.into(), row.port.number())).collect();
    Ok((mirror, carried))
}

/// Shares as health has them.
pub struct ByHealth<'a> {
    /// What it says now.
    pub now: &'a Standings,
    /// What it said before, of backends that it no longer knows.
    pub before: &'a Standings,
}

impl<'a> ByHealth<'a> {
    /// What it says now, of all backends.
    pub fn of(now: &'a Standings) -> Self {
        Self { now, before: now }
    }
}

impl Shares for ByHealth<'_> {
    fn percent(&self, tenant: &config::Tenant, pool: &config::Pool, backend: &config::Backend) -> u8 {
        if pool.health.is_none() {
            return 100;
        }
        let id = BackendId::new(tenant, pool, backend);
        match self.now.get(&id).or_else(|| self.before.get(&id)) {
            Some(Standing::Up) => 100,
            Some(Standing::Rising(percent)) => *percent,
            // What is to be proven up is down.
            Some(Standing::Down) | None => 0,
        }
    }
}

impl State {
    /// Standings before the first check.
    pub fn first_standings(&self, config: &Config) -> Standings {
        from_config::first_standings(config, |backend| self.has_carried(backend))
    }

    /// Did this backend take new flows when this daemon started?
    pub fn has_carried(&self, backend: &BackendId) -> bool {
        let tenant = self.tenants.get(&*backend.tenant).copied().unwrap_or(TenantId::NONE);
        self.carried.contains(&(tenant, backend.address, backend.port))
    }

    /// Brings the tables to the configuration; returns how many entries were written or removed.
    pub fn apply(&mut self, config: &Config, shares: &ByHealth<'_>, touched: &Touched) -> Result<usize> {
        self.writes += 1;
        let applied = self.try_apply(config, shares, touched);
        self.out_of_step = applied.is_err();
        applied
    }

    fn try_apply(&mut self, config: &Config, shares: &ByHealth<'_>, touched: &Touched) -> Result<usize> {
        let touched = if self.out_of_step { &Touched::All } else { touched };
        if self.out_of_step {
            self.mirror = recover(&self.tables)?;
        }
        let names = config.tenants.iter().map(|tenant| tenant.name.as_str());
        self.tables.number_tenants(&mut self.tenants, names)?;
        let forwarding = forwarding::ours_to_switch(&self.tables, config, &self.host)?;
        let wish = Wish {
            config,
            host: &self.host,
            ids: &self.tenants,
            shares,
            generation: self.generation,
            cookie_key: self.cookie_key,
            forwarding: &forwarding,
            now_ns: monotonic_ns(),
        };
        let (changes, misfits) = self.mirror.plan(&wish, touched)?;
        if !changes.interfaces.is_empty() {
            forwarding::switch_off_removed(&self.tables, self.mirror.interfaces())?;
        }
        self.tables.apply(&changes).context("the kernel refused a write to the tables")?;
        if changes.len() > usize::from(changes.settings.is_some()) {
            info!(
                writes = changes.len(),
                generation = self.generation,
                "tables brought to the configuration"
            );
        }
        for misfit in &misfits {
            error!("{misfit}");
        }
        misfits.into_iter().next().map_or(Ok(changes.len()), |misfit| Err(misfit.into()))
    }

    /// Attaches what is to be attached, and nothing else.
    pub fn attach(&mut self, config: &Config) -> Result<()> {
        let pins = crate::datapath::pins::Pins::new(&config.daemon.bpffs);
        self.attachments = programs::attach(&mut self.ebpf, &pins, &attach::targets(config, &self.host))?;
        forwarding::switch_on(config, &self.host).map(drop)
    }
}

impl Gateway {
    /// Frees the numbers of removed tenants that have no flow left. Reads the flow tables only when there are any.
    pub fn forget_removed_tenants(&self) -> Result<()> {
        let removed = self.removed_tenants();
        if removed.is_empty() {
            return Ok(());
        }
        let mut busy = HashSet::new();
        for map in self.state().tables.flow_maps() {
            busy.extend(flows::count(map)?.tenants.into_keys());
        }
        let mut state = self.state_mut();
        let free: Vec<(String, TenantId)> =
            removed.into_iter().filter(|(_, id)| !busy.contains(id) && !state.mirror.has(*id)).collect();
        let ids: Vec<TenantId> = free.iter().map(|(_, id)| *id).collect();
        state.tables.forget_tenants(&ids)?;
        for (name, _) in &free {
            state.tenants.remove(name);
        }
        Ok(())
    }

    fn removed_tenants(&self) -> Vec<(String, TenantId)> {
        let config = self.config();
        let state = self.state();
        if state.tenants.len() == config.tenants.len() {
            return Vec::new();
        }
        let configured: HashSet<&str> = config.tenants.iter().map(|tenant| tenant.name.as_str()).collect();
        let removed = state.tenants.iter().filter(|(name, _)| !configured.contains(name.as_str()));
        removed.map(|(name, id)| (name.clone(), *id)).collect()
    }
}
