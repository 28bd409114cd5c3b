//! The API: HTTP/1.1 with JSON on a unix socket, for the command line and other programs of the host; and over TCP
//! with mutual TLS, where that is configured.
//!
//! | module | holds |
//! |---|---|
//! | [`types`], [`problem`] | what both ends exchange |
//! | [`client`], [`change`] | the end that asks |
//! | [`source`], [`controller`] | what the server asks the rest of the daemon |
//! | [`server`], `connections`, [`tls`] | sockets |
//! | `gate`, [`auth`], [`audit`] | who may, and who did |
//! | [`signal`] | what a signal asks for |
//! | `routes`, `extract`, [`body`], [`openapi`] | the paths, what they read, and their description |

pub mod audit;
pub mod auth;
pub mod body;
pub mod change;
pub mod client;
mod connections;
pub mod controller;
mod extract;
mod gate;
pub mod openapi;
pub mod problem;
pub mod readonly;
mod routes;
pub mod server;
pub mod signal;
pub mod source;
pub mod tls;
pub mod types;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
pub(crate) mod fake_controller;
#[cfg(test)]
pub(crate) mod tests;

use axum::http::HeaderValue;

use crate::store::Version;

/// The path of [`types::Status`].
pub const STATUS_PATH: &str = "/v1/status";
/// The path of [`types::FlowList`]; its query is a [`types::FlowFilter`].
pub const FLOWS_PATH: &str = "/v1/flows";
/// The path of [`types::Drops`].
pub const DROPS_PATH: &str = "/v1/drops";
/// The path of [`types::Explanation`]; its body is a [`types::ExplainRequest`].
pub const EXPLAIN_PATH: &str = "/v1/explain";
/// The path of [`types::Happening`]s, one a line; its query is a [`types::MonitorFilter`].
pub const MONITOR_PATH: &str = "/v1/monitor";
/// The path of the description of all paths.
pub const OPENAPI_PATH: &str = "/v1/openapi.json";

/// Content type of a [`types::Problem`] (RFC 9457 section 6.1).
pub(crate) const PROBLEM_CONTENT_TYPE: &str = "application/problem+json";

/// A version as an entity tag.
fn etag(version: Version) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).expect("digits in quotes are a header's value")
}
