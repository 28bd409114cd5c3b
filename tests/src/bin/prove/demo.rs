//! The demonstration as its user starts it.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// From the root of the workspace.
const SCRIPT: &str = "scripts/demo.sh";
/// Its last line when all is well.
const LAST_LINE: &str = "demo: ok";

/// Is there a demonstration to run? Its program is built beside this one.
pub fn is_here() -> bool {
    let beside = env::current_exe().map(|own| own.with_file_name("demo"));
    beside.is_ok_and(|program| program.is_file()) && root().join(SCRIPT).is_file()
}

/// Runs it twice: the first run installs and builds what is missing.
pub fn second_run() -> Duration {
    run();
    run()
}

fn run() -> Duration {
    let started = Instant::now();
    let output = Command::new(Path::new(".").join(SCRIPT)).current_dir(root()).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("start {SCRIPT}: {error}"));
    let stdout = String::from_utf8_lossy(&output.stdout);
    let is_fine = output.status.success() && stdout.lines().last() == Some(LAST_LINE);
    assert!(is_fine, "{SCRIPT}: {}\n{stdout}{}", output.status, String::from_utf8_lossy(&output.stderr));
    started.elapsed()
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
