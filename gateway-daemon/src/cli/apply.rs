//! `gateway-daemon apply` and `gateway-daemon diff`.

use std::path::PathBuf;

use clap::Args;
use hyper::Method;

use super::change::ChangeOptions;
use super::changes::render_changes;
use super::client::ClientOptions;
use super::{Exit, document};
use crate::api::change::{Ask, ChangeTerms};
use crate::api::client::{Client, ClientError};
use crate::api::controller::ChangeOutcome;
use crate::tenancy::spec::Document;

/// Options of `apply`.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct ApplyOptions {
    /// Document of tenants and peer groups, TOML or JSON; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// Remove what the document does not have
    #[arg(long)]
    pub prune: bool,
    /// How.
    #[command(flatten)]
    pub change: ChangeOptions,
}

impl ApplyOptions {
    /// Makes everything as the document has it, or nothing.
    pub fn execute(&self) -> anyhow::Result<Exit> {
        self.change.make(apply(&document::read(&self.file)?, self.prune))
    }
}

/// Options of `diff`.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct DiffOptions {
    /// Document of tenants and peer groups, TOML or JSON; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// Leave out what the document does not have, as `apply` without `--prune` does
    #[arg(long)]
    pub no_prune: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub client: ClientOptions,
}

impl DiffOptions {
    /// Shows what `apply` would change.
    pub fn execute(&self) -> anyhow::Result<Exit> {
        let terms = ChangeTerms { dry_run: true, ..ChangeTerms::default() };
        let ask = apply(&document::read(&self.file)?, !self.no_prune).on(&terms);
        let compared = async |client: &Client| client.send(&ask).await.map(|answer| answer.value);
        self.client.show::<ChangeOutcome, ClientError>(compared, |outcome| render_changes(&outcome.changes))
    }
}

fn apply(document: &Document, prune: bool) -> Ask {
    let ask = Ask::new(Method::POST, &["apply"]).with(document);
    if prune { ask.query("prune", "true") } else { ask }
}
