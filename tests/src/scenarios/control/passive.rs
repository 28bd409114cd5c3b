//! Backends fail under traffic long before their next check is due: with `passive`, what the traffic meets is enough to
//! look at once.

use std::{
    net::SocketAddrV4,
    time::{Duration, Instant},
};

use super::{
    health::{Death, unrelated, wait_for_health},
    stage::{Stage, start_servers_apart},
};
use crate::{
    clients::open_loop::{End, Exchanges, OpenLoop},
    gateway::Health,
    lab::Lab,
    servers::Nginx,
    tool,
    topology::{Mode, Tenant},
    world::web_backends,
};

/// From one check to the next: long.
const INTERVAL: Duration = Duration::from_secs(12);
/// Of one check.
const TIMEOUT: Duration = Duration::from_millis(250);
/// Failures until a backend is down.
const FALL: u32 = 3;
/// A quarter of the interval: nobody can make a backend be checked more often.
const FAST: Duration = Duration::from_secs(3);
/// The daemon looks at half-open flows so often.
const LOOK: Duration = Duration::from_secs(1);
/// A flow that was refused is judged so long after its SYN.
const SETTLED: Duration = Duration::from_millis(100);
/// A SYN counts as unanswered after so long.
const UNANSWERED: Duration = Duration::from_secs(1);
/// Without what traffic says, not even a failure just before a check is seen sooner: the others follow at a quarter of
/// the interval.
pub const WITHOUT: Duration = Duration::from_secs(3 * (FALL as u64 - 1));
/// From a refusing backend's first refusal until it is down, at most.
pub const REFUSED: Duration = FAST.saturating_add(LOOK).saturating_add(SETTLED).saturating_add(TIMEOUT);
/// The same for one that says nothing.
pub const SILENT: Duration = FAST.saturating_add(LOOK).saturating_add(UNANSWERED).saturating_add(TIMEOUT);
/// For the daemon to see what is so.
const LIMIT: Duration = Duration::from_secs(40);
/// Requests a second, to both tenants together.
const RATE: u32 = 200;
/// The tenant whose backend's port refuses.
const REFUSING: usize = 1;
/// The tenant whose backend's port swallows SYNs.
const SWALLOWING: usize = 2;

/// What was seen.
#[derive(Debug)]
pub struct Passive {
    /// From the first refusal that could be to the last new request that was refused.
    pub refused: Duration,
    /// From the first SYN that could be swallowed to the last one that was.
    pub silent: Duration,
    /// Requests that failed at other times, in words.
    pub unrelated: Vec<String>,
}

/// One backend refuses, and one swallows SYNs, each while another of its pool is well.
#[track_caller]
pub fn run() -> Passive {
    let lab = Lab::new(Mode::Tc);
    let others = lab.tenants.iter().filter(|tenant| tenant.plan.number != REFUSING);
    let mut servers: Vec<Nginx> = others.flat_map(start_servers_apart).collect();
    let mut refusing = start_servers_apart(lab.tenant(REFUSING));
    let victim = refusing.swap_remove(0);
    servers.extend(refusing);
    let mut stage = Stage::start_before(&lab, servers, |config| {
        for number in [REFUSING, SWALLOWING] {
            config.tenant(number).pool[0].health = Some(check());
        }
    });
    for number in [REFUSING, SWALLOWING] {
        for backend in web_backends(lab.tenant(number)) {
            wait_for_health(LIMIT, &mut stage.api, backend, "up");
        }
    }
    let load = OpenLoop::new(RATE, stage.aims([REFUSING, SWALLOWING])).start(&lab.npci);
    load.wait_for(RATE as usize);

    let (refuses, silent) = (victim.addresses()[0], web_backends(lab.tenant(SWALLOWING))[0]);
    let from = Instant::now();
    // The kernel refuses for whoever is gone.
    victim.process().kill();
    drop(victim);
    swallow(lab.tenant(SWALLOWING), silent);
    for backend in [refuses, silent] {
        wait_for_health(LIMIT, &mut stage.api, backend, "down");
    }
    load.wait_for(RATE as usize / 2);
    let death = Death { from, until: Instant::now() };
    load.wait_for(RATE as usize);
    let seen = load.stop();
    Passive {
        refused: last_failure(&seen, 0, death),
        silent: last_failure(&seen, 1, death),
        unrelated: unrelated(&seen, &[death]),
    }
}

fn check() -> Health {
    let millis = |duration: Duration| u32::try_from(duration.as_millis()).expect("less than a minute");
    Health {
        check: "tcp",
        interval_ms: millis(INTERVAL),
        timeout_ms: millis(TIMEOUT),
        rise: 1,
        fall: FALL,
        jitter_percent: 0,
        passive: true,
        path: None,
    }
}

/// Nothing that comes to this port is answered any more, in the tenant's own namespace.
fn swallow(tenant: &Tenant, server: SocketAddrV4) {
    let mut command = tenant.namespace.command("nft");
    command.args(["-f", "-"]);
    let (address, port) = (server.ip(), server.port());
    let rules = format!(
        "table ip lab {{\n chain input {{\n type filter hook input priority 0;\n \
         ip daddr {address} tcp dport {port} drop\n }}\n}}\n"
    );
    tool::run_with_input(command, &rules);
}

fn last_failure(seen: &Exchanges, aim: usize, death: Death) -> Duration {
    let failed = seen.all.iter().filter(|one| one.aim == aim && !matches!(one.end, End::Answered(_)));
    let during = failed.filter(|one| (death.from..death.until).contains(&one.started));
    during.map(|one| one.started - death.from).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_alone_could_not_be_so_fast() {
        assert_eq!(FAST, INTERVAL / 4);
        assert_eq!(WITHOUT, FAST * (FALL - 1));
        assert!(REFUSED < WITHOUT && SILENT < WITHOUT && WITHOUT < INTERVAL);
    }
}
