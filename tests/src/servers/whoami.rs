//! The answer of `/whoami`: who served whom, as the server saw it.

use std::net::{Ipv4Addr, SocketAddrV4};

use serde::Deserialize;

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct WhoAmI {
    /// The name that the server was given.
    pub name: String,
    /// The client's address as the server saw it.
    pub remote_addr: Ipv4Addr,
    /// The client's port as the server saw it.
    pub remote_port: u16,
    /// The address that the client reached, as the server saw it.
    pub server_addr: Ipv4Addr,
    /// The port that the client reached.
    pub server_port: u16,
}

impl WhoAmI {
    /// `None` when the text is something else.
    pub fn parse(body: &str) -> Option<Self> {
        serde_json::from_str(body.trim()).ok()
    }

    /// The client as the server saw it.
    pub fn client(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.remote_addr, self.remote_port)
    }
}
