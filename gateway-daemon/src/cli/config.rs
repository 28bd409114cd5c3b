//! `gateway-daemon config check` and `config example`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::Exit;
use super::format::counted;
use super::output::{print, print_json};
use crate::config::{Complaint, Config, ConfigError, Interfaces, Overrides, example, reference};

/// Options of `config`.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct ConfigOptions {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What to do with a configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check a configuration file without changing anything.
    Check(CheckOptions),
    /// Print a configuration that explains each of its fields.
    #[command(after_help = super::EXIT_CODES)]
    Example,
    /// Print all fields in tables, in Markdown: values, defaults, variables, and what a reload can change.
    #[command(after_help = super::EXIT_CODES)]
    Reference,
}

/// Options of `config check`.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct CheckOptions {
    /// Configuration file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Accept interfaces that this host does not have, to check a file for another host
    #[arg(long)]
    pub no_interfaces: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl ConfigOptions {
    /// Checks the file, or prints the example.
    pub fn execute(&self) -> anyhow::Result<Exit> {
        match &self.command {
            ConfigCommand::Check(options) => options.execute(),
            ConfigCommand::Example => print(&example()).map(|()| Exit::Done),
            ConfigCommand::Reference => print(&reference()).map(|()| Exit::Done),
        }
    }
}

impl CheckOptions {
    fn execute(&self) -> anyhow::Result<Exit> {
        let checked = Config::load(&self.file, &self.interfaces()?, &Overrides::default());
        if self.json {
            let exit = if checked.is_ok() { Exit::Done } else { Exit::Refused };
            print_json(&Verdict::new(&self.file, &checked))?;
            return Ok(exit);
        }
        print(&format!("{}: valid: {}\n", self.file.display(), Summary::new(&checked?)))?;
        Ok(Exit::Done)
    }

    fn interfaces(&self) -> anyhow::Result<Interfaces> {
        if self.no_interfaces {
            return Ok(Interfaces::Unchecked);
        }
        Interfaces::of_this_host().context("cannot list the network interfaces")
    }
}

/// What `config check --json` prints.
#[derive(Serialize)]
struct Verdict<'a> {
    file: &'a Path,
    valid: bool,
    /// What is in it, if it is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<Summary>,
    /// What is wrong, if it is not.
    faults: Vec<Fault<'a>>,
    /// Faults beyond those listed.
    hidden_faults: usize,
}

impl<'a> Verdict<'a> {
    fn new(file: &'a Path, checked: &'a Result<Config, ConfigError>) -> Self {
        let (summary, faults, hidden_faults) = match checked {
            Ok(config) => (Some(Summary::new(config)), Vec::new(), 0),
            Err(ConfigError::Rejected { complaints, hidden }) => {
                (None, complaints.iter().map(Fault::from).collect(), *hidden)
            }
            Err(error) => (None, vec![Fault::of_the_file(error)], 0),
        };
        Self { file, valid: checked.is_ok(), summary, faults, hidden_faults }
    }
}

/// One fault of a file.
#[derive(Serialize)]
struct Fault<'a> {
    what: String,
    /// The place, if the fault has one.
    #[serde(flatten)]
    place: Option<Place<'a>>,
}

#[derive(Serialize)]
struct Place<'a> {
    line: usize,
    column: usize,
    field: &'a str,
    help: &'a str,
    note: Option<&'a str>,
}

impl Fault<'_> {
    fn of_the_file(error: &ConfigError) -> Self {
        Self { what: error.to_string(), place: None }
    }
}

impl<'a> From<&'a Complaint> for Fault<'a> {
    fn from(complaint: &'a Complaint) -> Self {
        let Complaint { line, column, field, what, help, note, .. } = complaint;
        let place = Place { line: *line, column: *column, field, help, note: note.as_deref() };
        Self { what: what.clone(), place: Some(place) }
    }
}

/// How much there is in a configuration.
#[derive(Serialize)]
struct Summary {
    interfaces: usize,
    peer_groups: usize,
    tenants: usize,
    listeners: usize,
    backends: usize,
    egress_mappings: usize,
}

impl Summary {
    fn new(config: &Config) -> Self {
        let tenants = &config.tenants;
        let pools = tenants.iter().flat_map(|tenant| &tenant.pools);
        Self {
            interfaces: config.interfaces.len(),
            peer_groups: config.peer_groups.len(),
            tenants: tenants.len(),
            listeners: tenants.iter().map(|tenant| tenant.listeners.len()).sum(),
            backends: pools.map(|pool| pool.backends.len()).sum(),
            egress_mappings: tenants.iter().map(|tenant| tenant.egress.len()).sum(),
        }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [
            (self.tenants, "tenant"),
            (self.listeners, "listener"),
            (self.backends, "backend"),
            (self.egress_mappings, "egress mapping"),
            (self.peer_groups, "peer group"),
            (self.interfaces, "interface"),
        ];
        f.write_str(&parts.map(|(number, what)| counted(number as u64, what)).join(", "))
    }
}
