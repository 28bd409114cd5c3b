//! Suite `control`: tenants as living things, and a daemon that may die.

use std::time::Duration;

use gateway_tests::scenarios::control::{
    churn::{self, Churn},
    damage::{self, Harm},
    etcd, health, kills,
    latency::{self, Latencies},
    passive, refusals, scale, store_kills,
};

use crate::{
    proof::{Proof, Scale},
    row::{Kind, Measured, Promise, Target},
};

/// Requests a second under which things happen.
const RATE: u32 = 2_000;
/// The same where something else is measured.
const ETCD_RATE: u32 = 200;
/// A load that is less than this was not made.
const LEAST_RATE: f64 = 1_950.0;
/// The daemon's promise for a change.
const CHANGE_MS: f64 = 50.0;
/// Wrong inputs that must be refused.
const WRONG_INPUTS: f64 = 25.0;
/// Seconds until a damage is repaired.
const REPAIR_SECS: f64 = 2.0;
/// Beyond the configured time of detection.
const AVOID_SLACK: Duration = Duration::from_millis(100);
/// Tenants at which the daemon's size is measured.
const MANY_TENANTS: u16 = 10_000;

/// All of it at this scale.
pub fn proofs(scale: Scale) -> Vec<Proof> {
    vec![
        churn(scale),
        latency(scale),
        many(scale),
        kills(scale),
        store_kills(scale),
        damage(),
        failover(scale),
        passive(),
        etcd(),
        refusals(),
    ]
}

/// Every promise.
#[cfg(test)]
pub fn promises() -> Vec<Promise> {
    proofs(Scale::Full).into_iter().flat_map(|proof| proof.promises).collect()
}

fn promise(kind: Kind, id: &str, text: impl Into<String>, target: Target, unit: &'static str) -> Promise {
    Promise { id: id.to_owned(), kind, text: text.into(), target, unit }
}

fn none(id: &str, text: impl Into<String>, unit: &'static str) -> Promise {
    promise(Kind::Correctness, id, text, Target::Exactly(0), unit)
}

fn speed(id: &str, text: impl Into<String>, target: Target, unit: &'static str) -> Promise {
    promise(Kind::Speed, id, text, target, unit)
}

