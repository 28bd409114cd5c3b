//! Watching: who wants to know what happens, and what the data path has to tell for it.
//!
//! | module | does |
//! |---|---|
//! | [`armed`] | tells the data path what to tell, with the first watcher, and to stop, with the last |
//! | [`heard`] | passes on what it told |
//! | [`monitor`] | a stream of drops and flows |
//! | [`capture`] | a stream of packets |
//! | [`news`] | what the data path told, as the API tells it; pure |
//! | [`session`] | one capture: its bounds, and its file; pure |
//!
//! A watcher is a stream: when it is dropped, its [`armed::Lease`] ends.

mod armed;
mod capture;
mod heard;
mod monitor;
pub mod news;
pub mod session;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::{Duration, Instant},
};

use gateway_common::abi::TapHead;
use tokio::sync::{broadcast, mpsc, watch};

pub use session::Bounds;

use self::armed::Armed;
use super::Gateway;
use crate::{
    api::{source::SourceError, types::Happening},
    datapath::{
        explain::Names,
        tap::{self, Tap},
    },
};

/// What a monitor may be behind, in happenings; then it is told how many it missed.
const MONITOR_BACKLOG: usize = 4_096;

/// How old names may be that numbers are replaced by.
const NAMES_AGE: Duration = Duration::from_secs(1);

/// Who watches, and by what means.
pub struct Watchers {
    armed: Mutex<Armed>,
    /// Does anybody watch? Changes with the first and the last one.
    watched: watch::Sender<bool>,
    happenings: Mutex<Option<broadcast::Sender<Arc<Happening>>>>,
    frames: Mutex<Option<mpsc::Sender<CapturedFrame>>>,
    /// Frames that a capture had no room for.
    overflowed: AtomicU64,
    /// What was missed so far, as monitors have been told.
    missed: Mutex<tap::Missed>,
    names: Mutex<Option<(Instant, Arc<Names>)>>,
}

/// A frame on its way into a capture.
type CapturedFrame = (TapHead, Vec<u8>);

impl Watchers {
    /// Nobody watches through this tap yet.
    pub fn new(tap: Tap) -> Self {
        Self {
            armed: Mutex::new(Armed::new(tap)),
            watched: watch::Sender::new(false),
            happenings: Mutex::new(Some(broadcast::Sender::new(MONITOR_BACKLOG))),
            frames: Mutex::default(),
            overflowed: AtomicU64::new(0),
            missed: Mutex::default(),
            names: Mutex::default(),
        }
    }

    fn armed(&self) -> MutexGuard<'_, Armed> {
        lock(&self.armed)
    }

    fn happenings(&self) -> Option<broadcast::Sender<Arc<Happening>>> {
        lock(&self.happenings).clone()
    }
}

/// A panic of another task leaves nothing half-done in these.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gateway {
    /// Names of what the data path knows by its number; at most [`NAMES_AGE`] old.
    fn names(&self) -> Arc<Names> {
        let mut names = lock(&self.watchers.names);
        match &*names {
            Some((read, names)) if read.elapsed() < NAMES_AGE => names.clone(),
            _ => {
                let fresh = Arc::new(self.state().names());
                *names = Some((Instant::now(), fresh.clone()));
                fresh
            }
        }
    }

    fn known_tenant(&self, name: &str) -> Result<(), SourceError> {
        if self.config().tenants.iter().any(|tenant| tenant.name.as_str() == name) {
            return Ok(());
        }
        Err(SourceError::UnknownTenant { name: name.to_owned() })
    }
}

fn busy(message: String, remedy: &str) -> SourceError {
    SourceError::Unavailable { message, remedy: remedy.to_owned(), source: None }
}

fn ending() -> SourceError {
    busy("the daemon is about to end".to_owned(), "ask the next one")
}

fn unavailable(error: anyhow::Error) -> SourceError {
    SourceError::unavailable("the data path cannot be watched", "see the daemon's log", error)
}
