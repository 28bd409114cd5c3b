//! Prometheus metrics: `families` says which there are, `scrape` fills them from the [`Source`], `server`
//! serves them. Nothing is kept between scrapes but the counters in [`Metrics`].
//!
//! [`Source`]: crate::api::source::Source

mod families;
mod scrape;
pub mod server;

#[cfg(test)]
mod tests;

use gateway_common::tables::FlowTable;
use prometheus_client::metrics::counter::Counter;

use crate::api::types::{Drops, Status};

/// The counters that the daemon's own tasks raise. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    expired_flows: Counter,
    expired_half_open_flows: Counter,
    neighbour_refreshes: Counter,
}

impl Metrics {
    /// Flows deleted from a table because they were idle too long.
    pub fn expired_flows(&self, table: FlowTable) -> &Counter {
        match table {
            FlowTable::Established => &self.expired_flows,
            FlowTable::HalfOpen => &self.expired_half_open_flows,
        }
    }

    /// Next hops that the daemon asked the kernel to resolve for the data path.
    pub fn neighbour_refreshes(&self) -> &Counter {
        &self.neighbour_refreshes
    }

    /// All metrics in the text format of `OpenMetrics` 1.0. Without a `reading`, the gateway counts as down.
    pub fn render(&self, reading: Option<Reading>) -> String {
        scrape::render(self.clone(), reading)
    }
}

/// What the source said at one scrape.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What the node is doing.
    pub status: Status,
    /// What was dropped.
    pub drops: Drops,
}
