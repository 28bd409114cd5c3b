//! Figures of health and the store, brought to the metrics.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::Control;
use crate::{
    drain::Shutdown,
    health::roster::Totals,
    metrics::{labels::CheckResult, pools::pool_health},
};

/// Scrapes come less often.
const INTERVAL: Duration = Duration::from_secs(1);

impl Control {
    /// Brings them up to date once a second.
    pub(super) async fn follow_figures(self: Arc<Self>, shutdown: Shutdown) {
        let mut before = Totals::default();
        loop {
            before = self.note_checks(before);
            let standings = self.health.standings().borrow().clone();
            self.metrics.pools(pool_health(&self.gateway.config(), &standings));
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
