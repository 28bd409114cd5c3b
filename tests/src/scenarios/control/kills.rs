//! The daemon is killed again and again, and started again at once, under requests and with connections that stay.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::stage::{Stage, wait};
use crate::{
    clients::{
        open_loop::{Exchanges, OpenLoop},
        pooled::Pooled,
    },
    gateway::Limits,
    lab::Lab,
    topology::Mode,
};

/// All of them get requests.
const TENANTS: usize = 3;
/// Connections that stay, to each.
const POOLED: usize = 20;
/// From one kill to the next.
const PERIOD: Duration = Duration::from_secs(2);
/// The gateway keeps the flow of a closed connection for some minutes.
const FLOWS: u32 = 524_288;

/// What was seen.
#[derive(Debug)]
pub struct Kills {
    /// How often the daemon was killed.
    pub kills: usize,
    /// How often it answered again before the next kill.
    pub recovered: usize,
    /// Short requests meanwhile.
    pub exchanges: Exchanges,
    /// Connections that have ended, in words.
    pub ended: Vec<String>,
    /// Packets that the gateway dropped in all that time, by reason.
    pub drops: BTreeMap<String, u64>,
}

/// Kills every two seconds, for so long, at so many requests a second.
#[track_caller]
pub fn run(rate: u32, lasting: Duration) -> Kills {
    let lab = Lab::new(Mode::Tc);
    let mut stage =
        Stage::start(&lab, |config| config.limits = Some(Limits { flows: Some(FLOWS), ..Limits::default() }));
    let aims = stage.aims(1..=TENANTS);
    let pooled = Pooled::open(&lab.npci, &aims, POOLED)
        .unwrap_or_else(|problem| panic!("the connections that are to stay: {problem}"));
    let load = OpenLoop::new(rate, aims).start(&lab.npci);
    load.wait_for(rate as usize / 2);
    let (begin, mut kills, mut recovered) = (Instant::now(), 0, 0);
    while begin.elapsed() < lasting {
        recovered += usize::from(kill_once(&mut stage));
        kills += 1;
    }
    pooled.ask();
    let ended = pooled.ended();
    let ended =
        ended.iter().map(|ended| format!("connection to {}: {:?}", ended.server, ended.how)).collect();
    let exchanges = load.stop();
    Kills { kills, recovered, exchanges, ended, drops: stage.gateway.drops() }
}

/// Returns at the end of the period; did the daemon answer in it?
fn kill_once(stage: &mut Stage<'_>) -> bool {
    let begin = Instant::now();
    assert!(!stage.gateway.process().kill().success(), "the daemon was killed");
    stage.gateway.spawn();
    let mut answers = false;
    let rest = wait(2 * PERIOD, "the period to end", || {
        answers = answers || stage.gateway.api().status().is_ok();
        begin.elapsed() >= PERIOD
    });
    rest.expect("time passes");
    answers
}
