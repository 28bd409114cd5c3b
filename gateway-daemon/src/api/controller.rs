//! What the API asks of the part of the daemon that changes things.

use std::net::Ipv4Addr;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::store::{Author, HistoryEntry, Snapshot, StoreError, Version};
use crate::tenancy::diff::FieldChange;
use crate::tenancy::edit::{Edit, EditError};
pub use crate::tenancy::problem::FieldProblem;
use crate::tenancy::spec::AdminState;

/// Changes that are to be made together: all or none.
#[derive(Clone, Debug)]
pub struct ChangeRequest {
    /// The changes, in their order.
    pub edits: Vec<Edit>,
    /// Who asks, and why.
    pub author: Author,
    /// Refuse unless this version is in force.
    pub if_version: Option<Version>,
    /// Only say what would change.
    pub dry_run: bool,
}

/// What a change did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeOutcome {
    /// The version in force afterwards. Unchanged when nothing differs, or on a dry run.
    pub version: Version,
    /// Was nothing changed because only the outcome was asked for?
    pub dry_run: bool,
    /// What differs.
    pub changes: Vec<FieldChange>,
    /// Entries of the kernel's tables that were written or removed.
    pub table_writes: u64,
    /// Microseconds from the request to the last of these.
    pub took_us: u64,
}

/// Why a change was not made. Nothing has changed then, except after `NotApplied`.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// It names something that is not there, or is there already.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The result would not be a legal configuration.
    #[error("the change is refused: {} problem(s)", .0.len())]
    Rejected(Vec<FieldProblem>),
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is stored, and not yet in the tables of the kernel: the reconciler goes on trying.
    #[error("version {version} is stored, but the kernel's tables could not be brought to it yet")]
    NotApplied {
        /// The version that was stored.
        version: Version,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A backend and what is known about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackendHealth {
    /// Its tenant.
    pub tenant: String,
    /// Its pool.
    pub pool: String,
    /// Its address.
    #[schema(value_type = String)]
    pub address: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// Its share of new flows when all is well.
    pub weight: u16,
    /// The share that it has now: less in slow start, 0 when it takes no new flows.
    pub effective_weight: u16,
    /// What people set.
    pub admin: AdminState,
    /// `up`, `rising`, `down`, or `unchecked`.
    pub health: String,
    /// Why it is so, in words: the last result of its check.
    pub reason: String,
    /// Seconds since it became so.
    pub since_secs: u64,
}

/// What a reload of the daemon's settings did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReloadOutcome {
    /// Settings that differ and are in force now.
    pub changed: Vec<String>,
    /// Settings that differ and need a restart.
    pub needs_restart: Vec<String>,
}

/// Changes the gateway. Everything that fails leaves it as it was.
pub trait Controller: Send + Sync + 'static {
    /// The version in force, from memory.
    fn tenancy(&self) -> Snapshot;

    /// Makes the changes: checked, stored, and in the tables of the kernel when this is done.
    fn change(&self, request: ChangeRequest) -> BoxFuture<'_, Result<ChangeOutcome, ChangeError>>;

    /// Makes what an earlier version held the newest version. Nothing is taken out of the history.
    fn rollback(
        &self,
        to: Version,
        author: Author,
        if_version: Option<Version>,
        dry_run: bool,
    ) -> BoxFuture<'_, Result<ChangeOutcome, ChangeError>>;

    /// See [`crate::store::TenantStore::history`].
    fn history(
        &self,
        limit: usize,
        before: Option<Version>,
    ) -> BoxFuture<'_, Result<Vec<HistoryEntry>, StoreError>>;

    /// See [`crate::store::TenantStore::at`].
    fn at(&self, version: Version) -> BoxFuture<'_, Result<Snapshot, StoreError>>;

    /// Every backend.
    fn health(&self) -> Vec<BackendHealth>;

    /// Reads the daemon's settings again and puts into force what can be.
    fn reload(&self, author: Author) -> BoxFuture<'_, Result<ReloadOutcome, ChangeError>>;
}
