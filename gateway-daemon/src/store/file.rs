//! The store that the configuration file is: read-only for the API, a new version at each reload that changes
//! something. Its history is that of this process.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::SystemTime;

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use tokio::sync::watch;

use super::touch::{self, Signature, Touch};
use super::{Author, Commit, HistoryEntry, Snapshot, StoreError, TenantStore, Version};
use crate::tenancy::Tenancy;

/// How many reloads are remembered. Each holds only the objects that it changed.
const KEPT: usize = 100;

/// The tenants of a configuration file.
#[derive(Debug)]
pub struct FileStore {
    place: PathBuf,
    state: RwLock<State>,
    newest: watch::Sender<Version>,
}

#[derive(Debug)]
struct State {
    current: Snapshot,
    /// Oldest first.
    reloads: VecDeque<Reload>,
}

#[derive(Debug)]
struct Reload {
    version: Version,
    signature: Signature,
    touches: Vec<Touch>,
}

impl FileStore {
    /// What the file at `place` holds, as version 1.
    pub fn new(place: PathBuf, tenancy: Tenancy) -> Self {
        let state = State { current: Snapshot::default(), reloads: VecDeque::new() };
        let store = Self { place, state: RwLock::new(state), newest: watch::Sender::new(Version(0)) };
        store.become_next(tenancy, "read at start");
        store
    }

    /// Puts what the file holds now into force. The version stays when nothing differs.
    pub fn replace(&self, tenancy: Tenancy) -> Version {
        self.become_next(tenancy, "reloaded")
    }

    fn become_next(&self, tenancy: Tenancy, why: &str) -> Version {
        let author = Author { who: self.place(), why: why.to_owned() };
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let version = state.become_next(tenancy, author, SystemTime::now());
        drop(state);
        self.newest.send_if_modified(|newest| std::mem::replace(newest, version) != version);
        version
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self) -> String {
        self.place.display().to_string()
    }
}

impl State {
    fn become_next(&mut self, mut after: Tenancy, author: Author, at: SystemTime) -> Version {
        if self.current.version > Version(0) && self.current.tenancy == after {
            return self.current.version;
        }
        let before = std::mem::take(&mut self.current.tenancy);
        share(&before.peer_groups, &mut after.peer_groups);
        share(&before.tenants, &mut after.tenants);
        let commit = Commit { from: self.current.version, before, after, author, at };
        let version = touch::next(commit.from);
        let touches = touch::touches(&commit.before, &commit.after).collect();
        self.reloads.push_back(Reload { version, signature: Signature::of(&commit), touches });
        if self.reloads.len() > KEPT {
            self.reloads.pop_front();
        }
        self.current = Snapshot { version, tenancy: commit.after };
        version
    }

    fn at(&self, version: Version) -> Result<Snapshot, StoreError> {
        let oldest = self.reloads.front().map_or(Version(0), |reload| reload.version);
        if version > self.current.version || touch::next(version) < oldest {
            return Err(StoreError::NoSuchVersion { version });
        }
        let mut tenancy = self.current.tenancy.clone();
        for reload in self.reloads.iter().rev().take_while(|reload| reload.version > version) {
            reload.touches.iter().for_each(|touch| touch.undo(&mut tenancy));
        }
        Ok(Snapshot { version, tenancy })
    }

    fn history(&self, limit: usize, before: Option<Version>) -> Vec<HistoryEntry> {
        let older = |reload: &&Reload| before.is_none_or(|before| reload.version < before);
        let entry = |reload: &Reload| reload.signature.clone().entry(reload.version, &reload.touches);
        self.reloads.iter().rev().filter(older).take(limit).map(entry).collect()
    }
}

/// Objects that did not change stay the same in memory, so many reloads of a large file do not fill it.
fn share<T: PartialEq>(before: &BTreeMap<String, Arc<T>>, after: &mut BTreeMap<String, Arc<T>>) {
    for (name, object) in after {
        if let Some(old) = before.get(name).filter(|old| *old == object) {
            *object = old.clone();
        }
    }
}

