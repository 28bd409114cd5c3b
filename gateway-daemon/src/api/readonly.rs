//! A controller for a daemon whose tenants are kept elsewhere: it refuses every change.

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use super::controller::{
    BackendHealth, ChangeError, ChangeOutcome, ChangeRequest, Controller, ReloadOutcome,
};
use crate::store::{Author, HistoryEntry, Snapshot, StoreError, Version};

/// Answers reads from what it was given, and refuses the rest.
#[derive(Clone, Debug)]
pub struct ReadOnly {
    place: String,
    snapshot: Snapshot,
}

impl ReadOnly {
    /// The tenants are kept in `place`, and are these.
    pub fn new(place: impl Into<String>, snapshot: Snapshot) -> Self {
        Self { place: place.into(), snapshot }
    }

    fn refuse<T: Send + 'static>(&self) -> BoxFuture<'_, Result<T, ChangeError>> {
        ready(Err(StoreError::ReadOnly { place: self.place.clone() }.into())).boxed()
    }
}

impl Controller for ReadOnly {
    fn tenancy(&self) -> Snapshot {
        self.snapshot.clone()
    }

    fn change(&self, _: ChangeRequest) -> BoxFuture<'_, Result<ChangeOutcome, ChangeError>> {
        self.refuse()
    }

    fn rollback(
        &self,
        _: Version,
        _: Author,
        _: Option<Version>,
        _: bool,
    ) -> BoxFuture<'_, Result<ChangeOutcome, ChangeError>> {
        self.refuse()
    }

    fn history(&self, _: usize, _: Option<Version>) -> BoxFuture<'_, Result<Vec<HistoryEntry>, StoreError>> {
        ready(Ok(Vec::new())).boxed()
    }

    fn at(&self, version: Version) -> BoxFuture<'_, Result<Snapshot, StoreError>> {
        let found = (version == self.snapshot.version).then(|| self.snapshot.clone());
        ready(found.ok_or(StoreError::NoSuchVersion { version })).boxed()
    }

    fn health(&self) -> Vec<BackendHealth> {
        Vec::new()
    }

    fn reload(&self, _: Author) -> BoxFuture<'_, Result<ReloadOutcome, ChangeError>> {
        self.refuse()
    }
}
