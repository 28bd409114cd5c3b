//! The command line: one file a verb, each with its options and `execute`.
//!
//! `run` is the agent; the other verbs ask it through the API, or look at a configuration file.

pub mod apply;
pub mod backend;
pub mod bugreport;
pub mod capture;
pub mod change;
mod changes;
pub mod client;
mod columns;
pub mod config;
pub mod doctor;
pub mod document;
pub mod drain;
pub mod drops;
pub mod egress;
pub mod explain;
pub mod flows;
mod format;
pub mod health;
pub mod listener;
pub mod mistake;
pub mod monitor;
mod output;
pub mod peer_group;
pub mod pool;
pub mod run;
pub mod shell;
pub mod status;
pub mod tenant;
mod tenant_limits;
pub mod top;
pub mod unload;
pub mod versions;

#[cfg(test)]
pub(crate) mod golden;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::api::client::ClientError;
use crate::api::server::BindError;
use crate::api::types::{Problem, ProblemKind};
use crate::app::{NotThereYet, TenantsError};
use crate::config::{ConfigError, OverrideError};
use crate::datapath::plan::PlanError;
use crate::datapath::routes::kernel::RoutesError;
use crate::log::LogError;
use document::DocumentError;
use mistake::Mistake;

/// Shown below every long help.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  it failed while running, or the daemon can't be reached
  2  what was asked for is wrong: command line, configuration, document, or what it names
  3  not permitted
  4  somebody else changed something in between: look again and decide anew";

/// Two-IP gateway: NPCI sees two addresses, every tenant keeps its own.
///
/// `run` is the agent. The other commands ask the running agent through its unix socket, but for `config`, `unload`,
/// `completions` and `man`.
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
    /// Tell of packets that are dropped and flows that begin and end, as it happens.
    Monitor(monitor::MonitorOptions),
    /// Write a tenant's packets, before and after translation, into a pcapng file.
    Capture(capture::CaptureOptions),
    /// Show the way that a packet would take, step by step, and what would become of it.
    Explain(explain::ExplainOptions),
    /// Show every backend and its health.
    Health(health::ListOptions),
    /// Show what the tenants move, live.
    Top(top::TopOptions),
    /// Add, change, drain and remove tenants.
    Tenant(tenant::TenantOptions),
    /// Add and remove ports of the ingress VIP.
    Listener(listener::ListenerOptions),
    /// Add and remove ports of a tenant NAT IP that lead to NPCI.
    Egress(egress::EgressOptions),
    /// Add, change and remove pools of backends.
    Pool(pool::PoolOptions),
    /// Add, weigh, drain and remove backends.
    Backend(backend::BackendOptions),
    /// Add, change and remove groups of NPCI's endpoints.
    PeerGroup(peer_group::PeerGroupOptions),
    /// Make tenants and peer groups as a document has them; all or none.
    Apply(apply::ApplyOptions),
    /// Show what `apply --prune` would change.
    Diff(apply::DiffOptions),
    /// Print all tenants and peer groups, as `apply` takes them.
    Export(versions::ExportOptions),
    /// Show who changed what, when and why.
    History(versions::HistoryOptions),
    /// Make what an earlier version held the newest version.
    Rollback(versions::RollbackOptions),
    /// Let the daemon read its settings again.
    Reload(versions::ReloadOptions),
    /// Collect what a report of a defect needs.
    Bugreport(bugreport::BugreportOptions),
    /// Check a configuration file, or print one to start from.
    Config(config::ConfigOptions),
    /// Look whether this host is fit for the gateway, and say what to do where it is not.
    Doctor(doctor::DoctorOptions),
    /// Detach the gateway from the kernel and forget all flows.
    Unload(unload::UnloadOptions),
    /// Print a script that completes this command line in a shell.
    Completions(shell::CompletionsOptions),
    /// Print the manual page, or write those of all commands.
    Man(shell::ManOptions),
}

