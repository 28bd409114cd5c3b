//! Going round the flows: what is idle expires, and its ends are told if the settings say so. By the way they are counted,
//! by tenant and by the ports that they hold.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::PoisonError,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use gateway_common::{
    abi::{CtEntry, EntryFlags, FlowKey, SettingsFlags, TenantId, TenantSettings, Timeouts},
    port_slice::{PortShare, PortSlices},
};
use tracing::warn;

use super::{Gateway, State};
use crate::{
    datapath::{
        drift::Drift,
        expiry::{self, Candidate, Expired},
        lifetimes::Lifetimes,
        monotonic_ns,
        plan::Mirror,
        reset,
        scan::{Scan, TURN, rest_after_round},
    },
    metrics::ports::{PortCount, PortUse},
};

/// Connections whose ends are asked to speak in one turn: 4,000 probes, which take 80 ms at the pace of the injector.
const TOLD_A_TURN: usize = 1_000;

/// Connections that wait for that. Those beyond are not asked: their ends learn of it when they speak.
const TOLD_LATER: usize = 65_536;

/// A round that is under way.
#[derive(Default)]
pub(super) struct Round {
    scan: Scan,
    /// What it began with.
    begun: Option<Begun>,
    /// How long it has kept a CPU busy.
    busy: Duration,
    /// The tenants' numbers of flows that did not match.
    drift: Drift,
    /// Connections that idled out and whose ends were not asked yet.
    to_tell: VecDeque<[FlowKey; 2]>,
}

struct Begun {
    at: Instant,
    lifetimes: Lifetimes,
    /// What holds for the tenants whose flows were met so far. Of thousands few may have any.
    tenants: HashMap<TenantId, Option<TenantSettings>>,
    /// Flows by tenant, so far.
    flows: HashMap<TenantId, i64>,
    ports: PortCount,
}

impl Begun {
    fn new(at: Instant, timeouts: Timeouts) -> Self {
        Self {
            at,
            lifetimes: Lifetimes::new(timeouts, std::iter::empty()),
            tenants: HashMap::new(),
            flows: HashMap::new(),
            ports: PortCount::default(),
        }
    }

    /// Notes what holds for an entry's tenant, and counts the entry.
    fn count(&mut self, entry: &CtEntry, mirror: &Mirror) {
        if let Entry::Vacant(unmet) = self.tenants.entry(entry.tenant) {
            let settings = *unmet.insert(mirror.settings_of(entry.tenant).copied());
            settings.inspect(|settings| self.lifetimes.add(entry.tenant, settings));
        }
        if entry.flags.contains(EntryFlags::ORIGINAL) {
            *self.flows.entry(entry.tenant).or_default() += 1;
            let nat = self.settings_of(entry.tenant).map(|settings| settings.nat);
            self.ports.note(entry, nat);
        }
    }

    fn settings_of(&self, tenant: TenantId) -> Option<&TenantSettings> {
        self.tenants.get(&tenant)?.as_ref()
    }

    /// The ports in use, by the tenants' names.
    fn port_use(&self, state: &State, slices: &PortSlices) -> PortUse {
        let met = state.tenants.iter().filter(|(_, id)| self.tenants.contains_key(id));
        let names: HashMap<TenantId, &String> = met.map(|(name, id)| (*id, name)).collect();
        let quota = |tenant: TenantId| {
            let share = self.settings_of(tenant).map_or(PortShare::ALL, |settings| settings.ports);
            u64::from(slices.ports_of(share))
        };
        let capacity = u64::from(slices.ports());
        self.ports.finish(capacity, |tenant| names.get(&tenant).map(|name| (*name).clone()), quota)
    }
}

/// What a whole round says.
#[derive(Clone, Debug)]
pub struct RoundReport {
    /// How long it took.
    pub took: Duration,
    /// Ports in use.
    pub ports: PortUse,
    /// By how much the tenants' numbers of flows were wrong, all together; and how many of them were corrected.
    pub drift: (u64, u64),
}

