//! The tables, and the work that is done on them in one transaction each.

use std::ops::Bound;

use redb::{
    Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction,
};

use super::database::Failure;
use crate::store::touch::{self, Signature, Touch};
use crate::store::{Commit, HistoryEntry, Snapshot, StoreError, Version};
use crate::tenancy::Tenancy;

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const OBJECTS: TableDefinition<&str, &[u8]> = TableDefinition::new("objects");
const HISTORY: TableDefinition<u64, &[u8]> = TableDefinition::new("history");
const TOUCHED: TableDefinition<(u64, &str), &[u8]> = TableDefinition::new("touched");

/// Keys of `meta`.
const FORMAT_KEY: &str = "format";
const VERSION_KEY: &str = "version";

/// What this code reads and writes. A higher number in a file is one that a newer daemon wrote.
pub(super) const FORMAT: u64 = 1;

/// Makes the tables if there are none, and refuses those of a newer daemon.
pub(super) fn prepare(database: &Database) -> Result<(), Failure> {
    match format(&database.begin_read()?)? {
        Some(FORMAT) => Ok(()),
        Some(newer) => Err(Failure::Newer(newer)),
        None => make_tables(database),
    }
}

fn format(tx: &ReadTransaction) -> Result<Option<u64>, Failure> {
    match tx.open_table(META) {
        Ok(meta) => Ok(meta.get(FORMAT_KEY)?.map(|format| format.value())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn make_tables(database: &Database) -> Result<(), Failure> {
    let tx = database.begin_write()?;
    {
        let mut meta = tx.open_table(META)?;
        meta.insert(FORMAT_KEY, FORMAT)?;
        meta.insert(VERSION_KEY, 0)?;
        tx.open_table(OBJECTS)?;
        tx.open_table(HISTORY)?;
        tx.open_table(TOUCHED)?;
    }
    Ok(tx.commit()?)
}

/// The version in force.
pub(super) fn version(database: &Database) -> Result<Version, Failure> {
    version_of(&database.begin_read()?)
}

fn version_of(tx: &ReadTransaction) -> Result<Version, Failure> {
    let version = tx.open_table(META)?.get(VERSION_KEY)?.map(|version| version.value());
    Ok(Version(version.unwrap_or_default()))
}

/// The version in force and what it holds.
pub(super) fn load(database: &Database) -> Result<Snapshot, Failure> {
    snapshot(&database.begin_read()?)
}

fn snapshot(tx: &ReadTransaction) -> Result<Snapshot, Failure> {
    let mut tenancy = Tenancy::default();
    for row in tx.open_table(OBJECTS)?.iter()? {
        let (key, bytes) = row?;
        touch::insert(&mut tenancy, key.value(), bytes.value())?;
    }
    Ok(Snapshot { version: version_of(tx)?, tenancy })
}

/// A change for which the version was found to be the right one. Dropped without [`Self::write`], it changes nothing.
pub(super) struct Change(WriteTransaction);

impl Change {
    /// Begins a change on top of a version.
    pub fn begin(database: &Database, from: Version) -> Result<Self, Failure> {
        let tx = database.begin_write()?;
        let current = tx.open_table(META)?.get(VERSION_KEY)?.map(|version| version.value());
        touch::same(from, Version(current.unwrap_or_default()))?;
        Ok(Self(tx))
    }

    /// Makes it durable; at most `kept` versions stay in the history.
    pub fn write(self, commit: &Commit, kept: u64) -> Result<Version, Failure> {
        let version = touch::next(commit.from);
        self.0.open_table(META)?.insert(VERSION_KEY, version.0)?;
        self.objects(version, commit)?;
        let signature = touch::json(&Signature::of(commit));
        self.0.open_table(HISTORY)?.insert(version.0, signature.as_slice())?;
        self.prune(version.0.saturating_sub(kept))?;
        self.0.commit()?;
        Ok(version)
    }

    fn objects(&self, version: Version, commit: &Commit) -> Result<(), Failure> {
        let (mut objects, mut touched) = (self.0.open_table(OBJECTS)?, self.0.open_table(TOUCHED)?);
        for touch in touch::touches(&commit.before, &commit.after) {
            let key = touch.key();
            match touch.after() {
                Some(object) => drop(objects.insert(key.as_str(), object.as_slice())?),
                None => drop(objects.remove(key.as_str())?),
            }
            touched.insert((version.0, key.as_str()), touch::json(&touch).as_slice())?;
        }
        Ok(())
    }

    /// Forgets the history up to a version.
    fn prune(&self, upto: u64) -> Result<(), Failure> {
        self.0.open_table(HISTORY)?.retain_in(..=upto, |_, _| false)?;
        self.0.open_table(TOUCHED)?.retain_in(..(upto + 1, ""), |_, _| false)?;
        Ok(())
    }
}

/// See [`crate::store::TenantStore::history`].
pub(super) fn history(
    database: &Database,
    limit: usize,
    before: Option<Version>,
) -> Result<Vec<HistoryEntry>, Failure> {
    let tx = database.begin_read()?;
    let end = before.map_or(Bound::Unbounded, |version| Bound::Excluded(version.0));
    let history = tx.open_table(HISTORY)?;
    let rows = history.range((Bound::Unbounded, end))?.rev().take(limit);
    rows.map(|row| {
        let (version, signature) = row?;
        let version = Version(version.value());
        let signature: Signature = touch::parse(&format!("history/{version}"), signature.value())?;
        Ok(signature.entry(version, &touched(&tx, version)?))
    })
    .collect()
}

fn touched(tx: &ReadTransaction, version: Version) -> Result<Vec<Touch>, Failure> {
    let rows = tx.open_table(TOUCHED)?.range((version.0, "")..(version.0 + 1, ""))?;
    rows.map(|row| {
        let (key, touch) = row?;
        Ok(touch::parse(&format!("touched/{version}/{}", key.value().1), touch.value())?)
    })
    .collect()
}

/// What a version held, by undoing what came after it.
pub(super) fn at(database: &Database, version: Version) -> Result<Snapshot, Failure> {
    let tx = database.begin_read()?;
    let mut snapshot = snapshot(&tx)?;
    if version > snapshot.version {
        return Err(StoreError::NoSuchVersion { version }.into());
    }
    let history = tx.open_table(HISTORY)?;
    for undone in (version.0 + 1..=snapshot.version.0).rev() {
        if history.get(undone)?.is_none() {
            return Err(StoreError::NoSuchVersion { version }.into());
        }
        for touch in touched(&tx, Version(undone))? {
            touch.undo(&mut snapshot.tenancy);
        }
    }
    Ok(Snapshot { version, tenancy: snapshot.tenancy })
}

/// Pretends that a newer daemon wrote the file.
#[cfg(test)]
pub(super) fn write_format(database: &Database, format: u64) -> Result<(), Failure> {
    let tx = database.begin_write()?;
    tx.open_table(META)?.insert(FORMAT_KEY, format)?;
    Ok(tx.commit()?)
}

/// Puts anything under the key of an object.
#[cfg(test)]
pub(super) fn write_object(database: &Database, key: &str, bytes: &[u8]) -> Result<(), Failure> {
    let tx = database.begin_write()?;
    tx.open_table(OBJECTS)?.insert(key, bytes)?;
    Ok(tx.commit()?)
}
