//! `cargo xtask test`: everything that can fail.

use std::{ffi::OsString, path::Path, process::Command};

use anyhow::{Result, bail};
use clap::Args;

use crate::{
    cargo::{self, DAEMON_PACKAGE, FUZZ_PACKAGE, TESTS_PACKAGE, cargo},
    kernel, root,
    step::{self, Output},
};

const ADVICE: &str = "Try: ./scripts/test.sh, which asks for it, or without it: cargo xtask test --unit";

/// Which tests to run.
#[derive(Args)]
pub struct Options {
    /// Only what needs no root: unit and documentation tests.
    #[arg(long)]
    unit: bool,

    /// Only this suite of those that need root, a file in `tests/tests/`.
    #[arg(long, value_name = "SUITE", conflicts_with = "unit")]
    suite: Option<String>,

    /// On Debian's stock kernel of this version, such as 6.1, in a virtual machine: the tests of the data path, or the suite.
    #[arg(long, value_name = "VERSION", conflicts_with = "unit")]
    kernel: Option<String>,

    /// For the test programs: what the names must contain, `--nocapture`, and so on. Output is then shown.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// Builds and runs the tests; ends with cargo's own lines of results.
pub fn run(options: &Options) -> Result<()> {
    if let Some(version) = &options.kernel {
        return kernel::test(version, options.suite.as_deref(), &options.args);
    }
    if !options.unit {
        root::require(ADVICE)?;
    }
    let mut report = Report::default();
    if options.suite.is_none() {
        run_unit(options, &mut report)?;
    }
    if !options.unit {
        run_privileged(options, &mut report)?;
    }
    report.finish()
}

/// In the dev profile: with overflow checks and debug assertions.
fn run_unit(options: &Options, report: &mut Report) -> Result<()> {
    let packages = ["gateway-common", DAEMON_PACKAGE, FUZZ_PACKAGE, "xtask"];
    let test = || cargo(["test"].into_iter().chain(packages.iter().flat_map(|name| ["--package", name])));
    build("build of unit tests", test().arg("--no-run"))?;
    report.add("unit and documentation tests", &mut test(), options)
}

/// In the release profile: the daemon as it is shipped, and packet generators that are not in its way.
fn run_privileged(options: &Options, report: &mut Report) -> Result<()> {
    let target_dir = cargo::target_dir()?;
    build("build of the daemon", &mut cargo::build_release(None))?;
    build("build of privileged tests", privileged(options, &target_dir).arg("--no-run"))?;
    report.add("privileged tests", &mut privileged(options, &target_dir), options)
}

fn privileged(options: &Options, target_dir: &Path) -> Command {
    let mut command = cargo(["test", "--release", "--package", TESTS_PACKAGE]);
    command.args(options.suite.iter().flat_map(|suite| ["--test", suite]));
    cargo::with_daemon(&mut command, target_dir);
    command
}

fn build(name: &str, command: &mut Command) -> Result<()> {
    step::run(name, command, Output::OnFailure)?.require(name)?;
    Ok(())
}

/// The results so far.
#[derive(Default)]
struct Report {
    lines: Vec<String>,
    failed: Vec<String>,
}

impl Report {
    fn add(&mut self, name: &str, test: &mut Command, options: &Options) -> Result<()> {
        let output = if options.args.is_empty() { Output::OnFailure } else { Output::Shown };
        let outcome = step::run(name, test.arg("--no-fail-fast").arg("--").args(&options.args), output)?;
        self.lines.extend(results(&outcome.output));
        if !outcome.ok {
            self.failed.push(name.to_owned());
        }
        Ok(())
    }

    fn finish(self) -> Result<()> {
        for line in &self.lines {
            println!("{line}");
        }
        if !self.failed.is_empty() {
            bail!("failed: {}", self.failed.join(", "));
        }
        if self.lines.is_empty() {
            bail!("no test has such a name");
        }
        Ok(())
    }
}

/// cargo's line that names a test program, and the result's line, of each that ran a test.
fn results(output: &str) -> Vec<String> {
    let mut program = None;
    let mut results = Vec::new();
    for line in output.lines() {
        let words = line.trim_start();
        if words.starts_with("Running ") || words.starts_with("Doc-tests ") {
            program = Some(line);
        } else if line.starts_with("test result: ") && !line.contains(" 0 passed; 0 failed; 0 ignored") {
            results.extend(program.take().into_iter().chain([line]).map(str::to_owned));
        }
    }
    results
}

#[cfg(test)]
mod tests {
    use super::results;

    const OUTPUT: &str = "\
    Finished `test` profile [unoptimized + debuginfo] target(s) in 0.10s
     Running unittests src/lib.rs (target/debug/deps/gateway_common-1)

running 2 tests
test a ... ok
test b ... ok

test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

     Running unittests src/main.rs (target/debug/deps/gateway_daemon-2)

running 0 tests

test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

   Doc-tests gateway_common

running 1 test
test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.12s
";

    #[test]
    fn keeps_the_results_of_programs_that_ran_a_test() {
        assert_eq!(
            results(OUTPUT),
            [
                "     Running unittests src/lib.rs (target/debug/deps/gateway_common-1)",
                "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
                "   Doc-tests gateway_common",
                "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.12s",
            ]
        );
    }

    #[test]
    fn a_filter_that_matches_nothing_has_no_results() {
        let line =
            "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.00s";
        assert!(results(line).is_empty());
    }
}
