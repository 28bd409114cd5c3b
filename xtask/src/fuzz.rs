//! `cargo xtask fuzz`: libFuzzer on the targets of `fuzz/`, for a budget of CPU time each.
//!
//! The programs are compiled here, by the stable compiler, with the flags that cargo-fuzz would give them, and started
//! directly. So nobody has to install cargo-fuzz or a nightly compiler: those are for sanitizers, which find little in
//! targets that are safe Rust (`cargo fuzz` works as well, see `docs/fuzzing.md`).

mod child;
mod report;

use std::{
    collections::BTreeMap,
    fs,
    num::NonZero,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::{
    cargo::{self, FUZZ_PACKAGE, cargo},
    step::{self, Output},
};
use report::Row;

/// The profile of the workspace's `Cargo.toml`.
const PROFILE: &str = "fuzz";

/// Coverage for libFuzzer: a counter each edge, their places, and the operands of comparisons.
const RUSTFLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0";

/// An input that takes longer is a finding. (Most take a thousandth of a second.)
const TIMEOUT_SECS: u32 = 10;

/// More memory is a finding, too.
const MEMORY_MIB: u32 = 2_048;

/// How long, which, and where to.
#[derive(Args)]
pub struct Options {
    /// CPU time for each target, in minutes.
    #[arg(long, value_name = "N", conflicts_with = "seconds", default_value_t = 1)]
    minutes: u64,

    /// The same in seconds.
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,

    /// Only this target. May be given several times.
    #[arg(long, value_name = "NAME")]
    target: Vec<String>,

    /// Only the targets that need none of the daemon's code: most of the build is the daemon's.
    #[arg(long)]
    no_daemon: bool,

    /// Write the figures to this file, too, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs every target, one on each CPU, also after one has found something.
pub fn run(options: &Options) -> Result<()> {
    let budget = Duration::from_secs(options.seconds.unwrap_or(60 * options.minutes));
    ensure!(!budget.is_zero(), "no time, no findings: give at least --seconds 1");
    let place = Place::build(options.no_daemon)?;
    let targets = place.write_seeds()?;
    let chosen = choose(&targets, &options.target)?;
    let rows = side_by_side(&chosen, |target| place.fuzz(target, budget))?;
    println!("\n{}", report::table(&rows));
    place.write_report(&rows)?;
    if let Some(path) = &options.json {
        fs::write(path, report::json(&rows)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    judge(&rows)
}

fn choose<'a>(targets: &'a [String], wanted: &[String]) -> Result<Vec<&'a String>> {
    let unknown = wanted.iter().find(|name| !targets.contains(name));
    if let Some(name) = unknown {
        bail!("there is no target `{name}`; there are: {}", targets.join(", "));
    }
    Ok(targets.iter().filter(|name| wanted.is_empty() || wanted.contains(name)).collect())
}

/// Does something for every target, as many at a time as there are CPUs. All come to their end, also after an error; the
/// results are in the order of the targets.
fn side_by_side<T: Send>(targets: &[&String], work: impl Fn(&str) -> Result<T> + Sync) -> Result<Vec<T>> {
    let cpus = thread::available_parallelism().map_or(1, NonZero::get);
    let waiting = Mutex::new(targets.iter().enumerate());
    let done = Mutex::new(BTreeMap::new());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    thread::scope(|scope| {
        for _ in 0..cpus.min(targets.len()) {
            scope.spawn(|| {
                while let Some((place, target)) = next() {
                    let result = work(target);
                    done.lock().unwrap_or_else(PoisonError::into_inner).insert(place, result);
                }
            });
        }
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

fn judge(rows: &[Row]) -> Result<()> {
    let found: Vec<String> = rows.iter().filter_map(Row::finding).collect();
    ensure!(
        found.is_empty(),
        "fuzzing found something:\n{}\nOnce it is understood, move the file to fuzz/fixtures/<target>/ under a name \
         that tells what broke: `cargo test -p {FUZZ_PACKAGE}` replays it from then on.",
        found.join("\n")
    );
    Ok(())
}

/// Where programs, corpora and findings are.
struct Place {
    programs: PathBuf,
    /// Below the target directory: what was found interesting is kept from run to run, `cargo clean` forgets it.
    data: PathBuf,
}

impl Place {
    fn build(no_daemon: bool) -> Result<Self> {
        let (target_dir, host) = (cargo::target_dir()?, host()?);
        let mut build =
            cargo(["build", "--package", FUZZ_PACKAGE, "--bins", "--profile", PROFILE, "--target", &host]);
        if no_daemon {
            build.arg("--no-default-features");
        }
        // No program of the kernel's is run.
        build.env("RUSTFLAGS", RUSTFLAGS).env("GATEWAY_EBPF_SKIP", "1").arg("--target-dir").arg(&target_dir);
        step::run("build of the fuzz targets", &mut build, Output::OnFailure)?.require("the build")?;
        Ok(Self { programs: target_dir.join(host).join(PROFILE), data: target_dir.join("fuzzing") })
    }

    /// Writes where corpora begin; returns the names of the targets.
    fn write_seeds(&self) -> Result<Vec<String>> {
        let mut program = Command::new(self.programs.join("seeds"));
        let written = step::run("seeds", program.arg(self.data.join("seeds")), Output::OnFailure)?;
        Ok(written.require("seeds")?.output.lines().map(str::to_owned).collect())
    }

    /// The figures of the last run, for `cargo xtask prove nat`.
    fn write_report(&self, rows: &[Row]) -> Result<()> {
        let path = self.data.join("report.json");
        fs::write(&path, report::json(rows)).with_context(|| format!("cannot write {}", path.display()))
    }

    fn fuzz(&self, target: &str, budget: Duration) -> Result<Row> {
        let directory = |kind: &str| {
            let path = self.data.join(kind).join(target);
            fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
            Ok::<_, anyhow::Error>(path)
        };
        let (corpus, findings) = (directory("corpus")?, directory("findings")?);
        let seeds = self.data.join("seeds").join(target);
        let mut command = Command::new(self.programs.join(target));
        command.args(arguments(&findings)).arg(&corpus).arg(&seeds);
        let words = seeds.with_extension("dict");
        if fs::metadata(&words).is_ok_and(|words| words.len() > 0) {
            command.arg(format!("-dict={}", words.display()));
        }
        println!("{target}: {} s of CPU time", budget.as_secs());
        let ended = child::run(&mut command, budget).with_context(|| format!("cannot fuzz {target}"))?;
        Ok(Row::new(target, &ended))
    }
}

fn arguments(findings: &Path) -> Vec<String> {
    vec![
        "-print_final_stats=1".to_owned(),
        // Asked to end, it finishes the input at hand and prints its figures.
        "-handle_usr1=1".to_owned(),
        format!("-timeout={TIMEOUT_SECS}"),
        format!("-rss_limit_mb={MEMORY_MIB}"),
        format!("-artifact_prefix={}/", findings.display()),
    ]
}

/// The triple that we compile for. Named, so that build scripts and macros are not instrumented.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().context("cannot run rustc")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_comes_to_its_end_and_the_rows_are_in_order() {
        let targets: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        let targets: Vec<&String> = targets.iter().collect();
        let lengths = side_by_side(&targets, |target| Ok(target.len())).unwrap();
        assert_eq!(lengths, [[1; 10], [2; 10]].concat());
        let seen = Mutex::new(0);
        let failed = side_by_side(&targets, |target| {
            *seen.lock().unwrap() += 1;
            ensure!(target != "3", "no {target}");
            Ok(())
        });
        assert_eq!((failed.unwrap_err().to_string().as_str(), *seen.lock().unwrap()), ("no 3", 20));
    }

    #[test]
    fn a_target_that_is_not_there_is_an_error_that_names_the_others() {
        let targets = ["process", "config"].map(str::to_owned);
        assert_eq!(choose(&targets, &[]).unwrap(), ["process", "config"]);
        assert_eq!(choose(&targets, &["config".to_owned()]).unwrap(), ["config"]);
        let error = choose(&targets, &["confg".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("`confg`") && error.contains("process, config"), "{error}");
    }
}