impl Command {
    /// Does what is asked for. How to be the agent is for the caller to say: the command line is only its client.
    pub fn execute(
        &self,
        run: impl FnOnce(&run::RunOptions) -> anyhow::Result<Exit>,
    ) -> anyhow::Result<Exit> {
        match self {
            Self::Run(options) => run(options),
            Self::Status(options) => options.execute(),
            Self::Flows(options) => options.execute(),
            Self::Drops(options) => options.execute(),
            Self::Monitor(options) => options.execute(),
            Self::Capture(options) => options.execute(),
            Self::Explain(options) => options.execute(),
            Self::Health(options) => options.execute(),
            Self::Top(options) => options.execute(),
            Self::Tenant(options) => options.execute(),
            Self::Listener(options) => options.execute(),
            Self::Egress(options) => options.execute(),
            Self::Pool(options) => options.execute(),
            Self::Backend(options) => options.execute(),
            Self::PeerGroup(options) => options.execute(),
            Self::Apply(options) => options.execute(),
            Self::Diff(options) => options.execute(),
            Self::Export(options) => options.execute(),
            Self::History(options) => options.execute(),
            Self::Rollback(options) => options.execute(),
            Self::Reload(options) => options.execute(),
            Self::Bugreport(options) => options.execute(),
            Self::Config(options) => options.execute(),
            Self::Doctor(options) => options.execute(),
            Self::Unload(options) => options.execute(),
            Self::Completions(options) => options.execute(),
            Self::Man(options) => options.execute(),
        }
    }
}

/// How a command ended, as the help has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// It failed while running, or the daemon can't be reached.
    Failed = 1,
    /// What was asked for is wrong.
    Refused = 2,
    /// Not permitted.
    NotPermitted = 3,
    /// Somebody else changed something in between.
    Conflict = 4,
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
    let file = error.downcast_ref::<ConfigError>().map(ToString::to_string);
    let file = file.or_else(|| error.downcast_ref::<NotThereYet>().map(ToString::to_string));
    if let Some(text) = file {
        return text;
    }
    let listed = error.downcast_ref::<ClientError>().map(listed).unwrap_or_default();
    match remedy(error) {
        Some(remedy) => format!("error: {error:#}\n{listed}  = help: {remedy}"),
        None => format!("error: {error:#}"),
    }
}

/// The wrong fields, where there are several.
fn listed(error: &ClientError) -> String {
    let ClientError::Refused(Problem { problems, .. }) = error else { return String::new() };
    let several = problems.iter().filter(|_| problems.len() > 1);
    several
        .flat_map(|one| ["  ", &one.path, ": ", &one.problem, "\n    = help: ", &one.remedy, "\n"])
        .collect()
}

fn remedy(error: &anyhow::Error) -> Option<Cow<'_, str>> {
    let client = error.downcast_ref::<ClientError>().map(ClientError::remedy);
    let bind = || error.downcast_ref::<BindError>().map(BindError::remedy);
    let mistake = || error.downcast_ref::<Mistake>().map(|mistake| mistake.remedy.as_str());
    let document = || error.downcast_ref::<DocumentError>().map(DocumentError::remedy);
    let told = client.or_else(bind).or_else(mistake).or_else(document).map(Cow::Borrowed);
    let tenants = || error.downcast_ref::<TenantsError>().map(TenantsError::remedy);
    let routes = || error.downcast_ref::<RoutesError>().and_then(RoutesError::remedy);
    told.or_else(|| tenants().or_else(routes).map(Cow::Owned))
}

fn exit_of(error: &anyhow::Error) -> Exit {
    let wrong_file = error.is::<ConfigError>() || error.is::<PlanError>() || error.is::<DocumentError>();
    let wrong_option = error.is::<OverrideError>() || error.is::<LogError>() || error.is::<Mistake>();
    let wrong_tenants = matches!(error.downcast_ref(), Some(TenantsError::Rejected { .. }));
    if wrong_file || wrong_option || wrong_tenants {
        return Exit::Refused;
    }
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::NotPermitted { .. }) => Exit::NotPermitted,
        Some(ClientError::Refused(problem)) => exit_of_problem(problem.kind),
        _ => Exit::Failed,
    }
}

fn exit_of_problem(kind: ProblemKind) -> Exit {
    match kind {
        ProblemKind::NotPermitted => Exit::NotPermitted,
        ProblemKind::VersionMoved | ProblemKind::Conflict => Exit::Conflict,
        ProblemKind::BadRequest
        | ProblemKind::NotFound
        | ProblemKind::MethodNotAllowed
        | ProblemKind::Exists
        | ProblemKind::TooLarge
        | ProblemKind::NotJson
        | ProblemKind::Invalid => Exit::Refused,
        ProblemKind::ReadOnly
        | ProblemKind::NotApplied
        | ProblemKind::Unavailable
        | ProblemKind::Defect
        | ProblemKind::Other => Exit::Failed,
    }
}
