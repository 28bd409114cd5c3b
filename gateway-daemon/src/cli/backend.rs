//! `gateway-daemon backend`.

use std::net::SocketAddrV4;

use clap::{Args, Subcommand};
use hyper::Method;

use super::Exit;
use super::change::ChangeOptions;
use super::drain::DeadlineOption;
use super::health::ListOptions;
use super::mistake::Mistake;
use crate::api::change::Ask;
use crate::api::types::WeightRequest;
use crate::tenancy::spec::{BackendSpec, TenantSpec};

/// Options of `backend`.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct BackendOptions {
    /// What to do.
    #[command(subcommand)]
    pub command: BackendCommand,
}

/// What to do with backends.
#[derive(Debug, Subcommand)]
pub enum BackendCommand {
    /// Add a backend to a pool.
    Add(AddOptions),
    /// Remove a backend.
    Remove(NamedOptions),
    /// Change a backend's share of new flows.
    Weight(WeightOptions),
    /// Give a backend no new flows, and let those that it has end.
    Drain(DrainOptions),
    /// Give a backend new flows again.
    Resume(NamedOptions),
    /// Give a backend no new flows, and reset those that it has.
    Maintenance(NamedOptions),
    /// List the backends and their health.
    List(ListOptions),
}

/// Which backend.
#[derive(Debug, Args)]
pub struct BackendName {
    /// Name of the tenant
    pub tenant: String,
    /// Name of the pool
    pub pool: String,
    /// Address and port of the backend
    #[arg(value_name = "ADDRESS:PORT")]
    pub backend: SocketAddrV4,
}

/// Options of `backend add`.
#[derive(Debug, Args)]
pub struct AddOptions {
    /// Which.
    #[command(flatten)]
    pub name: BackendName,
    /// Its share of new flows
    #[arg(long)]
    pub weight: Option<u16>,
    /// How.
    #[command(flatten)]
    pub change: ChangeOptions,
}

/// Options of `backend weight`.
#[derive(Debug, Args)]
pub struct WeightOptions {
    /// Which.
    #[command(flatten)]
    pub name: BackendName,
    /// The share
    pub weight: u16,
    /// How.
    #[command(flatten)]
    pub change: ChangeOptions,
}

/// Options of `backend drain`.
#[derive(Debug, Args)]
pub struct DrainOptions {
    /// Which.
    #[command(flatten)]
    pub name: BackendName,
    /// Until when.
    #[command(flatten)]
    pub deadline: DeadlineOption,
    /// How.
    #[command(flatten)]
    pub change: ChangeOptions,
}

/// Options of the verbs that only name a backend.
#[derive(Debug, Args)]
pub struct NamedOptions {
    /// Which.
    #[command(flatten)]
    pub name: BackendName,
    /// How.
    #[command(flatten)]
    pub change: ChangeOptions,
}

impl BackendName {
    fn ask(&self, method: Method, verb: Option<&str>) -> Ask {
        let backend = self.backend.to_string();
        let names = ["tenants", &self.tenant, "pools", &self.pool, "backends", &backend];
        Ask::new(method, &names.into_iter().chain(verb).collect::<Vec<_>>())
    }
}

impl BackendOptions {
    /// Asks the daemon and prints its answer.
    pub fn execute(&self) -> anyhow::Result<Exit> {
        match &self.command {
            BackendCommand::Add(options) => options.execute(),
            BackendCommand::Remove(NamedOptions { name, change }) => {
                change.make(name.ask(Method::DELETE, None))
            }
            BackendCommand::Weight(WeightOptions { name, weight, change }) => {
                change.make(name.ask(Method::PATCH, None).with(&WeightRequest { weight: *weight }))
            }
            BackendCommand::Drain(DrainOptions { name, deadline, change }) => {
                change.make(name.ask(Method::POST, Some("drain")).with(&deadline.request()?))
            }
            BackendCommand::Resume(options) => options.order("resume"),
            BackendCommand::Maintenance(options) => options.order("maintenance"),
            BackendCommand::List(options) => options.execute(),
        }
    }
}

impl NamedOptions {
    fn order(&self, verb: &str) -> anyhow::Result<Exit> {
        self.change.make(self.name.ask(Method::POST, Some(verb)))
    }
}

impl AddOptions {
    fn execute(&self) -> anyhow::Result<Exit> {
        let BackendName { tenant, pool, backend } = &self.name;
        self.change.revise(&["tenants", tenant], |found: TenantSpec| {
            if has(&found, pool, *backend) {
                let what = format!("pool `{pool}` of tenant `{tenant}` has a backend {backend} already");
                return Err(Mistake::new(what, "`backend weight` changes its share").into());
            }
            Ok(self.name.ask(Method::PUT, None).with(&self.backend()))
        })
    }

    fn backend(&self) -> BackendSpec {
        BackendSpec {
            address: self.name.backend.ip().to_string(),
            port: self.name.backend.port(),
            weight: self.weight,
            ..BackendSpec::default()
        }
    }
}

fn has(tenant: &TenantSpec, pool: &str, backend: SocketAddrV4) -> bool {
    let pools = tenant.pool.iter().filter(|one| one.name == pool);
    let mut backends = pools.flat_map(|pool| &pool.backend);
    backends.any(|one| one.port == backend.port() && one.address == backend.ip().to_string())
}
