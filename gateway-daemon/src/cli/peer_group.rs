//! `gateway-daemon peer-group`.

use clap::{Args, Subcommand};
use hyper::Method;

use super::Exit;
use super::change::ChangeOptions;
use super::client::ClientOptions;
use super::columns::Align::Left;
use super::columns::Columns;
use crate::api::change::Ask;
use crate::api::client::{Client, ClientError};
use crate::api::types::PeerGroupList;
use crate::tenancy::spec::{Document, EndpointSpec, PeerGroupSpec};

/// Options of `peer-group`.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct PeerGroupOptions {
    /// What to do.
    #[command(subcommand)]
    pub command: PeerGroupCommand,
}

/// What to do with peer groups.
#[derive(Debug, Subcommand)]
pub enum PeerGroupCommand {
    /// Add a peer group.
    Add(EndpointsOptions),
    /// List the peer groups.
    List(ClientOptions),
    /// Show one peer group, as `apply` takes it.
    Show(ShowOptions),
    /// Give a peer group other endpoints.
    Set(EndpointsOptions),
    /// Remove a peer group.
    Remove(NamedOptions),
}

/// Options of `peer-group add` and `peer-group set`.
#[derive(Debug, Args)]
pub struct EndpointsOptions {
    /// Name of the peer group
    pub name: String,
    /// An endpoint, as in tcp:203.0.113.0/24:443 or icmp:203.0.113.7; may be repeated
    #[arg(long = "endpoint", value_name = "PROTOCOL:ADDRESS[:PORT]", required = true, value_parser = endpoint)]
    pub endpoints: Vec<EndpointSpec>,
    /// How.
    #[command(flatten)]
    pub change: ChangeOptions,
}

/// Options of `peer-group show`.
#[derive(Debug, Args)]
pub struct ShowOptions {
    /// Name of the peer group
    pub name: String,
    /// Whom to ask.
    #[command(flatten)]
    pub client: ClientOptions,
}

/// Options of `peer-group remove`.
#[derive(Debug, Args)]
pub struct NamedOptions {
    /// Name of the peer group
    pub name: String,
    /// How.
    #[command(flatten)]
    pub change: ChangeOptions,
}

fn endpoint(text: &str) -> Result<EndpointSpec, String> {
    let parts: Vec<_> = text.split(':').collect();
    let (protocol, address, port) = match parts.as_slice() {
        [protocol, address] => (*protocol, *address, None),
        [protocol, address, port] => (*protocol, *address, Some(*port)),
        _ => return Err("write an endpoint as tcp:203.0.113.0/24:443".to_owned()),
    };
    let port = port.map(str::parse).transpose().map_err(|_| "the port is not a number from 1 to 65535")?;
    Ok(EndpointSpec { address: address.to_owned(), protocol: protocol.to_owned(), port })
}

impl PeerGroupOptions {
    /// Asks the daemon and prints its answer.
    pub fn execute(&self) -> anyhow::Result<Exit> {
        match &self.command {
            PeerGroupCommand::Add(options) => options.add(),
            PeerGroupCommand::List(client) => list(client),
            PeerGroupCommand::Show(options) => options.execute(),
            PeerGroupCommand::Set(options) => options.set(),
            PeerGroupCommand::Remove(NamedOptions { name, change }) => {
                change.make(Ask::new(Method::DELETE, &["peer-groups", name]))
            }
        }
    }
}

impl EndpointsOptions {
    fn put(&self) -> Ask {
        let group = PeerGroupSpec { name: self.name.clone(), endpoint: self.endpoints.clone() };
        Ask::new(Method::PUT, &["peer-groups", &self.name]).with(&group)
    }

    fn add(&self) -> anyhow::Result<Exit> {
        self.change.make(self.put().query("only_new", "true"))
    }

    /// One that is not there is not to be set: read first.
    fn set(&self) -> anyhow::Result<Exit> {
        self.change.revise(&["peer-groups", &self.name], |_: PeerGroupSpec| Ok(self.put()))
    }
}

impl ShowOptions {
    fn execute(&self) -> anyhow::Result<Exit> {
        let ask = Ask::new(Method::GET, &["peer-groups", &self.name]);
        let shown = async |client: &Client| client.send(&ask).await.map(|answer| answer.value);
        self.client.show::<PeerGroupSpec, ClientError>(shown, |group| {
            let document = Document { peer_group: vec![group.clone()], ..Document::default() };
            super::versions::toml(&document)
        })
    }
}

fn list(client: &ClientOptions) -> anyhow::Result<Exit> {
    client.show::<PeerGroupList, ClientError>(async |client| client.get("/v1/peer-groups").await, render)
}

fn render(list: &PeerGroupList) -> String {
    let mut columns = Columns::new([("PEER GROUP", Left), ("ENDPOINTS", Left)]);
    for group in &list.peer_groups {
        columns.row([group.name.clone(), group.endpoint.iter().map(words).collect::<Vec<_>>().join(" ")]);
    }
    columns.render()
}

/// As `--endpoint` takes it.
fn words(endpoint: &EndpointSpec) -> String {
    let EndpointSpec { address, protocol, port } = endpoint;
    port.map_or_else(|| format!("{protocol}:{address}"), |port| format!("{protocol}:{address}:{port}"))
}
