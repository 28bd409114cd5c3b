//! The `gateway-daemon` binary.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use gateway_daemon::app;
use gateway_daemon::cli::run::RunOptions;
use gateway_daemon::cli::{self, Cli, Exit};
use gateway_daemon::drain;

fn main() -> ExitCode {
    cli::report(Cli::parse().command.execute(run)).into()
}

fn run(options: &RunOptions) -> anyhow::Result<Exit> {
    options.start_log()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    drain::run(runtime.context("cannot start the event loop")?, app::run(&options.for_app()?))?;
    Ok(Exit::Done)
}
