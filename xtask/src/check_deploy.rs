//! `cargo xtask check-deploy`: what `deploy/` says, judged by the tools of those who will read it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use xtask::ebpf;

use crate::{
    cargo, python,
    step::{self, Output},
};

/// From `PyPI`, into a virtual environment of their own below `target/`.
const PYTHON_TOOLS: [&str; 2] = ["kubernetes-validate==1.37.0", "yamllint==1.38.0"];

/// Versions of Kubernetes that the manifests must be valid for: the newest, and the oldest that still gets fixes.
const KUBERNETES: [&str; 2] = ["1.37", "1.34"];

const MANIFESTS: [&str; 2] = ["daemonset.yaml", "daemonset-privileged.yaml"];

/// Ten times what `systemd-analyze security` may say at most: 2.3 when this was written, of 10.
const MAX_EXPOSURE: &str = "25";

/// Long lines only where YAML can't break them; flow style with and without spaces.
const YAMLLINT_RULES: &str = "{extends: default, rules: {line-length: {max: 120, allow-non-breakable-inline-mappings: true}, \
                              comments: {min-spaces-from-content: 1}, indentation: {indent-sequences: consistent}}}";

const VERIFY: &str = "systemd-analyze verify";

/// There is nothing to choose.
#[derive(Args)]
pub struct Options {}

/// Runs every step, also after one has failed. A tool that is not installed is a failure: this command is for CI.
pub fn run(_: &Options) -> Result<()> {
    let target_dir = cargo::target_dir()?;
    let python = python::tools(&target_dir.join("check-deploy/python"), &PYTHON_TOOLS)?;
    let unit = runnable_unit(&target_dir)?;
    let mut failed = Vec::new();
    for (name, mut command) in steps(&python, &unit) {
        if !step::run(&name, &mut command, Output::OnFailure)?.ok {
            failed.push(name);
        }
    }
    if let Some(complaint) = complaint_about(&unit)? {
        println!("{complaint}");
        failed.push(VERIFY.to_owned());
    }
    if !failed.is_empty() {
        bail!("check-deploy failed: {}", failed.join(", "));
    }
    Ok(())
}

fn deploy_dir() -> PathBuf {
    ebpf::workspace().join("deploy")
}

fn steps(python: &Path, unit: &Path) -> Vec<(String, Command)> {
    let mut steps = vec![
        ("yamllint".to_owned(), yamllint(python)),
        ("systemd-analyze security".to_owned(), security(unit)),
        ("promtool check rules".to_owned(), promtool("check", "prometheus-rules.yaml")),
        ("promtool test rules".to_owned(), promtool("test", "prometheus-rules.test.yaml")),
    ];
    for version in KUBERNETES {
        let validate = kubernetes_validate(python, version);
        steps.push((format!("manifests for Kubernetes {version}"), validate));
    }
    steps
}

fn yamllint(python: &Path) -> Command {
    let mut command = Command::new(python.join("yamllint"));
    command.args(["--strict", "--config-data", YAMLLINT_RULES]).arg(deploy_dir());
    command
}

fn kubernetes_validate(python: &Path, version: &str) -> Command {
    let mut command = Command::new(python.join("kubernetes-validate"));
    command.args(["--strict", "--kubernetes-version", version]);
    command.args(MANIFESTS.map(|file| deploy_dir().join(file)));
    command
}

fn systemd_analyze(arguments: &[&str], unit: &Path) -> Command {
    let mut command = Command::new("systemd-analyze");
    command.args(arguments).arg(unit);
    command
}

/// What `systemd-analyze verify` has to say. It ends with success although it ignored a line that it does not know, so
/// every word of it counts.
fn complaint_about(unit: &Path) -> Result<Option<String>> {
    let mut command = systemd_analyze(&["verify", "--man=no"], unit);
    let outcome = step::run(VERIFY, &mut command, Output::OnFailure)?;
    let silent = outcome.ok && outcome.output.trim().is_empty();
    Ok((!silent).then_some(outcome.output))
}

fn security(unit: &Path) -> Command {
    systemd_analyze(&["security", "--offline=true", "--no-pager", "--threshold", MAX_EXPOSURE], unit)
}

fn promtool(verb: &str, file: &str) -> Command {
    let mut command = Command::new("promtool");
    command.current_dir(deploy_dir()).args([verb, "rules", file]);
    command
}

/// The unit with a program that exists: `systemd-analyze verify` wants one, and the daemon is not installed here.
fn runnable_unit(target_dir: &Path) -> Result<PathBuf> {
    let unit = fs::read_to_string(deploy_dir().join("gateway.service")).context("cannot read the unit")?;
    let directory = target_dir.join("check-deploy");
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let path = directory.join("gateway.service");
    fs::write(&path, unit.replace("/usr/bin/gateway-daemon", "/bin/true"))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_manifest_in_deploy_is_checked() {
        let entries = fs::read_dir(deploy_dir()).unwrap().map(|entry| entry.unwrap().file_name());
        let names = entries.map(|name| name.into_string().unwrap());
        let mut manifests: Vec<_> = names.filter(|name| name.starts_with("daemonset")).collect();
        manifests.sort();
        let mut checked = MANIFESTS.to_vec();
        checked.sort_unstable();
        assert_eq!(manifests, checked);
    }

    #[test]
    fn a_line_that_systemd_ignores_is_a_complaint() {
        if Command::new("systemd-analyze").arg("--version").output().is_err() {
            eprintln!("left out: systemd-analyze is not installed, scripts/setup.sh installs it");
            return;
        }
        let directory = std::env::temp_dir().join(format!("check-deploy-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let unit = directory.join("typing-error.service");
        fs::write(&unit, "[Service]\nExecStart=/bin/true\nProtectHomes=yes\n").unwrap();
        let complaint = complaint_about(&unit).unwrap();
        fs::write(&unit, "[Service]\nExecStart=/bin/true\nProtectHome=yes\n").unwrap();
        let silence = complaint_about(&unit).unwrap();
        fs::remove_dir_all(&directory).unwrap();
        assert!(complaint.is_some_and(|text| text.contains("ProtectHomes")));
        assert_eq!(silence, None);
    }
}
