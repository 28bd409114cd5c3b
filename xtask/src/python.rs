//! Tools from `PyPI`, each set in a virtual environment of its own below `target/`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::step::{self, Output};

/// The directory of the tools' programs. Makes the environment and installs them unless the very same are there; a tool
/// is written as in `yamllint==1.38.0`.
pub fn tools(environment: &Path, tools: &[&str]) -> Result<PathBuf> {
    let (programs, mark) = (environment.join("bin"), environment.join("installed"));
    let wanted = tools.join("\n");
    if fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted) {
        return Ok(programs);
    }
    let mut create = Command::new("python3");
    create.args(["-m", "venv", "--clear"]).arg(environment);
    step::run("python environment", &mut create, Output::OnFailure)?
        .require("python3 -m venv (scripts/setup.sh installs it)")?;
    let mut install = Command::new(programs.join("pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check"]).args(tools);
    step::run("tools from PyPI", &mut install, Output::OnFailure)?.require("pip install")?;
    fs::write(&mark, wanted).with_context(|| format!("cannot write {}", mark.display()))?;
    Ok(programs)
}
