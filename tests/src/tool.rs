//! Running the real programs the lab is made of, with errors that say what was run.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use nix::unistd::geteuid;

/// Stops a test run without root at its first step with the reason, instead of at some later `EPERM`.
pub fn require_root() {
    assert!(
        geteuid().is_root(),
        "the lab makes network namespaces and loads BPF programs: run these tests as root (effective uid is {})",
        geteuid()
    );
}

/// `ip` with arguments, not yet run.
pub fn ip<I>(arguments: I) -> Command
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    let mut command = Command::new("ip");
    command.args(arguments);
    command
}

/// Runs to the end and returns standard output; panics with everything known when it fails.
#[track_caller]
pub fn run(command: Command) -> String {
    try_run(command).unwrap_or_else(|problem| panic!("{problem}"))
}

/// Runs to the end; the error tells the command, its status and its standard error.
pub fn try_run(mut command: Command) -> Result<String, String> {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("start {shown}: {error}"))?;
    stdout_of(&shown, &output)
}

/// Runs with text on standard input; panics when it fails.
#[track_caller]
pub fn run_with_input(mut command: Command, input: &str) -> String {
    let shown = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("start {shown}: {error}"));
    let written = child.stdin.take().expect("stdin is piped").write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap_or_else(|error| panic!("wait for {shown}: {error}"));
    let stdout = stdout_of(&shown, &output).unwrap_or_else(|problem| panic!("{problem}\ninput:\n{input}"));
    written.unwrap_or_else(|error| panic!("write to {shown}: {error}"));
    stdout
}

fn stdout_of(shown: &str, output: &Output) -> Result<String, String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("{shown}: {}: {}", output.status, stderr.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_names_command_status_and_stderr() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo broken >&2; exit 3"]);
        let problem = try_run(command).expect_err("exits with 3");
        for part in ["\"sh\"", "3", "broken"] {
            assert!(problem.contains(part), "{part:?} in {problem:?}");
        }
    }

    #[test]
    fn input_reaches_the_program() {
        assert_eq!(run_with_input(Command::new("cat"), "hello"), "hello");
    }
}
