//! The database file: made, opened, and opened again after an IO error.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError};

use super::tables;
use crate::store::StoreError;
use crate::store::touch::Unreadable;

/// The file's name in the state directory.
pub(super) const FILE: &str = "tenants.redb";

/// The file's name until it is complete.
const UNFINISHED: &str = "tenants.redb.new";

/// Memory for pages of the file. redb's own default of 1 GiB would let a large history fill the memory of the
/// node; a change touches a few pages, and the daemon reads the whole only when it starts.
const CACHE_BYTES: usize = 1 << 20;

/// Makes a database: from the file, or in tests from something that fails.
pub(super) type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

/// Opens the file in a directory; makes both if they are missing.
pub(super) fn open(dir: &Path) -> Result<Database, DatabaseError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // Two daemons that start at once must not both make the file.
    let making = File::open(dir)?;
    making.lock()?;
    let path = dir.join(FILE);
    if !path.try_exists()? {
        create(dir, &path)?;
    }
    let file = OpenOptions::new().read(true).write(true).open(&path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    builder().create_with_backend(FileBackend::new(file)?)
}

/// Makes an empty database that is complete from the moment it has its name: one that is cut off while it is made
/// could never be opened again.
fn create(dir: &Path, path: &Path) -> Result<(), DatabaseError> {
    let unfinished = dir.join(UNFINISHED);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?;
    drop(builder().create_with_backend(FileBackend::new(file)?)?);
    File::open(&unfinished)?.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    Ok(File::open(dir)?.sync_all()?)
}

/// How every database is opened. The check makes damage an error: without, reading damaged pages may panic.
pub(super) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

/// Why work on the database did not do what it should.
pub(super) enum Failure {
    /// The request was at fault: the database is well.
    Refused(StoreError),
    /// Something in the database can't be understood.
    Unreadable(Unreadable),
    /// A newer daemon wrote it, in this format.
    Newer(u64),
    /// The database failed: it must be opened again.
    Broken(redb::Error),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<Unreadable> for Failure {
    fn from(what: Unreadable) -> Self {
        Self::Unreadable(what)
    }
}

/// Every error of redb, whichever step it came from.
macro_rules! broken_by {
    ($($error:ty),+) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Broken(error.into())
            }
        }
    )+};
}
broken_by!(
    redb::DatabaseError,
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError
);

/// The database, which may have to be opened again.
pub(super) struct Handle {
    place: String,
    opener: Opener,
    /// None from an IO error until it could be opened again.
    database: RwLock<Option<Database>>,
    trouble: Mutex<Option<String>>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Handle {
    /// Opens it for the first time. `place` names it in messages.
    pub fn open(place: String, opener: Opener) -> Result<Self, StoreError> {
        let handle = Self { place, opener, database: RwLock::new(None), trouble: Mutex::new(None) };
        handle.ensure_open()?;
        Ok(handle)
    }

    /// Works on the database, opened again if need be.
    pub fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, Failure>) -> Result<T, StoreError> {
        self.ensure_open()?;
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = database.as_ref() else { return Err(self.closed_meanwhile()) };
        let result = work(open);
        drop(database);
        result.map_err(|failure| self.failed(failure))
    }

    /// Why the last change could not be stored, if it could not.
    pub fn trouble(&self) -> Option<String> {
        self.troubled().clone()
    }

    /// A change was stored.
    pub fn forget_trouble(&self) {
        *self.troubled() = None;
    }

    /// The database's own code gave up: the next use opens it again.
    pub fn panicked(&self, error: tokio::task::JoinError) -> StoreError {
        self.close();
        self.noted(StoreError::Unavailable {
            message: format!("work on the tenant store {} ended unexpectedly", self.place),
            remedy: "see the log; trying again is safe, look up first what is stored".to_owned(),
            source: Some(Box::new(error)),
        })
    }

