//! The command line: one file a verb, each with its options and `execute`.
//!
//! `run` is the agent; the other verbs ask it through the API, or look at a configuration file.

mod client;
mod columns;
pub mod config;
pub mod drops;
pub mod flows;
mod format;
mod output;
pub mod run;
pub mod status;
pub mod unload;

#[cfg(test)]
pub(crate) mod golden;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::api::client::ClientError;
use crate::api::server::BindError;
use crate::config::{ConfigError, OverrideError};
use crate::datapath::desired::DesiredError;
use crate::log::LogError;

/// Shown below every long help.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  it failed while running
  2  the configuration or the command line is wrong
  3  the daemon can't be reached";

/// Two-IP gateway: NPCI sees two addresses, every tenant keeps its own.
///
/// `run` is the agent. `status`, `flows` and `drops` ask the running agent through its unix socket.
#[derive(Debug, Parser)]
#[command(name = "gateway-daemon", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway until SIGTERM or SIGINT.
    Run(run::RunOptions),
    /// Show whether the gateway is up, its interfaces, tables, tenants and warnings.
    Status(status::StatusOptions),
    /// List tracked flows.
    Flows(flows::FlowsOptions),
    /// Show why packets were dropped, and of whom.
    Drops(drops::DropsOptions),
    /// Check a configuration file, or print one to start from.
    Config(config::ConfigOptions),
    /// Detach the gateway from the kernel and forget all flows.
    Unload(unload::UnloadOptions),
}

/// How a command ended, as the help has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// It failed while running.
    Failed = 1,
    /// The configuration or the command line is wrong.
    Refused = 2,
    /// The daemon can't be reached.
    Unreachable = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Says on standard error what went wrong, and which exit code that is.
///
/// Not anyhow's own form: with `RUST_BACKTRACE` set it buries the message.
pub fn report(result: anyhow::Result<Exit>) -> Exit {
    let error = match result {
        Ok(exit) => return exit,
        Err(error) => error,
    };
    eprintln!("{}", message(&error));
    exit_of(&error)
}

/// The error and its causes, and what to do about it if that is known.
fn message(error: &anyhow::Error) -> String {
    // Made for people as it is, source lines included.
    if let Some(error) = error.downcast_ref::<ConfigError>() {
        return error.to_string();
    }
    match remedy(error) {
        Some(remedy) => format!("error: {error:#}\n  = help: {remedy}"),
        None => format!("error: {error:#}"),
    }
}

fn remedy(error: &anyhow::Error) -> Option<&str> {
    let client = error.downcast_ref::<ClientError>().map(ClientError::remedy);
    client.or_else(|| error.downcast_ref::<BindError>().map(BindError::remedy))
}

fn exit_of(error: &anyhow::Error) -> Exit {
    if error.is::<ConfigError>()
        || error.is::<OverrideError>()
        || error.is::<DesiredError>()
        || error.is::<LogError>()
    {
        return Exit::Refused;
    }
    match error.downcast_ref::<ClientError>() {
        Some(error) if error.is_unreachable() => Exit::Unreachable,
        _ => Exit::Failed,
    }
}
