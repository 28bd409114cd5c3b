//! Is a backend alive?
//!
//! | module | does |
//! |---|---|
//! | [`from_config`] | which backends a configuration wants checked, and what they are at first; pure |
//! | [`target`] | which backends are checked, and how |
//! | [`failure`] | why a check did not pass |
//! | [`machine`] | from results of checks to up and down, slow start included; no IO, no clock |
//! | [`passive`] | what real traffic says: unanswered SYNs, RSTs; pure |
//! | [`roster`] | all machines and when each is due; no IO, no clock |
//! | [`probe`] | one check against a real server |
//! | [`driver`] | runs the roster: starts probes, publishes what changed |

pub mod driver;
pub mod failure;
pub mod from_config;
pub mod machine;
pub mod passive;
pub mod probe;
pub mod roster;
pub mod target;

mod agenda;
mod board;

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// A backend as health knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId {
    /// Its tenant's name.
    pub tenant: Arc<str>,
    /// Its pool's name.
    pub pool: Arc<str>,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its port.
    pub port: u16,
}

/// What the tables are to do with a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Takes its full share.
    Up,
    /// Slow start: takes this many of 100 parts of its share, 1 to 99.
    Rising(u8),
    /// Takes no new flows.
    Down,
}

impl Standing {
    /// The word used in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Rising(_) => "rising",
            Self::Down => "down",
        }
    }
}

/// The standing of every checked backend; those that are not in it are not checked and count as up.
pub type Standings = Arc<HashMap<BackendId, Standing>>;

/// The backends that are down because checks said so; not those that began as down and were not checked often enough yet.
pub type Fallen = Arc<HashSet<BackendId>>;
