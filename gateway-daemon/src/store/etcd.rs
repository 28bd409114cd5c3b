//! The store in an etcd cluster, shared by every node that uses the same prefix.
//!
//! | key after the prefix | value, all JSON |
//! |---|---|
//! | `meta/version` | the version in force, who wrote it, and whether its objects are still staged |
//! | `objects/tenant/<name>`, `objects/peer_group/<name>` | the object |
//! | `history/<version>` | who, when, why, and the touched objects before and after, or where they are staged |
//! | `staged/<version>-<id>/<n>` | the touched objects of a large change, in parts |
//!
//! **A commit is one transaction** that compares the revision of `meta/version`, so two that cross are never both
//! accepted. etcd takes 128 operations and 1.5 MiB in a transaction, and an `apply` of 10,000 tenants is far more.
//! Such a change is first *staged*: its parts are put under keys that nobody reads, on a lease that removes them
//! should this process die. The one transaction then takes the parts off the lease and makes `meta/version` refer to
//! them: from that moment every reader sees all of it, because a reader lays the staged parts over `objects/`.
//! Afterwards they are *folded* into `objects/` piece by piece, each piece only while `meta/version` is still the
//! same; what a reader sees does not change by it. The next commit finishes a fold that was left undone. The parts
//! stay as long as the history needs them.
//!
//! A reader takes everything at the one revision at which it read `meta/version`, so it never sees half a change.
//!
//! **When etcd is down** changes are refused within seconds and nothing else happens: the snapshot in force lives in
//! the daemon. Every snapshot is also kept in `last-known.json` in the state directory, so the daemon can start then.

mod change;
mod keys;
mod last_known;
mod read;
#[cfg(test)]
pub(super) mod server;
#[cfg(test)]
mod tests;
mod watcher;
mod wire;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::warn;

use super::{Commit, HistoryEntry, Snapshot, StoreError, TenantStore, Version};
use change::Done;
use keys::Head;
use last_known::{Keeper, Known};
use wire::{Seen, Wire};

/// Where the cluster is and what belongs to this gateway in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdConfig {
    /// Its members, as `https://etcd-1:2379`.
    pub endpoints: Vec<String>,
    /// What every key of this gateway begins with: `/gateway/`. Other gateways have other prefixes.
    pub prefix: String,
    /// How it proves who it is, and we to it. Needs `https` endpoints.
    pub tls: Option<EtcdTls>,
    /// The state directory of this node, for the last known snapshot.
    pub state_dir: PathBuf,
    /// How many versions of the history are kept, at least one.
    pub kept: usize,
}

/// PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdTls {
    /// Who signs the members' certificates.
    pub ca: PathBuf,
    /// This node's certificate, if the cluster asks for one.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// The store in etcd.
#[derive(Debug)]
pub struct Etcd {
    shared: Arc<Shared>,
    /// The watcher and the keeper of the last known snapshot; they end with the store.
    _tasks: JoinSet<()>,
}

/// What the store and its tasks have in common.
#[derive(Debug)]
struct Shared {
    wire: Wire,
    kept: u64,
    keeper: Keeper,
    newest: watch::Sender<Version>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Why etcd can't be used now.
    trouble: Option<String>,
    /// What an earlier process knew, until etcd is reached for the first time.
    last_known: Option<Snapshot>,
    /// The version that was last read or stored here, and the id of its head.
    known: Option<(Version, String)>,
    /// The id of the newest version's head.
    newest_id: String,
    /// The revision of the newest version: reports of older ones may still arrive.
    revision: i64,
}

