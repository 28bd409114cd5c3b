//! `cargo xtask differential`: random conversations through our gateway and through one made of nftables, compared.
//!
//! docs/differential.md says what is compared, and lists the differences that are justified.

use std::{
    fs,
    hash::{BuildHasher as _, RandomState},
    ops::Range,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, ValueEnum, value_parser};
use gateway_tests::{
    Mode,
    differential::{
        places::MOST_CONVERSATIONS,
        report::Report,
        run::{Plan, run},
    },
};
use nix::unistd::geteuid;

/// Hold random conversations through our gateway and through an nftables gateway, and compare what both ends see.
///
/// Needs root: it makes network namespaces and loads eBPF programs.
#[derive(Debug, Parser)]
#[command(name = "differential", bin_name = "cargo xtask differential", after_help = EXIT_CODES)]
struct Options {
    /// How many conversations
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = value_parser!(u64).range(1..=MOST_CONVERSATIONS))]
    conversations: u64,
    /// Decides all conversations [default: another one each time; it is printed]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Only the conversation with this number
    #[arg(long, value_name = "INDEX", requires = "seed", value_parser = value_parser!(u64).range(..MOST_CONVERSATIONS))]
    only: Option<u64>,
    /// How our gateway is attached
    #[arg(long, value_enum, default_value_t = Hook::Tc)]
    hook: Hook,
    /// Write the figures to this file as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  every difference is justified
  1  a difference is not, or too little came through to be compared
  2  the command line is wrong, or it can't be run here";

/// The ways to attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Hook {
    Tc,
    XdpNative,
    XdpGeneric,
}

impl From<Hook> for Mode {
    fn from(hook: Hook) -> Self {
        match hook {
            Hook::Tc => Self::Tc,
            Hook::XdpNative => Self::XdpNative,
            Hook::XdpGeneric => Self::XdpGeneric,
        }
    }
}

impl Options {
    fn plan(&self) -> Plan {
        Plan {
            seed: self.seed.unwrap_or_else(|| RandomState::new().hash_one(0_u8)),
            conversations: self.range(),
            mode: self.hook.into(),
        }
    }

    fn range(&self) -> Range<u64> {
        self.only.map_or(0..self.conversations, |only| only..only + 1)
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !geteuid().is_root() {
        eprintln!("differential: must be root, to make network namespaces and load eBPF programs");
        return ExitCode::from(2);
    }
    let plan = options.plan();
    println!("seed {}", plan.seed);
    // The lab panics with what went wrong, which the panic has printed.
    let Ok(report) = panic::catch_unwind(AssertUnwindSafe(|| run(&plan, progress))) else {
        eprintln!("differential: failed with --seed {}", plan.seed);
        return ExitCode::from(2);
    };
    print!("{report}");
    match options.json.as_ref().map_or(Ok(()), |path| write_json(path, &report)) {
        Ok(()) if report.passed() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("differential: {problem}");
            ExitCode::from(2)
        }
    }
}

fn progress(done: u64) {
    eprintln!("{done} conversations");
}

fn write_json(path: &PathBuf, report: &Report) -> Result<(), String> {
    fs::write(path, format!("{:#}\n", report.json()))
        .map_err(|error| format!("write {}: {error}", path.display()))
}
