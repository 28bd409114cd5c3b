//! `gateway-daemon tenant`.

use std::net::Ipv4Addr;

use clap::{Args, Subcommand};
use hyper::Method;

use super::Exit;
use super::change::ChangeOptions;
use super::client::ClientOptions;
use super::columns::Align::{Left, Right};
use super::columns::Columns;
use super::drain::DeadlineOption;
use super::format::grouped;
use super::tenant_limits::LimitOptions;
use crate::api::change::Ask;
use crate::api::client::{Client, ClientError};
use crate::api::types::TenantList;
use crate::tenancy::spec::{AdminState, Document, TenantSpec};

/// Options of `tenant`.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct TenantOptions {
    /// What to do.
    #[command(subcommand)]
    pub command: TenantCommand,
}

/// What to do with tenants.
#[derive(Debug, Subcommand)]
pub enum TenantCommand {
    /// Add a tenant.
    Add(AddOptions),
    /// List the tenants.
    List(ClientOptions),
    /// Show one tenant, as `apply` takes it.
    Show(ShowOptions),
    /// Change fields of a tenant; what is not named stays.
    Set(SetOptions),
    /// Remove a tenant, with its listeners and pools.
    Remove(NamedOptions),
    /// Take no new flows of a tenant, and let those that it has end.
    Drain(DrainOptions),
    /// Take new flows of a tenant again.
    Resume(NamedOptions),
    /// Take no new flows of a tenant, and reset those that it has.
    Maintenance(NamedOptions),
}

/// Options of `tenant add`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("fields").multiple(true))]
pub struct AddOptions {
    /// Name of the tenant
    pub name: String,
    /// The inside address that stands for it
    #[arg(long, value_name = "ADDRESS")]
    pub nat_ip: Ipv4Addr,
    /// Its own addresses, as prefixes; may be repeated
    #[arg(long = "source", value_name = "PREFIX", required = true)]
    pub sources: Vec<String>,
    /// Name of a peer group that it may call; may be repeated
    #[arg(long = "peer-group", value_name = "NAME")]
    pub peer_groups: Vec<String>,
    /// Name of a tenant whose listeners it may call; may be repeated
    #[arg(long = "hairpin-to", value_name = "NAME")]
    pub hairpin_to: Vec<String>,
    /// What it may take of what all share.
    #[command(flatten)]
    pub limits: LimitOptions,
    /// How.
    #[command(flatten)]
    pub change: ChangeOptions,
}

/// Options of `tenant show`.
#[derive(Debug, Args)]
pub struct ShowOptions {
    /// Name of the tenant
    pub name: String,
    /// Whom to ask.
    #[command(flatten)]
    pub client: ClientOptions,
}

/// Options of `tenant set`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("fields").required(true).multiple(true))]
pub struct SetOptions {
    /// Name of the tenant
    pub name: String,
    /// The inside address that stands for it
    #[arg(long, value_name = "ADDRESS", group = "fields")]
    pub nat_ip: Option<Ipv4Addr>,
    /// Its own addresses, as prefixes, instead of those that it has; may be repeated
    #[arg(long = "source", value_name = "PREFIX", group = "fields")]
    pub sources: Vec<String>,
    /// Name of a peer group that it may call, instead of those that it may; may be repeated
    #[arg(long = "peer-group", value_name = "NAME", group = "fields")]
    pub peer_groups: Vec<String>,
    /// Let it call no peer group
    #[arg(long, conflicts_with = "peer_groups", group = "fields")]
    pub no_peer_groups: bool,
    /// Name of a tenant whose listeners it may call, instead of those that it may; may be repeated
    #[arg(long = "hairpin-to", value_name = "NAME", group = "fields")]
    pub hairpin_to: Vec<String>,
    /// Let it call no tenant
    #[arg(long, conflicts_with = "hairpin_to", group = "fields")]
    pub no_hairpin: bool,
    /// What it may take of what all share.
    #[command(flatten)]
    pub limits: LimitOptions,
    /// How.
    #[command(flatten)]
    pub change: ChangeOptions,
}

/// Options of the verbs that only name a tenant.
#[derive(Debug, Args)]
pub struct NamedOptions {
    /// Name of the tenant
    pub name: String,
    /// How.
    #[command(flatten)]
    pub change: ChangeOptions,
}

/// Options of `tenant drain`.
#[derive(Debug, Args)]
pub struct DrainOptions {
    /// Name of the tenant
    pub name: String,
    /// Until when.
    #[command(flatten)]
    pub deadline: DeadlineOption,
    /// How.
    #[command(flatten)]
    pub change: ChangeOptions,
}

