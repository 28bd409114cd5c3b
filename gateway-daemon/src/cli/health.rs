//! `gateway-daemon health`, which is also `backend list`.

use clap::Args;

use super::Exit;
use super::client::ClientOptions;
use super::columns::Align::{Left, Right};
use super::columns::Columns;
use super::format::duration;
use super::tenant::word;
use crate::api::client::{Client, ClientError};
use crate::api::controller::BackendHealth;
use crate::api::types::Health;

/// Options of `health` and `backend list`.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct ListOptions {
    /// Only those of this tenant
    pub tenant: Option<String>,
    /// Only those of this pool
    #[arg(requires = "tenant")]
    pub pool: Option<String>,
    /// Whom to ask.
    #[command(flatten)]
    pub client: ClientOptions,
}

impl ListOptions {
    /// Asks the daemon and prints its answer.
    pub fn execute(&self) -> anyhow::Result<Exit> {
        self.client.show::<Health, ClientError>(async |client: &Client| self.ask(client).await, render)
    }

    async fn ask(&self, client: &Client) -> Result<Health, ClientError> {
        let mut health: Health = client.get("/v1/health").await?;
        health.backends.retain(|backend| self.wants(backend));
        Ok(health)
    }

    fn wants(&self, backend: &BackendHealth) -> bool {
        self.tenant.as_ref().is_none_or(|tenant| *tenant == backend.tenant)
            && self.pool.as_ref().is_none_or(|pool| *pool == backend.pool)
    }
}

/// One line a backend.
pub(super) fn render(health: &Health) -> String {
    let mut columns = Columns::new([
        ("TENANT", Left),
        ("POOL", Left),
        ("BACKEND", Left),
        ("STATE", Left),
        ("HEALTH", Left),
        ("WEIGHT", Right),
        ("NOW", Right),
        ("SINCE", Right),
        ("WHY", Left),
    ]);
    for backend in &health.backends {
        columns.row([
            backend.tenant.clone(),
            backend.pool.clone(),
            format!("{}:{}", backend.address, backend.port),
            word(backend.admin).to_owned(),
            backend.health.clone(),
            backend.weight.to_string(),
            backend.effective_weight.to_string(),
            duration(backend.since_secs),
            backend.reason.clone(),
        ]);
    }
    columns.render()
}
