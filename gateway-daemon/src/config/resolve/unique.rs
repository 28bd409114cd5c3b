//! Names that may stand only once in their list.

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;

use super::conflict::Conflict;
use crate::config::problem::{At, Problems};

/// The names of one list: which are taken, where, and at which position.
pub(super) struct Unique<K> {
    /// What they name, for the message: "tenant", "listener".
    what: &'static str,
    claimed: usize,
    seen: HashMap<K, (usize, At)>,
}

impl<K: Clone + Eq + Hash + Display> Unique<K> {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, claimed: 0, seen: HashMap::new() }
    }

    /// As [`Unique::new`], for as many names.
    pub(super) fn with_capacity(what: &'static str, names: usize) -> Self {
        Self { what, claimed: 0, seen: HashMap::with_capacity(names) }
    }

    /// Takes the name at `at` for the next position of the list, or reports that it is taken.
    pub(super) fn claim(&mut self, name: &K, at: &At, problems: &mut Problems) {
        let position = self.claimed;
        self.claimed += 1;
        if let Some((_, first)) = self.seen.get(name) {
            let conflict = Conflict::NameTaken { what: self.what, name: name.to_string() };
            problems.add_with(at, &conflict, "the first one", first);
            return;
        }
        self.seen.insert(name.clone(), (position, at.clone()));
    }

    /// All names in the order of the file.
    pub(super) fn names(&self) -> Vec<K> {
        let mut names: Vec<_> = self.seen.iter().map(|(name, (position, _))| (*position, name)).collect();
        names.sort_by_key(|(position, _)| *position);
        names.into_iter().map(|(_, name)| name.clone()).collect()
    }

    /// The position of the first entry with this name.
    pub(super) fn position(&self, name: &K) -> Option<usize> {
        self.seen.get(name).map(|(position, _)| *position)
    }
}
