//! `cargo xtask test --kernel`: the privileged tests on another kernel, in a virtual machine.
//!
//! The machine sees this host's file system, read-only below one in memory: the tests and the tools they start are those
//! that are installed here. So only the kernel differs, and nothing of the host can be changed. It has no network.

mod initramfs;
mod machine;
mod package;

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use xtask::ebpf;

use crate::{
    cargo::{self, TESTS_PACKAGE, cargo},
    step::{self, Output},
};
use machine::Machine;
use package::Kernel;

/// What runs unless a suite is named, and with which arguments: loads, attaches, and does the same with every packet;
/// and real traffic through the daemon.
const SUITES: [(&str, &[&str]); 4] = [
    ("verifier", &[]),
    ("filters", &[]),
    ("parity", &[]),
    ("e2e_traffic", &["traffic_is_translated_in_tc", "traffic_is_translated_in_native_xdp"]),
];

/// A test program and its arguments.
#[derive(Debug)]
struct Program {
    path: PathBuf,
    args: Vec<OsString>,
}

impl Program {
    /// For the shell.
    fn in_words(&self) -> String {
        let words = std::iter::once(self.path.as_os_str()).chain(self.args.iter().map(OsString::as_os_str));
        words.map(quoted).collect::<Vec<_>>().join(" ")
    }
}

/// Builds the tests, fetches the kernel, and runs the suites on it: the usual ones, or one with arguments of its own.
pub fn test(version: &str, suite: Option<&str>, args: &[OsString]) -> Result<()> {
    machine::require_programs()?;
    let target_dir = cargo::target_dir()?;
    let kernel = package::kernel(version, &target_dir.join("kernel"))?;
    let programs = build(&suites(suite, args))?;
    let script = target_dir.join("kernel/tests.sh");
    fs::write(&script, guest_script(&kernel, &target_dir, &programs))
        .with_context(|| format!("cannot write {}", script.display()))?;
    let machine = Machine::new(&kernel, &script, &target_dir.join("kernel"))?;
    let name = format!("virtual machine with {} ({})", kernel.release, machine.accelerator());
    let outcome = step::run(&name, &mut machine.command(), Output::Shown)?;
    match machine::status(&outcome.output) {
        Some(0) => Ok(()),
        Some(status) => bail!("tests failed on {} (status {status})", kernel.release),
        None => bail!("the virtual machine ended before the tests did:\n{}", machine.last_words()),
    }
}

fn suites(suite: Option<&str>, args: &[OsString]) -> Vec<(String, Vec<OsString>)> {
    match suite {
        Some(suite) => vec![(suite.to_owned(), args.to_vec())],
        None => SUITES
            .iter()
            .map(|(suite, own)| {
                ((*suite).to_owned(), own.iter().map(OsString::from).chain(args.iter().cloned()).collect())
            })
            .collect(),
    }
}

/// In the release profile, like all privileged tests.
fn build(suites: &[(String, Vec<OsString>)]) -> Result<Vec<Program>> {
    let name = "build of the daemon";
    step::run(name, &mut cargo::build_release(None), Output::OnFailure)?.require(name)?;
    let name = "build of privileged tests";
    let mut build = cargo(["test", "--release", "--no-run", "--package", TESTS_PACKAGE]);
    build.args(suites.iter().flat_map(|(suite, _)| ["--test", suite]));
    let outcome = step::run(name, &mut build, Output::OnFailure)?.require(name)?;
    let program = |(suite, args): &(String, Vec<OsString>)| {
        let path = executable(&outcome.output, suite);
        let path = path.with_context(|| format!("cargo names no program of the suite {suite}"))?;
        Ok(Program { path: ebpf::workspace().join(path), args: args.clone() })
    };
    suites.iter().map(program).collect()
}

/// From cargo's lines such as `  Executable tests/lab.rs (target/release/deps/lab-0123)`.
fn executable<'a>(output: &'a str, suite: &str) -> Option<&'a str> {
    output.lines().find_map(|line| {
        let (source, path) = line.trim_start().strip_prefix("Executable tests/")?.split_once(" (")?;
        let named = source == format!("{suite}.rs") || source == format!("{suite}/main.rs");
        named.then_some(path.strip_suffix(')')?)
    })
}

/// The first process of the machine, once the file system is there.
fn guest_script(kernel: &Kernel, target_dir: &Path, programs: &[Program]) -> String {
    let daemon = cargo::release_binary(target_dir, cargo::DAEMON_PACKAGE);
    let mut lines = vec![
        include_str!("kernel/guest.sh").to_owned(),
        format!("mount --bind {} /lib/modules", quoted(kernel.modules().as_os_str())),
        format!("cd {}", quoted(ebpf::workspace().join("tests").as_os_str())),
        format!("export {}={}", cargo::DAEMON_ENV, quoted(daemon.as_os_str())),
    ];
    lines.extend(programs.iter().map(|program| format!("run {}", program.in_words())));
    lines.push("end\n".to_owned());
    lines.join("\n")
}

/// A word for the shell.
fn quoted(word: &std::ffi::OsStr) -> String {
    format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"))
}

/// Fails with what to install when one of these programs (and its Debian package) is missing.
fn require(programs: &[(&str, &str)]) -> Result<()> {
    let missing = |(program, _): &&(&str, &str)| find(program).is_none();
    let mut packages: Vec<&str> = programs.iter().filter(missing).map(|(_, package)| *package).collect();
    packages.dedup();
    ensure!(
        packages.is_empty(),
        "a virtual machine needs programs that are not installed: apt-get install --no-install-recommends {}",
        packages.join(" ")
    );
    Ok(())
}

/// Where a program is; also looked for where an ordinary user's PATH in Debian does not lead.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    dirs.map(|dir| dir.join(program)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_program_of_a_suite() {
        let output = "   Compiling gateway-tests v0.1.0\n\
            \x20 Executable tests/lab.rs (target/release/deps/lab-01)\n\
            \x20 Executable tests/parity/main.rs (/elsewhere/release/deps/parity-23)\n";
        assert_eq!(executable(output, "lab"), Some("target/release/deps/lab-01"));
        assert_eq!(executable(output, "parity"), Some("/elsewhere/release/deps/parity-23"));
        assert_eq!(executable(output, "parit"), None);
    }

    #[test]
    fn arguments_reach_the_suites() {
        let args = [OsString::from("--nocapture")];
        assert_eq!(suites(Some("lab"), &args), [("lab".to_owned(), args.to_vec())]);
        for ((suite, own), (name, given)) in SUITES.iter().zip(suites(None, &args)) {
            assert_eq!((name.as_str(), given.len()), (*suite, own.len() + 1));
        }
    }

    #[test]
    fn every_suite_exists() {
        for (suite, _) in SUITES {
            let tests = ebpf::workspace().join("tests/tests");
            assert!(
                tests.join(format!("{suite}.rs")).exists() || tests.join(suite).join("main.rs").exists(),
                "{suite}"
            );
        }
    }

    #[test]
    fn words_survive_the_shell() {
        for word in ["plain", "two words", "it's", "$(x) `y` \"z\""] {
            let script = format!("printf %s {}", quoted(word.as_ref()));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), word);
        }
    }

    #[test]
    fn a_program_that_is_missing_is_named_by_its_package() {
        assert!(require(&[("sh", "dash")]).is_ok());
        let error = require(&[("sh", "dash"), ("no-such-program", "its-package")]).unwrap_err().to_string();
        assert!(error.ends_with("--no-install-recommends its-package"), "{error}");
    }
}
