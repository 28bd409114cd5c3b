//! Finding `llvm-objdump`.

use std::{env, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use xtask::ebpf::{Object, toolchain::Toolchain};

/// Disassembles an object, with relocations, readable names and without leaving anything out.
///
/// # Errors
///
/// When there is no `llvm-objdump`, or it fails.
pub fn disassemble(toolchain: &Toolchain, object: &Object) -> Result<String> {
    let objdump = find(toolchain)?;
    let mut command = Command::new(&objdump);
    command.args(["--disassemble", "--reloc", "--disassemble-zeroes", "--demangle"]).arg(&object.path);
    let output = command.output().with_context(|| format!("cannot run {}", objdump.display()))?;
    ensure!(
        output.status.success(),
        "{} cannot disassemble {}:\n{}",
        objdump.display(),
        object.path.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).with_context(|| format!("{} wrote no UTF-8", objdump.display()))
}

/// That of the LLVM that made the object, by the names that distributions give it; else whichever there is.
fn find(toolchain: &Toolchain) -> Result<PathBuf> {
    let llvm = toolchain.llvm.major;
    let in_path = env::var_os("PATH");
    let named = |name: String| in_path.iter().flat_map(env::split_paths).map(move |dir| dir.join(&name));
    let mut candidates = named(format!("llvm-objdump-{llvm}"))
        .chain([PathBuf::from(format!("/usr/lib/llvm-{llvm}/bin/llvm-objdump"))])
        .chain(named("llvm-objdump".to_owned()));
    candidates.find(|path| path.is_file()).with_context(|| {
        format!(
            "llvm-objdump is not in PATH\nInstall it:\n  ./scripts/setup.sh\nor on Debian:\n  \
             apt-get install --no-install-recommends llvm-{llvm}"
        )
    })
}