/// A number of things that should not be, with their words.
fn things(things: Vec<String>) -> Measured {
    Measured::count(things.len()).because(things)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn churn(scale: Scale) -> Proof {
    let size = churn::Size { rate: RATE, tenants: 200, answers: scale.pick(5, 100), changes: 500 };
    let while_changing = format!("{} tenants come and go, 500 are applied and rolled back", size.tenants);
    let promises = vec![
        none("churn-untouched-failed", format!("failed on untouched tenants: {while_changing}"), "requests"),
        none("churn-weighed-failed", "failed on tenants whose weights change", "requests"),
        none("churn-drained-failed", "failed on drained ones before their deadline", "requests"),
        none("churn-drained-chosen", "new requests that a drained backend or tenant got", "requests"),
        none("churn-drained-outlived", "connections that outlived a drain's deadline by 5 s", "connections"),
        none("churn-wrong-tenant", "answered by, or to, the wrong tenant", "requests"),
        none("churn-refused", "changes refused, or not undone by the rollback", "changes"),
        promise(
            Kind::Correctness,
            "churn-npci-destinations",
            "addresses that NPCI calls meanwhile",
            Target::Exactly(1),
            "addresses",
        ),
        promise(
            Kind::Correctness,
            "churn-npci-sources",
            "addresses of ours that NPCI sees as a source meanwhile",
            Target::Exactly(1),
            "addresses",
        ),
        speed("churn-rate", "requests to 20 tenants meanwhile", Target::AtLeast(LEAST_RATE), "1/s"),
    ];
    Proof::new("churn", promises, move || {
        let seen = churn::run(size);
        let refused = seen.refused.iter().cloned().chain(seen.rolled_back.clone().err());
        vec![
            things(seen.failed_untouched()),
            things(seen.failed_weighed()),
            things(seen.failed_drained()),
            things(seen.chosen.clone()),
            Measured::count(seen.outlived),
            things(seen.wrong()),
            things(refused.collect()),
            Measured::count(seen.npci.called.len()).because([format!("{:?}", seen.npci.called)]),
            Measured::count(seen.npci.seen.len()).because([format!("{:?}", seen.npci.seen)]),
            rate_of(&seen),
        ]
    })
}

fn rate_of(seen: &Churn) -> Measured {
    Measured::figure(seen.exchanges.rate()).because([format!("{} changes meanwhile", seen.changes)])
}

fn latency(scale: Scale) -> Proof {
    let changes = scale.pick(100, 200);
    let promises = vec![
        speed(
            "change-p50",
            format!("{changes} single changes, until in the maps, p50"),
            Target::AtMost(CHANGE_MS),
            "ms",
        ),
        speed(
            "change-p99",
            format!("{changes} single changes, until in the maps, p99"),
            Target::AtMost(CHANGE_MS),
            "ms",
        ),
        none("change-answered-early", "changes answered before they are in the maps", "changes"),
    ];
    Proof::new("latency", promises, move || {
        let seen = latency::run(changes);
        vec![percentile(&seen, 50), percentile(&seen, 99), things(seen.early)]
    })
}

fn percentile(seen: &Latencies, percent: usize) -> Measured {
    let worst = seen.by_daemon.iter().max().copied().unwrap_or_default();
    let (count, median) = (seen.all.len(), seen.percentile(50));
    let words = format!("the slowest of {count} took {worst:?} by the daemon's own clock, p50 is {median:?}");
    Measured::figure(millis(seen.percentile(percent))).because([words])
}

fn many(scale: Scale) -> Proof {
    let size = scale::Size {
        tenants: MANY_TENANTS,
        changes: scale.pick(20, 50),
        idle: Duration::from_secs(scale.pick(5, 10)),
    };
    let p99 = format!("with them, {} single changes, until in the maps, p99", size.changes);
    let promises = vec![
        speed(
            "scale-apply",
            "10,000 tenants with 10 backends each, applied within",
            Target::AtMost(5.0),
            "s",
        ),
        none("scale-missing", "of their listeners and backends, not in the maps", "entries"),
        speed("scale-memory", "with them, resident memory of the daemon", Target::AtMost(64.0), "MiB"),
        speed(
            "scale-memory-restarted",
            "the same of one that is started with them",
            Target::AtMost(64.0),
            "MiB",
        ),
        speed("scale-restart", "with them, from a start until it answers", Target::AtMost(5.0), "s"),
        speed("scale-idle-cpu", "with them, CPU of the idle daemon", Target::AtMost(1.0), "%"),
        speed("scale-change-p99", p99, Target::AtMost(CHANGE_MS), "ms"),
    ];
    Proof::new("scale", promises, move || {
        let seen = scale::run(size);
        vec![
            Measured::figure(seen.applied.as_secs_f64()),
            Measured::count(seen.missing),
            Measured::figure(mib(seen.resident)),
            Measured::figure(mib(seen.resident_restarted)),
            Measured::figure(seen.restarted.as_secs_f64()),
            Measured::figure(seen.idle_cpu * 100.0),
            percentile(&seen.changes, 99),
        ]
    })
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn kills(scale: Scale) -> Proof {
    let lasting = Duration::from_secs(scale.pick(10, 60));
    let promises = vec![
        none(
            "kill-loop-failed",
            format!("kill -9 every 2 s for {} s, failed", lasting.as_secs()),
            "requests",
        ),
        none("kill-loop-ended", "of 60 connections that stay, ended meanwhile", "connections"),
        none("kill-loop-mute", "kills after which the daemon did not answer within 2 s", "kills"),
        speed("kill-loop-rate", "requests to 3 tenants meanwhile", Target::AtLeast(LEAST_RATE), "1/s"),
    ];
    Proof::new("kill loop", promises, move || {
        let seen = kills::run(RATE, lasting);
        let mut failed = seen.exchanges.failed(|_| true);
        failed.extend(seen.exchanges.wrong());
        vec![
            Measured::count(failed.len()).because([told(&seen)]).because(failed),
            things(seen.ended),
            Measured::count(seen.kills - seen.recovered).because([format!("of {}", seen.kills)]),
            Measured::figure(seen.exchanges.rate()),
        ]
    })
}

/// What tells a gateway that loses from a client that is kept from the CPU.
fn told(seen: &kills::Kills) -> String {
    format!(
        "dropped by the gateway: {:?}; requests were sent up to {:?} late",
        seen.drops, seen.exchanges.latest
    )
}

fn store_kills(scale: Scale) -> Proof {
    let kills = scale.pick(20, 200);
    let promises = vec![
        none(
            "store-kill-broken",
            format!("kill -9 at {kills} random points of store writes: lost, or torn"),
            "promises",
        ),
        promise(
            Kind::Correctness,
            "store-kill-changes",
            "changes that were acknowledged meanwhile, and are there",
            Target::AtLeast(f64::from(kills)),
            "changes",
        ),
    ];
    Proof::new("store kills", promises, move || match store_kills::run(kills) {
        Ok(report) => {
            let versions = usize::try_from(report.versions).unwrap_or(usize::MAX);
            vec![things(Vec::new()), Measured::count(versions)]
        }
        Err(problem) => vec![things(vec![problem]), Measured::count(0)],
    })
}

fn damage() -> Proof {
    let repaired = |harm: Harm| {
        let text = format!("repaired after: {}", words_of(harm));
        let id = format!("repair-{}", harm.name());
        promise(Kind::Correctness, &id, text, Target::AtMost(REPAIR_SECS), "s")
    };
    let mut promises: Vec<Promise> = Harm::ALL.into_iter().map(repaired).collect();
    promises.push(none("repair-uncounted", "repairs that status or metrics do not count", "repairs"));
    Proof::new("damage", promises, || {
        let seen = damage::run();
        let took = |repair: &damage::Repair| match &repair.took {
            Ok(took) => Measured::figure(took.as_secs_f64()),
            Err(problem) => Measured::figure(f64::INFINITY).because([problem.clone()]),
        };
        let mut measured: Vec<Measured> = seen.iter().map(took).collect();
        let uncounted = seen.iter().filter(|repair| !repair.uncounted.is_empty());
        measured.push(things(
            uncounted
                .map(|repair| format!("{}: {}", repair.harm.name(), repair.uncounted.join("; ")))
                .collect(),
        ));
        measured
    })
}

fn words_of(harm: Harm) -> &'static str {
    match harm {
        Harm::Listener => "listener deleted",
        Harm::Backend => "backend deleted",
        Harm::Pool => "pool deleted",
        Harm::AllowList => "allow-list deleted",
        Harm::Slots => "slots overwritten",
        Harm::Vip => "VIP deleted from the table of addresses",
        Harm::NatIp => "NAT IP deleted from the table of addresses",
        Harm::LinkRemoved => "pinned link deleted",
        Harm::LinkDetached => "link detached by force",
        Harm::MapPin => "the pin of a map deleted",
        Harm::Forwarding => "forwarding switched off",
        Harm::Neighbour => "neighbour deleted",
        Harm::RouteRemoved => "route deleted",
        Harm::InterfaceBounced => "route lost as its interface went down and up",
        Harm::RouteReplaced => "route replaced by one that leads elsewhere",
    }
}

fn failover(scale: Scale) -> Proof {
    let kills = scale.pick(2, 5);
    let avoided = format!(
        "last new request to a killed backend ({} ms detection), worst of {kills}",
        health::DETECTION.as_millis()
    );
    let most = millis(health::DETECTION + AVOID_SLACK);
    let promises = vec![
        promise(Kind::Correctness, "failover-avoided", avoided, Target::AtMost(most), "ms"),
        none("failover-unrelated", "requests that failed at other times", "requests"),
        none("failover-not-reset", "pooled connections to a hung backend, not reset", "connections"),
        promise(
            Kind::Correctness,
            "failover-reset",
            "from the word that it is down to the last RST",
            Target::AtMost(200.0),
            "ms",
        ),
        none("failover-left-at-server", "of them, open at the server still", "connections"),
        none("failover-others-ended", "pooled connections to others, ended", "connections"),
    ];
    Proof::new("failover", promises, move || {
        let seen = health::run(kills);
        let worst = seen.avoided_after.iter().max().copied().unwrap_or_default();
        let reset = seen.reset;
        vec![
            Measured::figure(millis(worst)).because([format!("{:?}", seen.avoided_after)]),
            things(seen.unrelated),
            Measured::count(reset.connections - reset.reset).because([format!("of {}", reset.connections)]),
            Measured::figure(millis(reset.after)),
            Measured::count(reset.left_at_server),
            things(reset.others),
        ]
    })
}

fn passive() -> Proof {
    let avoided = |id: &str, what: &str, within: Duration| {
        let text = format!(
            "last new request to a backend that {what}; by checks alone at least {} ms",
            passive::WITHOUT.as_millis()
        );
        promise(Kind::Correctness, id, text, Target::AtMost(millis(within + AVOID_SLACK)), "ms")
    };
    let promises = vec![
        avoided("passive-refused", "refuses", passive::REFUSED),
        avoided("passive-silent", "swallows SYNs", passive::SILENT),
        none("passive-unrelated", "requests that failed before, or after both are avoided", "requests"),
    ];
    Proof::new("passive", promises, || {
        let seen = passive::run();
        vec![
            Measured::figure(millis(seen.refused)),
            Measured::figure(millis(seen.silent)),
            things(seen.unrelated),
        ]
    })
}

fn etcd() -> Proof {
    let promises = vec![
        none("etcd-failed", "requests failed while etcd is away, and a daemon begins without it", "requests"),
        promise(
            Kind::Correctness,
            "etcd-refused",
            "changes refused meanwhile, with the reason",
            Target::Exactly(2),
            "changes",
        ),
        none("etcd-problems", "changes taken without etcd, or not taken with it", "changes"),
    ];
    Proof::new("etcd", promises, || {
        let seen = etcd::run(ETCD_RATE);
        let mut failed = seen.exchanges.failed(|_| true);
        failed.extend(seen.exchanges.wrong());
        let named = seen.refused.iter().filter(|why| why.contains("etcd")).count();
        vec![things(failed), Measured::count(named).because(seen.refused), things(seen.problems)]
    })
}

fn refusals() -> Proof {
    let promises = vec![
        promise(
            Kind::Correctness,
            "inputs-refused",
            "wrong inputs refused: field, remedy, nothing changed",
            Target::AtLeast(WRONG_INPUTS),
            "inputs",
        ),
        none("inputs-mishandled", "wrong inputs, otherwise", "inputs"),
        none("unauthorised-mishandled", "faults of the answer to a user without a role", "faults"),
    ];
    Proof::new("refusals", promises, || {
        let seen = refusals::run();
        let other = Measured::count(seen.cases - seen.refused).because(seen.problems);
        vec![Measured::count(seen.refused), other, things(seen.unauthorised)]
    })
}
