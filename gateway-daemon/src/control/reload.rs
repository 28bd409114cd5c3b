//! The daemon's own settings, read again while it runs.

use std::sync::Arc;

use tracing::info;

use super::{
    Control, Source,
    change::{blocking, reconfigure, touched},
};
use crate::{
    api::controller::{ChangeError, FieldProblem, ReloadOutcome},
    config::{
        Config,
        reload::{self, ReloadPlan},
    },
    gateway::Gateway,
    metrics::labels::Outcome,
    store::{Author, Snapshot, Version},
};

impl Control {
    /// Reads the settings again, puts into force what can be, and names what needs a restart.
    pub(super) async fn reload_settings(&self, author: Author) -> Result<ReloadOutcome, ChangeError> {
        let _one_at_a_time = self.writing.lock().await;
        let old = self.gateway.config();
        let new = (self.read_settings)().map_err(|error| {
            ChangeError::Rejected(vec![FieldProblem {
                path: "configuration file".to_owned(),
                problem: error.to_string(),
                remedy: "mend the file; `gateway-daemon config check` shows the place".to_owned(),
            }])
        })?;
        self.refuse_routes(&new).await?;
        let plan = reload::compare(&old, &new);
        let config = ReloadPlan::in_force(&old, &new);
        if let Source::File(store) = &self.source {
            let tenancy = new.tenancy();
            let version = store.replace(tenancy.clone());
            self.current.store(Arc::new(Snapshot { version, tenancy }));
        }
        if let Some(tell) = self.on_reload.get() {
            tell(&config);
        }
        let touched = touched(&old, &config);
        let (gateway, health) = (self.gateway.clone(), self.health.clone());
        let written = blocking(move || {
            let written = reconfigure(&gateway, &health, config, touched);
            written.and(gateway.follow_routes())
        });
        let version = self.current.load().version;
        written.await.map_err(|error| ChangeError::NotApplied { version, source: error.into() })?;
        info!(who = author.who, changed = ?plan.changed, needs_restart = ?plan.needs_restart, "settings read again");
        Ok(ReloadOutcome { changed: plan.changed, needs_restart: plan.needs_restart })
    }

    /// Refuses routes that others' are in the way of.
    async fn refuse_routes(&self, new: &Config) -> Result<(), ChangeError> {
        let config = new.clone();
        let refused = blocking(move || Gateway::refuse_routes(&config)).await;
        refused.map_err(|error| {
            ChangeError::Rejected(vec![FieldProblem {
                path: "route".to_owned(),
                remedy: error.remedy().unwrap_or_else(|| "see the daemon's log".to_owned()),
                problem: format!("{:#}", anyhow::Error::from(error)),
            }])
        })
    }

    /// Reads the settings again and tells the metrics how it went.
    pub(super) async fn reload_and_note(&self, author: Author) -> Result<ReloadOutcome, ChangeError> {
        let outcome = self.reload_settings(author).await;
        let done = if outcome.is_ok() { Outcome::Done } else { Outcome::Failed };
        self.metrics.config_reloaded(done);
        self.metrics.config_stale(outcome.as_ref().map_or(true, |done| !done.needs_restart.is_empty()));
        outcome
    }

    /// The version in force.
    pub fn version(&self) -> Version {
        self.current.load().version
    }
}
