//! Where the desired state lives: versions of a [`Tenancy`], each with who, when, why and what.
//!
//! | store | place | changed by |
//! |---|---|---|
//! | `embedded` | a database file in the state directory | this daemon alone |
//! | `etcd` | an etcd cluster | every node |
//! | `file` | the configuration file | whoever edits it: the API refuses changes |
//!
//! `touch` is what they have in common: what a change does to one object, as it is kept, undone and described.
//! `crash_check` shows that killing the daemon loses nothing.
//!
//! All of them speak through [`TenantStore`]. A change names the version that it was made from (compare-and-set), so
//! two that cross are never both accepted.

pub mod crash_check;
pub mod embedded;
pub mod etcd;
pub mod file;
#[cfg(test)]
mod measure;
#[cfg(test)]
mod suite;
mod touch;

use std::time::SystemTime;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::ToSchema;

use crate::tenancy::{Tenancy, diff::FieldChange};

/// The number of a version: 0 is the empty store, each accepted change adds 1.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(transparent)]
pub struct Version(pub u64);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A version and what it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Its number.
    pub version: Version,
    /// Everything.
    pub tenancy: Tenancy,
}

/// Who changed something, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Author {
    /// As the API knew the caller: `root (uid 0)`, a certificate's name.
    pub who: String,
    /// The reason that the caller gave; may be empty.
    pub why: String,
}

/// One entry of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryEntry {
    /// The version that the change made.
    pub version: Version,
    /// When: Unix time in milliseconds.
    pub at_unix_ms: u64,
    /// Who and why.
    #[serde(flatten)]
    pub author: Author,
    /// What.
    pub changes: Vec<FieldChange>,
}

/// A change that is to be stored.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The version that it was made from.
    pub from: Version,
    /// What that version held. The store writes only the objects that differ.
    pub before: Tenancy,
    /// What the new version holds.
    pub after: Tenancy,
    /// Who and why.
    pub author: Author,
    /// When.
    pub at: SystemTime,
}

/// Why the store did not do it. Nothing was changed, except where said otherwise.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else was faster. Reading again and trying again is safe.
    #[error("the store has moved on: version {current} is in force, the change was made from version {from}")]
    Conflict {
        /// What the change was made from.
        from: Version,
        /// What is in force. The same number when the store was restored from a backup and went another way since.
        current: Version,
    },
    /// This store can't be changed through the API.
    #[error("the tenants are kept in {place}, which this daemon does not write")]
    ReadOnly {
        /// The file.
        place: String,
    },
    /// There is no such version (any more).
    #[error("the history has no version {version}")]
    NoSuchVersion {
        /// Which.
        version: Version,
    },
    /// The store does not answer. Trying again later is safe; whether a change that was under way was accepted must
    /// be looked up.
    #[error("{message}")]
    Unavailable {
        /// What failed.
        message: String,
        /// What the operator can do.
        remedy: String,
        /// Why.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// What is stored can't be understood.
    #[error("{message}")]
    Corrupt {
        /// What is wrong with it.
        message: String,
        /// What the operator can do.
        remedy: String,
    },
}

/// A place for versions.
pub trait TenantStore: Send + Sync + 'static {
    /// `embedded`, `etcd` or `file`.
    fn kind(&self) -> &'static str;

    /// The version in force.
    fn load(&self) -> BoxFuture<'_, Result<Snapshot, StoreError>>;

    /// Stores a version on top of the one that it names. When this returns it is durable.
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Version, StoreError>>;

    /// The newest `limit` entries of the history that are older than `before` (all when absent), newest first.
    fn history(
        &self,
        limit: usize,
        before: Option<Version>,
    ) -> BoxFuture<'_, Result<Vec<HistoryEntry>, StoreError>>;

    /// What a version held.
    fn at(&self, version: Version) -> BoxFuture<'_, Result<Snapshot, StoreError>>;

    /// Sees every new version, whoever made it, also one of the same number. The value is the newest version known.
    fn watch(&self) -> watch::Receiver<Version>;

    /// Is a version that was read or stored here the newest known? A store that was restored from a backup may hold
    /// another one of the same number.
    fn is_newest(&self, version: Version) -> bool {
        *self.watch().borrow() == version
    }

    /// Why the store can't be changed now, in words; none when it can.
    fn trouble(&self) -> Option<String> {
        None
    }
}
