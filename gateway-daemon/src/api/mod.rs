//! The local API: HTTP/1.1 with JSON on a unix socket, for the command line and other programs of the host.
//!
//! `types` is what both ends exchange, `source` what the server asks the rest of the daemon, `server` and
//! `client` the two ends. All requests only read.

pub mod client;
pub mod controller;
pub mod server;
pub mod source;
pub mod types;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

/// The path of [`types::Status`].
pub const STATUS_PATH: &str = "/v1/status";
/// The path of [`types::FlowList`]; its query is a [`types::FlowFilter`].
pub const FLOWS_PATH: &str = "/v1/flows";
/// The path of [`types::Drops`].
pub const DROPS_PATH: &str = "/v1/drops";

/// Content type of a [`types::Problem`] (RFC 9457 section 6.1).
pub(crate) const PROBLEM_CONTENT_TYPE: &str = "application/problem+json";
