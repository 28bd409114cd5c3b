//! `cargo xtask check`: format, lints and documentation, as CI checks them.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use xtask::ebpf::{self, Tools};

use crate::{
    cargo::{self, cargo},
    step::{self, Output},
};

/// Everything but the kernel side, which only compiles for BPF. (One command for both would also give it the
/// features that user space wants of `gateway-common`.)
const USER_SPACE: [&str; 3] = ["--workspace", "--exclude", ebpf::PACKAGE];

/// Where shell scripts are.
const SCRIPT_DIRS: [&str; 3] = ["scripts", ".ci", "xtask/src/kernel"];

/// There is nothing to choose.
#[derive(Args)]
pub struct Options {}

/// Runs every step, also after one has failed.
pub fn run(_: &Options) -> Result<()> {
    let tools = Tools::find()?;
    let mut failed = Vec::new();
    for (name, mut command) in steps(&tools, &cargo::target_dir()?)? {
        if !step::run(name, &mut command, Output::OnFailure)?.ok {
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("check failed: {}", failed.join(", "));
    }
    Ok(())
}

fn steps(tools: &Tools, target_dir: &Path) -> Result<Vec<(&'static str, Command)>> {
    let mut steps = vec![
        ("format", cargo(["fmt", "--all", "--check"])),
        ("clippy for user space", clippy()),
        lint_kernel_side(tools, target_dir),
        ("documentation", documentation()),
    ];
    match shellcheck()? {
        Some(command) => steps.push(("shellcheck", command)),
        None => println!("{:<40} not installed, left out", "shellcheck"),
    }
    Ok(steps)
}

fn clippy() -> Command {
    let mut command = cargo(["clippy"]);
    command.args(USER_SPACE).args(["--all-targets", "--", "-Dwarnings"]);
    command
}

/// With clippy where the BPF compiler has one (in Debian: package `rust-web-clippy`), else with rustc's own lints;
/// `gateway-common` then still meets clippy in user space.
fn lint_kernel_side(tools: &Tools, target_dir: &Path) -> (&'static str, Command) {
    match tools.clippy(target_dir) {
        Some(clippy) => ("clippy for BPF", clippy),
        None => ("rustc's lints for BPF (it has no clippy)", tools.check(target_dir)),
    }
}

fn documentation() -> Command {
    let mut command = cargo(["doc", "--no-deps"]);
    command.args(USER_SPACE).env("RUSTDOCFLAGS", "-Dwarnings");
    command
}

/// `None` when it is not installed.
fn shellcheck() -> Result<Option<Command>> {
    let mut command = Command::new("shellcheck");
    if command.arg("--version").output().is_err() {
        return Ok(None);
    }
    let mut command = Command::new("shellcheck");
    command.current_dir(ebpf::workspace()).arg("--external-sources").args(scripts()?);
    Ok(Some(command))
}

fn scripts() -> Result<Vec<PathBuf>> {
    let mut scripts = Vec::new();
    for dir in SCRIPT_DIRS {
        let dir = ebpf::workspace().join(dir);
        let entries = fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))?;
        for entry in entries {
            let path = entry?.path();
            if is_script(&path)? {
                scripts.push(path);
            }
        }
    }
    scripts.sort();
    Ok(scripts)
}

/// By its name, or by the shell in its first line.
fn is_script(path: &Path) -> Result<bool> {
    if path.extension() == Some(OsStr::new("sh")) {
        return Ok(true);
    }
    if !path.is_file() {
        return Ok(false);
    }
    let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let first_line = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(first_line.starts_with(b"#!") && first_line.ends_with(b"sh"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_script_when_it_sees_one() {
        let names: Vec<_> =
            scripts().unwrap().into_iter().map(|path| path.file_name().unwrap().to_owned()).collect();
        for name in ["setup.sh", "env.sh", "run"] {
            assert!(names.iter().any(|found| found == name), "{name} is not among {names:?}");
        }
        assert!(!is_script(&ebpf::workspace().join(file!())).unwrap());
    }
}
