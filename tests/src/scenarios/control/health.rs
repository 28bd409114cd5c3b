//! A backend dies, or hangs: new requests go to the other one, and pools of connections hear of it.

use std::{
    collections::BTreeSet,
    net::SocketAddrV4,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::stage::{POOL, Stage, start_servers_apart, wait};
use crate::{
    clients::{
        open_loop::{End, Exchange, Exchanges, OpenLoop, Running},
        pooled::{How, Pooled},
    },
    gateway::{Health, api::Api},
    lab::Lab,
    servers::Nginx,
    topology::{Mode, Tenant},
    world::web_backends,
};

/// From one check to the next.
const INTERVAL: Duration = Duration::from_millis(200);
/// Of one check.
const TIMEOUT: Duration = Duration::from_millis(100);
/// Failures until a backend is down.
const FALL: u32 = 2;
/// A backend that fails right after a check is looked at an interval later, and down with the last failure.
pub const DETECTION: Duration = Duration::from_millis(200 * 2 + 100);
/// For the daemon to see what is so.
const LIMIT: Duration = Duration::from_secs(10);
/// Requests a second, to one tenant.
const RATE: u32 = 500;
/// Connections that stay, to another.
const POOLED: usize = 20;
/// The tenant whose backend is killed.
const KILLED: usize = 1;
/// The tenant whose backend hangs.
const HUNG: usize = 2;

/// What was seen.
#[derive(Debug)]
pub struct Failover {
    /// From each kill to the last new request that went to the killed backend.
    pub avoided_after: Vec<Duration>,
    /// Requests that failed at any other time, in words.
    pub unrelated: Vec<String>,
    /// What the hung backend's connections saw.
    pub reset: Reset,
}

/// What a pool of connections saw of a backend that hangs.
#[derive(Debug, Default)]
pub struct Reset {
    /// Connections to it.
    pub connections: usize,
    /// Of them, reset.
    pub reset: usize,
    /// From the daemon's word that it is down to the last reset.
    pub after: Duration,
    /// Connections that are open at the hung server still.
    pub left_at_server: usize,
    /// Connections to others that have ended, in words.
    pub others: Vec<String>,
}

/// Kills a backend so many times; lets another hang once.
#[track_caller]
pub fn run(kills: usize) -> Failover {
    let lab = Lab::new(Mode::Tc);
    let servers =
        lab.tenants.iter().filter(|tenant| tenant.plan.number != KILLED).flat_map(start_servers_apart);
    let mut servers: Vec<Nginx> = servers.collect();
    let mut killed = start_servers_apart(lab.tenant(KILLED));
    let victim = killed.swap_remove(0);
    servers.extend(killed);
    let hung = servers.iter().position(|server| server.addresses() == &web_backends(lab.tenant(HUNG))[..1]);
    let hung = servers.swap_remove(hung.expect("the second tenant has servers"));
    let mut stage = Stage::start_before(&lab, servers, |config| {
        config.tenant(KILLED).pool[0].health = Some(check("tcp", None));
        config.tenant(HUNG).pool[0].health = Some(check("http", Some("/whoami")));
        config.tenant(HUNG).pool[0].on_backend_down = Some("reset");
    });
    for number in [KILLED, HUNG] {
        for backend in web_backends(lab.tenant(number)) {
            wait_for_health(LIMIT, &mut stage.api, backend, "up");
        }
    }
    let (avoided_after, unrelated) = kill_again_and_again(&lab, &mut stage, victim, kills);
    Failover { avoided_after, unrelated, reset: hang(&lab, &mut stage, &hung) }
}

fn check(check: &'static str, path: Option<&'static str>) -> Health {
    let millis = |duration: Duration| u32::try_from(duration.as_millis()).expect("less than a second");
    Health {
        check,
        interval_ms: millis(INTERVAL),
        timeout_ms: millis(TIMEOUT),
        rise: 1,
        fall: FALL,
        jitter_percent: 0,
        passive: false,
        path,
    }
}

/// Waits until the daemon says this of a backend.
#[track_caller]
pub(super) fn wait_for_health(limit: Duration, api: &mut Api, backend: SocketAddrV4, word: &str) {
    let is_it = |entry: &Value| {
        let address = entry["address"].as_str().and_then(|address| address.parse().ok());
        address == Some(*backend.ip()) && entry["port"] == backend.port() && entry["pool"] == POOL
    };
    let so = wait(limit, &format!("{backend} to be {word}"), || {
        let health = api.health().unwrap_or_else(|problem| panic!("no health: {problem}"));
        health.iter().find(|entry| is_it(entry)).is_some_and(|entry| entry["health"] == word)
    });
    so.unwrap_or_else(|problem| panic!("{problem}"));
}

/// When a backend was dead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Death {
    /// From then on it answers nobody.
    pub(super) from: Instant,
    /// Until then, or until it was avoided for certain.
    pub(super) until: Instant,
}

