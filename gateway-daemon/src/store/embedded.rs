//! The store in a database file of this node: `tenants.redb` in the state directory, with redb.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `format`, `version` | a number |
//! | `objects` | `tenant/<name>`, `peer_group/<name>` | the object, JSON |
//! | `history` | version | who, when, why, JSON |
//! | `touched` | (version, key of the object) | the object before and after that version, JSON |
//!
//! A commit is one durable transaction over all four: it checks the version, writes what differs, and forgets the
//! versions that are too old. An earlier version is rebuilt by undoing what came after it.
//!
//! After an IO error the database is closed and opened again, because what the operating system still holds of a
//! failed write can't be trusted. Whether the change got through is then looked up, so its caller is told the truth.
//! While the disk is too sick for that, its caller hears of a failure, and it is looked again until the disk answers: what
//! is there by then is told to whoever watches.

mod database;
mod tables;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::sync::watch;

use super::{Commit, HistoryEntry, Snapshot, StoreError, TenantStore, Version, touch};
use database::{Handle, Opener};

/// How long to wait after the disk failed before it is looked what it holds.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The store in a file.
#[derive(Clone, Debug)]
pub struct Embedded {
    core: Arc<Core>,
}

/// What the blocking work needs.
#[derive(Debug)]
struct Core {
    handle: Handle,
    /// How many versions of the history are kept.
    kept: u64,
    /// Held by a commit until it is known what became of it.
    committing: Mutex<()>,
    newest: watch::Sender<Version>,
    /// A change failed, and it is being looked up whether it was stored nevertheless.
    looking: AtomicBool,
}

/// Opens the store in a directory, or makes it there. `kept` versions of the history are kept, at least one.
///
/// Reads and checks the whole file, which takes some 100 ms with 10,000 tenants.
///
/// # Errors
///
/// [`StoreError::Unavailable`] when another process has it open or the disk does not do what it must;
/// [`StoreError::Corrupt`] when the file is damaged, is something else, or was written by a newer version.
pub fn open(dir: &Path, kept: usize) -> Result<Embedded, StoreError> {
    let place = dir.join(database::FILE);
    let dir = dir.to_owned();
    with_opener(place.display().to_string(), Box::new(move || database::open(&dir)), kept)
}

/// Opens the store through something that makes a database: tests bring backends that fail.
fn with_opener(place: String, opener: Opener, kept: usize) -> Result<Embedded, StoreError> {
    let handle = Handle::open(place, opener)?;
    let newest = watch::Sender::new(handle.with(tables::version)?);
    let kept = kept.max(1) as u64;
    let core = Core { handle, kept, committing: Mutex::new(()), newest, looking: AtomicBool::new(false) };
    Ok(Embedded { core: Arc::new(core) })
}

impl Core {
    fn load(&self) -> Result<Snapshot, StoreError> {
        let snapshot = self.handle.with(tables::load)?;
        self.publish(snapshot.version);
        Ok(snapshot)
    }

    fn commit(&self, commit: &Commit) -> Result<Version, StoreError> {
        let _until_settled = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut begun = false;
        let result = self.handle.with(|database| {
            let change = tables::Change::begin(database, commit.from)?;
            begun = true;
            change.write(commit, self.kept)
        });
        let version = match result {
            Err(error @ StoreError::Unavailable { .. }) if begun => self.settle(commit, error)?,
            // It holds what nobody knows of: after a failure that could not be settled.
            Err(error @ StoreError::Conflict { current, .. }) => {
                self.publish(current);
                return Err(error);
            }
            other => other?,
        };
        self.handle.forget_trouble();
        self.publish(version);
        Ok(version)
    }

    /// An IO error leaves it open whether the change reached the disk. Opening the database again tells.
    fn settle(&self, commit: &Commit, error: StoreError) -> Result<Version, StoreError> {
        match self.handle.with(tables::version) {
            Ok(version) if version == touch::next(commit.from) => Ok(version),
            _ => Err(error),
        }
    }

    /// Tells what the database holds, if it can be read.
    fn look(&self) -> Result<(), StoreError> {
        let _until_settled = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
        self.publish(self.handle.with(tables::version)?);
        Ok(())
    }

    fn publish(&self, version: Version) {
        self.newest.send_if_modified(|newest| std::mem::replace(newest, version) != version);
    }
}

impl Embedded {
    /// Runs work on the disk where it holds nobody up.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Core) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let core = self.core.clone();
        tokio::task::spawn_blocking(move || work(&core))
            .await
            .unwrap_or_else(|error| Err(self.core.handle.panicked(error)))
    }
}

/// Looks what the database holds until it can be read, or the store is gone. One at a time.
fn look_until_known(core: &Arc<Core>) {
    if core.looking.swap(true, Ordering::AcqRel) {
        return;
    }
    let core = Arc::downgrade(core);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            let looked = tokio::task::spawn_blocking({
                let core = core.clone();
                move || look_once(&core)
            });
            if looked.await.unwrap_or(false) {
                return;
            }
        }
    });
}

/// Is there nothing left to be looked for?
fn look_once(core: &Weak<Core>) -> bool {
    let Some(core) = core.upgrade() else { return true };
    // First, as a change that fails from here on is one more to be looked for.
    core.looking.store(false, Ordering::Release);
    if core.look().is_ok() {
        return true;
    }
    // If somebody else began to look meanwhile, that one goes on.
    core.looking.swap(true, Ordering::AcqRel)
}

impl TenantStore for Embedded {
    fn kind(&self) -> &'static str {
        "embedded"
    }

    fn load(&self) -> BoxFuture<'_, Result<Snapshot, StoreError>> {
        self.blocking(Core::load).boxed()
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Version, StoreError>> {
        async move {
            let committed = self.blocking(move |core| core.commit(&commit)).await;
            if matches!(committed, Err(StoreError::Unavailable { .. })) {
                look_until_known(&self.core);
            }
            committed
        }
        .boxed()
    }

    fn history(
        &self,
        limit: usize,
        before: Option<Version>,
    ) -> BoxFuture<'_, Result<Vec<HistoryEntry>, StoreError>> {
        self.blocking(move |core| core.handle.with(|database| tables::history(database, limit, before)))
            .boxed()
    }

    fn at(&self, version: Version) -> BoxFuture<'_, Result<Snapshot, StoreError>> {
        self.blocking(move |core| core.handle.with(|database| tables::at(database, version))).boxed()
    }

    fn watch(&self) -> watch::Receiver<Version> {
        self.core.newest.subscribe()
    }

    fn trouble(&self) -> Option<String> {
        self.core.handle.trouble()
    }
}