/// What came of a turn.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Flows that were ended.
    pub expired: Expired,
    /// What the round says that has ended with it, if one has.
    pub round: Option<RoundReport>,
    /// When it is time for the next turn.
    pub rest: Duration,
}

impl Gateway {
    /// Goes on with the round: reads some flows and ends those that have been idle for too long. Blocks while it tells
    /// their ends, for a tenth of a second at most.
    ///
    /// # Errors
    ///
    /// When the tables cannot be read or the program for it cannot be run; the next turn tries again.
    pub fn scan(&self) -> Result<Turn> {
        let mut round = self.round.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = self.state().scan(&mut round)?;
        self.tell_some(&mut round.to_tell);
        Ok(turn)
    }

    /// Asks the ends of some connections that idled out to speak, upon which the data path resets them.
    fn tell_some(&self, waiting: &mut VecDeque<[FlowKey; 2]>) {
        if waiting.is_empty() {
            return;
        }
        let told: Vec<[FlowKey; 2]> = waiting.drain(..waiting.len().min(TOLD_A_TURN)).collect();
        match self.injector() {
            Ok(injector) => {
                let unsent = reset::ask(&injector, told.iter().flatten());
                if unsent > 0 {
                    warn!(unsent, "ends of connections that idled out could not be asked to speak");
                }
            }
            Err(error) => warn!("ends of connections that idled out are not told: {error:#}"),
        }
    }
}

impl State {
    fn scan(&self, round: &mut Round) -> Result<Turn> {
        let started = Instant::now();
        let settings = self.tables.settings()?;
        let begun = round.begun.get_or_insert_with(|| Begun::new(started, settings.timeouts));
        let (now_ns, mut idle) = (monotonic_ns(), Vec::new());
        let maps = self.tables.flow_maps();
        let is_over = round
            .scan
            .turn(maps, |table, key, entry| {
                begun.count(entry, &self.mirror);
                if begun.lifetimes.is_idle(table, entry, now_ns) {
                    idle.push(Candidate::new(table, key, entry));
                }
            })
            .context("cannot scan flows")?;
        let expired = expiry::run(&self.ebpf, &idle)?;
        if settings.flags.contains(SettingsFlags::RESET_EXPIRED) {
            let room = TOLD_LATER - round.to_tell.len();
            round.to_tell.extend(expiry::in_the_dark(maps[0], &idle)?.into_iter().take(room));
        }
        round.busy += started.elapsed();
        if !is_over {
            return Ok(Turn { expired, round: None, rest: TURN });
        }
        self.end_round(round, &settings.slices, expired)
    }

    fn end_round(&self, round: &mut Round, slices: &PortSlices, expired: Expired) -> Result<Turn> {
        let busy = std::mem::take(&mut round.busy);
        let Some(begun) = round.begun.take() else { return Ok(Turn { expired, round: None, rest: TURN }) };
        let drift = self.correct_drift(&mut round.drift, &begun.flows)?;
        let (ports, took) = (begun.port_use(self, slices), begun.at.elapsed());
        let rest = if round.to_tell.is_empty() { rest_after_round(took, busy) } else { TURN };
        Ok(Turn { expired, round: Some(RoundReport { took, ports, drift }), rest })
    }

    fn correct_drift(&self, drift: &mut Drift, counted: &HashMap<TenantId, i64>) -> Result<(u64, u64)> {
        let numbers = self.tenants.values().max().map_or(0, |last| usize::from(last.0) + 1);
        let found = drift.compare(&self.tables.tenant_uses(numbers)?, counted);
        for (tenant, by) in &found.corrections {
            warn!(tenant = tenant.0, by, "the data path's number of a tenant's flows was wrong: corrected");
            self.tables.correct_use(*tenant, *by)?;
        }
        Ok((found.total, found.corrections.len() as u64))
    }
}
