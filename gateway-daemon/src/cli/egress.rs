//! `gateway-daemon egress`.

use std::net::SocketAddrV4;

use clap::{Args, Subcommand};
use hyper::Method;

use super::Exit;
use super::change::ChangeOptions;
use super::columns::Align::{Left, Right};
use super::columns::Columns;
use super::listener::{ListOptions, tenants};
use super::mistake::Mistake;
use crate::api::change::Ask;
use crate::tenancy::protocol_port::ProtocolPort;
use crate::tenancy::spec::{EgressSpec, TenantSpec};

/// Options of `egress`.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct EgressOptions {
    /// What to do.
    #[command(subcommand)]
    pub command: EgressCommand,
}

/// What to do with addressed egress.
#[derive(Debug, Subcommand)]
pub enum EgressCommand {
    /// Add addressed egress: a port of the tenant NAT IP that leads to one NPCI endpoint.
    Add(AddOptions),
    /// Remove addressed egress.
    Remove(RemoveOptions),
    /// List the addressed egress.
    List(ListOptions),
}

/// Which of a tenant's addressed egress.
#[derive(Debug, Args)]
pub struct EgressName {
    /// Name of the tenant
    pub tenant: String,
    /// Protocol and port of the tenant NAT IP, as in tcp:9001
    #[arg(value_name = "PROTOCOL:PORT")]
    pub egress: ProtocolPort,
}

/// Options of `egress add`.
#[derive(Debug, Args)]
pub struct AddOptions {
    /// Which.
    #[command(flatten)]
    pub name: EgressName,
    /// The endpoint that it leads to, which a peer group of the tenant has to allow
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub to: SocketAddrV4,
    /// How.
    #[command(flatten)]
    pub change: ChangeOptions,
}

/// Options of `egress remove`.
#[derive(Debug, Args)]
pub struct RemoveOptions {
    /// Which.
    #[command(flatten)]
    pub name: EgressName,
    /// How.
    #[command(flatten)]
    pub change: ChangeOptions,
}

impl EgressName {
    fn ask(&self, method: Method) -> Ask {
        Ask::new(method, &["tenants", &self.tenant, "egress", &self.egress.to_string()])
    }
}

impl EgressOptions {
    /// Asks the daemon and prints its answer.
    pub fn execute(&self) -> anyhow::Result<Exit> {
        match &self.command {
            EgressCommand::Add(options) => options.execute(),
            EgressCommand::Remove(RemoveOptions { name, change }) => change.make(name.ask(Method::DELETE)),
            EgressCommand::List(options) => list(options),
        }
    }
}

impl AddOptions {
    fn execute(&self) -> anyhow::Result<Exit> {
        let EgressName { tenant, egress } = &self.name;
        self.change.revise(&["tenants", tenant], |found: TenantSpec| {
            if found.egress.iter().any(|one| egress.is(one)) {
                let what = format!("tenant `{tenant}` has an addressed egress `{egress}` already");
                return Err(Mistake::new(what, "remove it first, or choose another port").into());
            }
            Ok(self.name.ask(Method::PUT).with(&self.egress()))
        })
    }

    fn egress(&self) -> EgressSpec {
        let ProtocolPort { protocol, port } = self.name.egress;
        EgressSpec { protocol: protocol.to_owned(), port: port.get(), to: self.to.to_string() }
    }
}

fn list(options: &ListOptions) -> anyhow::Result<Exit> {
    options.client.show(async |client| tenants(client, options.tenant.as_deref()).await, |list| render(list))
}

fn render(tenants: &[TenantSpec]) -> String {
    let mut columns = Columns::new([
        ("TENANT", Left),
        ("NAT IP", Left),
        ("PROTOCOL", Left),
        ("PORT", Right),
        ("LEADS TO", Left),
    ]);
    for (tenant, egress) in tenants.iter().flat_map(|one| one.egress.iter().map(move |below| (one, below))) {
        columns.row([
            tenant.name.clone(),
            tenant.nat_ip.clone(),
            egress.protocol.clone(),
            egress.port.to_string(),
            egress.to.clone(),
        ]);
    }
    columns.render()
}
