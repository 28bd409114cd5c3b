//! `cargo xtask prove`, `bench`, `differential` and `demo`: programs of the tests package, run against an optimized daemon.

use std::{ffi::OsString, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{
    cargo, root,
    step::{self, Output},
};

/// Handed to the program as it is, `--help` too: the program is the one place that lists its options.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub struct Options {
    /// What the program is to do: see its own `--help`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// Builds the daemon and the program, and becomes the program.
pub fn run(name: &str, options: Options) -> Result<()> {
    let asks_for_help = options.args.iter().any(|arg| arg == "--help" || arg == "-h");
    if !asks_for_help {
        root::require(&format!("Try: sudo env \"PATH=$PATH\" \"HOME=$HOME\" cargo xtask {name}"))?;
    }
    let building = format!("build of the daemon and {name}");
    step::run(&building, &mut cargo::build_release(Some(name)), Output::OnFailure)?.require(&building)?;
    let target_dir = cargo::target_dir()?;
    let path = cargo::release_binary(&target_dir, name);
    let mut program = Command::new(&path);
    let error = cargo::with_daemon(program.args(options.args), &target_dir).exec();
    Err(error).with_context(|| format!("cannot run {}", path.display()))
}
