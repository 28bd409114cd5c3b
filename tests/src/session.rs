//! One lab's identity and directory. Every namespace, file and mount of a lab carries the session's name.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use crate::leftovers;
use crate::owner::Owner;
use crate::tool::require_root;

/// All that the lab names begins with this, so that leftovers are recognised and nothing else is ever
/// touched.
const PREFIX: &str = "gwl";

/// Counts the labs of this process, so that tests in parallel threads never share a name.
static NEXT_SEQUENCE: AtomicU32 = AtomicU32::new(0);

/// The name of one lab: `gwl-<pid>-<start time>-<sequence>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionName {
    /// The process that made it.
    pub owner: Owner,
    /// Which lab of that process.
    pub sequence: u32,
}

impl SessionName {
    /// The next unused name of this process.
    fn next() -> Self {
        Self { owner: Owner::current(), sequence: NEXT_SEQUENCE.fetch_add(1, Ordering::Relaxed) }
    }

    /// Reads the session's name from the front of a longer name such as `gwl-12-3456-0-npci`.
    pub fn prefix_of(name: &str) -> Option<Self> {
        let mut parts = name.splitn(5, '-');
        (parts.next()? == PREFIX).then_some(())?;
        let (pid, start_ticks, sequence) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            owner: Owner::from_str(&format!("{pid}-{start_ticks}")).ok()?,
            sequence: sequence.parse().ok()?,
        })
    }
}

impl std::fmt::Display for SessionName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{PREFIX}-{}-{}", self.owner, self.sequence)
    }
}

/// A lab's directory, removed on drop, or kept and its path printed when the test failed.
///
/// Shared by reference counting: namespaces, captures and processes write their evidence into it.
#[derive(Debug)]
pub struct Session {
    name: SessionName,
    dir: PathBuf,
    keep: AtomicBool,
}

impl Session {
    /// Removes what dead runs left behind, then makes the directory.
    ///
    /// Panics without root, since nothing in the lab works without it.
    pub fn start() -> Arc<Self> {
        require_root();
        leftovers::remove();
        let name = SessionName::next();
        let dir = env::temp_dir().join(name.to_string());
        fs::create_dir(&dir).unwrap_or_else(|error| panic!("create {}: {error}", dir.display()));
        Arc::new(Self { name, dir, keep: AtomicBool::new(false) })
    }

    /// This lab's name, the prefix of all its namespaces.
    pub fn name(&self) -> SessionName {
        self.name
    }

    /// Where logs, captures and configuration go.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path below the directory, whose parent exists.
    pub fn path(&self, relative: &str) -> PathBuf {
        let path = self.dir.join(relative);
        let parent = path.parent().expect("a joined path has a parent");
        fs::create_dir_all(parent).unwrap_or_else(|error| panic!("create {}: {error}", parent.display()));
        path
    }

    /// Keeps the directory although no thread is panicking, for failures that are noticed elsewhere.
    pub fn keep(&self) {
        self.keep.store(true, Ordering::Relaxed);
    }

    /// Notes a failure: call from the `Drop` of guards that may see a panic that the last holder does not.
    pub(crate) fn note_panic(&self) {
        if thread::panicking() {
            self.keep();
        }
    }

    /// Moves the evidence to a name that is no leftover.
    fn preserve(&self) {
        let kept = env::temp_dir().join(format!("gateway-lab-failed-{}", self.name));
        match fs::rename(&self.dir, &kept) {
            Ok(()) => eprintln!("lab: evidence of the failed test kept in {}", kept.display()),
            Err(error) => eprintln!("lab: evidence is in {} (not moved: {error})", self.dir.display()),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.note_panic();
        if self.keep.load(Ordering::Relaxed) {
            self.preserve();
        } else if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("lab: {} not removed: {error}", self.dir.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_with_and_without_a_role() {
        let name = SessionName { owner: Owner { pid: 12, start_ticks: 3456 }, sequence: 7 };
        assert_eq!(SessionName::prefix_of("gwl-12-3456-7"), Some(name));
        assert_eq!(SessionName::prefix_of(&format!("{name}-tenant-1")), Some(name));
    }

    #[test]
    fn foreign_names_are_not_ours() {
        for foreign in
            ["", "gwl", "gwl-", "gwl-1-2", "gwl-1-2-x", "gwlx-1-2-3", "cni-1-2-3", "gwl-a-2-3-npci"]
        {
            assert_eq!(SessionName::prefix_of(foreign), None, "{foreign:?}");
        }
    }

    #[test]
    fn two_sessions_of_one_process_differ() {
        let (a, b) = (Session::start(), Session::start());
        assert_ne!(a.name(), b.name());
        assert!(a.dir().is_dir() && b.dir().is_dir());
        let dir = a.dir().to_owned();
        drop(a);
        assert!(!dir.exists(), "a session that did not fail leaves nothing");
    }
}
