//! Broken configurations, given to the real daemon: each gets one clear error, and changes nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
};

use super::system_state::SystemState;
use crate::{gateway, netns::Namespace, session::Session};

/// Where the cases are: `NN-name.toml` and what the operator has to see, `NN-name.stderr`.
const CRATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../gateway-daemon");
/// Below it. The errors show the path as it was given.
const CASES: &str = "tests/config-broken";
/// The daemon's places when the configuration names no others.
const DEFAULT_PLACES: [&str; 3] =
    ["/run/two-ip-gateway", "/sys/fs/bpf/two-ip-gateway", "/var/lib/two-ip-gateway"];
/// Exit code for a wrong configuration.
const REFUSED: i32 = 2;
/// The one case that the host may mend: an interface that is not there yet is worth another start.
const OF_THE_HOST: &str = "51-unknown-interface.toml";
/// As systemd is to see it, which starts again then.
const NOT_YET: i32 = 1;

/// What became of them.
#[derive(Debug, Default)]
pub struct Refusals {
    /// Files that were tried.
    pub cases: usize,
    /// Refused as they should be.
    pub refused: usize,
    /// What was wrong with the others.
    pub problems: Vec<String>,
}

/// Tries every one.
#[track_caller]
pub fn run() -> Refusals {
    let host = host(&Session::start());
    let places = DEFAULT_PLACES.map(PathBuf::from);
    let before = SystemState::of(&host, &places);
    let mut refusals = Refusals::default();
    for case in cases() {
        let output = start(&host, &case);
        let mut problems = judge(&case, &output);
        problems.extend(before.changes(&SystemState::of(&host, &places)));
        refusals.cases += 1;
        refusals.refused += usize::from(problems.is_empty());
        refusals
            .problems
            .extend(problems.into_iter().map(|problem| format!("{}: {problem}", case.display())));
    }
    refusals
}

/// With the interfaces that the cases name.
fn host(session: &Arc<Session>) -> Namespace {
    let host = Namespace::create(session, "host");
    host.ip_batch("link add ext0 type veth peer name int0\nlink set ext0 up\nlink set int0 up\n");
    host
}

fn cases() -> Vec<PathBuf> {
    let dir = Path::new(CRATE).join(CASES);
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("list {}: {error}", dir.display()));
    let names = entries.map(|entry| PathBuf::from(entry.expect("a readable directory").file_name()));
    let mut cases: Vec<PathBuf> = names
        .filter(|name| name.extension().is_some_and(|extension| extension == "stderr"))
        .map(|name| Path::new(CASES).join(name).with_extension("toml"))
        .collect();
    cases.sort();
    cases
}

fn start(host: &Namespace, case: &Path) -> Output {
    let mut command: Command = host.command(&gateway::binary().to_string_lossy());
    command.current_dir(CRATE).arg("run").arg("--config").arg(case);
    command.output().unwrap_or_else(|error| panic!("start the daemon: {error}"))
}

fn judge(case: &Path, output: &Output) -> Vec<String> {
    let expected = fs::read_to_string(Path::new(CRATE).join(case).with_extension("stderr"));
    let expected = expected.unwrap_or_else(|error| panic!("read the error of {}: {error}", case.display()));
    let error = String::from_utf8_lossy(&output.stderr);
    let mut problems = Vec::new();
    let code = if case.ends_with(OF_THE_HOST) { NOT_YET } else { REFUSED };
    if output.status.code() != Some(code) {
        problems.push(format!("{}, not exit code {code}", output.status));
    }
    if error != expected {
        problems.push(format!("says {error:?}, not {expected:?}"));
    }
    if !output.stdout.is_empty() {
        problems.push(format!("prints {:?}", String::from_utf8_lossy(&output.stdout)));
    }
    for part in [case.to_string_lossy().as_ref(), "= field: ", "= help: "] {
        if !error.contains(part) {
            problems.push(format!("does not say {part:?}"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt as _, process::ExitStatus};

    use super::*;

    #[test]
    fn only_the_documented_error_and_exit_code_are_right() {
        let case = Path::new(CASES).join("22-port-zero.toml");
        let expected = fs::read(Path::new(CRATE).join(CASES).join("22-port-zero.stderr")).expect("a case");
        let judged = |code: i32, stderr: &[u8]| {
            let status = ExitStatus::from_raw(code << 8);
            judge(&case, &Output { status, stdout: Vec::new(), stderr: stderr.to_owned() })
        };
        assert_eq!(judged(2, &expected), Vec::<String>::new());
        assert_eq!(judged(1, &expected).len(), 1, "another exit code");
        assert!(judged(2, &[&expected[..], b"error: and another\n"].concat()).len() == 1, "two errors");
        assert_eq!(judged(2, b"error: bad file\n").len(), 4, "says nothing");
    }
}
