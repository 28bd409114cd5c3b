//! Shows that a daemon that is killed loses no change that it acknowledged, and leaves none half made.
//!
//! A second process (the victim) commits as fast as it can and says which versions were acknowledged. It is killed at
//! a random moment, again and again on the same directory; each time the store must hold the last acknowledged
//! version or the one that was under way, and exactly what that version must hold. [`run`] is for tests and for the
//! suite of proofs: both start their own executable as the victim, whose `main` calls [`victim_if_asked`] first.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use super::{Author, Commit, Snapshot, StoreError, TenantStore as _, Version, embedded};
use crate::tenancy::Tenancy;
use crate::tenancy::spec::TenantSpec;

/// Names the directory in the environment of the process that is to be the victim.
const ROLE: &str = "GATEWAY_STORE_CRASH_VICTIM";

/// What the victim prints before the version that was acknowledged.
const ACKNOWLEDGED: &str = "acknowledged ";

/// Versions that the victim keeps: few, so that every commit also prunes.
const KEPT: usize = 8;

/// Tenants that every commit changes: a torn commit would leave some of them behind.
const TENANTS: u64 = 20;

/// A kill comes at most this long after the victim was started or first spoke: time for some tens of commits.
const LONGEST_LIFE: Duration = Duration::from_millis(60);

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashReport {
    /// How often the victim was killed.
    pub kills: u32,
    /// The version that the store holds in the end: the number of changes that survived, all of them.
    pub versions: u64,
    /// How often the change that was under way turned out to be stored.
    pub under_way_stored: u32,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum CrashCheckError {
    /// The victim could not be started or watched.
    #[error("the process that is to be killed could not be run")]
    Victim(#[from] io::Error),
    /// The store can't be opened or read after a kill.
    #[error("kill {kill}: the store can't be read afterwards")]
    Unreadable {
        /// After which kill.
        kill: u32,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// A change was lost, or appeared from nowhere.
    #[error("kill {kill}: version {acknowledged} was acknowledged, and version {stored} is stored")]
    WrongVersion {
        /// After which kill.
        kill: u32,
        /// The last acknowledged version.
        acknowledged: Version,
        /// The stored one.
        stored: Version,
    },
    /// A version does not hold what it must.
    #[error("kill {kill}: version {version} is torn: it does not hold what was committed")]
    Torn {
        /// After which kill.
        kill: u32,
        /// Which.
        version: Version,
    },
}

/// Becomes the victim if the environment says so, and then never returns.
///
/// # Panics
///
/// As the victim, when the store refuses a change.
pub fn victim_if_asked() {
    if let Some(dir) = std::env::var_os(ROLE) {
        runtime().block_on(commit_forever(&PathBuf::from(dir)));
    }
}

/// Kills `kills` victims that work on the store in `dir`, which must be empty at first. `victim` makes the command
/// that ends up in [`victim_if_asked`]; `seed` chooses the moments.
///
/// # Errors
///
/// The first promise that was not kept.
pub fn run(
    victim: impl Fn() -> Command,
    dir: &Path,
    kills: u32,
    seed: u64,
) -> Result<CrashReport, CrashCheckError> {
    let mut moments = fastrand::Rng::with_seed(seed);
    let mut report = CrashReport { kills: 0, versions: 0, under_way_stored: 0 };
    for kill in 1..=kills {
        let said = kill_one(victim().env(ROLE, dir), &mut moments)?;
        let acknowledged = said.unwrap_or(Version(report.versions));
        let stored = check(dir, kill, acknowledged)?;
        report.kills = kill;
        report.versions = stored.0;
        report.under_way_stored += u32::from(stored > acknowledged);
    }
    Ok(report)
}

/// What a version must hold.
fn expected(version: Version) -> Tenancy {
    let tenant = |n: u64| {
        let name = format!("tenant-{n}");
        let nat_ip = format!("10.{}.{}.{n}", version.0 / 256 % 256, version.0 % 256);
        (name.clone(), Arc::new(TenantSpec { name, nat_ip, ..TenantSpec::default() }))
    };
    let tenants = if version == Version(0) { 0 } else { TENANTS };
    Tenancy { tenants: (0..tenants).map(tenant).collect(), ..Tenancy::default() }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without IO needs nothing that can fail")
}

async fn commit_forever(dir: &Path) {
    let store = embedded::open(dir, KEPT).expect("the victim opens the store");
    let Snapshot { mut version, mut tenancy } = store.load().await.expect("the victim reads the store");
    loop {
        let after = expected(Version(version.0 + 1));
        let author = Author { who: "victim".to_owned(), why: String::new() };
        let commit =
            Commit { from: version, before: tenancy, after: after.clone(), author, at: SystemTime::now() };
        version = store.commit(commit).await.expect("the victim commits");
        tenancy = after;
        // Past the buffers of this process at once: it has no time left to flush them.
        writeln!(io::stdout().lock(), "{ACKNOWLEDGED}{version}").expect("the victim is heard");
    }
}

/// Starts a victim and kills it; answers with the last version that it acknowledged.
fn kill_one(victim: &mut Command, moments: &mut fastrand::Rng) -> io::Result<Option<Version>> {
    let mut victim = Victim(victim.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
    let mut said = acknowledgements(&mut victim.0);
    // Half of the kills can hit the opening of the store, the other half come while it commits.
    let first = if moments.bool() { said.next() } else { None };
    let life = LONGEST_LIFE.mul_f64(moments.f64());
    // What it says meanwhile stays in the pipe, which holds thousands of lines.
    thread::sleep(life);
    victim.0.kill()?;
    victim.0.wait()?;
    Ok(said.last().or(first))
}

fn acknowledgements(victim: &mut Child) -> impl Iterator<Item = Version> + use<> {
    let pipe = victim.stdout.take().expect("the victim's output is a pipe");
    let lines = BufReader::new(pipe).lines().map_while(Result::ok);
    // Other lines are those of a test runner around the victim.
    lines.filter_map(|line| line.split_once(ACKNOWLEDGED)?.1.parse().ok().map(Version))
}

/// A process that does not outlive the check.
struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        // It is dead already, unless the check broke off.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn check(dir: &Path, kill: u32, acknowledged: Version) -> Result<Version, CrashCheckError> {
    let unreadable = |source| CrashCheckError::Unreadable { kill, source };
    let store = embedded::open(dir, KEPT).map_err(unreadable)?;
    let runtime = runtime();
    let Snapshot { version: stored, tenancy } = runtime.block_on(store.load()).map_err(unreadable)?;
    if !(acknowledged.0..=acknowledged.0 + 1).contains(&stored.0) {
        return Err(CrashCheckError::WrongVersion { kill, acknowledged, stored });
    }
    if tenancy != expected(stored) {
        return Err(CrashCheckError::Torn { kill, version: stored });
    }
    for version in (stored.0.saturating_sub(KEPT as u64)..stored.0).map(Version) {
        if runtime.block_on(store.at(version)).map_err(unreadable)?.tenancy != expected(version) {
            return Err(CrashCheckError::Torn { kill, version });
        }
    }
    Ok(stored)
}
