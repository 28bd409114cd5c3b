//! The daemon is killed, stopped, upgraded and given another configuration while traffic passes.

use std::{collections::BTreeMap, fs, path::PathBuf};

use gateway_common::limits::ABI_VERSION;
use serde_json::Value;

use super::continuity::{Continuity, Interlude, Stage};
use crate::{
    gateway::{self, Gateway, GatewayConfig},
    lab::Lab,
    topology::Mode,
    world::{self, World},
};

/// All tenants.
pub(super) const ALL: [usize; 3] = [1, 2, 3];
/// Those that stay when the third is removed.
const STAYING: [usize; 2] = [1, 2];

/// One result an event.
#[derive(Debug)]
pub struct Lifecycle {
    /// `kill -9` and a new start.
    pub kill: Continuity,
    /// SIGTERM and a new start.
    pub restart: Continuity,
    /// Stopped, and started from another file.
    pub upgrade: Continuity,
    /// Stopped, and started on what a version with an earlier layout of the tables has left.
    pub migration: Continuity,
    /// A tenant is removed from the configuration, and added again.
    pub tenants: Continuity,
    /// Stopped, and not started again because its configuration is broken; then mended.
    pub refusal: Continuity,
    /// Packets that it dropped while it took over from the earlier layout, by reason: for some milliseconds programs of
    /// both run.
    pub migration_drops: BTreeMap<String, u64>,
    /// Packets that it dropped in all the other time, by reason.
    pub drops: BTreeMap<String, u64>,
}

impl Lifecycle {
    /// One after the other.
    pub fn events(&self) -> [&Continuity; 6] {
        [&self.kill, &self.restart, &self.upgrade, &self.migration, &self.tenants, &self.refusal]
    }
}

/// Lets all of it happen to one gateway.
#[track_caller]
pub fn run(mode: Mode) -> Lifecycle {
    let lab = Lab::new(mode);
    let mut stage = Stage::new(&lab, World::start(&lab));
    let copy = copy_of_the_binary(&lab);
    let kill = stage.during("kill -9", &ALL, kill);
    let restart_seen = stage.during("restart", &ALL, restart);
    let upgrade = stage.during("upgrade", &ALL, |interlude| {
        interlude.gateway.replace_binary(&copy);
        restart(interlude);
    });
    let before = stage.world.gateway.drops();
    let migration = stage.during("earlier layout", &ALL, earlier_layout);
    let migration_drops = less(stage.world.gateway.drops(), &before);
    let tenants = stage.during("change of tenants", &STAYING, |interlude| change_tenants(&lab, interlude));
    let refusal = stage.during("refused start", &ALL, |interlude| refused_start(&lab, interlude));
    let drops = less(stage.world.gateway.drops(), &migration_drops);
    Lifecycle { kill, restart: restart_seen, upgrade, migration, tenants, refusal, migration_drops, drops }
}

/// What is left of counts when others are taken away.
fn less(mut counts: BTreeMap<String, u64>, others: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    for (reason, count) in &mut counts {
        *count -= others.get(reason).copied().unwrap_or(0);
    }
    counts.retain(|_, count| *count > 0);
    counts
}

fn kill(interlude: &mut Interlude<'_, '_>) {
    let status = interlude.gateway.process().kill();
    assert!(!status.success(), "the daemon was killed");
    interlude.look("while it was dead");
    interlude.gateway.launch();
    require_adoption(interlude);
}

fn restart(interlude: &mut Interlude<'_, '_>) {
    stop(interlude);
    interlude.look("while it was stopped");
    interlude.gateway.launch();
    require_adoption(interlude);
}

fn earlier_layout(interlude: &mut Interlude<'_, '_>) {
    stop(interlude);
    let [before, now] = interlude.gateway.rename_layout(ABI_VERSION, ABI_VERSION - 1);
    interlude.look("while it was stopped");
    interlude.gateway.launch();
    require_adoption(interlude);
    interlude.require(!before.exists() && now.exists(), || "the earlier state is still there".to_owned());
}

pub(super) fn stop(interlude: &mut Interlude<'_, '_>) {
    let status = interlude.gateway.process().stop();
    interlude.require(status.success(), || format!("SIGTERM: {status}"));
}

pub(super) fn require_adoption(interlude: &mut Interlude<'_, '_>) {
    let status = interlude.gateway.cli(&["status"]);
    let interfaces = status["interfaces"].as_array().cloned().unwrap_or_default();
    let adopted = interfaces.iter().filter(|interface| interface["adopted"] == true).count();
    interlude.require(adopted == interfaces.len() && adopted > 0, || {
        format!("adopted {adopted} of {} interfaces", interfaces.len())
    });
}

/// The numbers of flows and the counters of those that stay must stay.
fn change_tenants(lab: &Lab, interlude: &mut Interlude<'_, '_>) {
    let opened = |gateway: &Gateway<'_>| opened_by_tenant(&gateway.cli(&["status"]));
    for (when, numbers) in [("without tenant 3", &STAYING[..]), ("with tenant 3 again", &ALL[..])] {
        let before = opened(interlude.gateway);
        interlude.gateway.write_config(&configuration(lab, interlude.gateway, numbers));
        stop(interlude);
        interlude.gateway.launch();
        require_adoption(interlude);
        let after = opened(interlude.gateway);
        interlude.require(after.len() == numbers.len(), || format!("{when}: {after:?}"));
        for number in STAYING {
            let name = &lab.tenant(number).plan.name;
            interlude.require(after.get(name) >= before.get(name) && before.contains_key(name), || {
                format!("{when}: {name} had opened {:?} flows, then {:?}", before.get(name), after.get(name))
            });
            let flows = interlude.gateway.cli(&["flows", "--tenant", name, "--state", "established"]);
            interlude.require(flows["total"].as_u64() >= Some(3), || format!("{when}: {name} has {flows}"));
        }
        interlude.look(when);
    }
}

/// Only these tenants.
fn configuration(lab: &Lab, gateway: &Gateway<'_>, numbers: &[usize]) -> GatewayConfig {
    let mut config = gateway.fresh_config();
    world::configure(&mut config, lab);
    config.tenant.retain(|tenant| numbers.iter().any(|number| lab.tenant(*number).plan.name == tenant.name));
    config
}

fn opened_by_tenant(status: &Value) -> BTreeMap<String, u64> {
    let tenants = status["tenants"].as_array().into_iter().flatten();
    let entry =
        |tenant: &Value| Some((tenant["name"].as_str()?.to_owned(), tenant["flows_opened"].as_u64()?));
    tenants.filter_map(entry).collect()
}

fn refused_start(lab: &Lab, interlude: &mut Interlude<'_, '_>) {
    let good = configuration(lab, interlude.gateway, &ALL);
    let mut bad = good.clone();
    bad.tenant(2).nat_ip = bad.tenant(1).nat_ip;
    interlude.gateway.write_config(&bad);
    stop(interlude);
    interlude.gateway.spawn();
    let status = interlude.gateway.process().wait(std::time::Duration::from_secs(10));
    interlude.require(status.code() == Some(2), || format!("two tenants with one NAT IP: {status}"));
    interlude.look("after a refused start");
    interlude.gateway.write_config(&good);
    interlude.gateway.launch();
    require_adoption(interlude);
}

fn copy_of_the_binary(lab: &Lab) -> PathBuf {
    let copy = lab.session().path("gateway-daemon-next");
    fs::copy(gateway::binary(), &copy).expect("copy the daemon");
    copy
}