fn kill_again_and_again(
    lab: &Lab,
    stage: &mut Stage<'_>,
    mut victim: Nginx,
    kills: usize,
) -> (Vec<Duration>, Vec<String>) {
    let load = OpenLoop::new(RATE, stage.aims([KILLED])).start(&lab.npci);
    let answers = RATE as usize / 2;
    load.wait_for(answers);
    let mut deaths = Vec::new();
    for _ in 0..kills {
        let (death, revived) = kill_once(lab.tenant(KILLED), stage, victim, &load);
        deaths.push(death);
        victim = revived;
        load.wait_for(answers);
    }
    let seen = load.stop();
    (deaths.iter().map(|death| last_to_the_dead(&seen, *death)).collect(), unrelated(&seen, &deaths))
}

fn kill_once(tenant: &Tenant, stage: &mut Stage<'_>, victim: Nginx, load: &Running) -> (Death, Nginx) {
    let backend = victim.addresses()[0];
    let from = Instant::now();
    victim.process().kill();
    drop(victim);
    wait_for_health(LIMIT, &mut stage.api, backend, "down");
    load.wait_for(RATE as usize / 2);
    let until = Instant::now();
    let revived = Nginx::start_apart(&tenant.namespace, &tenant.plan.name, backend);
    wait_for_health(LIMIT, &mut stage.api, backend, "up");
    (Death { from, until }, revived)
}

/// Requests that went to a dead backend are those that failed.
fn last_to_the_dead(seen: &Exchanges, death: Death) -> Duration {
    let failed = seen.all.iter().filter(|exchange| is_failed(exchange));
    let during = failed.filter(|exchange| (death.from..death.until).contains(&exchange.started));
    during.map(|exchange| exchange.started - death.from).max().unwrap_or_default()
}

fn is_failed(exchange: &Exchange) -> bool {
    !matches!(exchange.end, End::Answered(_))
}

/// Failures that no death explains: one explains what was under way when it came, and what was sent while it lasted.
pub(super) fn unrelated(seen: &Exchanges, deaths: &[Death]) -> Vec<String> {
    let explains = |exchange: &Exchange, death: &Death| {
        exchange.started + exchange.took >= death.from && exchange.started < death.until
    };
    let failed = seen.all.iter().filter(|exchange| is_failed(exchange));
    let unexplained = failed.filter(|exchange| !deaths.iter().any(|death| explains(exchange, death)));
    unexplained.map(|exchange| format!("{:?}", exchange.end)).collect()
}

