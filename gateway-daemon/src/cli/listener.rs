//! `gateway-daemon listener`.

use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;

use super::Exit;
use super::change::ChangeOptions;
use super::client::ClientOptions;
use super::columns::Align::{Left, Right};
use super::columns::Columns;
use super::mistake::Mistake;
use crate::api::change::Ask;
use crate::api::client::{Client, ClientError};
use crate::api::types::TenantList;
use crate::tenancy::spec::{ListenerSpec, TenantSpec};

/// Options of `listener`.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct ListenerOptions {
    /// What to do.
    #[command(subcommand)]
    pub command: ListenerCommand,
}

/// What to do with listeners.
#[derive(Debug, Subcommand)]
pub enum ListenerCommand {
    /// Add a listener: a port of the ingress VIP.
    Add(AddOptions),
    /// Remove a listener.
    Remove(RemoveOptions),
    /// List the listeners.
    List(ListOptions),
}

/// Protocols of listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListenerProtocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

/// What backends see as the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListenerSource {
    /// The tenant NAT IP
    Nat,
    /// The client's own address
    Preserve,
}

/// Options of `listener add`.
#[derive(Debug, Args)]
pub struct AddOptions {
    /// Name of the tenant
    pub tenant: String,
    /// Name of the listener
    pub name: String,
    /// Its protocol
    #[arg(long, value_enum, default_value = "tcp")]
    pub protocol: ListenerProtocol,
    /// Its port
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// Name of the pool that gets its flows
    #[arg(long)]
    pub pool: String,
    /// Who may connect, as prefix; may be repeated
    #[arg(long, value_name = "PREFIX", required = true)]
    pub allow: Vec<String>,
    /// What backends see as the source
    #[arg(long, value_enum)]
    pub source: Option<ListenerSource>,
    /// How.
    #[command(flatten)]
    pub change: ChangeOptions,
}

/// Options of `listener remove`.
#[derive(Debug, Args)]
pub struct RemoveOptions {
    /// Name of the tenant
    pub tenant: String,
    /// Name of the listener
    pub name: String,
    /// How.
    #[command(flatten)]
    pub change: ChangeOptions,
}

/// Options of `listener list`.
#[derive(Debug, Args)]
pub struct ListOptions {
    /// Only those of this tenant
    pub tenant: Option<String>,
    /// Whom to ask.
    #[command(flatten)]
    pub client: ClientOptions,
}

impl ListenerOptions {
    /// Asks the daemon and prints its answer.
    pub fn execute(&self) -> anyhow::Result<Exit> {
        match &self.command {
            ListenerCommand::Add(options) => options.execute(),
            ListenerCommand::Remove(RemoveOptions { tenant, name, change }) => {
                change.make(Ask::new(Method::DELETE, &["tenants", tenant, "listeners", name]))
            }
            ListenerCommand::List(options) => options.execute(),
        }
    }
}

impl AddOptions {
    fn execute(&self) -> anyhow::Result<Exit> {
        self.change.revise(&["tenants", &self.tenant], |tenant: TenantSpec| {
            if tenant.listener.iter().any(|listener| listener.name == self.name) {
                let what = format!("tenant `{}` has a listener `{}` already", self.tenant, self.name);
                return Err(Mistake::new(what, "remove it first, or choose another name").into());
            }
            let names = ["tenants", &self.tenant, "listeners", &self.name];
            Ok(Ask::new(Method::PUT, &names).with(&self.listener()))
        })
    }

    fn listener(&self) -> ListenerSpec {
        ListenerSpec {
            name: self.name.clone(),
            protocol: word(self.protocol),
            port: self.port,
            pool: self.pool.clone(),
            source: self.source.map(word),
            allow: self.allow.clone(),
        }
    }
}

/// The word that stands for a value on the command line, and in the API.
pub(super) fn word(value: impl ValueEnum + Copy) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

impl ListOptions {
    fn execute(&self) -> anyhow::Result<Exit> {
        let ask = async |client: &Client| tenants(client, self.tenant.as_deref()).await;
        self.client.show(ask, |list| render(list))
    }
}

/// One tenant, or all.
pub(super) async fn tenants(client: &Client, name: Option<&str>) -> Result<Vec<TenantSpec>, ClientError> {
    match name {
        Some(name) => Ok(vec![client.send(&Ask::new(Method::GET, &["tenants", name])).await?.value]),
        None => client.get::<TenantList>("/v1/tenants").await.map(|list| list.tenants),
    }
}

fn render(tenants: &[TenantSpec]) -> String {
    let mut columns = Columns::new([
        ("TENANT", Left),
        ("LISTENER", Left),
        ("PROTOCOL", Left),
        ("PORT", Right),
        ("POOL", Left),
        ("SOURCE", Left),
        ("ALLOW", Left),
    ]);
    for (tenant, listener) in
        tenants.iter().flat_map(|one| one.listener.iter().map(move |below| (one, below)))
    {
        columns.row([
            tenant.name.clone(),
            listener.name.clone(),
            listener.protocol.clone(),
            listener.port.to_string(),
            listener.pool.clone(),
            listener.source.clone().unwrap_or_else(|| "nat".to_owned()),
            listener.allow.join(","),
        ]);
    }
    columns.render()
}
