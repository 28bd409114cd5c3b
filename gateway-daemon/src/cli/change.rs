//! What the verbs that change something have in common.

use clap::Args;
use hyper::Method;
use serde::de::DeserializeOwned;

use super::Exit;
use super::changes::render_changes;
use super::client::ClientOptions;
use super::format::{counted, grouped};
use crate::api::change::{Ask, ChangeTerms};
use crate::api::client::{Answer, Client, ClientError};
use crate::api::controller::ChangeOutcome;
use crate::api::types::ProblemKind;
use crate::store::Version;

/// How often something is read and changed anew because somebody else was faster.
const TRIES: usize = 5;

/// How a change is made.
#[derive(Debug, Args)]
pub struct ChangeOptions {
    /// Only show what would change
    #[arg(long)]
    pub dry_run: bool,
    /// Why: kept in the history and in the audit
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Refuse unless this version is in force (exit code 4)
    #[arg(long, value_name = "VERSION")]
    pub if_version: Option<u64>,
    /// Whom to ask.
    #[command(flatten)]
    pub client: ClientOptions,
}

impl ChangeOptions {
    /// As the API has it.
    pub(super) fn terms(&self) -> ChangeTerms {
        let Self { dry_run, reason, if_version, .. } = self;
        ChangeTerms { dry_run: *dry_run, if_version: if_version.map(Version), reason: reason.clone() }
    }

    /// Makes a change and prints what it did.
    pub(super) fn make(&self, ask: Ask) -> anyhow::Result<Exit> {
        let ask = ask.on(&self.terms());
        let changed = async |client: &Client| client.send(&ask).await.map(|answer| answer.value);
        self.client.show::<ChangeOutcome, ClientError>(changed, render)
    }

    /// Reads what `read` asks for, lets `revise` make a change of it, and makes that on condition that nothing has
    /// changed in between.
    pub(super) fn revise<T: DeserializeOwned>(
        &self,
        read: &[&str],
        revise: impl Fn(T) -> anyhow::Result<Ask>,
    ) -> anyhow::Result<Exit> {
        let read = Ask::new(Method::GET, read);
        let revised = async |client: &Client| self.try_revising(client, &read, revise).await;
        self.client.show::<ChangeOutcome, anyhow::Error>(revised, render)
    }

    async fn try_revising<T: DeserializeOwned>(
        &self,
        client: &Client,
        read: &Ask,
        revise: impl Fn(T) -> anyhow::Result<Ask>,
    ) -> anyhow::Result<ChangeOutcome> {
        let terms = self.terms();
        for try_number in 1.. {
            let Answer { version, value } = client.send(read).await?;
            let on = ChangeTerms { if_version: terms.if_version.or(version), ..terms.clone() };
            match client.send(&revise(value)?.on(&on)).await {
                Err(error) if has_moved(&error) && terms.if_version.is_none() && try_number < TRIES => {}
                done => return Ok(done.map(|answer| answer.value)?),
            }
        }
        unreachable!("the last try returns")
    }
}

fn has_moved(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused(problem) if problem.kind == ProblemKind::VersionMoved)
}

/// The differences, and one line about them.
pub(super) fn render(outcome: &ChangeOutcome) -> String {
    let ChangeOutcome { version, dry_run, changes, table_writes, took_us } = outcome;
    let number = counted(changes.len() as u64, "change");
    let summary = match (dry_run, changes.is_empty()) {
        (_, true) => format!("nothing to change: version {version} has it all\n"),
        (true, false) => format!("{number} would be made to version {version}; nothing was changed\n"),
        (false, false) => format!(
            "version {version}: {number}, {} in {}.{:03} ms\n",
            counted(*table_writes, "table entry").replace("entrys", "entries"),
            grouped(took_us / 1_000),
            took_us % 1_000
        ),
    };
    render_changes(changes) + &summary
}
