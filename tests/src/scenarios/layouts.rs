//! Starts on tables of another layout, or of another size, while traffic passes: taken over, refused, or broken off.

use std::{fs, path::Path, time::Duration};

use aya::maps::MapData;
use aya_obj::Map;
use gateway_common::{limits::ABI_VERSION, names};
use gateway_daemon::datapath::shape::Shape;

use super::{
    continuity::{Continuity, Interlude, Stage},
    lifecycle::{ALL, require_adoption, stop},
};
use crate::{
    gateway::{Gateway, Limits},
    lab::Lab,
    topology::Mode,
    world::{self, World},
};

/// For a daemon that refuses to start.
const REFUSAL_LIMIT: Duration = Duration::from_secs(10);
/// More than any table has by default.
const MORE_FLOWS: u32 = 2 * 262_144;
/// Of a start that failed, but not because of its configuration.
const FAILED: i32 = 1;

/// What was seen.
#[derive(Debug)]
pub struct Layouts {
    /// One result an event.
    pub events: Vec<Continuity>,
    /// Packets dropped in all of that, but for the last event.
    pub drops: u64,
    /// Packets dropped in the last event: for some milliseconds each version has flow tables of its own.
    pub copy_drops: u64,
}

/// Lets all of it happen to one gateway.
#[track_caller]
pub fn run(mode: Mode) -> Layouts {
    let lab = Lab::new(mode);
    let mut stage = Stage::new(&lab, World::start(&lab));
    let mut events = vec![
        stage.during("newer layout", &ALL, newer_layout),
        stage.during("migration that fails", &ALL, failing_migration),
        stage.during("larger tables", &ALL, |interlude| larger_tables(&lab, interlude)),
    ];
    let dropped = |stage: &Stage<'_>| stage.world.gateway.drops().values().sum::<u64>();
    let drops = dropped(&stage);
    events.push(stage.during("flow tables of its own", &ALL, other_flow_tables));
    Layouts { events, drops, copy_drops: dropped(&stage) - drops }
}

/// The state of a version that this one does not know is refused, and stays.
fn newer_layout(interlude: &mut Interlude<'_, '_>) {
    stop(interlude);
    let [newer, now] = interlude.gateway.rename_layout(ABI_VERSION, ABI_VERSION + 1);
    require_refusal(interlude, "holds the state of a newer gateway-daemon");
    interlude.require(newer.exists() && !now.exists(), || "a refused start left something".to_owned());
    interlude.look("after the refusal");
    interlude.gateway.rename_layout(ABI_VERSION + 1, ABI_VERSION);
    start_again(interlude);
}

/// A table of the earlier version can't be opened when the others are taken over already.
fn failing_migration(interlude: &mut Interlude<'_, '_>) {
    stop(interlude);
    let [earlier, now] = interlude.gateway.rename_layout(ABI_VERSION, ABI_VERSION - 1);
    let before = interlude.gateway.bpffs().pinned();
    let backends = earlier.join("maps").join(names::BACKENDS);
    let aside = earlier.join("aside");
    fs::rename(&backends, &aside).expect("put a pin aside");
    require_refusal(interlude, names::BACKENDS);
    fs::rename(&aside, &backends).expect("put the pin back");
    let after = interlude.gateway.bpffs().pinned();
    interlude.require(before == after && !now.exists(), || format!("pins were {before:?}, then {after:?}"));
    interlude.look("after the failure");
    start_again(interlude);
    interlude.require(now.exists() && !earlier.exists(), || "not taken over afterwards".to_owned());
}

/// A restart and a migration go on with the flow tables that there are; `status` says that they are smaller.
fn larger_tables(lab: &Lab, interlude: &mut Interlude<'_, '_>) {
    let mut config = interlude.gateway.fresh_config();
    world::configure(&mut config, lab);
    config.limits = Some(Limits { flows: Some(MORE_FLOWS), ..Limits::default() });
    interlude.gateway.write_config(&config);
    let before = flow_table(interlude.gateway);
    stop(interlude);
    start_again(interlude);
    require_same_table(interlude, before, "after a restart");
    stop(interlude);
    interlude.gateway.rename_layout(ABI_VERSION, ABI_VERSION - 1);
    start_again(interlude);
    require_same_table(interlude, before, "after a migration");
}

/// The new version has flow tables of its own, as an interrupted migration of a build that shared none has left it: some
/// link was taken, and all flows have to be copied.
fn other_flow_tables(interlude: &mut Interlude<'_, '_>) {
    stop(interlude);
    let [earlier, now] = interlude.gateway.rename_layout(ABI_VERSION, ABI_VERSION - 1);
    for directory in ["", "maps", "links"] {
        fs::create_dir(now.join(directory)).expect("make a directory of pins");
    }
    let link =
        fs::read_dir(earlier.join("links")).expect("list links").next().expect("a link").expect("a link");
    fs::rename(link.path(), now.join("links").join(link.file_name())).expect("take a link");
    for name in [names::FLOWS, names::HALF_OPEN] {
        pin_empty_copy(&earlier.join("maps").join(name), &now.join("maps").join(name));
    }
    let made = flow_table(interlude.gateway);
    start_again(interlude);
    let used = flow_table(interlude.gateway);
    interlude.require(used == made, || format!("table (id, room) {used:?} instead of {made:?}"));
    interlude.require(!earlier.exists(), || "the earlier state is still there".to_owned());
}

/// Another table like this one, without entries.
fn pin_empty_copy(of: &Path, to: &Path) {
    let shape = Shape::of(&MapData::from_pin(of).expect("open a pinned table")).expect("its shape");
    let map = Map::new_from_params(shape.kind, shape.key, shape.value, shape.entries, shape.flags);
    MapData::create(map, "COPY", None).expect("make a table").pin(to).expect("pin a table");
}

fn start_again(interlude: &mut Interlude<'_, '_>) {
    interlude.gateway.launch();
    require_adoption(interlude);
}

fn require_refusal(interlude: &mut Interlude<'_, '_>, words: &str) {
    interlude.gateway.spawn();
    let status = interlude.gateway.process().wait(REFUSAL_LIMIT);
    let said = interlude.gateway.process().stderr();
    interlude.require(status.code() == Some(FAILED) && said.contains(words), || format!("{status}: {said}"));
}

fn require_same_table(interlude: &mut Interlude<'_, '_>, before: (u32, u32), when: &str) {
    let now = flow_table(interlude.gateway);
    interlude.require(now == before, || format!("{when}: table (id, room) {now:?}, it was {before:?}"));
    let warnings = interlude.gateway.cli(&["status"])["warnings"].to_string();
    let warning = format!("limits.flows asks for {MORE_FLOWS} flows");
    interlude.require(warnings.contains(&warning), || format!("{when}: {warnings}"));
    interlude.look(when);
}

/// The kernel's number of the table of established flows, and its room.
fn flow_table(gateway: &Gateway<'_>) -> (u32, u32) {
    let path = gateway.pins().map(names::FLOWS);
    let info = |path: &Path| MapData::from_pin(path)?.info();
    let info = info(&path).unwrap_or_else(|error| panic!("look at {}: {error}", path.display()));
    (info.id(), info.max_entries())
}
