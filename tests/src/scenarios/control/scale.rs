//! Ten thousand tenants with ten backends each: how long they take, and what the daemon then takes.

use std::time::{Duration, Instant};

use super::{
    latency::{self, Change, Latencies},
    made_up,
    stage::Stage,
};
use crate::{gateway::Document, lab::Lab, topology::Mode, usage};

/// Of every tenant.
const BACKENDS: u8 = 10;

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Tenants in the one file.
    pub tenants: u16,
    /// Single changes afterwards: removals, and additions of what was removed.
    pub changes: u16,
    /// For which the daemon has nothing to do.
    pub idle: Duration,
}

/// What was seen.
#[derive(Debug)]
pub struct Scale {
    /// From the request until it was answered.
    pub applied: Duration,
    /// Listeners and backends that the pinned tables then lacked, of those in the file.
    pub missing: usize,
    /// Memory of the daemon afterwards, in bytes.
    pub resident: u64,
    /// From the start of another daemon on all that, until it answers.
    pub restarted: Duration,
    /// Memory of that one after the same time, in bytes.
    pub resident_restarted: u64,
    /// CPU of the daemon while nothing happens, as a share of one CPU.
    pub idle_cpu: f64,
    /// Of the single changes.
    pub changes: Latencies,
}

/// Does all of it.
#[track_caller]
pub fn run(size: Size) -> Scale {
    let lab = Lab::new(Mode::Tc);
    // The gateway takes 100,000 backends, and not one more.
    let mut stage = Stage::start_before(&lab, Vec::new(), |config| config.tenant.clear());
    let before = entries(&stage);
    let tenants = (0..size.tenants).map(|number| made_up::tenant(number, BACKENDS)).collect();
    let document = Document { peer_group: Vec::new(), tenant: tenants };
    let begin = Instant::now();
    stage.api.apply(&document).unwrap_or_else(|problem| panic!("{} tenants: {problem}", size.tenants));
    let applied = begin.elapsed();
    let wanted = before + usize::from(size.tenants) * (1 + usize::from(BACKENDS));
    let missing = wanted.saturating_sub(entries(&stage));
    let pairs =
        (0..size.changes / 2).flat_map(|number| [Change::Remove(number), Change::Put(number, BACKENDS)]);
    let changes = latency::measure(&mut stage, lab.plan.ingress_vip, pairs);
    let daemon = stage.gateway.process().id();
    let idle_cpu = usage::cpu_share(daemon, size.idle);
    let resident = usage::resident_bytes(daemon);
    stage.gateway.process().kill();
    let begin = Instant::now();
    stage.gateway.launch();
    let restarted = begin.elapsed();
    let daemon = stage.gateway.process().id();
    usage::cpu_share(daemon, size.idle);
    let resident_restarted = usage::resident_bytes(daemon);
    Scale { applied, missing, resident, restarted, resident_restarted, idle_cpu, changes }
}

/// Listeners and backends in the pinned tables.
#[track_caller]
fn entries(stage: &Stage<'_>) -> usize {
    let contents = stage.gateway.tables().contents();
    let contents = contents.unwrap_or_else(|error| panic!("read the tables: {error:#}"));
    contents.listeners.len() + contents.backends.len()
}
