//! The `gateway-daemon` binary.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use gateway_daemon::app;
use gateway_daemon::cli::run::RunOptions;
use gateway_daemon::cli::{self, Cli, Command, Exit};

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(options) => run(&options),
        Command::Status(options) => options.execute(),
        Command::Flows(options) => options.execute(),
        Command::Drops(options) => options.execute(),
        Command::Config(options) => options.execute(),
        Command::Unload(options) => options.execute(),
    };
    cli::report(done).into()
}

fn run(options: &RunOptions) -> anyhow::Result<Exit> {
    options.start_log()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime
        .context("cannot start the event loop")?
        .block_on(app::run(&options.config, &options.overrides()?))?;
    Ok(Exit::Done)
}
