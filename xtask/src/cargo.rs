//! cargo for user space, and what it leaves behind.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use xtask::ebpf;

/// The package with the privileged tests and the programs `prove`, `bench`, `differential` and `demo`.
pub const TESTS_PACKAGE: &str = "gateway-tests";

/// The daemon's package, and its program.
pub const DAEMON_PACKAGE: &str = "gateway-daemon";

/// The package with the fuzz targets.
pub const FUZZ_PACKAGE: &str = "gateway-fuzz";

/// Tells the tests which daemon to start.
pub const DAEMON_ENV: &str = "GATEWAY_DAEMON_BIN";

/// `cargo <args>` in the root of the workspace.
pub fn cargo<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(ebpf::workspace()).args(args);
    command
}

/// The target directory that cargo built us in.
pub fn target_dir() -> Result<PathBuf> {
    let own = env::current_exe().context("cannot tell where xtask runs from")?;
    Ok(ebpf::target_dir_of(&own))
}

/// Builds the daemon and the given program of the tests package, optimized.
///
/// Both packages are named, so that their common dependencies are compiled with one set of features.
pub fn build_release(program: Option<&str>) -> Command {
    let mut command = cargo(["build", "--release", "--package", DAEMON_PACKAGE, "--package", TESTS_PACKAGE]);
    command.args(["--bin", DAEMON_PACKAGE]).args(program.iter().flat_map(|program| ["--bin", program]));
    command
}

/// A program that cargo built optimized.
pub fn release_binary(target_dir: &Path, name: &str) -> PathBuf {
    target_dir.join("release").join(name)
}

/// Makes `command` test the daemon that [`build_release`] built.
pub fn with_daemon<'a>(command: &'a mut Command, target_dir: &Path) -> &'a mut Command {
    command.env(DAEMON_ENV, release_binary(target_dir, DAEMON_PACKAGE))
}
