//! Changing the gateway: a change is checked, stored, and brought into the tables, in this order.
//!
//! | module | does |
//! |---|---|
//! | `change` | one change from the request to the tables |
//! | `follow` | what other nodes, health and the clock change |
//! | `endings` | when flows are ended from outside |
//! | `passive` | what traffic says about backends |
//! | `figures` | figures for the metrics |
//! | `backends` | what is known about each backend |
//! | `reload` | the daemon's own settings |
//!
//! One change at a time: the next one waits. Reading what is stored waits for nobody; who looks at the tables' state waits
//! while it is written.

mod backends;
mod change;
mod endings;
mod figures;
mod follow;
mod passive;
mod reload;

use std::{
    panic::resume_unwind,
    sync::{Arc, OnceLock, Weak},
};

use arc_swap::ArcSwap;
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::sync::Mutex;

use crate::{
    api::controller::{BackendHealth, ChangeError, ChangeOutcome, ChangeRequest, Controller, ReloadOutcome},
    config::{Config, ConfigError},
    gateway::Gateway,
    health::driver::Health,
    metrics::Metrics,
    store::{Author, HistoryEntry, Snapshot, StoreError, TenantStore, Version, file::FileStore},
    tenancy::problem::FieldProblem,
};

/// Reads the daemon's settings again, as they were read at the start.
pub type ReadSettings = Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// Asked about settings that are to be put into force: refuses them, or says how.
type OnReload = Box<dyn Fn(&Config) -> Result<PutInForce, FieldProblem> + Send + Sync>;

/// Puts settings into force that were checked.
pub type PutInForce = Box<dyn FnOnce() + Send>;

/// Where the tenants come from.
pub enum Source {
    /// A store that the API changes.
    Store(Arc<dyn TenantStore>),
    /// The configuration file.
    File(Arc<FileStore>),
}

impl Source {
    fn store(&self) -> &dyn TenantStore {
        match self {
            Self::Store(store) => &**store,
            Self::File(store) => &**store,
        }
    }
}

/// The part of the daemon that changes things.
pub struct Control {
    gateway: Arc<Gateway>,
    health: Health,
    source: Source,
    /// The version in force.
    current: ArcSwap<Snapshot>,
    /// Held by whoever changes something.
    writing: Mutex<()>,
    read_settings: ReadSettings,
    on_reload: OnceLock<OnReload>,
    metrics: Metrics,
    /// Itself, for work that goes on when the one who asked for it hangs up.
    me: Weak<Self>,
}

impl Control {
    /// Takes over a gateway that was started with `current`.
    pub fn new(
        gateway: Arc<Gateway>,
        health: Health,
        source: Source,
        current: Snapshot,
        read_settings: ReadSettings,
        metrics: Metrics,
    ) -> Arc<Self> {
        let control = Arc::new_cyclic(|me| Self {
            gateway,
            health,
            source,
            current: ArcSwap::from_pointee(current),
            writing: Mutex::new(()),
            read_settings,
            on_reload: OnceLock::new(),
            metrics,
            me: me.clone(),
        });
        control.health.update_targets(&control.gateway.first_targets());
        control.metrics.desired_version(control.version());
        control.metrics.applied_version(control.version());
        control
    }

    /// Asks `prepare` whenever settings were read again, before anything changes; the first call counts.
    pub fn on_reload(
        &self,
        prepare: impl Fn(&Config) -> Result<PutInForce, FieldProblem> + Send + Sync + 'static,
    ) {
        let _ = self.on_reload.set(Box::new(prepare));
    }

    /// Why the store can't be changed now.
    pub fn trouble(&self) -> Option<String> {
        self.source.store().trouble()
    }

    /// Does the work in a task of its own: a caller that hangs up, or whose time is up, does not leave it half done.
    fn to_the_end<T, F>(
        &self,
        work: impl FnOnce(Arc<Self>) -> F + Send + 'static,
    ) -> BoxFuture<'static, Result<T, ChangeError>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ChangeError>> + Send + 'static,
    {
        let me = self.me.upgrade().expect("whoever calls holds it");
        let task = tokio::spawn(async move {
            let outcome = work(me.clone()).await;
            if let Err(error) = &outcome {
                me.note_error(error);
            }
            outcome
        });
        task.map(|ended| ended.unwrap_or_else(|error| resume_unwind(error.into_panic()))).boxed()
    }

    fn note_error(&self, error: &ChangeError) {
        if let ChangeError::Store(error) = error {
            self.metrics.store_errors(error.into()).inc();
        }
    }

    /// The store, for the metrics: its kind and the newest version that it knows.
    pub fn store_version(&self) -> (&'static str, Version) {
        (self.source.store().kind(), *self.source.store().watch().borrow())
    }
}

impl Controller for Control {
    fn tenancy(&self) -> Snapshot {
        Snapshot::clone(&self.current.load())
    }

    fn change(&self, request: ChangeRequest) -> BoxFuture<'_, Result<ChangeOutcome, ChangeError>> {
        self.to_the_end(move |control| async move { control.make(request).await })
    }

    fn rollback(
        &self,
        to: Version,
        author: Author,
        if_version: Option<Version>,
        dry_run: bool,
    ) -> BoxFuture<'_, Result<ChangeOutcome, ChangeError>> {
        self.to_the_end(move |control| async move { control.go_back(to, author, if_version, dry_run).await })
    }

    fn history(
        &self,
        limit: usize,
        before: Option<Version>,
    ) -> BoxFuture<'_, Result<Vec<HistoryEntry>, StoreError>> {
        self.source.store().history(limit, before)
    }

    fn at(&self, version: Version) -> BoxFuture<'_, Result<Snapshot, StoreError>> {
        self.source.store().at(version)
    }

    fn health(&self) -> Vec<BackendHealth> {
        backends::report(&self.gateway, &self.health)
    }

    fn reload(&self, author: Author) -> BoxFuture<'_, Result<ReloadOutcome, ChangeError>> {
        self.to_the_end(move |control| async move { control.reload_and_note(author).await })
    }
}
