//! `cargo xtask check-api`: does the API answer as its description says?

use std::{path::Path, process::Command};

use anyhow::{Result, ensure};
use clap::Args;

use crate::{
    cargo::{self, DAEMON_PACKAGE, cargo},
    python,
    step::{self, Output},
};

/// What throws the requests.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";

/// The test that it needs, which is ignored unless asked for.
const TEST: &str = "schemathesis_finds_no_difference";

/// Says that it ran.
const PASSED: &str = "test result: ok. 1 passed";

/// How it is asked.
#[derive(Args)]
pub struct Options {
    /// Random requests an operation, besides those that each run makes.
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    examples: u32,
}

/// A tool that cannot be installed is a failure: this command is for CI.
pub fn run(options: &Options) -> Result<()> {
    let environment = cargo::target_dir()?.join("check-api/python");
    let tool = python::tools(&environment, &[SCHEMATHESIS])?.join("schemathesis");
    step::run("build of unit tests", tests().arg("--no-run"), Output::OnFailure)?.require("the build")?;
    let outcome = step::run("schemathesis", &mut with(&tool, options.examples), Output::OnFailure)?;
    ensure!(outcome.require("check-api")?.output.contains(PASSED), "there is no test `{TEST}`");
    Ok(())
}

/// Of the packages that `cargo xtask test` names, so that nothing is compiled twice.
fn tests() -> Command {
    cargo(["test", "--lib", "--package", "gateway-common", "--package", DAEMON_PACKAGE, "--package", "xtask"])
}

fn with(tool: &Path, examples: u32) -> Command {
    let mut command = tests();
    command.args(["--", "--ignored", TEST]);
    command.env("GATEWAY_SCHEMATHESIS", tool).env("GATEWAY_SCHEMATHESIS_EXAMPLES", examples.to_string());
    command
}
