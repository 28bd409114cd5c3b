//! The routes that the daemon looks after.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use arc_swap::ArcSwap;
use tracing::{info, warn};

use super::{Gateway, RepairKind};
use crate::{
    config::{Config, Route},
    datapath::routes::kernel::{self, Brought, RoutesError},
};

/// Which ones, and what is wrong with them.
pub(super) struct Routes {
    /// Those that were put in place last. Held by whoever changes the kernel's.
    wanted: Mutex<Arc<[Route]>>,
    /// For `status`.
    troubles: ArcSwap<Vec<String>>,
}

impl Routes {
    /// Brings the kernel's routes to those of the configuration, and removes those of an earlier one.
    pub(super) fn put_in_place(config: &Config) -> Result<Self> {
        let brought = kernel::bring(&config.routes)?;
        let routes =
            Self { wanted: Mutex::new(config.routes.clone()), troubles: ArcSwap::from_pointee(Vec::new()) };
        routes.note(brought);
        Ok(routes)
    }

    /// Tells the log what was done because the configuration wants it.
    fn note(&self, brought: Brought) {
        for line in &brought.done {
            info!("brought to the configuration: {line}");
        }
        self.note_troubles(brought.troubles);
    }

    /// Tells the log what was not so before.
    fn note_troubles(&self, troubles: Vec<String>) {
        let before = self.troubles.load();
        for trouble in troubles.iter().filter(|trouble| !before.contains(trouble)) {
            warn!("{trouble}");
        }
        self.troubles.store(Arc::new(troubles));
    }

    /// What an operator should look at.
    pub(super) fn troubles(&self) -> Arc<Vec<String>> {
        self.troubles.load_full()
    }
}

impl Gateway {
    /// Are routes of others in the way of a configuration?
    ///
    /// # Errors
    ///
    /// They are, or the kernel's cannot be read.
    pub fn refuse_routes(config: &Config) -> Result<(), RoutesError> {
        kernel::refuse(&config.routes)
    }

    /// Brings the kernel's routes to the configuration in force, after it has changed.
    ///
    /// # Errors
    ///
    /// When the kernel's cannot be read; the next [`Gateway::heal_routes`] tries again.
    pub fn follow_routes(&self) -> Result<()> {
        let mut wanted = self.routes.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let config = self.config();
        if *wanted == config.routes {
            return Ok(());
        }
        let brought = kernel::bring(&config.routes);
        wanted.clone_from(&config.routes);
        self.routes.note(brought?);
        Ok(())
    }

    /// Puts back routes that somebody else has removed or changed; returns how many. Two calls do not meet.
    ///
    /// # Errors
    ///
    /// When the kernel's cannot be read; the next call tries again.
    pub fn heal_routes(&self) -> Result<u64> {
        let wanted = self.routes.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.is_empty() {
            return Ok(0);
        }
        let brought = kernel::bring(&wanted)?;
        for line in &brought.done {
            self.note_repair(RepairKind::Route, line);
        }
        self.routes.note_troubles(brought.troubles);
        Ok(brought.done.len() as u64)
    }
}
