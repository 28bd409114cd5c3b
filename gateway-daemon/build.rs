//! Builds the kernel side into `OUT_DIR/gateway-ebpf.o`, which the daemon embeds: without what only debuggers read.
//!
//! `GATEWAY_EBPF_SKIP=1` leaves an empty file there: enough for documentation and lints on a machine without a
//! compiler for BPF, not for a daemon that is to run.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use xtask::ebpf::{self, Output, Tools, debug_info, toolchain};

const SKIP_ENV: &str = "GATEWAY_EBPF_SKIP";

fn main() -> ExitCode {
    let Err(error) = run() else {
        return ExitCode::SUCCESS;
    };
    // On standard error and without a backtrace: cargo shows it as it is.
    eprintln!("{error:#}");
    ExitCode::FAILURE
}

fn run() -> Result<()> {
    let out_dir =
        PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set: cargo runs this program")?);
    let embedded = out_dir.join("gateway-ebpf.o");
    println!("cargo::rerun-if-env-changed={SKIP_ENV}");
    if env::var_os(SKIP_ENV).is_some_and(|value| value == "1") {
        println!("cargo::warning={SKIP_ENV}=1: this gateway-daemon has no eBPF program in it");
        return fs::write(&embedded, []).with_context(|| format!("cannot write {}", embedded.display()));
    }

    println!("cargo::rerun-if-env-changed={}", toolchain::RUSTC_ENV);
    for source in ebpf::sources() {
        rerun_if_changed(&source);
    }
    let tools = Tools::find()?;
    rerun_if_changed(&tools.linker.path);
    if let Some(remark) = tools.linker.remark() {
        println!("cargo::warning={remark}");
    }
    let object = ebpf::build(&tools, &ebpf::target_dir_of(&out_dir), Output::OnFailure)?;
    let object = fs::read(&object.path).with_context(|| format!("cannot read {}", object.path.display()))?;
    let stripped = debug_info::strip(&object)?;
    fs::write(&embedded, stripped).with_context(|| format!("cannot write {}", embedded.display()))
}

fn rerun_if_changed(path: &Path) {
    println!("cargo::rerun-if-changed={}", path.display());
}
