//! What `unload` leaves behind: nothing.

use std::time::Duration;

use gateway_common::limits::ABI_VERSION;

use super::{
    routes::{TO, routers},
    system_state::SystemState,
};
use crate::{
    gateway::{Gateway, Route},
    lab::Lab,
    poll::try_poll,
    topology::{Mode, Topology},
    world::World,
};

/// For the kernel to take programs off.
const DETACH_LIMIT: Duration = Duration::from_secs(5);

/// What was found.
#[derive(Debug)]
pub struct Unloaded {
    /// Things that were not there before, or are there no more.
    pub leftovers: Vec<String>,
    /// Changes that were seen while the gateway ran: there must be some, or nothing was measured.
    pub changes_while_loaded: usize,
}

/// Starts a gateway on a host that does not forward, sends something through it, stops it, and unloads; then
/// once more, after a change of layout, on the state of an earlier layout, and by `--detach-on-exit`.
#[track_caller]
pub fn run(mode: Mode) -> Unloaded {
    let lab = Lab::with(Topology::builder().mode(mode).forwarding(false));
    let files = [lab.session().dir().join("gateway.sock")];
    let before = SystemState::of(&lab.gateway, &files);
    let router = &routers(&lab)[0];
    let mut world = World::start_with(&lab, |config| config.route.push(Route::new(TO[0], router)));
    let reply = lab.npci.curl(&format!("http://{}/whoami", world.web(1))).run();
    let while_loaded = SystemState::of(&lab.gateway, &files);
    let mut leftovers = Vec::new();
    if !reply.is_success() {
        leftovers.push(format!("before: {reply:?}"));
    }
    let route = format!("{} via {router}", TO[0]);
    if !while_loaded.has(&route) {
        leftovers.push(format!("before: no route {route}"));
    }
    stop_and_unload(&world.gateway, &mut leftovers);
    // At once, while the kernel may still be busy with the end of the first.
    world.gateway.launch();
    stop_and_unload(&world.gateway, &mut leftovers);
    // What an upgrade has taken over, and what it has not come to.
    world.gateway.launch();
    as_of_an_earlier_layout(&mut world.gateway, &mut leftovers);
    world.gateway.launch();
    as_of_an_earlier_layout(&mut world.gateway, &mut leftovers);
    leftovers.extend(world.gateway.unload().err());
    world.gateway.launch_detaching();
    stop(&world.gateway, &mut leftovers);
    leftovers.extend(lasting(|| before.changes(&SystemState::of(&lab.gateway, &files))));
    let pinned = world.gateway.bpffs().pinned();
    leftovers.extend(pinned.iter().map(|path| format!("pinned: {}", path.display())));
    Unloaded { leftovers, changes_while_loaded: before.changes(&while_loaded).len() }
}

fn stop_and_unload(gateway: &Gateway<'_>, leftovers: &mut Vec<String>) {
    stop(gateway, leftovers);
    leftovers.extend(gateway.unload().err());
}

fn stop(gateway: &Gateway<'_>, leftovers: &mut Vec<String>) {
    let stopped = gateway.process().stop();
    if !stopped.success() {
        let said = gateway.process().tail();
        leftovers.push(format!("the daemon ended with {stopped}:"));
        leftovers.extend(said.lines().map(str::to_owned));
    }
}

/// Stops the daemon and gives its state the name of the layout before.
fn as_of_an_earlier_layout(gateway: &mut Gateway<'_>, leftovers: &mut Vec<String>) {
    stop(gateway, leftovers);
    gateway.rename_layout(ABI_VERSION, ABI_VERSION - 1);
}

/// Those changes that do not go away by themselves: the kernel takes programs off some milliseconds after the last pin
/// of their link was removed (`bpf_link_put` in kernel/bpf/syscall.c leaves it to a work queue).
fn lasting(look: impl Fn() -> Vec<String>) -> Vec<String> {
    let gone = try_poll(DETACH_LIMIT, "all changes to go", || {
        let changes = look();
        if changes.is_empty() { Ok(()) } else { Err(Some(changes.join("\n"))) }
    });
    gone.err()
        .map(|timed_out| timed_out.last.unwrap_or_default().lines().map(str::to_owned).collect())
        .unwrap_or_default()
}
