//! A process that writes to the store is killed at random moments, as the store's own tests do, but more often.

use std::{env, process::Command};

use gateway_daemon::store::crash_check;

pub use gateway_daemon::store::crash_check::{CrashReport, victim_if_asked};

use crate::{
    seed::{Random, SEED_VARIABLE},
    session::Session,
};

/// Kills so often. The `main` of this program calls [`victim_if_asked`] first: it is its own victim.
///
/// # Errors
///
/// The first promise that was not kept, in words.
pub fn run(kills: u32) -> Result<CrashReport, String> {
    let session = Session::start();
    let dir = session.path("store/data");
    std::fs::create_dir_all(&dir).expect("make a directory");
    let own = env::current_exe().expect("the path of this program");
    let mut random = Random::from_env();
    crash_check::run(|| Command::new(&own), &dir, kills, random.next_u64()).map_err(|error| {
        session.keep();
        let source =
            std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        format!("{error}{source}; repeat with {SEED_VARIABLE}={}", random.seed())
    })
}
