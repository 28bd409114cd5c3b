//! `gateway-daemon flows`.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use clap::Args;
use tokio::time::{MissedTickBehavior, interval};

use super::Exit;
use super::client::ClientOptions;
use super::columns::Align::{Left, Right};
use super::columns::Columns;
use super::format::{counted, duration, grouped};
use super::output::print_line;
use crate::api::client::Client;
use crate::api::types::{
    AddressOrPrefix, Endpoints, Flow, FlowFilter, FlowLimit, FlowList, FlowState, Protocol,
};

/// How often `--follow` looks.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

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
    /// Only flows from this address or prefix, before or after translation
    #[arg(long, value_name = "ADDRESS")]
    pub source: Option<AddressOrPrefix>,
    /// Only flows to this address or prefix, before or after translation
    #[arg(long, value_name = "ADDRESS")]
    pub destination: Option<AddressOrPrefix>,
    /// Only flows with this port at either end, before or after translation
    #[arg(long)]
    pub port: Option<u16>,
    /// How many flows at most, up to 10000
    #[arg(long, value_name = "COUNT", default_value_t)]
    pub limit: FlowLimit,
    /// Only how many there are
    #[arg(long, conflicts_with = "follow")]
    pub count: bool,
    /// Go on, and print flows as they come up; with `--json` one object a line
    #[arg(long)]
    pub follow: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub client: ClientOptions,
}

impl FlowsOptions {
    /// Asks the daemon and prints its answer.
    pub fn execute(&self) -> anyhow::Result<Exit> {
        if self.follow {
            return self.client.stay(async |client| self.watch(client).await);
        }
        let filter = self.filter();
        self.client.show(
            async |client| client.flows(&filter).await,
            |list| {
                if self.count { total(&FlowList { truncated: false, ..list.clone() }) } else { render(list) }
            },
        )
    }

    fn filter(&self) -> FlowFilter {
        FlowFilter {
            tenant: self.tenant.clone(),
            protocol: self.protocol,
            state: self.state,
            source: self.source,
            destination: self.destination,
            port: self.port,
            count: self.count,
            limit: self.limit,
        }
    }

    /// Until nobody reads any more.
    async fn watch(&self, client: &Client) -> anyhow::Result<Exit> {
        let filter = FlowFilter { limit: FlowLimit::MAX, ..self.filter() };
        let (mut followed, mut ticks) = (Followed::default(), interval(FOLLOW_EVERY));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for flow in followed.fresh(client.flows(&filter).await?.flows) {
                if !print_line(&self.line(&flow)?)? {
                    return Ok(Exit::Done);
                }
            }
        }
    }

    fn line(&self, flow: &Flow) -> anyhow::Result<String> {
        if self.client.json {
            return Ok(serde_json::to_string(flow)?);
        }
        let [tenant, direction, protocol, state, original, translated, ..] = row(flow);
        Ok(format!("{tenant}  {direction}  {protocol}  {state}  {original}  {translated}"))
    }
}

/// What makes a flow the same at the next look.
type FlowName = (Protocol, Endpoints);

/// The flows of the last look.
#[derive(Default)]
pub(super) struct Followed(HashSet<FlowName>);

impl Followed {
    /// Those that the last look did not have.
    pub(super) fn fresh(&mut self, flows: Vec<Flow>) -> Vec<Flow> {
        let now: HashSet<FlowName> = flows.iter().map(|flow| (flow.protocol, flow.original)).collect();
        let before = std::mem::replace(&mut self.0, now);
        flows.into_iter().filter(|flow| !before.contains(&(flow.protocol, flow.original))).collect()
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
pub(super) fn ends(protocol: Protocol, ends: &Endpoints) -> String {
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