/// Connects. When etcd is down and `last-known.json` is there, the store starts with that and with
/// [`TenantStore::trouble`], and goes on once etcd is back.
///
/// # Errors
///
/// [`StoreError::Unavailable`] when the configuration can't be used, or when etcd is down and nothing is known;
/// [`StoreError::Corrupt`] when a newer daemon wrote what is stored.
pub async fn connect(config: EtcdConfig) -> Result<Etcd, StoreError> {
    let wire = Wire::connect(&config).await?;
    let keeper = Keeper::new(&config.state_dir, &config.prefix);
    let mut state = State::default();
    let version = match wire.head().await {
        Ok(seen) => {
            state.revision = seen.mod_revision;
            state.newest_id = seen.head.id;
            seen.head.version
        }
        Err(error @ StoreError::Unavailable { .. }) => start_without(&keeper, &mut state, error)?,
        Err(error) => return Err(error),
    };
    let shared = Arc::new(Shared {
        wire,
        kept: config.kept.max(1) as u64,
        keeper,
        newest: watch::Sender::new(version),
        state: Mutex::new(state),
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(watcher::follow_forever(shared.clone()));
    tasks.spawn(last_known::keep_forever(shared.clone()));
    Ok(Etcd { shared, _tasks: tasks })
}

/// etcd is down: starts with what an earlier process knew, if that is anything.
fn start_without(keeper: &Keeper, state: &mut State, error: StoreError) -> Result<Version, StoreError> {
    let Some(known) = keeper.read() else { return Err(error) };
    warn!(%error, version = %known.snapshot.version, "starting with the last known tenants");
    state.trouble = Some(in_words(&error));
    let Known { snapshot, id } = known;
    (state.known, state.newest_id) = (Some((snapshot.version, id.clone())), id);
    Ok(state.last_known.insert(snapshot).version)
}

fn in_words(error: &StoreError) -> String {
    match error {
        StoreError::Unavailable { source: Some(source), .. } => format!("{error}: {source}"),
        error => error.to_string(),
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whether etcd could be used.
    fn noted<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        let mut state = self.state();
        match &result {
            Ok(_) => {
                state.trouble = None;
                state.last_known = None;
            }
            Err(error @ (StoreError::Unavailable { .. } | StoreError::Corrupt { .. })) => {
                state.trouble = Some(in_words(error));
            }
            Err(_) => state.trouble = None,
        }
        drop(state);
        result
    }

    /// A version was seen at a revision. Reports that were overtaken are passed over.
    fn publish(&self, head: &Head, revision: i64) {
        let mut state = self.state();
        if revision >= state.revision {
            state.revision = revision;
            let is_another = state.newest_id != head.id;
            state.newest_id.clone_from(&head.id);
            self.newest.send_if_modified(|newest| {
                std::mem::replace(newest, head.version) != head.version || is_another
            });
        }
    }

    /// What is read first on a new connection counts, whatever the revision: the cluster may have been restored from
    /// a backup.
    fn publish_anew(&self, head: &Head, revision: i64) {
        self.state().revision = i64::MIN;
        self.publish(head, revision);
    }

    /// The id of a version, if it is the one that was last read or stored here.
    fn id_of(&self, version: Version) -> Option<String> {
        let state = self.state();
        state.known.as_ref().filter(|(known, _)| *known == version).map(|(_, id)| id.clone())
    }

    async fn load(&self) -> Result<Snapshot, StoreError> {
        let loaded = self.noted(self.wire.load().await);
        match loaded {
            Ok((snapshot, Seen { head, mod_revision, .. })) => {
                self.state().known = Some((head.version, head.id.clone()));
                self.publish(&head, mod_revision);
                self.keeper.keep(Known { snapshot: snapshot.clone(), id: head.id });
                Ok(snapshot)
            }
            Err(error @ StoreError::Unavailable { .. }) => self.state().last_known.clone().ok_or(error),
            Err(error) => Err(error),
        }
    }

    async fn commit(self: Arc<Self>, commit: Commit) -> Result<Version, StoreError> {
        let made_from = self.id_of(commit.from);
        let done = change::commit(&self.wire, &commit, made_from.as_deref(), self.kept).await;
        let Done { head, revision } = self.noted(done)?;
        self.state().known = Some((head.version, head.id.clone()));
        self.publish(&head, revision);
        let snapshot = Snapshot { version: head.version, tenancy: commit.after };
        self.keeper.keep(Known { snapshot, id: head.id });
        if head.staged.is_some() {
            tokio::spawn(async move { self.fold().await });
        }
        Ok(head.version)
    }

    /// Folds what a large change staged. Should it fail, the next commit does it.
    async fn fold(&self) {
        if let Err(error) = change::fold(&self.wire).await {
            warn!(error = in_words(&error), "a large change stays staged until the next one");
        }
    }
}

impl TenantStore for Etcd {
    fn kind(&self) -> &'static str {
        "etcd"
    }

    fn load(&self) -> BoxFuture<'_, Result<Snapshot, StoreError>> {
        self.shared.load().boxed()
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Version, StoreError>> {
        self.shared.clone().commit(commit).boxed()
    }

    fn history(
        &self,
        limit: usize,
        before: Option<Version>,
    ) -> BoxFuture<'_, Result<Vec<HistoryEntry>, StoreError>> {
        async move { self.shared.noted(self.shared.wire.history(limit, before).await) }.boxed()
    }

    fn at(&self, version: Version) -> BoxFuture<'_, Result<Snapshot, StoreError>> {
        async move { self.shared.noted(self.shared.wire.at(version).await) }.boxed()
    }

    fn watch(&self) -> watch::Receiver<Version> {
        self.shared.newest.subscribe()
    }

    fn is_newest(&self, version: Version) -> bool {
        let state = self.shared.state();
        let known =
            state.known.as_ref().is_some_and(|(known, id)| (*known, id) == (version, &state.newest_id));
        known && *self.shared.newest.borrow() == version
    }

    fn trouble(&self) -> Option<String> {
        self.shared.state().trouble.clone()
    }
}
