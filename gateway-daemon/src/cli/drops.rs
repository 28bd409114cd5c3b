//! `gateway-daemon drops`.

use std::cmp::Reverse;

use clap::Args;

use super::Exit;
use super::client::ClientOptions;
use super::columns::Align::{Left, Right};
use super::columns::Columns;
use super::format::{counted, grouped};
use crate::api::types::{DropCount, Drops, TenantDrops};

/// Options of `drops`.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct DropsOptions {
    /// Whom to ask.
    #[command(flatten)]
    pub client: ClientOptions,
}

impl DropsOptions {
    /// Asks the daemon and prints its answer.
    pub fn execute(&self) -> anyhow::Result<Exit> {
        self.client.show(async |client| client.drops().await, render)
    }
}

/// The reasons and tenants that have drops, worst first.
pub(super) fn render(drops: &Drops) -> String {
    let total = format!("{} dropped\n", counted(drops.total, "packet"));
    let parts = [total, reasons(&drops.reasons), tenants(&drops.tenants)];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}

fn reasons(reasons: &[DropCount]) -> String {
    let mut columns = Columns::new([("PACKETS", Right), ("REASON", Left), ("EXPLANATION", Left)]);
    let worst = worst_first(reasons, |reason| reason.packets);
    for reason in &worst {
        columns.row([grouped(reason.packets), reason.reason.clone(), reason.explanation.trim().to_owned()]);
    }
    if worst.is_empty() { String::new() } else { columns.render() }
}

fn tenants(tenants: &[TenantDrops]) -> String {
    let mut columns = Columns::new([("PACKETS", Right), ("TENANT", Left)]);
    let worst = worst_first(tenants, |tenant| tenant.packets);
    for tenant in &worst {
        columns.row([grouped(tenant.packets), tenant.tenant.clone()]);
    }
    if worst.is_empty() { String::new() } else { columns.render() }
}

/// Those that have any, the most first; equal ones stay in order.
fn worst_first<T>(all: &[T], packets: impl Fn(&T) -> u64) -> Vec<&T> {
    let mut worst: Vec<_> = all.iter().filter(|one| packets(one) > 0).collect();
    worst.sort_by_key(|one| Reverse(packets(one)));
    worst
}
