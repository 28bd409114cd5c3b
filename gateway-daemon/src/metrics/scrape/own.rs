//! The daemon's own figures in the families' words. They are there even when the data path can't be read.

use std::fmt;
use std::time::{Instant, UNIX_EPOCH};

use gateway_common::tables::FlowTable;
use prometheus_client::encoding::DescriptorEncoder;

use super::super::families as f;
use super::super::labels::{ApiRole, CodeClass, Label as _};
use super::super::own::{Counters, Metrics, Noted};
use super::super::ports::PortMarks;

type Encoder<'a, 'b> = &'a mut DescriptorEncoder<'b>;

pub(super) fn write(encoder: Encoder<'_, '_>, metrics: &Metrics) -> fmt::Result {
    let counters = metrics.counters();
    let noted = metrics.noted();
    write_flows(encoder, metrics, &noted)?;
    write_reconciler(encoder, counters, &noted)?;
    write_store(encoder, counters, &noted)?;
    write_config(encoder, counters, &noted)?;
    write_api(encoder, counters)?;
    write_health(encoder, counters, &noted)?;
    write_ports(encoder, &noted.ports, counters)
}

fn write_flows(encoder: Encoder<'_, '_>, metrics: &Metrics, noted: &Noted) -> fmt::Result {
    let expired = [("flows", FlowTable::Established), ("half_open", FlowTable::HalfOpen)]
        .map(|(name, table)| ([name], metrics.expired_flows(table).get()));
    f::EXPIRED_FLOWS.write(encoder, expired)?;
    f::TENANT_FLOWS_DRIFT.write(encoder, [([], noted.flows_drift)])?;
    f::TENANT_FLOWS_CORRECTIONS.write(encoder, [([], metrics.counters().flows_corrections.get())])?;
    f::FLOW_ROUND_DURATION.write(encoder, noted.flow_round.map(|took| ([], took.as_secs_f64())))?;
    f::HELD_PARTS.write(encoder, metrics.counters().held_parts.samples())?;
    f::NEIGHBOUR_REFRESHES.write(encoder, [([], metrics.neighbour_refreshes().get())])
}

fn write_reconciler(encoder: Encoder<'_, '_>, counters: &Counters, noted: &Noted) -> fmt::Result {
    f::RECONCILE_RUNS.write(encoder, counters.reconcile_runs.samples())?;
    f::RECONCILE_CHANGES.write(encoder, counters.reconcile_changes.samples())?;
    f::REPAIRS.write(encoder, counters.repairs.samples())?;
    f::RECONCILE_LAG.write(encoder, [([], noted.versions.lag(Instant::now()).as_secs_f64())])?;
    let took = noted.full_sync.map(|sync| ([], sync.took.as_secs_f64()));
    f::FULL_SYNC_DURATION.write(encoder, took)?;
    let done = noted.full_sync.and_then(|sync| sync.done.duration_since(UNIX_EPOCH).ok());
    f::FULL_SYNC_TIMESTAMP.write(encoder, done.map(|since| ([], since.as_secs_f64())))
}

fn write_store(encoder: Encoder<'_, '_>, counters: &Counters, noted: &Noted) -> fmt::Result {
    f::STORE_VERSION.write(encoder, noted.versions.desired.map(|version| ([], version.0)))?;
    f::APPLIED_VERSION.write(encoder, noted.versions.applied.map(|version| ([], version.0)))?;
    f::STORE_ERRORS.write(encoder, counters.store_errors.samples())?;
    f::STORE_TROUBLE.write(encoder, [([], u64::from(noted.store_trouble))])
}

fn write_config(encoder: Encoder<'_, '_>, counters: &Counters, noted: &Noted) -> fmt::Result {
    f::CONFIG_RELOADS.write(encoder, counters.config_reloads.samples())?;
    f::CONFIG_LAST_RELOAD_SUCCESSFUL.write(encoder, [([], u64::from(!noted.reload_failed))])?;
    f::CONFIG_STALE.write(encoder, [([], u64::from(noted.config_stale))])
}

fn write_api(encoder: Encoder<'_, '_>, counters: &Counters) -> fmt::Result {
    let of_role = |role: &ApiRole| {
        let (role, by_code) = (role.name(), &counters.api_requests[*role]);
        CodeClass::ALL.iter().map(move |code| ([code.name(), role], by_code[*code].get()))
    };
    f::API_REQUESTS.write(encoder, ApiRole::ALL.iter().flat_map(of_role))
}

fn write_health(encoder: Encoder<'_, '_>, counters: &Counters, noted: &Noted) -> fmt::Result {
    f::HEALTH_CHECKS.write(encoder, counters.health_checks.samples())?;
    f::HEALTH_CHECK_OVERRUNS.write(encoder, [([], counters.health_check_overruns.get())])?;
    let pools = noted.pools.iter().flat_map(|pool| {
        let sample = |(state, count)| ([pool.tenant.as_str(), pool.pool.as_str(), state], count);
        pool.states().map(sample)
    });
    f::POOL_BACKENDS.write(encoder, pools)
}

fn write_ports(encoder: Encoder<'_, '_>, ports: &PortMarks, counters: &Counters) -> fmt::Result {
    f::EGRESS_PORTS.write(encoder, [([], ports.current.busiest)])?;
    f::EGRESS_PORTS_CAPACITY.write(encoder, [([], ports.current.capacity)])?;
    let tenants = &ports.current.tenants;
    f::TENANT_EGRESS_PORTS
        .write(encoder, tenants.iter().map(|(name, held)| ([name.as_str()], held.busiest)))?;
    f::TENANT_EGRESS_PORTS_QUOTA
        .write(encoder, tenants.iter().map(|(name, held)| ([name.as_str()], held.quota)))?;
    f::TENANT_PORTS_USED_RATIO
        .write(encoder, tenants.iter().map(|(name, held)| ([name.as_str()], held.used_ratio())))?;
    f::TENANT_PORTS_LEVELS.write(encoder, counters.port_levels.samples())?;
    let marks = ports.high_water().map(|(name, mark)| ([name], mark));
    f::TENANT_EGRESS_PORTS_HIGH_WATER.write(encoder, marks)
}
