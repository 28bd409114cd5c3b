//! Finding a compiler for the BPF target.
//!
//! Two kinds work: a rustc with a prebuilt `core` for BPF (Debian's), and a rustup nightly with `rust-src`, which
//! then compiles `core` itself. [`probe`] looks, [`choose`] decides.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Result, bail};

use super::{TARGET, version::Version};

/// Names a rustc with a prebuilt `core` for BPF; it is then the only candidate.
pub const RUSTC_ENV: &str = "GATEWAY_BPF_RUSTC";

/// Where Debian's `rustc-web` puts its compiler.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// A compiler that can build for the BPF target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// Which of the two kinds it is.
    pub kind: Kind,
    /// The compiler's own version.
    pub rustc: Version,
    /// The LLVM whose bitcode it writes; the linker must not be older.
    pub llvm: Version,
}

/// How a toolchain comes by `core` for BPF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The sysroot has it.
    Prebuilt {
        /// The compiler.
        rustc: PathBuf,
    },
    /// cargo compiles it from `rust-src`.
    BuildStd {
        /// The name rustup knows it by.
        nightly: String,
    },
}

impl Toolchain {
    /// A cargo that compiles with this toolchain, free of what an outer cargo put into the environment.
    pub fn cargo(&self) -> Command {
        self.shielded(match &self.kind {
            Kind::Prebuilt { .. } => Command::new(cargo()),
            Kind::BuildStd { nightly } => rustup_run(nightly, "cargo"),
        })
    }

    /// The same for the verb `clippy`; `None` when this compiler has no clippy of its own.
    pub fn clippy(&self) -> Option<Command> {
        let command = match &self.kind {
            Kind::Prebuilt { rustc } => Command::new(rustc.with_file_name("cargo-clippy")),
            Kind::BuildStd { nightly } => rustup_run(nightly, "cargo-clippy"),
        };
        let mut question = Command::new(command.get_program());
        let runs = answer(question.args(command.get_args()).arg("--version")).is_some();
        runs.then(|| self.shielded(command))
    }

    fn shielded(&self, mut command: Command) -> Command {
        for (name, _) in env::vars_os().filter(|(name, _)| belongs_to_outer_build(name)) {
            command.env_remove(name);
        }
        match &self.kind {
            // aya-ebpf needs `asm_experimental_arch`, which only a nightly compiler grants by itself.
            Kind::Prebuilt { rustc } => command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1"),
            // The outer cargo, for cargo-clippy: not the nightly's.
            Kind::BuildStd { .. } => command.env_remove("CARGO"),
        };
        command
    }

    /// The arguments every cargo verb for the BPF target needs, besides the verb itself.
    pub fn cargo_args(&self) -> Vec<&'static str> {
        let mut args = vec!["--target", TARGET];
        if let Kind::BuildStd { .. } = self.kind {
            args.extend(["-Z", "build-std=core"]);
        }
        args
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Prebuilt { rustc } => write!(f, "{}", rustc.display())?,
            Kind::BuildStd { nightly } => write!(f, "rustup's {nightly} with build-std")?,
        }
        write!(f, " (rustc {}, LLVM {})", self.rustc, self.llvm)
    }
}

/// What [`probe`] saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// The compilers that may have a prebuilt `core`, best first.
    pub compilers: Vec<Compiler>,
    /// rustup's nightlies, as `rustup toolchain list` orders them.
    pub nightlies: Vec<Nightly>,
    /// The first compiler was named by [`RUSTC_ENV`]: nothing else may take its place.
    pub named: bool,
}

/// A rustc outside rustup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// The executable.
    pub rustc: PathBuf,
    /// Its own version and LLVM's; `None` when it does not run.
    pub versions: Option<(Version, Version)>,
    /// Its sysroot has `core` for BPF.
    pub has_bpf_core: bool,
}

/// A nightly toolchain of rustup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nightly {
    /// rustup's name for it.
    pub name: String,
    /// Its own version and LLVM's; `None` when it does not run.
    pub versions: Option<(Version, Version)>,
    /// The component `rust-src` is there.
    pub has_rust_src: bool,
}

