//! The program under test: its configuration, the running daemon, and its command line.

pub mod api;

mod config;
mod daemon;

pub use config::{
    Backend, DaemonSection, Document, Egress, Endpoint, GatewayConfig, GatewaySection, Health, Interface,
    Limits, Listener, NodeSection, PeerGroup, Pool, Reconcile, Route, Store, Tenant, TenantLimits,
    TenantTimeouts, Timeouts,
};
pub use daemon::{BINARY_VARIABLE, Gateway, binary};