/// The server's process is stopped, so that its connections stay and nobody answers on them.
fn hang(lab: &Lab, stage: &mut Stage<'_>, server: &Nginx) -> Reset {
    let pooled = Pooled::open(&lab.npci, &stage.aims([HUNG]), POOLED)
        .unwrap_or_else(|problem| panic!("the connections that are to stay: {problem}"));
    let backend = server.addresses()[0];
    let connections = pooled.servers().iter().filter(|known| **known == backend).count();
    assert!(connections > 0, "no connection that stays has come to {backend}");
    server.process().signal(Signal::SIGSTOP);
    wait_for_health(LIMIT, &mut stage.api, backend, "down");
    let down = logged_down(stage, backend);
    let reset = |pooled: &Pooled| {
        let ended = pooled.ended().into_iter();
        ended.filter(|ended| ended.server == backend && ended.how == How::Reset).collect::<Vec<_>>()
    };
    // Those that are never reset are a figure of the result.
    let _ = wait(LIMIT, "the resets", || reset(&pooled).len() == connections);
    let resets = reset(&pooled);
    let left_at_server = open_at(lab.tenant(HUNG), backend);
    server.process().signal(Signal::SIGCONT);
    let others = pooled.ended().into_iter().filter(|ended| ended.server != backend);
    Reset {
        connections,
        reset: resets.len(),
        after: resets.iter().map(|ended| ended.at.saturating_duration_since(down)).max().unwrap_or_default(),
        left_at_server,
        others: others.map(|ended| format!("{}: {:?}", ended.server, ended.how)).collect(),
    }
}

/// Established connections of a server, in its own namespace; those of health checks, which end by themselves, are from
/// the gateway's own address.
fn open_at(tenant: &Tenant, server: SocketAddrV4) -> usize {
    let mut command = tenant.namespace.command("ss");
    command.args(["-Htn", "state", "established", "src", &server.to_string()]);
    let listed = crate::tool::run(command);
    let peers: BTreeSet<&str> = listed.lines().filter_map(|line| line.split_whitespace().nth(3)).collect();
    let nat_ip = format!("{}:", tenant.plan.nat_ip);
    peers.into_iter().filter(|peer| peer.starts_with(&nat_ip)).count()
}

/// When the daemon's log says that a backend went down.
#[track_caller]
fn logged_down(stage: &Stage<'_>, backend: SocketAddrV4) -> Instant {
    let log = stage.gateway.process().stderr();
    let is_it = |line: &&str| line.contains("is down") && line.contains(&backend.to_string());
    let line = log.lines().rev().find(is_it);
    let line = line.unwrap_or_else(|| panic!("the log does not say that {backend} is down:\n{log}"));
    let second = second_of_day(line).unwrap_or_else(|| panic!("no time in {line:?}"));
    let (now, clock) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    let day = 86_400.0;
    let ago = (clock.as_secs_f64() % day - second).rem_euclid(day);
    now.checked_sub(Duration::from_secs_f64(ago)).expect("the daemon started after the machine did")
}

/// `2026-01-31T12:34:56.789012Z  INFO ...`
fn second_of_day(line: &str) -> Option<f64> {
    let time = line.split_once('T')?.1.split_once('Z')?.0;
    let mut parts = time.splitn(3, ':');
    let mut part = || parts.next()?.parse::<f64>().ok();
    Some(part()? * 3600.0 + part()? * 60.0 + part()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_log_line_is_read() {
        let second = second_of_day("2026-01-31T01:02:03.500000Z  INFO x: a backend is down").expect("a time");
        assert!((second - 3723.5).abs() < 1e-6, "{second}");
        assert_eq!(second_of_day("no time here"), None);
    }

    #[test]
    fn only_failures_outside_of_a_death_are_unrelated() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let failed = |millis| Exchange {
            aim: 0,
            started: at(millis),
            took: Duration::from_millis(5),
            end: End::Failed("refused".to_owned()),
        };
        let all = [80, 98, 150, 180, 400].map(failed).to_vec();
        let seen = Exchanges { aims: [].into(), all, lasted: Duration::from_secs(1), latest: Duration::ZERO };
        let death = Death { from: at(100), until: at(300) };
        assert_eq!(last_to_the_dead(&seen, death), Duration::from_millis(80));
        assert_eq!(unrelated(&seen, &[death]).len(), 2, "at 80 and at 400 ms");
    }
}
