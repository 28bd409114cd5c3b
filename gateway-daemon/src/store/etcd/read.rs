//! Reading versions and the history. Everything is read at one revision.

use etcd_client::{GetOptions, SortOrder, SortTarget};

use super::keys::{Entry, Staged, Touched};
use super::wire::{Seen, Wire};
use crate::store::touch::{self, Touch, Unreadable};
use crate::store::{HistoryEntry, Snapshot, StoreError, Version};
use crate::tenancy::Tenancy;

/// Entries of the history in one answer: each has at most [`super::change::SMALL_BYTES`] or so.
const PAGE: usize = 16;

impl Wire {
    /// The version in force, and how it was found.
    pub async fn load(&self) -> Result<(Snapshot, Seen), StoreError> {
        let seen = self.head().await?;
        Ok((self.snapshot(&seen).await?, seen))
    }

    async fn snapshot(&self, seen: &Seen) -> Result<Snapshot, StoreError> {
        let mut tenancy = Tenancy::default();
        let objects = self.keys.objects();
        let start = objects.len();
        self.each(objects, seen.revision, |key, bytes| {
            let key = String::from_utf8_lossy(&key[start..]);
            touch::insert(&mut tenancy, &key, bytes).map_err(|what| self.unreadable(&what))
        })
        .await?;
        if let Some(staged) = &seen.head.staged {
            self.each_staged(staged, seen.revision, |touch| touch.redo(&mut tenancy)).await?;
        }
        Ok(Snapshot { version: seen.head.version, tenancy })
    }

    /// Every touched object of a large change, one part in memory at a time.
    pub async fn each_staged(
        &self,
        staged: &Staged,
        revision: i64,
        mut visit: impl FnMut(&Touch),
    ) -> Result<(), StoreError> {
        for n in 0..staged.parts {
            self.part(staged, n, revision).await?.iter().for_each(&mut visit);
        }
        Ok(())
    }

    /// One part of a large change.
    pub async fn part(&self, staged: &Staged, n: usize, revision: i64) -> Result<Vec<Touch>, StoreError> {
        let key = self.keys.part(staged, n);
        match self.value(key.clone(), revision).await? {
            Some(bytes) => self.parse(&key, &bytes),
            None => Err(self.unreadable(&Unreadable { key, why: "it is missing".to_owned() })),
        }
    }

    async fn touched(&self, entry: Touched, revision: i64) -> Result<Vec<Touch>, StoreError> {
        match entry {
            Touched::Here(touches) => Ok(touches),
            Touched::Staged(staged) => {
                let mut all = Vec::new();
                self.each_staged(&staged, revision, |touch| all.push(touch.clone())).await?;
                Ok(all)
            }
        }
    }

    /// See [`crate::store::TenantStore::history`].
    pub async fn history(
        &self,
        limit: usize,
        before: Option<Version>,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        let revision = self.head().await?.revision;
        let mut end = before.map_or_else(|| self.keys.history_end(), |before| self.keys.history(before));
        let mut all = Vec::new();
        while all.len() < limit {
            let wanted = PAGE.min(limit - all.len());
            let page = self.history_page(&end, wanted, revision).await?;
            let Some((oldest, _)) = page.last() else { break };
            end = self.keys.history(*oldest);
            for (version, entry) in page {
                all.push(entry.signature.entry(version, &self.touched(entry.touched, revision).await?));
            }
        }
        Ok(all)
    }

    async fn history_page(
        &self,
        end: &str,
        wanted: usize,
        revision: i64,
    ) -> Result<Vec<(Version, Entry)>, StoreError> {
        let options = GetOptions::new()
            .with_range(end)
            .with_sort(SortTarget::Key, SortOrder::Descend)
            .with_limit(i64::try_from(wanted).unwrap_or(i64::MAX))
            .with_revision(revision);
        let page = self.get(self.keys.history(Version(0)), options).await?;
        page.kvs().iter().map(|pair| self.entry(pair.key(), pair.value())).collect()
    }

    fn entry(&self, key: &[u8], value: &[u8]) -> Result<(Version, Entry), StoreError> {
        let key = String::from_utf8_lossy(key);
        let version = key.rsplit('/').next().and_then(|number| number.parse().ok());
        let strange = || Unreadable { key: key.clone().into_owned(), why: "it names no version".to_owned() };
        let version = version.ok_or_else(|| self.unreadable(&strange()))?;
        Ok((Version(version), self.parse(&key, value)?))
    }

    /// What a version held, by undoing what came after it.
    pub async fn at(&self, version: Version) -> Result<Snapshot, StoreError> {
        let seen = self.head().await?;
        if version > seen.head.version {
            return Err(StoreError::NoSuchVersion { version });
        }
        let oldest = self.keys.history(touch::next(version));
        if version < seen.head.version && self.value(oldest, seen.revision).await?.is_none() {
            return Err(StoreError::NoSuchVersion { version });
        }
        let mut tenancy = self.snapshot(&seen).await?.tenancy;
        for undone in (version.0 + 1..=seen.head.version.0).rev().map(Version) {
            self.undo(undone, seen.revision, &mut tenancy).await?;
        }
        Ok(Snapshot { version, tenancy })
    }

    async fn undo(&self, version: Version, revision: i64, tenancy: &mut Tenancy) -> Result<(), StoreError> {
        let key = self.keys.history(version);
        let entry = self.value(key.clone(), revision).await?;
        let missing = || Unreadable { key: key.clone(), why: "it is missing".to_owned() };
        let entry: Entry = self.parse(&key, &entry.ok_or_else(|| self.unreadable(&missing()))?)?;
        match entry.touched {
            Touched::Here(touches) => touches.iter().for_each(|touch| touch.undo(tenancy)),
            Touched::Staged(staged) => {
                self.each_staged(&staged, revision, |touch| touch.undo(tenancy)).await?;
            }
        }
        Ok(())
    }
}
