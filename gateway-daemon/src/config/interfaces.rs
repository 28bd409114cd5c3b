//! Which network interfaces exist, as the caller knows them.

use std::collections::BTreeSet;

/// The network interfaces of this host, or no knowledge of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interfaces {
    /// Accept every name: for checking a file on another machine than the gateway's.
    Unchecked,
    /// Exactly these exist.
    Present(BTreeSet<String>),
}

impl Interfaces {
    /// Exactly these interfaces exist.
    pub fn present<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self::Present(names.into_iter().map(Into::into).collect())
    }
}
