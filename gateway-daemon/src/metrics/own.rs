//! What the daemon's own tasks count and note, between one scrape and the next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use gateway_common::tables::FlowTable;
use prometheus_client::metrics::counter::Counter;

use super::labels::{
    ApiRole, CheckResult, CodeClass, Kind, Labelled, Outcome, PartFate, PortLevel, StoreFault,
};
use super::pools::PoolHealth;
use super::ports::{Crossing, PortMarks, PortUse};
use super::versions::Versions;
use super::{Reading, scrape};
use crate::store::Version;

/// The daemon's own figures: counters that its tasks raise, and facts that they note. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Own>);

#[derive(Debug, Default)]
struct Own {
    counters: Counters,
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) expired_flows: Counter,
    pub(super) expired_half_open_flows: Counter,
    pub(super) held_parts: Labelled<PartFate>,
    pub(super) neighbour_refreshes: Counter,
    pub(super) port_levels: Labelled<PortLevel>,
    pub(super) flows_corrections: Counter,
    pub(super) reconcile_runs: Labelled<Outcome>,
    pub(super) reconcile_changes: Labelled<Kind>,
    pub(super) repairs: Labelled<Kind>,
    pub(super) store_errors: Labelled<StoreFault>,
    pub(super) config_reloads: Labelled<Outcome>,
    pub(super) api_requests: Labelled<ApiRole, Labelled<CodeClass>>,
    pub(super) health_checks: Labelled<CheckResult>,
    pub(super) health_check_overruns: Counter,
}

/// Facts: the last one counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Noted {
    pub(super) versions: Versions,
    pub(super) full_sync: Option<FullSync>,
    pub(super) flow_round: Option<Duration>,
    pub(super) flows_drift: u64,
    pub(super) store_trouble: bool,
    pub(super) reload_failed: bool,
    pub(super) config_stale: bool,
    pub(super) pools: Vec<PoolHealth>,
    pub(super) ports: PortMarks,
}

/// The last complete comparison with the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FullSync {
    pub(super) took: Duration,
    pub(super) done: SystemTime,
}

impl Metrics {
    /// Flows deleted from a table because they were idle too long.
    pub fn expired_flows(&self, table: FlowTable) -> &Counter {
        match table {
            FlowTable::Established => &self.0.counters.expired_flows,
            FlowTable::HalfOpen => &self.0.counters.expired_half_open_flows,
        }
    }

    /// Parts of datagrams that came before the first one and wait no longer.
    pub fn held_parts(&self, fate: PartFate) -> &Counter {
        &self.0.counters.held_parts[fate]
    }

    /// Next hops that the daemon asked the kernel to resolve for the data path.
    pub fn neighbour_refreshes(&self) -> &Counter {
        &self.0.counters.neighbour_refreshes
    }

    /// Runs of the reconciler.
    pub fn reconcile_runs(&self, outcome: Outcome) -> &Counter {
        &self.0.counters.reconcile_runs[outcome]
    }

    /// Things written or removed because what is wanted has changed.
    pub fn reconcile_changes(&self, kind: Kind) -> &Counter {
        &self.0.counters.reconcile_changes[kind]
    }

    /// Things put back after somebody else had changed them.
    pub fn repairs(&self, kind: Kind) -> &Counter {
        &self.0.counters.repairs[kind]
    }

    /// What the tenant store could not do: `metrics.store_errors((&error).into()).inc()`.
    pub fn store_errors(&self, fault: StoreFault) -> &Counter {
        &self.0.counters.store_errors[fault]
    }

    /// Requests to the API that were answered: `metrics.api_requests(role, status.into()).inc()`.
    pub fn api_requests(&self, role: ApiRole, code: CodeClass) -> &Counter {
        &self.0.counters.api_requests[role][code]
    }

    /// Health checks made.
    pub fn health_checks(&self, result: CheckResult) -> &Counter {
        &self.0.counters.health_checks[result]
    }

    /// Health checks that began later than their interval says.
    pub fn health_check_overruns(&self) -> &Counter {
        &self.0.counters.health_check_overruns
    }

    /// The newest version of the store that the daemon knows.
    pub fn desired_version(&self, version: Version) {
        self.note().versions.desire(version, Instant::now());
    }

    /// The version that the kernel's tables hold now.
    pub fn applied_version(&self, version: Version) {
        self.note().versions.apply(version, Instant::now());
    }

    /// A complete comparison with the kernel is done.
    pub fn full_sync_done(&self, took: Duration) {
        self.note().full_sync = Some(FullSync { took, done: SystemTime::now() });
    }

    /// All flows have been looked at once more.
    pub fn flow_round_done(&self, took: Duration) {
        self.note().flow_round = Some(took);
    }

    /// The tenants' numbers of flows were compared: by how much all of them were wrong, and how many were corrected.
    pub fn tenant_flows_compared(&self, (drift, corrected): (u64, u64)) {
        self.0.counters.flows_corrections.inc_by(corrected);
        self.note().flows_drift = drift;
    }

    /// Does the store take no changes? See [`crate::store::TenantStore::trouble`].
    pub fn store_trouble(&self, trouble: bool) {
        self.note().store_trouble = trouble;
    }

    /// The daemon's settings were read again.
    pub fn config_reloaded(&self, outcome: Outcome) {
        self.0.counters.config_reloads[outcome].inc();
        self.note().reload_failed = outcome == Outcome::Failed;
    }

    /// Do settings in the file wait for a restart to come into force?
    pub fn config_stale(&self, stale: bool) {
        self.note().config_stale = stale;
    }

    /// The health of every pool, after any of them has changed. [`super::pools::pool_health`] counts it.
    pub fn pools(&self, pools: Vec<PoolHealth>) {
        self.note().pools = pools;
    }

    /// How many ports are in use, from whoever has read the flow tables with a [`super::ports::PortCount`].
    /// `is_known` tells the tenants that exist; what was kept of others is forgotten.
    /// Returns whose use has risen to another level.
    pub fn ports(&self, ports: PortUse, is_known: impl Fn(&str) -> bool) -> Vec<Crossing> {
        let mut noted = self.note();
        let crossings = noted.ports.set(ports);
        noted.ports.keep_only(is_known);
        for crossing in &crossings {
            self.0.counters.port_levels[crossing.level].inc();
        }
        crossings
    }

    /// All metrics in the text format of `OpenMetrics` 1.0. Without a `reading`, the gateway counts as down.
    pub fn render(&self, reading: Option<Reading>) -> String {
        scrape::render(self.clone(), reading)
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.0.counters
    }

    pub(super) fn noted(&self) -> Noted {
        self.note().clone()
    }

    /// Every fact is whole after each statement: a panic of another task while it held the lock does no harm.
    fn note(&self) -> MutexGuard<'_, Noted> {
        self.0.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
