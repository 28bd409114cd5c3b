//! `cargo xtask bench`: what the gateway's programs cost, beside two references loaded in the same run.
//!
//! docs/benchmarks.md says what each case is, how to read the figures and what they were on one machine.

use std::{
    fs,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::{Parser, value_parser};
use gateway_tests::bench::{self, report::Report, rounds::Effort};
use nix::unistd::geteuid;

/// Enough for the medians to settle on a machine that others use too; some seconds.
const FULL: Effort = Effort { loads: 5, rounds: 9, runs: 2048 };
/// For CI, which wants to know that it works and the order of magnitude.
const QUICK: Effort = Effort { loads: 3, rounds: 4, runs: 1024 };

/// Nanoseconds a packet in the kernel: established and new flows, ingress and egress, as XDP and as TC.
#[derive(Parser)]
#[command(name = "bench", bin_name = "cargo xtask bench")]
struct Options {
    /// Fewer and shorter rounds: less precise
    #[arg(long)]
    quick: bool,
    /// Write the figures to this file as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Packets a case and round [default: 2048, or 1024 with --quick]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(64..=32_768))]
    runs: Option<u16>,
    /// Rounds with each load; each measures every case [default: 9, or 4 with --quick]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..))]
    rounds: Option<u16>,
}

impl Options {
    fn effort(&self) -> Effort {
        let usual = if self.quick { QUICK } else { FULL };
        Effort {
            loads: usual.loads,
            rounds: self.rounds.map_or(usual.rounds, usize::from),
            runs: self.runs.map_or(usual.runs, usize::from),
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !geteuid().is_root() {
        eprintln!("bench: must be root, to make network namespaces and load BPF programs");
        return ExitCode::FAILURE;
    }
    // The lab panics with what went wrong, which the panic has printed.
    let Ok(report) = panic::catch_unwind(AssertUnwindSafe(|| bench::kernel(options.effort()))) else {
        eprintln!("bench: failed");
        return ExitCode::FAILURE;
    };
    print!("{report}");
    match options.json.as_ref().map_or(Ok(()), |path| write_json(path, &report)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn write_json(path: &PathBuf, report: &Report) -> Result<()> {
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
