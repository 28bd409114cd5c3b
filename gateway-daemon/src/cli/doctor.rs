//! `gateway-daemon doctor`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::Exit;
use super::format::counted;
use super::output::{print, print_json};
use crate::config::{Config, Interfaces, Overrides, Setting};
use crate::doctor::{Finding, Verdict, checks, gather, worst};

/// Options of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct DoctorOptions {
    /// Configuration file of the daemon
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Setting that the daemon will be given; can be repeated
    #[arg(long, value_name = "SECTION.FIELD=VALUE")]
    pub set: Vec<Setting>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl DoctorOptions {
    /// Looks at this host and prints what was found; ends with 1 when the gateway can't work here.
    pub fn execute(&self) -> anyhow::Result<Exit> {
        let overrides = Overrides::from_environment(std::env::vars_os())?.and(&self.set);
        let config = Config::load(&self.config, &Interfaces::Unchecked, &overrides)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start the event loop")?;
        let findings = checks::findings(&runtime.block_on(gather::facts(&config)));
        if self.json {
            print_json(&Report { verdict: worst(&findings), findings: &findings })?;
        } else {
            print(&render(&findings))?;
        }
        Ok(if worst(&findings) == Verdict::Fail { Exit::Failed } else { Exit::Done })
    }
}

/// What `doctor --json` prints.
#[derive(Serialize)]
struct Report<'a> {
    verdict: Verdict,
    findings: &'a [Finding],
}

/// A line for each finding, the remedy below it, and the sum at the end.
pub(super) fn render(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
    let line = |finding: &Finding| {
        let Finding { name, verdict, detail, remedy } = finding;
        let remedy = remedy.as_ref().map_or_else(String::new, |remedy| format!("      = help: {remedy}\n"));
        format!("{:<4}  {name:<width$}  {detail}\n{remedy}", verdict.name())
    };
    findings.iter().map(line).chain([sum(findings)]).collect()
}

fn sum(findings: &[Finding]) -> String {
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count() as u64;
    match (count(Verdict::Fail), count(Verdict::Warn)) {
        (0, 0) => "\nall is well\n".to_owned(),
        (0, warnings) => format!("\nthe gateway can work here; {}\n", counted(warnings, "warning")),
        (failures, warnings) => format!(
            "\nthe gateway can't work here: {}, {}\n",
            counted(failures, "fault"),
            counted(warnings, "warning")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_has_a_line_and_its_remedy() {
        let findings = [
            Finding::ok("kernel", "6.6.13"),
            Finding::warn("clock", "nobody keeps it right", "run chrony"),
            Finding::fail("interface ext0", "does not exist", "look at `ip link`"),
        ];
        let expected = "\
ok    kernel          6.6.13
warn  clock           nobody keeps it right
      = help: run chrony
fail  interface ext0  does not exist
      = help: look at `ip link`

the gateway can't work here: 1 fault, 1 warning
";
        assert_eq!(render(&findings), expected);
        assert!(render(&findings[..2]).ends_with("\nthe gateway can work here; 1 warning\n"));
        assert!(render(&findings[..1]).ends_with("\nall is well\n"));
    }
}