impl TenantStore for FileStore {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn load(&self) -> BoxFuture<'_, Result<Snapshot, StoreError>> {
        ready(Ok(self.state().current.clone())).boxed()
    }

    fn commit(&self, _: Commit) -> BoxFuture<'_, Result<Version, StoreError>> {
        ready(Err(StoreError::ReadOnly { place: self.place() })).boxed()
    }

    fn history(
        &self,
        limit: usize,
        before: Option<Version>,
    ) -> BoxFuture<'_, Result<Vec<HistoryEntry>, StoreError>> {
        ready(Ok(self.state().history(limit, before))).boxed()
    }

    fn at(&self, version: Version) -> BoxFuture<'_, Result<Snapshot, StoreError>> {
        ready(self.state().at(version)).boxed()
    }

    fn watch(&self) -> watch::Receiver<Version> {
        self.newest.subscribe()
    }

    fn trouble(&self) -> Option<String> {
        Some(format!("the tenants are kept in {}: change them there and reload the daemon", self.place()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::suite::{self, tenancy};

    fn store() -> FileStore {
        FileStore::new("/etc/gateway/gateway.toml".into(), tenancy(["a", "b"]))
    }

    #[tokio::test]
    async fn starts_with_version_1_and_what_the_file_holds() {
        let snapshot = store().load().await.unwrap();
        assert_eq!(snapshot, Snapshot { version: Version(1), tenancy: tenancy(["a", "b"]) });
    }

    #[tokio::test]
    async fn refuses_changes_and_names_the_file() {
        let store = store();
        let before = store.load().await.unwrap();
        let error = store.commit(suite::change(&before, tenancy([]))).await.unwrap_err();
        assert!(matches!(&error, StoreError::ReadOnly { place } if place == "/etc/gateway/gateway.toml"));
        assert_eq!(store.load().await.unwrap(), before);
        assert!(store.trouble().is_some_and(|trouble| trouble.contains("gateway.toml")));
    }

    #[tokio::test]
    async fn a_reload_is_a_version_only_if_something_differs() {
        let store = store();
        let mut watch = store.watch();
        watch.mark_unchanged();
        assert_eq!(store.replace(tenancy(["a", "b"])), Version(1));
        assert!(!watch.has_changed().unwrap());
        assert_eq!(store.replace(tenancy(["b", "c"])), Version(2));
        assert_eq!(*watch.borrow_and_update(), Version(2));
    }

    #[tokio::test]
    async fn remembers_the_reloads_of_this_process_and_no_more_than_it_may() {
        let store = store();
        let names: Vec<String> = (0..KEPT + 10).map(|n| format!("t{n}")).collect();
        for name in &names {
            store.replace(tenancy([name.as_str()]));
        }
        let newest = Version(1 + names.len() as u64);
        let history = store.history(usize::MAX, None).await.unwrap();
        assert_eq!(history.len(), KEPT);
        assert_eq!(history[0].version, newest);
        assert_eq!(history[0].changes.len(), 2);
        let page = store.history(3, Some(history[4].version)).await.unwrap();
        assert_eq!(page, history[5..8]);

        for back in 0..=KEPT {
            let expected = tenancy([names[names.len() - 1 - back].as_str()]);
            let version = Version(newest.0 - back as u64);
            assert_eq!(store.at(version).await.unwrap().tenancy, expected);
        }
        for version in [Version(newest.0 - KEPT as u64 - 1), Version(newest.0 + 1)] {
            let error = store.at(version).await.unwrap_err();
            assert!(matches!(error, StoreError::NoSuchVersion { .. }), "{error}");
        }
    }

    #[test]
    fn what_did_not_change_is_shared_between_versions() {
        let store = store();
        let before = store.state().current.tenancy.tenants["b"].clone();
        store.replace(tenancy(["b", "c"]));
        assert!(Arc::ptr_eq(&before, &store.state().current.tenancy.tenants["b"]));
    }
}