impl TenantOptions {
    /// Asks the daemon and prints its answer.
    pub fn execute(&self) -> anyhow::Result<Exit> {
        match &self.command {
            TenantCommand::Add(options) => options.execute(),
            TenantCommand::List(client) => list(client),
            TenantCommand::Show(options) => options.execute(),
            TenantCommand::Set(options) => options.execute(),
            TenantCommand::Remove(options) => {
                options.change.make(Ask::new(Method::DELETE, &["tenants", &options.name]))
            }
            TenantCommand::Drain(options) => {
                let ask = Ask::new(Method::POST, &["tenants", &options.name, "drain"]);
                options.change.make(ask.with(&options.deadline.request()?))
            }
            TenantCommand::Resume(options) => options.order("resume"),
            TenantCommand::Maintenance(options) => options.order("maintenance"),
        }
    }
}

impl NamedOptions {
    fn order(&self, verb: &str) -> anyhow::Result<Exit> {
        self.change.make(Ask::new(Method::POST, &["tenants", &self.name, verb]))
    }
}

impl AddOptions {
    fn execute(&self) -> anyhow::Result<Exit> {
        let mut tenant = TenantSpec {
            name: self.name.clone(),
            nat_ip: self.nat_ip.to_string(),
            sources: self.sources.clone(),
            peer_groups: self.peer_groups.clone(),
            hairpin_to: self.hairpin_to.clone(),
            ..TenantSpec::default()
        };
        self.limits.set(&mut tenant);
        let ask = Ask::new(Method::PUT, &["tenants", &self.name]).query("only_new", "true");
        self.change.make(ask.with(&tenant))
    }
}

impl ShowOptions {
    fn execute(&self) -> anyhow::Result<Exit> {
        let ask = Ask::new(Method::GET, &["tenants", &self.name]);
        let shown = async |client: &Client| client.send(&ask).await.map(|answer| answer.value);
        self.client.show::<TenantSpec, ClientError>(shown, |tenant| {
            let document = Document { tenant: vec![tenant.clone()], ..Document::default() };
            super::versions::toml(&document)
        })
    }
}

impl SetOptions {
    fn execute(&self) -> anyhow::Result<Exit> {
        let names = ["tenants", self.name.as_str()];
        self.change.revise(&names, |mut tenant: TenantSpec| {
            self.set(&mut tenant);
            Ok(Ask::new(Method::PUT, &names).with(&tenant))
        })
    }

    fn set(&self, tenant: &mut TenantSpec) {
        if let Some(nat_ip) = self.nat_ip {
            tenant.nat_ip = nat_ip.to_string();
        }
        if !self.sources.is_empty() {
            tenant.sources.clone_from(&self.sources);
        }
        if self.no_peer_groups || !self.peer_groups.is_empty() {
            tenant.peer_groups.clone_from(&self.peer_groups);
        }
        if self.no_hairpin || !self.hairpin_to.is_empty() {
            tenant.hairpin_to.clone_from(&self.hairpin_to);
        }
        self.limits.set(tenant);
    }
}

fn list(client: &ClientOptions) -> anyhow::Result<Exit> {
    client.show::<TenantList, ClientError>(async |client| client.get("/v1/tenants").await, render)
}

/// One line a tenant.
pub(super) fn render(list: &TenantList) -> String {
    let mut columns = Columns::new([
        ("TENANT", Left),
        ("NAT IP", Left),
        ("STATE", Left),
        ("SOURCES", Left),
        ("PEER GROUPS", Left),
        ("LISTENERS", Right),
        ("BACKENDS", Right),
        ("MAX FLOWS", Right),
    ]);
    for tenant in &list.tenants {
        columns.row([
            tenant.name.clone(),
            tenant.nat_ip.clone(),
            word(tenant.state).to_owned(),
            tenant.sources.join(","),
            if tenant.peer_groups.is_empty() { "-".to_owned() } else { tenant.peer_groups.join(",") },
            tenant.listener.len().to_string(),
            tenant.pool.iter().map(|pool| pool.backend.len()).sum::<usize>().to_string(),
            tenant.max_flows.map_or_else(|| "-".to_owned(), |max| grouped(max.into())),
        ]);
    }
    columns.render()
}

/// An administrative state in a table.
pub(super) fn word(state: AdminState) -> &'static str {
    match state {
        AdminState::Active => "active",
        AdminState::Draining => "draining",
        AdminState::Maintenance => "maintenance",
    }
}
