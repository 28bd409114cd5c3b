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
    /// The network interfaces that exist here, in this network namespace.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn of_this_host() -> std::io::Result<Self> {
        let found = nix::net::if_::if_nameindex()?;
        Ok(Self::present(found.iter().map(|interface| interface.name().to_string_lossy())))
    }

    /// Exactly these interfaces exist.
    pub fn present<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self::Present(names.into_iter().map(Into::into).collect())
    }
}
