//! The last known snapshot on this node's disk: with it the daemon can start while etcd is down.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tracing::warn;

use super::Shared;
use crate::store::touch::slim;
use crate::store::{Snapshot, Version};
use crate::tenancy::Tenancy;
use crate::tenancy::spec::{PeerGroupSpec, TenantSpec};

/// The file's name in the state directory.
const FILE: &str = "last-known.json";

/// The pause after the file was written: many changes in a row need not all be written, only the last one.
const PAUSE: Duration = Duration::from_secs(1);

/// Where the snapshot is kept, and the one that is to be written next.
#[derive(Debug)]
pub(super) struct Keeper {
    path: PathBuf,
    prefix: String,
    next: Mutex<Option<Known>>,
    changed: Notify,
}

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub snapshot: Snapshot,
    /// The id of its head: tells it from another version of the same number.
    pub id: String,
}

/// The file as it is written.
#[derive(Serialize)]
struct Written<'a> {
    /// Whose tenants these are: a node that is given another prefix must not start with them.
    prefix: &'a str,
    version: Version,
    id: &'a str,
    peer_group: Vec<&'a PeerGroupSpec>,
    tenant: Vec<&'a TenantSpec>,
}

/// The file as it is read.
#[derive(Deserialize)]
struct Read {
    prefix: String,
    version: Version,
    /// Missing in files of earlier daemons.
    #[serde(default)]
    id: String,
    peer_group: Vec<PeerGroupSpec>,
    tenant: Vec<TenantSpec>,
}

impl Keeper {
    pub fn new(state_dir: &Path, prefix: &str) -> Self {
        let path = state_dir.join(FILE);
        Self { path, prefix: prefix.to_owned(), next: Mutex::new(None), changed: Notify::new() }
    }

    /// Has a snapshot written soon.
    pub fn keep(&self, known: Known) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        self.changed.notify_one();
    }

    /// What an earlier process knew; none if there is nothing that can be used.
    pub fn read(&self) -> Option<Known> {
        match self.try_read() {
            Ok(read) if read.prefix == self.prefix => Some(read.into()),
            Ok(read) => {
                warn!(file = %self.path.display(), prefix = read.prefix, "the last known tenants are of another prefix");
                None
            }
            Err(error) => {
                warn!(file = %self.path.display(), %error, "there are no last known tenants");
                None
            }
        }
    }

    fn try_read(&self) -> io::Result<Read> {
        Ok(serde_json::from_reader(BufReader::new(File::open(&self.path)?))?)
    }

    /// Replaces the file by a complete one: a reader finds the old or the new, after a power failure, too.
    fn write(&self, known: &Known) -> io::Result<()> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let unfinished = self.path.with_extension("json.new");
        let file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        let mut writer = BufWriter::new(file);
        serde_json::to_writer(&mut writer, &Written::new(&self.prefix, known))?;
        writer.flush()?;
        writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&unfinished, &self.path)?;
        File::open(dir)?.sync_all()
    }

    async fn next(&self) -> Known {
        loop {
            if let Some(known) = self.next.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return known;
            }
            self.changed.notified().await;
        }
    }
}

impl<'a> Written<'a> {
    fn new(prefix: &'a str, Known { snapshot: Snapshot { version, tenancy }, id }: &'a Known) -> Self {
        Self {
            prefix,
            id,
            version: *version,
            peer_group: tenancy.peer_groups.values().map(AsRef::as_ref).collect(),
            tenant: tenancy.tenants.values().map(AsRef::as_ref).collect(),
        }
    }
}

impl From<Read> for Known {
    fn from(read: Read) -> Self {
        let peer_groups = read.peer_group.into_iter().map(|group| (group.name.clone(), Arc::new(group)));
        let tenants = read.tenant.into_iter().map(|tenant| (tenant.name.clone(), Arc::new(slim(tenant))));
        let tenancy = Tenancy { peer_groups: peer_groups.collect(), tenants: tenants.collect() };
        Self { snapshot: Snapshot { version: read.version, tenancy }, id: read.id }
    }
}

/// Writes what is to be kept until the store is dropped.
pub(super) async fn keep_forever(shared: Arc<Shared>) {
    loop {
        let known = shared.keeper.next().await;
        let keeper = shared.clone();
        let written = tokio::task::spawn_blocking(move || keeper.keeper.write(&known)).await;
        if let Err(error) = written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            warn!(file = %shared.keeper.path.display(), %error, "the last known tenants could not be kept");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::suite::many;

    fn known() -> Known {
        Known { snapshot: Snapshot { version: Version(7), tenancy: many(3, 2) }, id: "x".to_owned() }
    }

    #[test]
    fn a_file_of_an_earlier_daemon_has_no_id() {
        let dir = tempfile::TempDir::new().unwrap();
        let text = r#"{"prefix": "/g/", "version": 7, "peer_group": [], "tenant": []}"#;
        std::fs::write(dir.path().join(FILE), text).unwrap();
        let known = Keeper::new(dir.path(), "/g/").read().unwrap();
        assert_eq!((known.snapshot.version, known.id.as_str()), (Version(7), ""));
    }

    #[test]
    fn what_is_written_is_read_and_only_for_the_same_prefix() {
        let dir = tempfile::TempDir::new().unwrap();
        let keeper = Keeper::new(dir.path(), "/g/");
        assert_eq!(keeper.read(), None);
        let known = known();
        keeper.write(&known).unwrap();
        assert_eq!(keeper.read(), Some(known));
        assert_eq!(Keeper::new(dir.path(), "/h/").read(), None);
    }

    #[test]
    fn half_a_file_is_nothing() {
        let dir = tempfile::TempDir::new().unwrap();
        let keeper = Keeper::new(dir.path(), "/g/");
        keeper.write(&known()).unwrap();
        let bytes = std::fs::read(dir.path().join(FILE)).unwrap();
        std::fs::write(dir.path().join(FILE), &bytes[..bytes.len() / 2]).unwrap();
        assert_eq!(keeper.read(), None);
    }
}
