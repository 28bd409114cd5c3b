//! What the verbs that ask the daemon have in common.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::Exit;
use super::output::{print, print_json};
use crate::api::client::{Client, ClientError};

/// Whom to ask, and the form of the answer.
#[derive(Debug, Args)]
pub struct ClientOptions {
    /// Socket of the daemon: `daemon.socket` of its configuration
    #[arg(long, value_name = "PATH", env = "GATEWAY_SOCKET", hide_env_values = true)]
    #[arg(default_value = "/run/two-ip-gateway/gateway.sock")]
    pub socket: PathBuf,
    /// Print JSON, as the API gives it
    #[arg(long)]
    pub json: bool,
}

impl ClientOptions {
    /// Asks, and prints the answer as JSON or as `render` puts it.
    pub(super) fn show<T: Serialize>(
        &self,
        ask: impl AsyncFnOnce(&Client) -> Result<T, ClientError>,
        render: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<Exit> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start the event loop")?;
        let answer = runtime.block_on(ask(&Client::new(&self.socket)))?;
        if self.json {
            print_json(&answer)?;
        } else {
            print(&render(&answer))?;
        }
        Ok(Exit::Done)
    }
}
