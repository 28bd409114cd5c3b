//! Suite `main`: three tenants behind two addresses, in each way of attaching to the kernel.

use std::collections::{BTreeMap, BTreeSet};

use gateway_tests::{
    scenarios::{
        addresses, broken_configs, bulk,
        continuity::Continuity,
        expiry::{self, HALF_OPEN, SLACK},
        lifecycle, requests, traffic, unload,
    },
    topology::{AddressPlan, Mode},
};

use crate::{
    demo,
    proof::{Proof, Scale},
    row::{Kind, Measured, Promise, Target},
};

/// Of each bulk transfer, in MiB.
const TRANSFER_MIB: u64 = 1024;
/// The same when there is little time.
const QUICK_TRANSFER_MIB: u64 = 64;
/// Short requests.
const REQUESTS: usize = 10_000;
/// The same when there is little time.
const QUICK_REQUESTS: usize = 3_000;
/// Broken configurations that must be refused.
const BROKEN_CONFIGS: f64 = 30.0;

/// All that can be run here at this scale.
pub fn proofs(scale: Scale) -> Vec<Proof> {
    let mut proofs: Vec<Proof> = Mode::ALL.into_iter().flat_map(|mode| of_mode(mode, scale)).collect();
    proofs.extend([broken_configs(), expiry()]);
    if scale == Scale::Full && demo::is_here() {
        proofs.push(demo());
    }
    proofs
}

/// Every promise, whether it can be measured here or not.
#[cfg(test)]
pub fn promises() -> Vec<Promise> {
    let proofs = Mode::ALL.into_iter().flat_map(|mode| of_mode(mode, Scale::Full));
    proofs.chain([broken_configs(), expiry(), demo()]).flat_map(|proof| proof.promises).collect()
}

fn of_mode(mode: Mode, scale: Scale) -> [Proof; 6] {
    [traffic(mode), bulk(mode, scale), requests(mode, scale), lifecycle(mode), unload(mode), addresses(mode)]
}

/// As in identifiers.
fn name_of(mode: Mode) -> &'static str {
    match mode {
        Mode::Tc => "tc",
        Mode::XdpNative => "xdp-native",
        Mode::XdpGeneric => "xdp-generic",
    }
}

