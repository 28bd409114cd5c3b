//! What `cargo xtask fuzz` has written about its last run.

use std::{fs, path::Path};

use serde::Deserialize;

/// Where it is, below the target directory.
pub const FILE: &str = "fuzzing/report.json";

/// The whole report.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct FuzzReport {
    /// One a target.
    pub targets: Vec<Target>,
}

/// The figures of one target.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Target {
    /// Its name.
    pub target: String,
    /// CPU time.
    pub cpu_secs: f64,
    /// Inputs that were run.
    pub executions: u64,
    /// Edges of the control flow that they reach.
    pub edges: u64,
    /// The file with an input that broke something.
    pub found: Option<String>,
}

/// Reads it.
///
/// # Errors
///
/// When there is none, or something else.
pub fn read(target_dir: &Path) -> Result<FuzzReport, String> {
    let path = target_dir.join(FILE);
    let text = fs::read_to_string(&path).map_err(|error| {
        format!("not measured: {}: {error}; run `cargo xtask fuzz --minutes 10` first", path.display())
    })?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

impl FuzzReport {
    /// One target's figures.
    ///
    /// # Errors
    ///
    /// When the last run was without it.
    pub fn of(&self, name: &str) -> Result<&Target, String> {
        let found = self.targets.iter().find(|target| target.target == name);
        found.ok_or_else(|| format!("not measured: the last run of `cargo xtask fuzz` was without {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(read(dir.path()).unwrap_err().contains("cargo xtask fuzz"));
        fs::create_dir(dir.path().join("fuzzing")).expect("a directory");
        let line = r#"{"target": "process", "cpu_secs": 2.0, "executions": 5000, "edges": 1500,
            "edges_in_all": 48213, "corpus": 30, "found": null}"#;
        fs::write(dir.path().join(FILE), format!("{{\"targets\": [\n{line}\n]}}\n")).expect("a file");
        let report = read(dir.path()).expect("a report");
        assert_eq!(report.of("process").map(|target| (target.executions, target.edges)), Ok((5_000, 1_500)));
        assert!(report.of("config").is_err());
    }
}
