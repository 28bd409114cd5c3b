//! The program under test: its configuration, the running daemon, and its command line.

mod config;
mod daemon;

pub use config::{
    Backend, DaemonSection, Egress, Endpoint, GatewayConfig, GatewaySection, Interface, Listener,
    NodeSection, PeerGroup, Pool, Tenant, Timeouts,
};
pub use daemon::{BINARY_VARIABLE, Gateway, binary};
