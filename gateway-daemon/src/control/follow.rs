//! What changes the gateway besides requests: other nodes through the store, health, the clock.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use tracing::{error, info, warn};

use super::{
    Control,
    change::{blocking, checked},
};
use crate::{
    drain::Shutdown,
    store::{Snapshot, StoreError},
};

/// How long to wait after the store failed to answer.
const RETRY: Duration = Duration::from_secs(1);

impl Control {
    /// Starts everything that follows something.
    pub fn spawn(self: &Arc<Self>, shutdown: &Shutdown) {
        tokio::spawn(self.clone().follow_store(shutdown.clone()));
        tokio::spawn(self.clone().follow_health(shutdown.clone()));
        tokio::spawn(self.clone().follow_deadlines(shutdown.clone()));
        tokio::spawn(self.clone().follow_traffic(shutdown.clone()));
        tokio::spawn(self.clone().follow_figures(shutdown.clone()));
    }

    /// Brings versions that others have stored into force.
    async fn follow_store(self: Arc<Self>, shutdown: Shutdown) {
        let mut newest = self.source.store().watch();
        loop {
            tokio::select! {
                () = shutdown.requested() => return,
                changed = newest.changed() => if changed.is_err() { return },
            }
            while let Err(error) = self.catch_up().await {
                warn!("cannot read the newest version from the store, trying again: {error}");
                tokio::select! {
                    () = shutdown.requested() => return,
                    () = sleep(RETRY) => {}
                }
            }
        }
    }

    async fn catch_up(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.writing.lock().await;
        let base = self.current.load_full();
        if self.source.store().is_newest(base.version) {
            return Ok(());
        }
        let snapshot = self.source.store().load().await?;
        // Of the same number in a store that was restored from a backup.
        if snapshot != *base {
            self.adopt(&base, snapshot).await;
        }
        Ok(())
    }

    /// Brings a version into force that is stored already. One that is not legal here is refused: the last good one
    /// stays, and the log says why.
    async fn adopt(&self, base: &Arc<Snapshot>, snapshot: Snapshot) {
        let config = self.gateway.config();
        let (before, after) = (base.clone(), snapshot.tenancy.clone());
        let version = snapshot.version;
        match blocking(move || checked(&config, &after, Some(&before.tenancy))).await {
            Err(problems) => {
                for problem in problems.iter().take(10) {
                    error!(%version, path = problem.path, "the store holds what this node refuses: {}", problem.problem);
                }
            }
            Ok(config) => match self.put_in_force(snapshot, config).await {
                Ok(writes) => info!(%version, writes, "version of the store put into force"),
                Err(error) => warn!(%version, "{error}"),
            },
        }
    }

    /// Brings what health says into the tables.
    async fn follow_health(self: Arc<Self>, shutdown: Shutdown) {
        let (mut standings, mut fallen) = (self.health.standings(), self.health.fallen());
        let mut end_of_fallen = self.end_of_fallen(&shutdown);
        let mut down = fallen.borrow_and_update().clone();
        loop {
            // New flows avoid a fallen backend before its old ones are ended: clients that call again get another one.
            end_of_fallen.follow(&self.gateway.config(), &down);
            tokio::select! {
                () = shutdown.requested() => return,
                changed = standings.changed() => if changed.is_err() { return },
                changed = fallen.changed() => if changed.is_err() { return },
                () = end_of_fallen.settled() => continue,
            }
            // In this order: the standings say it of each of these at least.
            down = fallen.borrow_and_update().clone();
            standings.mark_unchanged();
            let gateway = self.gateway.clone();
            let newest = self.health.standings();
            let written = blocking(move || gateway.follow_health(|| newest.borrow().clone()));
            if let Err(error) = written.await {
                warn!("cannot bring the backends' health into the tables, trying again: {error:#}");
            }
        }
    }
}