/// Makes the promises of one mode.
struct Promises(&'static str);

impl Promises {
    fn correct(&self, id: &str, promise: impl Into<String>, target: u64, unit: &'static str) -> Promise {
        let id = format!("{id}-{}", self.0);
        Promise { id, kind: Kind::Correctness, text: promise.into(), target: Target::Exactly(target), unit }
    }
}

fn traffic(mode: Mode) -> Proof {
    let name = name_of(mode);
    let of = Promises(name);
    let promises = vec![
        of.correct("npci-destinations", "addresses that NPCI calls", 1, "addresses"),
        of.correct("npci-sources", "addresses of ours that NPCI sees as a source", 1, "addresses"),
        of.correct("tenant-foreign-addresses", "addresses of others on tenants' wires", 0, "addresses"),
        of.correct("checksum-errors", "wrong checksums on all wires", 0, "packets"),
        of.correct("exchanges-failed", "HTTP, UDP and ping both ways without an answer", 0, "exchanges"),
    ];
    Proof::new(format!("traffic {name}"), promises, move || {
        let seen = traffic::run(mode);
        vec![
            destinations(&seen),
            sources(&seen),
            Measured::count(seen.foreign_addresses()).because([format!("{:?}", seen.tenants)]),
            Measured::count(seen.bad_checksums().len()).because(seen.bad_checksums()),
            Measured::count(seen.failures.len()).because(seen.failures),
        ]
    })
}

/// One other than the ingress VIP counts besides it, so that there is no second right answer.
fn destinations(seen: &traffic::Traffic) -> Measured {
    let mut called = seen.npci.destinations.clone();
    if !called.is_empty() {
        called.insert(AddressPlan::default().ingress_vip);
    }
    Measured::count(called.len()).because([format!("NPCI called {:?}", seen.npci.destinations)])
}

/// Of conversations, and of any stray packet that is not from a VIP.
fn sources(seen: &traffic::Traffic) -> Measured {
    let mut sources: BTreeSet<_> = seen.npci.sources.union(&seen.npci.foreign).copied().collect();
    if !sources.is_empty() {
        sources.insert(AddressPlan::default().egress_vip);
    }
    let wire = &seen.npci;
    Measured::count(sources.len())
        .because([format!("called by {:?}, saw {:?} besides", wire.sources, wire.foreign)])
}

fn bulk(mode: Mode, scale: Scale) -> Proof {
    let (name, mib) = (name_of(mode), scale.pick(QUICK_TRANSFER_MIB, TRANSFER_MIB));
    let equal = format!("of four concurrent transfers of {mib} MiB, those with equal SHA-256");
    let promises = vec![
        Promises(name).correct("bulk-equal", equal, 4, "transfers"),
        Promise {
            id: format!("bulk-speed-{name}"),
            kind: Kind::Speed,
            text: format!("one download of {mib} MiB by HTTP"),
            target: Target::AtLeast(speed_target(mode)),
            unit: "Gbit/s",
        },
    ];
    Proof::new(format!("bulk {name}"), promises, move || {
        let seen = bulk::run(mode, mib << 20);
        let different = seen.transfers.iter().filter(|transfer| !transfer.is_equal());
        let problems = different.map(|transfer| format!("{}: {:?}", transfer.name, transfer.arrived));
        vec![Measured::count(seen.equal()).because(problems), Measured::figure(seen.bits_per_second / 1e9)]
    })
}

/// On two shared cores that run the client and the server as well. TC forwards packets of up to 64 KiB (GSO), XDP on
/// veth only those of the MTU.
fn speed_target(mode: Mode) -> f64 {
    match mode {
        Mode::Tc => 5.0,
        Mode::XdpNative | Mode::XdpGeneric => 1.0,
    }
}

fn requests(mode: Mode, scale: Scale) -> Proof {
    let (name, count) = (name_of(mode), scale.pick(QUICK_REQUESTS, REQUESTS));
    let of = Promises(name);
    let promises = vec![
        of.correct("requests-failed", format!("of {count} short HTTP requests, failed"), 0, "requests"),
        of.correct("requests-wrong-tenant", format!("of {count}, to the wrong tenant"), 0, "requests"),
    ];
    Proof::new(format!("requests {name}"), promises, move || {
        let seen = requests::run(mode, count);
        let unsent = count.saturating_sub(seen.sent);
        let measured = [seen.failed + unsent, seen.wrong_tenant].map(Measured::count);
        measured.map(|measured| measured.because(seen.problems.clone())).into()
    })
}

fn lifecycle(mode: Mode) -> Proof {
    let name = name_of(mode);
    let of = Promises(name);
    let failures = |id: &str, when: &str| {
        of.correct(id, format!("transfers, connections, requests, datagrams failed: {when}"), 0, "failures")
    };
    let promises = vec![
        failures("kill-failures", "kill -9, dead, restart"),
        of.correct("kill-lost-datagrams", "of the datagrams meanwhile, lost", 0, "datagrams"),
        failures("restart-failures", "SIGTERM, restart"),
        failures("upgrade-failures", "another binary"),
        failures("migration-failures", "earlier layout of the tables"),
        failures("tenant-change-failures", "tenant removed, added"),
        failures("refused-start-failures", "start refused"),
        of.correct(
            "lifecycle-drops",
            "packets dropped in all of that, but with an earlier layout",
            0,
            "packets",
        ),
        of.correct("migration-drops", "packets dropped while programs of both layouts run", 0, "packets"),
    ];
    Proof::new(format!("lifecycle {name}"), promises, move || {
        let seen = lifecycle::run(mode);
        let sum = |drops: &BTreeMap<String, u64>| {
            drops.values().map(|packets| usize::try_from(*packets).unwrap_or(usize::MAX)).sum()
        };
        vec![
            Measured::count(seen.kill.failures.len()).because(seen.kill.failures.clone()),
            Measured::count(seen.kill.lost_datagrams).because([format!("of {}", seen.kill.datagrams)]),
            all_failures(&seen.restart),
            all_failures(&seen.upgrade),
            all_failures(&seen.migration),
            all_failures(&seen.tenants),
            all_failures(&seen.refusal),
            Measured::count(sum(&seen.drops)).because([format!("{:?}", seen.drops)]),
            Measured::count(sum(&seen.migration_drops)).because([format!("{:?}", seen.migration_drops)]),
        ]
    })
}

fn all_failures(seen: &Continuity) -> Measured {
    let lost = format!("{} of {} datagrams lost", seen.lost_datagrams, seen.datagrams);
    Measured::count(seen.failures.len() + seen.lost_datagrams).because(seen.failures.clone()).because([lost])
}

fn unload(mode: Mode) -> Proof {
    let name = name_of(mode);
    let promise =
        Promises(name).correct("unload-leftovers", "settings, programs, pins left by unload", 0, "things");
    Proof::new(format!("unload {name}"), vec![promise], move || {
        let seen = unload::run(mode);
        assert!(seen.changes_while_loaded > 0, "nothing was attached");
        vec![Measured::count(seen.leftovers.len()).because(seen.leftovers)]
    })
}

fn addresses(mode: Mode) -> Proof {
    let name = name_of(mode);
    let of = Promises(name);
    let promises = vec![
        of.correct(
            "addresses-unanswered",
            "VIPs and NAT IPs configured, or not answered for",
            0,
            "addresses",
        ),
        of.correct("new-client-failed", "first requests of a client never seen, failed", 0, "requests"),
    ];
    Proof::new(format!("addresses {name}"), promises, move || {
        let seen = addresses::run(mode);
        vec![
            Measured::count(seen.problems.len()).because(seen.problems),
            Measured::count(usize::from(seen.new_client.is_err())).because(seen.new_client.err()),
        ]
    })
}

fn correctness(id: &str, promise: &str, target: Target, unit: &'static str) -> Promise {
    Promise { id: id.to_owned(), kind: Kind::Correctness, text: promise.to_owned(), target, unit }
}

fn broken_configs() -> Proof {
    let refused = "broken configurations refused: one error, exit code 2, nothing changed";
    let promises = vec![
        correctness("configs-refused", refused, Target::AtLeast(BROKEN_CONFIGS), "files"),
        correctness("configs-mishandled", "broken configurations, otherwise", Target::Exactly(0), "files"),
    ];
    Proof::new("broken configurations", promises, || {
        let seen = broken_configs::run();
        let other = Measured::count(seen.cases - seen.refused);
        vec![Measured::count(seen.refused), other.because(seen.problems)]
    })
}

fn expiry() -> Proof {
    let (least, most) = (HALF_OPEN.as_secs_f64(), (HALF_OPEN + SLACK).as_secs_f64());
    let lived = "half-open flow with a timeout of 6 s is kept for";
    let promises = vec![
        correctness("half-open-kept", lived, Target::AtLeast(least), "s"),
        correctness("half-open-gone", "the same flow is gone after", Target::AtMost(most), "s"),
        correctness("established-lost", "idle connections lost meanwhile", Target::Exactly(0), "connections"),
    ];
    Proof::new("expiry", promises, || {
        let seen = expiry::run(Mode::Tc);
        let lifetime = seen.half_open.unwrap_or_else(|problem| panic!("{problem}")).as_secs_f64();
        let lost = Measured::count(seen.failures.len()).because(seen.failures);
        vec![Measured::figure(lifetime), Measured::figure(lifetime), lost]
    })
}

fn demo() -> Proof {
    let promise = Promise {
        id: "demo-second-run".to_owned(),
        kind: Kind::Speed,
        text: "second run of scripts/demo.sh".to_owned(),
        target: Target::AtMost(30.0),
        unit: "s",
    };
    Proof::new("demo", vec![promise], || vec![Measured::figure(demo::second_run().as_secs_f64())])
}
