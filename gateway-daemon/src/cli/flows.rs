//! `gateway-daemon flows`.

use std::net::Ipv4Addr;

use clap::Args;

use super::Exit;
use super::client::ClientOptions;
use super::columns::Align::{Left, Right};
use super::columns::Columns;
use super::format::{counted, duration, grouped};
use crate::api::types::{Endpoints, Flow, FlowFilter, FlowLimit, FlowList, FlowState, Protocol};

/// Options of `flows`.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct FlowsOptions {
    /// Only flows of this tenant
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// Only flows of this protocol
    #[arg(long, value_name = "PROTOCOL", value_enum)]
    pub protocol: Option<Protocol>,
    /// Only flows in this state
    #[arg(long, value_name = "STATE", value_enum)]
    pub state: Option<FlowState>,
    /// How many flows at most, up to 10000
    #[arg(long, value_name = "COUNT", default_value_t)]
    pub limit: FlowLimit,
    /// Whom to ask.
    #[command(flatten)]
    pub client: ClientOptions,
}

impl FlowsOptions {
    /// Asks the daemon and prints its answer.
    pub fn execute(&self) -> anyhow::Result<Exit> {
        let filter = FlowFilter {
            tenant: self.tenant.clone(),
            protocol: self.protocol,
            state: self.state,
            limit: self.limit,
            ..FlowFilter::default()
        };
        self.client.show(async |client| client.flows(&filter).await, render)
    }
}

/// One line a flow, and how many there are.
pub(super) fn render(list: &FlowList) -> String {
    let mut columns = Columns::new([
        ("TENANT", Left),
        ("DIRECTION", Left),
        ("PROTOCOL", Left),
        ("STATE", Left),
        ("ORIGINAL", Left),
        ("TRANSLATED", Left),
        ("AGE", Right),
        ("IDLE", Right),
        ("EXPIRES IN", Right),
        ("OWNER", Right),
    ]);
    for flow in &list.flows {
        columns.row(row(flow));
    }
    if list.flows.is_empty() { total(list) } else { columns.render() + &total(list) }
}

fn row(flow: &Flow) -> [String; 10] {
    [
        flow.tenant.clone(),
        flow.direction.to_string(),
        flow.protocol.to_string(),
        flow.state.to_string(),
        ends(flow.protocol, &flow.original),
        ends(flow.protocol, &flow.translated),
        duration(flow.age_secs),
        duration(flow.idle_secs),
        duration(flow.expires_in_secs),
        flow.owner.to_string(),
    ]
}

/// `a:1->b:2`, in one word.
fn ends(protocol: Protocol, ends: &Endpoints) -> String {
    let source = end(ends.source, ends.source_port);
    match protocol {
        Protocol::Tcp | Protocol::Udp => {
            format!("{source}->{}", end(ends.destination, ends.destination_port))
        }
        Protocol::Icmp => format!("{source}->{}", ends.destination),
    }
}

fn end(address: Ipv4Addr, port: u16) -> String {
    format!("{address}:{port}")
}

fn total(list: &FlowList) -> String {
    let total = counted(list.total, "flow");
    if list.truncated {
        format!("showing {} of {total}: --limit shows more\n", grouped(list.flows.len() as u64))
    } else {
        format!("{total}\n")
    }
}
