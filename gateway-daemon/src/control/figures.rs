//! Figures of health and the store, brought to the metrics.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::Control;
use crate::{
    config::Config,
    drain::Shutdown,
    health::{Standings, roster::Totals},
    metrics::{labels::CheckResult, pools::pool_health},
};

/// What the pools were counted from.
type Counted = (Arc<Config>, Standings);

/// Scrapes come less often.
const INTERVAL: Duration = Duration::from_secs(1);

impl Control {
    /// Brings them up to date once a second.
    pub(super) async fn follow_figures(self: Arc<Self>, shutdown: Shutdown) {
        let mut before = Totals::default();
        let mut counted = None;
        loop {
            before = self.note_checks(before);
            counted = Some(self.note_pools(counted.as_ref()));
            let (kind, newest) = self.store_version();
            self.metrics.store_trouble(kind != "file" && self.trouble().is_some());
            self.metrics.desired_version(newest);
            if !self.gateway.is_out_of_step() {
                self.metrics.applied_version(self.version());
            }
            self.gateway.note_trouble(self.trouble().filter(|_| kind != "file"));
            tokio::select! {
                () = shutdown.requested() => return,
                () = sleep(INTERVAL) => {}
            }
        }
    }

    /// Counting a hundred thousand backends takes long, so it is done when something has changed.
    fn note_pools(&self, counted: Option<&Counted>) -> Counted {
        let now = (self.gateway.config(), self.health.standings().borrow().clone());
        let same =
            |(config, standings): &Counted| Arc::ptr_eq(config, &now.0) && Arc::ptr_eq(standings, &now.1);
        if !counted.is_some_and(same) {
            self.metrics.pools(pool_health(&now.0, &now.1));
        }
        now
    }

    fn note_checks(&self, before: Totals) -> Totals {
        let now = self.health.totals();
        let failed = now.failures - before.failures;
        let passed = (now.checks - before.checks).saturating_sub(failed);
        self.metrics.health_checks(CheckResult::Passed).inc_by(passed);
        self.metrics.health_checks(CheckResult::Failed).inc_by(failed);
        self.metrics.health_check_overruns().inc_by(now.overruns - before.overruns);
        now
    }
}
