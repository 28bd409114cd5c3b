//! Building the eBPF object.
//!
//! [`Tools::find`] looks for a compiler and `bpf-linker`. [`build`] runs cargo for the package `gateway-ebpf`, in a
//! target directory of its own (a build script may call it: the outer cargo holds the lock of the usual one), and
//! checks what came out.

pub mod atomics;
pub mod debug_info;
pub mod linker;
pub mod toolchain;
pub mod version;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use linker::Linker;
use toolchain::Toolchain;

/// The package that holds the kernel side; its binary has the same name.
pub const PACKAGE: &str = "gateway-ebpf";

/// The compiler's target. The machines we run on are little endian.
pub const TARGET: &str = "bpfel-unknown-none";

/// The profile in the workspace's `Cargo.toml`.
pub const PROFILE: &str = "ebpf";

/// Instruction set of the object: 32-bit operations and atomics with results (Linux 5.12 on `x86_64`).
const TARGET_CPU: &str = "v3";

/// The compiler's flags, one a field: they may hold spaces.
const RUSTFLAGS_ENV: &str = "CARGO_ENCODED_RUSTFLAGS";

/// Where the inner cargo's output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// To the terminal.
    Shown,
    /// Into the error, if it fails.
    OnFailure,
}

/// The tools a build uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tools {
    /// The compiler.
    pub toolchain: Toolchain,
    /// The linker.
    pub linker: Linker,
}

impl Tools {
    /// Finds them on this machine.
    ///
    /// # Errors
    ///
    /// When one is missing: the error says what to install.
    pub fn find() -> Result<Self> {
        let toolchain = toolchain::choose(&toolchain::probe())?;
        let linker = linker::find(&toolchain)?;
        Ok(Self { toolchain, linker })
    }

    /// Lints the kernel side with clippy, warnings being errors; `None` when this compiler has none.
    pub fn clippy(&self, target_dir: &Path) -> Option<Command> {
        let mut clippy = self.configured(self.toolchain.clippy()?, "clippy", target_dir);
        clippy.args(["--", "-Dwarnings"]);
        Some(clippy)
    }

    /// Lints the kernel side with what the compiler itself warns of, warnings being errors.
    pub fn check(&self, target_dir: &Path) -> Command {
        let mut check = self.configured(self.toolchain.cargo(), "check", target_dir);
        let mut flags = rustflags(&self.linker.path, &kernel_target_dir(target_dir));
        flags.push("-Dwarnings".to_owned());
        check.env(RUSTFLAGS_ENV, encoded(&flags));
        check
    }

    fn build(&self, target_dir: &Path) -> Command {
        self.configured(self.toolchain.cargo(), "build", target_dir)
    }

    fn configured(&self, mut cargo: Command, verb: &str, target_dir: &Path) -> Command {
        let target_dir = kernel_target_dir(target_dir);
        cargo
            .current_dir(workspace())
            .args([verb, "--package", PACKAGE, "--profile", PROFILE])
            .args(self.toolchain.cargo_args())
            .arg("--target-dir")
            .arg(&target_dir)
            .env(RUSTFLAGS_ENV, encoded(&rustflags(&self.linker.path, &target_dir)));
        cargo
    }
}

/// A finished object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The ELF file.
    pub path: PathBuf,
    /// Its size, debug information included.
    pub bytes: u64,
}

/// Builds the kernel side below `target_dir`, the workspace's target directory.
///
/// # Errors
///
/// When it does not compile, or compiles to a program that is known to be wrong.
pub fn build(tools: &Tools, target_dir: &Path, output: Output) -> Result<Object> {
    run(&mut tools.build(target_dir), output)
        .with_context(|| format!("{PACKAGE} was compiled with {}", tools.toolchain))?;
    let target_dir = kernel_target_dir(target_dir);
    atomics::check(&ir_dump(&target_dir))?;
    let path = target_dir.join(TARGET).join(PROFILE).join(PACKAGE);
    let bytes = fs::metadata(&path).with_context(|| format!("cargo left no {}", path.display()))?.len();
    Ok(Object { path, bytes })
}

/// The files and directories whose change makes another object.
pub fn sources() -> Vec<PathBuf> {
    [
        "Cargo.lock",
        "Cargo.toml",
        "gateway-common/Cargo.toml",
        "gateway-common/src",
        "gateway-ebpf/Cargo.toml",
        "gateway-ebpf/src",
    ]
    .iter()
    .map(|path| workspace().join(path))
    .collect()
}

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// The target directory that `path` lies in, known by the files cargo puts there.
///
/// One would not do: `CACHEDIR.TAG` is missing where the directory was there before cargo, `.rustc_info.json` where
/// that cache is turned off.
pub fn target_dir_of(path: &Path) -> PathBuf {
    let marks = ["CACHEDIR.TAG", ".rustc_info.json"];
    let marked = path.ancestors().find(|dir| marks.iter().any(|mark| dir.join(mark).is_file()));
    marked.map_or_else(|| workspace().join("target"), Path::to_owned)
}

/// The kernel side's own target directory: a build script's outer cargo holds the lock of the usual one.
fn kernel_target_dir(target_dir: &Path) -> PathBuf {
    target_dir.join("ebpf")
}

fn encoded(flags: &[String]) -> String {
    flags.join("\x1f")
}

fn rustflags(linker: &Path, target_dir: &Path) -> Vec<String> {
    vec![
        format!("-Clinker={}", linker.display()),
        "-Clink-arg=--btf".to_owned(),
        format!("-Clink-arg=--dump-module={}", ir_dump(target_dir).display()),
        format!("-Ctarget-cpu={TARGET_CPU}"),
        "-Cdebuginfo=2".to_owned(),
    ]
}

fn ir_dump(target_dir: &Path) -> PathBuf {
    target_dir.join("ir")
}

fn run(command: &mut Command, output: Output) -> Result<()> {
    let program = command.get_program().display().to_string();
    let context = || format!("cannot run {program}");
    command.stdin(Stdio::null());
    match output {
        Output::Shown => {
            let status = command.status().with_context(context)?;
            if !status.success() {
                bail!("cargo failed ({status})");
            }
        }
        Output::OnFailure => {
            let output = command.output().with_context(context)?;
            if !output.status.success() {
                bail!("cargo failed ({}):\n{}", output.status, String::from_utf8_lossy(&output.stderr));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_name_the_linker_that_was_checked() {
        let flags = rustflags(Path::new("/opt/my bin/bpf-linker"), Path::new("/t/ebpf"));
        assert!(flags.contains(&"-Clinker=/opt/my bin/bpf-linker".to_owned()));
        assert!(flags.contains(&"-Clink-arg=--dump-module=/t/ebpf/ir".to_owned()));
        assert!(flags.contains(&"-Ctarget-cpu=v3".to_owned()));
        assert!(flags.contains(&"-Clink-arg=--btf".to_owned()));
    }

    #[test]
    fn every_source_exists() {
        for path in sources() {
            assert!(path.exists(), "{}", path.display());
        }
    }

    #[test]
    fn finds_the_target_directory_of_a_program() {
        let own = std::env::current_exe().unwrap();
        let target_dir = target_dir_of(&own);
        assert!(own.starts_with(&target_dir), "{} is not in {}", own.display(), target_dir.display());
        assert_eq!(target_dir_of(Path::new("/nowhere/at/all")), workspace().join("target"));
    }
}
