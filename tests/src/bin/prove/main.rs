//! `prove`: the promises as a runnable list.
//!
//! Every promise of a suite is measured by a scenario of the lab ([`gateway_tests::scenarios`]) and becomes a row:
//! promise, target, measured, met. A scenario that fails becomes rows that are not met; the others still run.

mod control_suite;
mod demo;
mod machine;
mod main_suite;
mod nat_suite;
mod proof;
mod report;
mod row;
#[cfg(test)]
mod specification;

use std::{fs, path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};
use gateway_tests::scenarios::control::store_kills;

use crate::{
    proof::{Proof, Scale},
    row::{Kind, Row},
};

/// Measure what is promised, and compare it with the targets.
///
/// Needs root: it makes network namespaces and loads eBPF programs.
#[derive(Debug, Parser)]
#[command(name = "prove", bin_name = "cargo xtask prove", after_help = EXIT_CODES)]
struct Options {
    /// Which list of promises
    #[arg(value_enum, default_value_t = Suite::Main)]
    suite: Suite,
    /// Smaller sizes and fewer repetitions: a few minutes
    #[arg(long)]
    quick: bool,
    /// Write suite, machine and rows there as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fail for rows of this kind only
    #[arg(long, value_name = "KIND", value_enum)]
    gate: Option<Kind>,
    /// Only proofs with this in their name
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  every row is met
  1  a row is not met
  2  the command line is wrong, or the suite can't be run here";

/// A list of promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// The main job: three tenants behind two addresses
    Main,
    /// The control plane: changes, failures, damage and wrong input under traffic
    Control,
    /// The NAT itself: floods, limits, expiry, isolation, and how it was tested
    Nat,
}

impl Suite {
    fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Control => "control",
            Self::Nat => "nat",
        }
    }

    fn proofs(self, scale: Scale) -> Vec<Proof> {
        match self {
            Self::Main => main_suite::proofs(scale),
            Self::Control => control_suite::proofs(scale),
            Self::Nat => nat_suite::proofs(scale),
        }
    }
}

fn main() -> ExitCode {
    store_kills::victim_if_asked();
    let options = Options::parse();
    match run(&options) {
        Ok(code) => code,
        Err(problem) => {
            eprintln!("prove: {problem}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Result<ExitCode, String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("must be root, to make network namespaces and load eBPF programs".to_owned());
    }
    let proofs = chosen(options);
    if proofs.is_empty() {
        return Err(format!("no proof of {} has this in its name", options.suite.name()));
    }
    let rows: Vec<Row> = proofs.iter().flat_map(Proof::run).collect();
    println!("\n{}", report::table(&rows));
    if let Some(path) = &options.json {
        let document = report::json(options.suite.name(), &machine::describe(), &rows);
        fs::write(path, document).map_err(|error| format!("write {}: {error}", path.display()))?;
    }
    let gates = |row: &&Row| options.gate.is_none_or(|kind| kind == row.kind);
    let failed = rows.iter().filter(gates).any(|row| !row.met);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn chosen(options: &Options) -> Vec<Proof> {
    let scale = if options.quick { Scale::Quick } else { Scale::Full };
    let mut proofs = options.suite.proofs(scale);
    proofs.retain(|proof| options.only.as_ref().is_none_or(|text| proof.name.contains(text.as_str())));
    proofs
}
