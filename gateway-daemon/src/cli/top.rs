//! `gateway-daemon top`: what the tenants move, live.

use std::collections::HashMap;
use std::io::{IsTerminal as _, stdout};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::Exit;
use super::client::ClientOptions;
use super::columns::Align::{Left, Right};
use super::columns::Columns;
use super::format::{bytes, grouped};
use super::output::{print, print_line};
use crate::api::client::Client;
use crate::api::types::{Status, TenantStatus};

/// Clears a terminal and goes to its first line.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Options of `top`.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct TopOptions {
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub interval: u64,
    /// Show it once and end
    #[arg(long)]
    pub once: bool,
    /// How many tenants at most, the busiest first
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    pub limit: usize,
    /// Whom to ask.
    #[command(flatten)]
    pub client: ClientOptions,
}

impl TopOptions {
    /// Shows rates until it is ended.
    pub fn execute(&self) -> anyhow::Result<Exit> {
        self.client.stay(async |client| self.watch(client).await)
    }

    async fn watch(&self, client: &Client) -> anyhow::Result<Exit> {
        let interval = Duration::from_secs(self.interval);
        let (mut before, mut seen) = (client.status().await?, Instant::now());
        let mut ticks = interval_at(seen + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let (after, now) = (client.status().await?, Instant::now());
            let more = self.show(&rates(&before, &after, now - seen, self.limit))?;
            if self.once || !more {
                return Ok(Exit::Done);
            }
            (before, seen) = (after, now);
        }
    }

    /// Is anybody still reading?
    fn show(&self, rates: &[Rates]) -> anyhow::Result<bool> {
        if self.client.json {
            return print_line(&serde_json::to_string(rates)?);
        }
        let clear = if stdout().is_terminal() && !self.once { CLEAR } else { "" };
        print(&format!("{clear}{}", render(rates))).map(|()| true)
    }
}

/// What a tenant moves a second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Rates {
    /// The tenant.
    tenant: String,
    /// Flows now tracked.
    flows: u64,
    /// Flows opened a second.
    opened: u64,
    /// Packets a second from NPCI.
    from_external_packets: u64,
    /// Bytes a second from NPCI.
    from_external_bytes: u64,
    /// Packets a second to NPCI.
    to_external_packets: u64,
    /// Bytes a second to NPCI.
    to_external_bytes: u64,
    /// Packets dropped a second.
    dropped: u64,
}

/// The busiest tenants between two looks. A tenant that is new has no rates yet; a counter that starts anew has none.
pub(super) fn rates(before: &Status, after: &Status, elapsed: Duration, limit: usize) -> Vec<Rates> {
    let old: HashMap<_, _> = before.tenants.iter().map(|tenant| (tenant.name.as_str(), tenant)).collect();
    let rate = |tenant: &TenantStatus| {
        let before = old.get(tenant.name.as_str()).copied().unwrap_or(tenant);
        rates_of(before, tenant, elapsed)
    };
    let mut rates: Vec<_> = after.tenants.iter().map(rate).collect();
    rates.sort_by_key(|one| std::cmp::Reverse(one.from_external_bytes.saturating_add(one.to_external_bytes)));
    rates.truncate(limit);
    rates
}

fn rates_of(before: &TenantStatus, after: &TenantStatus, elapsed: Duration) -> Rates {
    let millis = elapsed.as_millis().max(1);
    let per_second = |old: u64, new: u64| {
        u64::try_from(u128::from(new.saturating_sub(old)) * 1_000 / millis).unwrap_or(u64::MAX)
    };
    Rates {
        tenant: after.name.clone(),
        flows: after.flows,
        opened: per_second(before.flows_opened, after.flows_opened),
        from_external_packets: per_second(before.from_external_packets, after.from_external_packets),
        from_external_bytes: per_second(before.from_external_bytes, after.from_external_bytes),
        to_external_packets: per_second(before.to_external_packets, after.to_external_packets),
        to_external_bytes: per_second(before.to_external_bytes, after.to_external_bytes),
        dropped: per_second(before.dropped_packets, after.dropped_packets),
    }
}

/// One line a tenant.
pub(super) fn render(rates: &[Rates]) -> String {
    let mut columns = Columns::new([
        ("TENANT", Left),
        ("FLOWS", Right),
        ("NEW/S", Right),
        ("PKTS/S FROM NPCI", Right),
        ("BYTES/S", Right),
        ("PKTS/S TO NPCI", Right),
        ("BYTES/S", Right),
        ("DROPS/S", Right),
    ]);
    for one in rates {
        columns.row([
            one.tenant.clone(),
            grouped(one.flows),
            grouped(one.opened),
            grouped(one.from_external_packets),
            bytes(one.from_external_bytes),
            grouped(one.to_external_packets),
            bytes(one.to_external_bytes),
            grouped(one.dropped),
        ]);
    }
    columns.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::fake;

    #[test]
    fn rates_are_differences_a_second() {
        let before = fake::status();
        let mut after = before.clone();
        after.tenants[1].to_external_bytes += 3_000;
        after.tenants[1].flows_opened += 4;
        // As after a restart that lost the tables.
        after.tenants[0].to_external_packets = 0;
        after.tenants.push(fake::tenant("bank-c", 40));
        let rates = rates(&before, &after, Duration::from_secs(2), 2);
        assert_eq!(rates.len(), 2);
        assert_eq!(
            (rates[0].tenant.as_str(), rates[0].to_external_bytes, rates[0].opened),
            ("bank-b", 1_500, 2)
        );
        assert_eq!((rates[1].tenant.as_str(), rates[1].to_external_packets), ("bank-a", 0));
    }
}