/// The toolchain to use, preferring a prebuilt `core`.
///
/// # Errors
///
/// When nothing fits: what was looked at, and what to install.
pub fn choose(probe: &Probe) -> Result<Toolchain> {
    let prebuilt = probe.compilers.iter().filter(|compiler| compiler.has_bpf_core).find_map(|compiler| {
        let (rustc, llvm) = compiler.versions?;
        Some(Toolchain { kind: Kind::Prebuilt { rustc: compiler.rustc.clone() }, rustc, llvm })
    });
    let build_std = || {
        probe.nightlies.iter().filter(|nightly| nightly.has_rust_src).find_map(|nightly| {
            let (rustc, llvm) = nightly.versions?;
            Some(Toolchain { kind: Kind::BuildStd { nightly: nightly.name.clone() }, rustc, llvm })
        })
    };
    match prebuilt.or_else(|| if probe.named { None } else { build_std() }) {
        Some(toolchain) => Ok(toolchain),
        None => bail!(missing(probe)),
    }
}

/// Looks at this machine.
pub fn probe() -> Probe {
    match env::var_os(RUSTC_ENV) {
        Some(rustc) => {
            Probe { compilers: vec![probe_compiler(rustc.into())], named: true, ..Probe::default() }
        }
        None => Probe {
            compilers: vec![probe_compiler(DEBIAN_RUSTC.into())],
            nightlies: probe_nightlies(),
            named: false,
        },
    }
}

fn probe_compiler(rustc: PathBuf) -> Compiler {
    let run = |args: &[&str]| answer(Command::new(&rustc).args(args));
    Compiler {
        versions: run(&["-vV"]).as_deref().and_then(versions),
        has_bpf_core: run(&["--print", "sysroot"])
            .is_some_and(|sysroot| has_bpf_core(Path::new(sysroot.trim()))),
        rustc,
    }
}

fn probe_nightlies() -> Vec<Nightly> {
    let list = answer(rustup().args(["toolchain", "list"])).unwrap_or_default();
    nightly_names(&list).map(probe_nightly).collect()
}

fn probe_nightly(name: &str) -> Nightly {
    let run = |args: &[&str]| answer(rustup_run(name, "rustc").args(args));
    Nightly {
        name: name.to_owned(),
        versions: run(&["-vV"]).as_deref().and_then(versions),
        has_rust_src: run(&["--print", "sysroot"])
            .is_some_and(|sysroot| has_rust_src(Path::new(sysroot.trim()))),
    }
}

fn has_bpf_core(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir()
}

fn has_rust_src(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core").is_dir()
}

fn nightly_names(list: &str) -> impl Iterator<Item = &str> {
    list.lines().filter_map(|line| line.split_whitespace().next()).filter(|name| name.starts_with("nightly"))
}

fn versions(verbose: &str) -> Option<(Version, Version)> {
    Some((Version::labelled(verbose, "release: ")?, Version::labelled(verbose, "LLVM version: ")?))
}

/// Variables by which an outer cargo or clippy would steer the inner build. The jobserver, the registry and the network
/// settings stay.
fn belongs_to_outer_build(name: &OsStr) -> bool {
    const KEPT: [&str; 7] = [
        "CARGO_HOME",
        "CARGO_MAKEFLAGS",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
        "CARGO_TERM_",
    ];
    let name = name.to_string_lossy();
    let steers = ["CARGO_", "RUSTC", "RUSTDOC", "RUSTFLAGS", "CLIPPY_"].iter().any(|p| name.starts_with(p));
    steers && !KEPT.iter().any(|kept| name.starts_with(kept))
}

/// The cargo that started us, else the one in `PATH`.
fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// A program of one of rustup's toolchains.
fn rustup_run(toolchain: &str, program: &str) -> Command {
    let mut command = rustup();
    command.args(["run", toolchain, program]);
    command
}

/// rustup, told not to download what is missing.
fn rustup() -> Command {
    let mut command = Command::new("rustup");
    command.env("RUSTUP_AUTO_INSTALL", "0");
    command
}