    fn troubled(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ensure_open(&self) -> Result<(), StoreError> {
        if self.database.read().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(());
        }
        let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            *slot = Some(self.fresh().map_err(|failure| self.explained(failure))?);
        }
        Ok(())
    }

    fn fresh(&self) -> Result<Database, Failure> {
        let database = (self.opener)()?;
        tables::prepare(&database)?;
        Ok(database)
    }

    fn close(&self) {
        drop(self.database.write().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn failed(&self, failure: Failure) -> StoreError {
        if matches!(failure, Failure::Broken(_)) {
            self.close();
        }
        self.explained(failure)
    }

    fn explained(&self, failure: Failure) -> StoreError {
        match failure {
            Failure::Refused(error) => error,
            Failure::Unreadable(what) => self.noted(self.unreadable(&what)),
            Failure::Newer(format) => self.newer(format),
            Failure::Broken(error) => self.noted(explain(&self.place, error)),
        }
    }

    fn unreadable(&self, what: &Unreadable) -> StoreError {
        let Unreadable { key, why } = what;
        let message = format!("`{key}` in the tenant store {} can't be understood: {why}", self.place);
        StoreError::Corrupt { message, remedy: start_anew(&self.place) }
    }

    fn newer(&self, format: u64) -> StoreError {
        let (place, known) = (&self.place, tables::FORMAT);
        StoreError::Corrupt {
            message: format!(
                "the tenant store {place} has format {format}; this gateway-daemon knows {known}"
            ),
            remedy: "run the gateway-daemon that wrote it, or a newer one; nothing was changed".to_owned(),
        }
    }

    fn closed_meanwhile(&self) -> StoreError {
        StoreError::Unavailable {
            message: format!("the tenant store {} is being opened again after an error", self.place),
            remedy: "try again".to_owned(),
            source: None,
        }
    }

    fn noted(&self, error: StoreError) -> StoreError {
        *self.troubled() = Some(match &error {
            StoreError::Unavailable { source: Some(source), .. } => format!("{error}: {source}"),
            _ => error.to_string(),
        });
        error
    }
}

/// What a failure of redb means to an operator.
fn explain(place: &str, error: redb::Error) -> StoreError {
    use redb::Error as E;
    match error {
        E::DatabaseAlreadyOpen => StoreError::Unavailable {
            message: format!("the tenant store {place} is in use by another process"),
            remedy: "stop the other gateway-daemon, or give this one a state directory of its own".to_owned(),
            source: Some(Box::new(error)),
        },
        E::Io(ref io) if is_damage(io) => damaged(place, &error),
        E::Io(ref io) => {
            let remedy = io_remedy(place, io);
            let message = format!("the tenant store {place} can't be read or written");
            StoreError::Unavailable { message, remedy, source: Some(Box::new(error)) }
        }
        E::PreviousIo | E::DatabaseClosed => StoreError::Unavailable {
            message: format!("the tenant store {place} is closed after an earlier error"),
            remedy: "try again: it is opened again then".to_owned(),
            source: Some(Box::new(error)),
        },
        error => damaged(place, &error),
    }
}

/// redb says "not a database" this way, and a file that was cut short ends too soon.
fn is_damage(io: &io::Error) -> bool {
    matches!(io.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

fn io_remedy(place: &str, io: &io::Error) -> String {
    match io.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("make room on the file system of {place}; the next change tries again")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            format!("let the daemon's user write {place} and its directory; the next change tries again")
        }
        _ => format!("look for errors of the disk that holds {place} (dmesg); the next change tries again"),
    }
}

fn damaged(place: &str, error: &redb::Error) -> StoreError {
    let message = format!("the tenant store {place} is damaged: {error}");
    StoreError::Corrupt { message, remedy: start_anew(place) }
}

fn start_anew(place: &str) -> String {
    format!(
        "stop the daemon, move {place} aside and keep it, start the daemon with an empty store, and bring the \
         tenants back from the last export with `gateway-daemon apply -f FILE`"
    )
}
