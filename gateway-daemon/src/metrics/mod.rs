//! Prometheus metrics and the probes of service managers.
//!
//! | module | does |
//! |---|---|
//! | `families` | says which metrics there are |
//! | [`labels`] | the values that labels of our own counters take |
//! | `own` | [`Metrics`]: what the daemon's tasks count and note |
//! | [`pools`], [`ports`], `versions` | facts behind some of them; pure |
//! | `scrape` | one scrape: [`Metrics`] and what the [`Source`] says, in the families' words |
//! | `classic` | the same text for readers of the older format |
//! | [`probes`] | is the node ready, check by check |
//! | [`server`] | HTTP |
//!
//! [`Source`]: crate::api::source::Source

mod classic;
mod families;
pub mod labels;
mod own;
pub mod pools;
pub mod ports;
pub mod probes;
mod scrape;
pub mod server;
mod versions;

#[cfg(test)]
mod tests;

pub use own::Metrics;

use crate::api::types::{Drops, Status};

/// What the source said at one scrape.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What the node is doing.
    pub status: Status,
    /// What was dropped.
    pub drops: Drops,
}
