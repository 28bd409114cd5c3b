//! How well the NAT was looked at: what other tools have found, as rows.

use std::{
    env,
    hash::{BuildHasher as _, RandomState},
    path::PathBuf,
};

use gateway_tests::{
    Mode,
    compliance::{self, DOCUMENT, Level, Status},
    differential::run::{Plan, run},
    scenarios::nat::fuzz_report::{self, FuzzReport, Target as Fuzzed},
};

use super::{correct, none, number, promise, things};
use crate::{
    proof::{Proof, Scale},
    row::{Kind, Measured, Promise, Target},
};

/// The targets of `fuzz/`.
const FUZZ_TARGETS: [&str; 5] = ["process", "icmp_quote", "fragments", "config", "api_body"];
/// CPU time that each must have had, in seconds.
const FUZZ_SECS: f64 = 600.0;

/// All of them.
pub fn proofs(scale: Scale) -> Vec<Proof> {
    vec![differential(scale), compliance(), fuzz()]
}

fn differential(scale: Scale) -> Proof {
    let conversations: u32 = scale.pick(500, 10_000);
    let held = format!("{conversations} random conversations through this gateway and nftables, held");
    let promises = vec![
        correct(
            "differential-conversations",
            held,
            Target::AtLeast(f64::from(conversations)),
            "conversations",
        ),
        correct(
            "differential-alive",
            "of them, came through both",
            Target::AtLeast(f64::from(conversations) / 2.0),
            "conversations",
        ),
        // Some are there by design: who finds none compares nothing.
        correct("differential-found", "differences found", Target::AtLeast(1.0), "differences"),
        correct("differential-justified", "of them, justified", Target::AtLeast(1.0), "differences"),
        none("differential-unjustified", "of them, not justified", "differences"),
    ];
    Proof::new("differential", promises, move || {
        let seed = RandomState::new().hash_one(0_u8);
        print!("seed {seed} ");
        let plan = Plan { seed, conversations: 0..u64::from(conversations), mode: Mode::Tc };
        let report = run(&plan, |_| ());
        let failures = report.failures.iter().map(|failure| format!("seed {seed}: {failure}"));
        vec![
            number(report.conversations()),
            number(report.alive),
            number(report.differences_found()),
            number(report.differences_justified()),
            number(report.differences_unjustified()).because(failures),
        ]
    })
}

/// Some MUSTs are not met on purpose. How many that are may only get better without somebody changing this and the
/// specification.
fn compliance() -> Proof {
    let promises = vec![
        correct(
            "compliance-met",
            "MUSTs of RFC 4787, 5382, 5508, 6888 and 7857 that are met",
            Target::AtLeast(40.0),
            "demands",
        ),
        correct("compliance-not-met", "not met, with the reason", Target::AtMost(8.0), "demands"),
        none("compliance-in-work", "of them, without a decision: in work", "demands"),
        correct("compliance-not-applicable", "not applicable", Target::AtMost(3.0), "demands"),
        none("compliance-without-test", "tests that are named for what is met and do not exist", "tests"),
    ];
    Proof::new("compliance", promises, || {
        let must = compliance::summary().must;
        let rows = compliance::rows(DOCUMENT).unwrap_or_else(|problem| panic!("{problem}"));
        vec![
            Measured::count(must.met),
            Measured::count(must.not_met).because(not_met(&rows, "")),
            things(not_met(&rows, "in work: ")),
            Measured::count(must.not_applicable),
            things(compliance::missing_tests(&rows)),
        ]
    })
}

/// MUSTs whose reason begins like this.
fn not_met(rows: &[compliance::Row], beginning: &str) -> Vec<String> {
    let reason = |row: &compliance::Row| match &row.status {
        Status::NotMet(why) if row.level == Level::Must && why.starts_with(beginning) => Some(why.clone()),
        _ => None,
    };
    let found = rows.iter().filter_map(|row| Some((row, reason(row)?)));
    found.map(|(row, why)| format!("RFC {} {}: {why}", row.rfc, row.number)).collect()
}

/// All of these depend on how long somebody has fuzzed on this machine: `cargo xtask fuzz` fails by itself when it finds
/// something.
fn fuzz() -> Proof {
    let of_target = |target: &str| {
        let speed = |what: &str, text: &str, least: f64, unit| {
            let id = format!("fuzz-{}-{what}", target.replace('_', "-"));
            promise(Kind::Speed, id, format!("{text} `{target}`"), Target::AtLeast(least), unit)
        };
        [
            speed("cpu", "last run of `cargo xtask fuzz`: CPU time of", FUZZ_SECS, "s"),
            speed("executions", "inputs executed by", 1.0, "inputs"),
            speed("edges", "edges of the control flow reached by", 1.0, "edges"),
        ]
    };
    let mut promises: Vec<Promise> = FUZZ_TARGETS.into_iter().flat_map(of_target).collect();
    promises.push(promise(
        Kind::Speed,
        "fuzz-findings",
        "inputs that broke something",
        Target::Exactly(0),
        "inputs",
    ));
    Proof::new("fuzz", promises, || {
        // Rows without values are not measured, and say so.
        let report = match fuzz_report::read(&target_dir()) {
            Ok(report) => report,
            Err(problem) => {
                eprintln!("{problem}");
                return Vec::new();
            }
        };
        let mut measured: Vec<Measured> =
            FUZZ_TARGETS.into_iter().flat_map(|name| of(&report, name)).collect();
        let found = report.targets.iter().filter_map(|target| target.found.clone());
        measured.push(things(found.collect()));
        measured
    })
}

fn of(report: &FuzzReport, name: &str) -> [Measured; 3] {
    match report.of(name) {
        Ok(Fuzzed { cpu_secs, executions, edges, .. }) => {
            [Measured::figure(*cpu_secs), number(*executions), number(*edges)]
        }
        Err(problem) => [0.0; 3].map(|none| Measured::figure(none).because([problem.clone()])),
    }
}

/// Where cargo has put this program, and xtask the report: `target/release/prove`.
fn target_dir() -> PathBuf {
    let own = env::current_exe().expect("the path of the running program");
    own.ancestors().nth(2).expect("a program stands in some directory").to_owned()
}
