//! A topology with its evidence: what most tests begin with.

use std::fs;
use std::ops::Deref;
use std::thread;

use crate::topology::{Builder, Mode, Topology};

/// A topology that describes itself when the test fails.
///
/// Make it first in a test, so that it is dropped last. On failure its directory is kept, with captures,
/// logs, configuration and `state.txt` (addresses, routes, neighbours and counters of each namespace), and
/// its path is printed.
#[derive(Debug)]
pub struct Lab {
    topology: Topology,
}

impl Lab {
    /// The default topology in the given mode.
    pub fn new(mode: Mode) -> Self {
        Self::with(Topology::builder().mode(mode))
    }

    /// Another topology.
    pub fn with(builder: Builder) -> Self {
        Self { topology: builder.build() }
    }

    /// The topology; a lab is also used as one directly.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }
}

impl Deref for Lab {
    type Target = Topology;

    fn deref(&self) -> &Topology {
        &self.topology
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if thread::panicking() {
            let session = self.topology.session();
            session.keep();
            if let Err(error) = fs::write(session.path("state.txt"), self.topology.describe()) {
                eprintln!("lab: state not written: {error}");
            }
        }
    }
}
