//! Finding `bpf-linker`.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{
    toolchain::{Toolchain, answer},
    version::Version,
};

/// The version the object is built, tested and measured with.
///
/// An older one is refused (0.10 crashes on the LLVM that current compilers use), a newer one only noted.
pub const PINNED: Version = Version::new(0, 13, 0);

const NAME: &str = "bpf-linker";

/// An installed `bpf-linker`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linker {
    /// The executable.
    pub path: PathBuf,
    /// What it says of itself.
    pub version: Version,
}

impl Linker {
    /// A remark for the user when the version is not the tested one.
    pub fn remark(&self) -> Option<String> {
        (self.version != PINNED).then(|| {
            format!(
                "{} is version {}; the project is tested with {PINNED}",
                self.path.display(),
                self.version
            )
        })
    }
}

/// Looks in `PATH`, then in cargo's bin directory.
///
/// # Errors
///
/// When there is none, or it is older than [`PINNED`]: how to install it for `toolchain`'s LLVM.
pub fn find(toolchain: &Toolchain) -> Result<Linker> {
    let path = search_dirs()
        .into_iter()
        .map(|dir| dir.join(NAME))
        .find(|path| path.is_file())
        .with_context(|| format!("{NAME} is not in PATH\n{}", installation(toolchain)))?;
    let printed = answer(Command::new(&path).arg("--version"))
        .with_context(|| format!("{} does not run\n{}", path.display(), installation(toolchain)))?;
    accept(path, &printed, toolchain)
}

fn accept(path: PathBuf, printed: &str, toolchain: &Toolchain) -> Result<Linker> {
    let version = Version::labelled(printed, "bpf-linker ")
        .with_context(|| format!("{} does not tell its version: {printed:?}", path.display()))?;
    if version < PINNED {
        bail!(
            "{} is version {version}, at least {PINNED} is needed\n{}",
            path.display(),
            installation(toolchain)
        );
    }
    Ok(Linker { path, version })
}

fn search_dirs() -> Vec<PathBuf> {
    let mut dirs: Vec<_> = env::var_os("PATH").iter().flat_map(env::split_paths).collect();
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo")));
    dirs.extend(cargo_home.map(|home| home.join("bin")));
    dirs
}

fn installation(toolchain: &Toolchain) -> String {
    let llvm = toolchain.llvm.major;
    format!(
        "Install it:\n  \
         ./scripts/setup.sh\n\
         or on Debian:\n  \
         apt-get install --no-install-recommends llvm-{llvm}-dev\n  \
         LLVM_PREFIX=/usr/lib/llvm-{llvm} cargo install bpf-linker --version {PINNED} --no-default-features \
         --features llvm-{llvm}"
    )
}

#[cfg(test)]
mod tests {
    use super::{super::toolchain::Kind, *};

    fn toolchain() -> Toolchain {
        Toolchain {
            kind: Kind::Prebuilt { rustc: "/usr/bin/rustc".into() },
            rustc: Version::new(1, 98, 0),
            llvm: Version::new(23, 1, 0),
        }
    }

    fn accepted(printed: &str) -> Result<Linker> {
        accept("/bin/bpf-linker".into(), printed, &toolchain())
    }

    #[test]
    fn takes_the_pinned_version_without_a_remark() {
        let linker = accepted("bpf-linker 0.13.0\n").unwrap();
        assert_eq!(linker.version, PINNED);
        assert_eq!(linker.remark(), None);
    }

    #[test]
    fn remarks_on_a_newer_version() {
        let remark = accepted("bpf-linker 0.14.2\n").unwrap().remark().unwrap();
        assert!(remark.contains("0.14.2") && remark.contains("0.13.0"), "{remark}");
    }

    #[test]
    fn refuses_an_older_version_and_names_the_llvm_to_build_for() {
        let message = accepted("bpf-linker 0.10.3\n").unwrap_err().to_string();
        assert!(message.contains("--version 0.13.0"), "{message}");
        assert!(message.contains("--features llvm-23"), "{message}");
    }

    #[test]
    fn refuses_what_does_not_tell_its_version() {
        assert!(accepted("usage: ...").is_err());
    }
}
