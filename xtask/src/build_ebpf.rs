//! `cargo xtask build-ebpf`

use anyhow::Result;
use clap::Args;
use xtask::ebpf::{self, Output, Tools};

use crate::cargo;

/// There is nothing to choose.
#[derive(Args)]
pub struct Options {}

/// Builds the object and says with what.
pub fn run(_: &Options) -> Result<()> {
    let tools = Tools::find()?;
    println!("compiler  {}", tools.toolchain);
    println!("linker    {} ({})", tools.linker.path.display(), tools.linker.version);
    if let Some(remark) = tools.linker.remark() {
        eprintln!("warning: {remark}");
    }
    let object = ebpf::build(&tools, &cargo::target_dir()?, Output::Shown)?;
    println!("object    {} ({} KiB)", object.path.display(), object.bytes.div_ceil(1024));
    Ok(())
}
