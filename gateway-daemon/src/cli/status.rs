//! `gateway-daemon status`.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;

use super::Exit;
use super::client::ClientOptions;
use super::columns::Align::{Left, Right};
use super::columns::Columns;
use super::format::{bytes, counted, duration, grouped, percent};
use crate::api::types::{InterfaceStatus, Status, TableStatus, TenantStatus};

/// Tenants that are shown to people, the busiest ones: about a screen full.
const TENANTS_SHOWN: usize = 20;

/// Options of `status`.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct StatusOptions {
    /// Whom to ask.
    #[command(flatten)]
    pub client: ClientOptions,
}

impl StatusOptions {
    /// Asks the daemon and prints its answer.
    pub fn execute(&self) -> anyhow::Result<Exit> {
        self.client.show(async |client| client.status().await, |status| render(status, SystemTime::now()))
    }
}

/// The status at a glance.
pub(super) fn render(status: &Status, now: SystemTime) -> String {
    let parts = [
        summary(status, now),
        warnings(&status.warnings),
        repairs(status, now),
        interfaces(&status.interfaces),
        tables(&status.tables),
        packets(status),
        tenants(&status.tenants),
    ];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}

fn summary(status: &Status, now: SystemTime) -> String {
    let Status { version, node, config, vips, .. } = status;
    let now_unix_secs = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let loaded = duration(now_unix_secs.saturating_sub(config.loaded_at_unix_secs));
    format!(
        "gateway  {}\n\
         node     {} (number {}), daemon {version}, pid {}\n\
         config   {}, generation {}, loaded {loaded} ago\n\
         VIPs     ingress {}, egress {}\n",
        state(status),
        node.name,
        node.id,
        node.pid,
        config.path.display(),
        config.generation,
        vips.ingress,
        vips.egress,
    )
}

/// Is it up?
fn state(status: &Status) -> String {
    let uptime = duration(status.node.uptime_secs);
    let missing = status.interfaces.iter().filter(|interface| !interface.is_attached()).count() as u64;
    let warnings = match status.warnings.len() as u64 {
        0 => String::new(),
        warnings => format!(", {}", counted(warnings, "warning")),
    };
    match missing {
        0 => format!("up for {uptime}{warnings}"),
        _ => format!(
            "DEGRADED: {} not attached{warnings}; running for {uptime}",
            counted(missing, "interface")
        ),
    }
}

fn warnings(warnings: &[String]) -> String {
    warnings.iter().flat_map(|warning| ["warning: ", warning, "\n"]).collect()
}

/// What somebody else has changed, and the daemon has put back.
fn repairs(status: &Status, now: SystemTime) -> String {
    let repairs = &status.repairs;
    let out_of_step =
        if repairs.out_of_step { "warning: the tables are out of step with the configuration\n" } else { "" };
    let (Some(last), Some(at)) = (&repairs.last, repairs.last_at_unix_secs) else {
        return out_of_step.to_owned();
    };
    let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let total: u64 = repairs.counts.values().sum();
    let ago = duration(now.saturating_sub(at));
    format!("{out_of_step}repaired {} since the start, last {last}, {ago} ago\n", counted(total, "thing"))
}

fn interfaces(interfaces: &[InterfaceStatus]) -> String {
    let mut columns = Columns::new([
        ("INTERFACE", Left),
        ("SIDE", Left),
        ("HOOK", Left),
        ("STATE", Left),
        ("FORWARDING", Left),
        ("MAC", Left),
        ("WHY", Left),
    ]);
    for interface in interfaces {
        columns.row([
            interface.name.clone(),
            interface.side.to_string(),
            hook(interface),
            attachment(interface).to_owned(),
            if interface.forwarding { "on" } else { "OFF" }.to_owned(),
            interface.mac.clone().unwrap_or_else(|| "-".to_owned()),
            interface.why.clone(),
        ]);
    }
    columns.render()
}

fn hook(interface: &InterfaceStatus) -> String {
    match (interface.hook, interface.xdp_mode) {
        (Some(hook), Some(mode)) => format!("{hook}/{mode}"),
        (Some(hook), None) => hook.to_string(),
        (None, _) => "-".to_owned(),
    }
}

fn attachment(interface: &InterfaceStatus) -> &'static str {
    match (interface.ifindex, interface.hook) {
        (None, _) => "MISSING",
        (Some(_), None) => "DETACHED",
        (Some(_), Some(_)) if interface.adopted => "adopted",
        (Some(_), Some(_)) => "attached",
    }
}

fn tables(tables: &[TableStatus]) -> String {
    let mut columns =
        Columns::new([("TABLE", Left), ("ENTRIES", Right), ("CAPACITY", Right), ("FULL", Right)]);
    for table in tables {
        columns.row([
            table.name.clone(),
            grouped(table.entries),
            grouped(table.capacity),
            percent(table.entries, table.capacity),
        ]);
    }
    columns.render()
}

fn packets(status: &Status) -> String {
    let mut columns = Columns::new([("COUNTER", Left), ("VALUE", Right)]);
    for (name, value) in &status.counters {
        columns.row([name.clone(), grouped(*value)]);
    }
    columns.render()
}

fn tenants(tenants: &[TenantStatus]) -> String {
    let mut columns = Columns::new([
        ("TENANT", Left),
        ("NAT IP", Left),
        ("FLOWS", Right),
        ("HALF-OPEN", Right),
        ("COUNTED", Right),
        ("OPENED", Right),
        ("PKTS FROM NPCI", Right),
        ("BYTES", Right),
        ("PKTS TO NPCI", Right),
        ("BYTES", Right),
        ("DROPPED", Right),
    ]);
    for tenant in busiest(tenants) {
        columns.row(tenant_row(tenant));
    }
    columns.render() + &left_out(tenants.len())
}

fn tenant_row(tenant: &TenantStatus) -> [String; 11] {
    [
        tenant.name.clone(),
        tenant.nat_ip.to_string(),
        grouped(tenant.flows),
        grouped(tenant.half_open_flows),
        of_limit(tenant),
        grouped(tenant.flows_opened),
        grouped(tenant.from_external_packets),
        bytes(tenant.from_external_bytes),
        grouped(tenant.to_external_packets),
        bytes(tenant.to_external_bytes),
        grouped(tenant.dropped_packets),
    ]
}

/// Flows as they are counted against the limit, if there is one.
fn of_limit(tenant: &TenantStatus) -> String {
    let counted = grouped(tenant.counted_flows);
    tenant.max_flows.map_or(counted.clone(), |max| format!("{counted} of {}", grouped(max.into())))
}

/// The tenants to show: in their own order if all fit, else those that moved most bytes.
fn busiest(tenants: &[TenantStatus]) -> Vec<&TenantStatus> {
    let mut shown: Vec<_> = tenants.iter().collect();
    if shown.len() > TENANTS_SHOWN {
        let moved =
            |tenant: &TenantStatus| tenant.from_external_bytes.saturating_add(tenant.to_external_bytes);
        shown.sort_by_key(|tenant| std::cmp::Reverse(moved(tenant)));
        shown.truncate(TENANTS_SHOWN);
    }
    shown
}

fn left_out(tenants: usize) -> String {
    match tenants.saturating_sub(TENANTS_SHOWN) {
        0 => String::new(),
        more => format!("... and {}: --json has them all\n", counted(more as u64, "quieter tenant")),
    }
}