/// What a command says on standard output, if it runs and succeeds.
pub(super) fn answer(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn missing(probe: &Probe) -> String {
    let mut text = "no Rust compiler for the BPF target\n".to_owned();
    for Compiler { rustc, versions, .. } in &probe.compilers {
        let why = if versions.is_some() { "has no `core` for bpfel-unknown-none" } else { "is not there" };
        let _ = writeln!(text, "  {} {why}", rustc.display());
    }
    for Nightly { name, .. } in &probe.nightlies {
        let _ = writeln!(text, "  rustup's {name} has no rust-src");
    }
    if probe.named {
        let _ = write!(text, "{RUSTC_ENV} names that compiler: unset it, or name another one.");
    } else {
        text.push_str(
            "Install one:\n  \
             ./scripts/setup.sh\n\
             or on Debian:\n  \
             apt-get install --no-install-recommends rustc-web libstd-rust-web-dev-bpf\n\
             or with rustup:\n  \
             rustup toolchain install nightly --component rust-src",
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSIONS: (Version, Version) = (Version::new(1, 96, 0), Version::new(22, 1, 8));

    fn compiler(has_bpf_core: bool) -> Compiler {
        Compiler { rustc: DEBIAN_RUSTC.into(), versions: Some(VERSIONS), has_bpf_core }
    }

    fn nightly(name: &str, has_rust_src: bool) -> Nightly {
        Nightly { name: name.to_owned(), versions: Some(VERSIONS), has_rust_src }
    }

    #[test]
    fn prefers_the_prebuilt_core() {
        let probe = Probe {
            compilers: vec![compiler(true)],
            nightlies: vec![nightly("nightly", true)],
            named: false,
        };
        let toolchain = choose(&probe).unwrap();
        assert_eq!(toolchain.kind, Kind::Prebuilt { rustc: DEBIAN_RUSTC.into() });
        assert_eq!(toolchain.to_string(), "/usr/bin/rustc (rustc 1.96.0, LLVM 22.1.8)");
        assert_eq!(toolchain.cargo_args(), ["--target", "bpfel-unknown-none"]);
    }

    #[test]
    fn takes_the_first_nightly_with_rust_src() {
        let probe = Probe {
            compilers: vec![compiler(false)],
            nightlies: vec![nightly("nightly-2026-01-01", false), nightly("nightly", true)],
            named: false,
        };
        let toolchain = choose(&probe).unwrap();
        assert_eq!(toolchain.kind, Kind::BuildStd { nightly: "nightly".to_owned() });
        assert!(toolchain.cargo_args().ends_with(&["-Z", "build-std=core"]));
    }

    #[test]
    fn passes_over_what_does_not_run() {
        let broken = Compiler { versions: None, ..compiler(true) };
        let probe =
            Probe { compilers: vec![broken], nightlies: vec![nightly("nightly", true)], named: false };
        assert!(matches!(choose(&probe).unwrap().kind, Kind::BuildStd { .. }));
    }

    #[test]
    fn a_named_compiler_is_not_replaced() {
        let probe = Probe {
            compilers: vec![compiler(false)],
            nightlies: vec![nightly("nightly", true)],
            named: true,
        };
        let message = choose(&probe).unwrap_err().to_string();
        assert!(message.contains(RUSTC_ENV), "{message}");
        assert!(!message.contains("rustup toolchain install"), "{message}");
    }

    #[test]
    fn says_what_it_saw_and_what_to_install() {
        let absent = Compiler { versions: None, ..compiler(false) };
        let probe =
            Probe { compilers: vec![absent], nightlies: vec![nightly("nightly", false)], named: false };
        let message = choose(&probe).unwrap_err().to_string();
        for part in [
            "/usr/bin/rustc is not there",
            "rustup's nightly has no rust-src",
            "./scripts/setup.sh",
            "libstd-rust-web-dev-bpf",
            "--component rust-src",
        ] {
            assert!(message.contains(part), "{part:?} is missing in:\n{message}");
        }
    }

    #[test]
    fn reads_rustup_and_rustc() {
        let list = "stable-x86_64-unknown-linux-gnu (active, default)\n\
                    nightly-x86_64-unknown-linux-gnu\n\
                    nightly-2026-05-19-x86_64-unknown-linux-gnu (override)\n";
        assert_eq!(
            nightly_names(list).collect::<Vec<_>>(),
            ["nightly-x86_64-unknown-linux-gnu", "nightly-2026-05-19-x86_64-unknown-linux-gnu"]
        );
        assert_eq!(nightly_names("no installed toolchains\n").count(), 0);
        assert_eq!(versions("release: 1.96.0\nLLVM version: 22.1.8\n"), Some(VERSIONS));
        assert_eq!(versions("release: 1.96.0\n"), None);
    }

    #[test]
    fn shields_the_inner_build() {
        for name in [
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_TARGET",
            "CARGO_PROFILE_RELEASE_LTO",
            "CARGO_UNSTABLE_BUILD_STD",
            "CLIPPY_ARGS",
            "RUSTC",
            "RUSTC_BOOTSTRAP",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTC_WRAPPER",
            "RUSTFLAGS",
        ] {
            assert!(belongs_to_outer_build(OsStr::new(name)), "{name}");
        }
        for name in
            ["CARGO_HOME", "CARGO_MAKEFLAGS", "CARGO_NET_OFFLINE", "CARGO", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"]
        {
            assert!(!belongs_to_outer_build(OsStr::new(name)), "{name}");
        }
    }
}
