//! `gateway-daemon export`, `history`, `rollback` and `reload`.

use clap::Args;
use hyper::Method;

use super::Exit;
use super::change::ChangeOptions;
use super::client::ClientOptions;
use super::columns::Align::{Left, Right};
use super::columns::Columns;
use super::format::utc;
use crate::api::change::Ask;
use crate::api::client::{Client, ClientError};
use crate::api::controller::ReloadOutcome;
use crate::api::types::{History, RollbackRequest};
use crate::store::Version;
use crate::tenancy::spec::Document;

/// Options of `export`.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct ExportOptions {
    /// Print TOML, which is the default
    #[arg(long, conflicts_with = "json")]
    pub toml: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub client: ClientOptions,
}

impl ExportOptions {
    /// Prints everything that is in force, as `apply` takes it.
    pub fn execute(&self) -> anyhow::Result<Exit> {
        self.client.show::<Document, ClientError>(async |client| client.get("/v1/export").await, toml)
    }
}

/// A document as people write it.
pub(super) fn toml(document: &Document) -> String {
    toml::to_string(document).expect("a document is TOML: its scalars stand before its tables")
}

/// Options of `history`.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct HistoryOptions {
    /// How many entries at most, up to 1000
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// Only entries older than this version
    #[arg(long, value_name = "VERSION")]
    pub before: Option<u64>,
    /// Whom to ask.
    #[command(flatten)]
    pub client: ClientOptions,
}

impl HistoryOptions {
    /// Prints who changed what, when and why.
    pub fn execute(&self) -> anyhow::Result<Exit> {
        let ask = Ask::new(Method::GET, &["history"]).query("limit", &self.limit.to_string());
        let ask = match self.before {
            Some(before) => ask.query("before", &before.to_string()),
            None => ask,
        };
        let asked = async |client: &Client| client.send(&ask).await.map(|answer| answer.value);
        self.client.show::<History, ClientError>(asked, render)
    }
}

/// One line a version, newest first.
pub(super) fn render(history: &History) -> String {
    let mut columns =
        Columns::new([("VERSION", Right), ("WHEN", Left), ("WHO", Left), ("CHANGES", Right), ("WHY", Left)]);
    for entry in &history.entries {
        columns.row([
            entry.version.to_string(),
            utc(entry.at_unix_ms / 1_000),
            entry.author.who.clone(),
            entry.changes.len().to_string(),
            entry.author.why.clone(),
        ]);
    }
    columns.render()
}

/// Options of `rollback`.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct RollbackOptions {
    /// The version that is to come back; `history` lists them
    pub version: u64,
    /// How.
    #[command(flatten)]
    pub change: ChangeOptions,
}

impl RollbackOptions {
    /// Makes what an earlier version held the newest version.
    pub fn execute(&self) -> anyhow::Result<Exit> {
        let request = RollbackRequest { version: Version(self.version) };
        self.change.make(Ask::new(Method::POST, &["rollback"]).with(&request))
    }
}

/// Options of `reload`.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct ReloadOptions {
    /// Why: kept in the audit
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Whom to ask.
    #[command(flatten)]
    pub client: ClientOptions,
}

impl ReloadOptions {
    /// Lets the daemon read its settings again.
    pub fn execute(&self) -> anyhow::Result<Exit> {
        let ask = Ask::new(Method::POST, &["reload"]);
        let ask = match &self.reason {
            Some(reason) => ask.query("reason", reason),
            None => ask,
        };
        let reloaded = async |client: &Client| client.send(&ask).await.map(|answer| answer.value);
        self.client.show::<ReloadOutcome, ClientError>(reloaded, reloaded_text)
    }
}

fn reloaded_text(outcome: &ReloadOutcome) -> String {
    let changed = outcome.changed.iter().map(|field| format!("in force now:    {field}\n"));
    let waiting = outcome.needs_restart.iter().map(|field| format!("needs a restart: {field}\n"));
    let text: String = changed.chain(waiting).collect();
    if text.is_empty() { "no setting differs\n".to_owned() } else { text }
}
