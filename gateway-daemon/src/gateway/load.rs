//! The way to filled tables, before any interface is touched.

use std::time::SystemTime;

use anyhow::{Result, anyhow, bail};
use tracing::warn;

use super::{Repairs, State, apply, attach};
use crate::{
    config::Config,
    datapath::{
        host::Host,
        migrate::Migration,
        pins::Pins,
        plan::{PlanError, Touched},
        programs::{self, TableSizes},
        tables::{self, Tables},
    },
    health::Standings,
};

impl State {
    /// Loads the programs and fills the tables: what comes after this only attaches.
    ///
    /// # Errors
    ///
    /// What the kernel refused, or what may not change while flows are tracked. No link was touched then.
    pub fn load(
        config: &Config,
        host: Host,
        now: SystemTime,
        pins: &Pins,
        migration: Option<&Migration>,
    ) -> Result<(Self, Standings)> {
        let sizes =
            TableSizes { established: 2 * config.limits.flows, half_open: 2 * config.limits.half_open_flows };
        let mut ebpf = programs::load(Some(pins), sizes)?;
        programs::load_own(&mut ebpf)?;
        programs::load_for(&mut ebpf, &attach::targets(config, &host))?;
        let mut tables = Tables::open(pins)?;
        if let Some(migration) = migration {
            migration.fill(&mut tables)?;
        }
        if migration.is_some() || tables.settings()?.node == 0 {
            // No program of this version is attached yet: nobody counts.
            tables.recount_use()?;
        }
        refuse_new_identity(&tables, config)?;
        let warnings =
            tables::size_warnings(&tables, [u64::from(sizes.established), u64::from(sizes.half_open)])?;
        for warning in &warnings {
            warn!("{warning}");
        }
        let (mirror, carried) = apply::recover_carried(&tables, migration)?;
        let mut state = Self {
            ebpf,
            tenants: tables.known_tenants()?,
            mirror,
            out_of_step: false,
            writes: 0,
            carried,
            generation: tables.settings()?.generation,
            cookie_key: cookie_key(tables.settings()?.cookie_key)?,
            tables,
            host,
            attachments: Vec::new(),
            warnings,
            repairs: Repairs::default(),
            loaded_at: now,
        };
        let standings = state.first_standings(config);
        if let Err(error) = state.apply(config, &apply::ByHealth::of(&standings), &Touched::All) {
            // The others are served; healing tries again.
            if !matches!(error.downcast_ref(), Some(PlanError::NoRoomForSlots { .. })) {
                return Err(error);
            }
            state.warnings.push(format!("{error}"));
        }
        Ok((state, standings))
    }
}

/// The key of an earlier daemon, so that clients whose challenge is under way are believed; else a new one.
fn cookie_key(known: [u64; 2]) -> Result<[u64; 2]> {
    if known != [0; 2] {
        return Ok(known);
    }
    let mut key = [0; 2];
    let random = rustls::crypto::ring::default_provider().secure_random;
    let drawn = random.fill(bytemuck::bytes_of_mut(&mut key));
    drawn.map_err(|_| anyhow!("the kernel gives no random numbers for the key of challenges"))?;
    Ok(key)
}

/// Refuses to change whose flows these are while there are any: known flows would go on under the old address, or never
/// expire.
fn refuse_new_identity(tables: &Tables, config: &Config) -> Result<()> {
    let current = tables.settings()?;
    let (ingress, egress) = (config.gateway.ingress_vip.get().into(), config.gateway.egress_vip.get().into());
    let same = current.ingress_vip == ingress && current.egress_vip == egress;
    if current.node == 0 || (same && current.node == config.node.id.get()) || !tables.has_flows()? {
        return Ok(());
    }
    bail!(
        "a VIP or the node's id has changed, and flows of the old ones are tracked: put them back, or end all flows with \
         `gateway-daemon unload`"
    )
}
