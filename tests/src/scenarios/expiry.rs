//! Idle flows go when their time is up, and no sooner: a half-open one soon, an established one not.

use std::time::{Duration, Instant};

use super::conversation;
use crate::{
    gateway::{Gateway, Timeouts},
    lab::Lab,
    poll::try_poll,
    topology::Mode,
    world::World,
};

/// The shortest that the configuration allows.
pub const HALF_OPEN: Duration = Duration::from_secs(6);
/// The daemon looks every 5 seconds; as much again for a busy machine.
pub const SLACK: Duration = Duration::from_secs(10);
/// Whose flows stay.
const STEADY: usize = 1;
/// Whose server cannot answer.
const SILENT: usize = 2;

/// What was seen.
#[derive(Debug)]
pub struct Expiry {
    /// From the last SYN until its flow was gone; the problem when it was there for too long.
    pub half_open: Result<Duration, String>,
    /// What went wrong with the connections that were idle meanwhile.
    pub failures: Vec<String>,
    /// How many there were.
    pub connections: usize,
}

/// Leaves a half-open flow and some established ones alone.
#[track_caller]
pub fn run(mode: Mode) -> Expiry {
    let lab = Lab::new(mode);
    let seconds = HALF_OPEN.as_secs();
    let world = World::start_with(&lab, |config| {
        config.timeouts = Some(Timeouts { tcp_half_open_secs: Some(seconds), ..Timeouts::default() });
    });
    let mut conversations =
        conversation::of_each_kind(&lab, &world, &[STEADY]).unwrap_or_else(|problem| panic!("{problem}"));
    let half_open = leave_half_open(&lab, &world);
    let failures = conversations.iter_mut().filter_map(|conversation| conversation.ask().err()).collect();
    Expiry { half_open, failures, connections: conversations.len() }
}

/// The server's answers end in a black hole, so no third packet comes.
fn leave_half_open(lab: &Lab, world: &World<'_>) -> Result<Duration, String> {
    let silent = lab.tenant(SILENT);
    silent.namespace.ip(&["route", "add", "blackhole", &format!("{}/32", silent.plan.nat_ip)]);
    let name = &silent.plan.name;
    let started = Instant::now();
    let connected = lab.npci.connect(None, world.web(SILENT), Duration::from_millis(100));
    if connected.is_ok() {
        return Err("the connection was answered".to_owned());
    }
    if half_open_flows(&world.gateway, name) == 0 {
        return Err(format!("no half-open flow: {}", world.gateway.cli(&["flows"])));
    }
    let gone = try_poll(HALF_OPEN + SLACK, "the half-open flow to go", || {
        match half_open_flows(&world.gateway, name) {
            0 => Ok(started.elapsed()),
            count => Err(Some(format!("{count} flows"))),
        }
    });
    gone.map_err(|timed_out| timed_out.to_string())
}

fn half_open_flows(gateway: &Gateway<'_>, tenant: &str) -> u64 {
    let flows = gateway.cli(&["flows", "--tenant", tenant, "--state", "half_open"]);
    flows["total"].as_u64().expect("a number")
}
