//! What the verbs that ask the daemon have in common.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use tokio::time::{Instant, interval_at};

use super::Exit;
use super::output::{print, print_json};
use crate::api::client::Client;

/// An answer that takes longer is worth a word.
const PATIENCE: Duration = Duration::from_secs(1);

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
    pub(super) fn show<T: Serialize, E: Into<anyhow::Error>>(
        &self,
        ask: impl AsyncFnOnce(&Client) -> Result<T, E>,
        render: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<Exit> {
        let answer = self.ask(ask)?;
        if self.json {
            print_json(&answer)?;
        } else {
            print(&render(&answer))?;
        }
        Ok(Exit::Done)
    }

    /// Asks. On a terminal, a line on standard error says that it takes long.
    pub(super) fn ask<T, E: Into<anyhow::Error>>(
        &self,
        ask: impl AsyncFnOnce(&Client) -> Result<T, E>,
    ) -> anyhow::Result<T> {
        let client = Client::new(&self.socket);
        runtime()?.block_on(async { patiently(ask(&client)).await.map_err(Into::into) })
    }

    /// Asks again and again, without such a line: the verb has its own.
    pub(super) fn stay<T>(&self, talk: impl AsyncFnOnce(&Client) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let client = Client::new(&self.socket);
        runtime()?.block_on(talk(&client))
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the event loop")
}

async fn patiently<T>(answer: impl Future<Output = T>) -> T {
    if !stderr().is_terminal() {
        return answer.await;
    }
    let (mut answer, started) = (pin!(answer), Instant::now());
    let mut ticks = interval_at(started + PATIENCE, PATIENCE);
    loop {
        tokio::select! {
            answer = &mut answer => {
                // Nothing of it stays on the screen.
                if started.elapsed() >= PATIENCE {
                    eprint!("\r\x1b[K");
                }
                return answer;
            }
            _ = ticks.tick() => {
                eprint!("\rwaiting for the daemon, {} s", started.elapsed().as_secs());
                let _ = stderr().flush();
            }
        }
    }
}
