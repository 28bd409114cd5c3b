//! Running other programs: named, timed, and silent unless they fail.

use std::{
    fmt,
    io::{self, BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

/// What to do with the output of a step that goes well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Shown as it comes.
    Shown,
    /// Shown only if the step fails.
    OnFailure,
}

/// A finished step.
#[derive(Debug)]
pub struct Outcome {
    /// The program ended with success.
    pub ok: bool,
    /// Standard output and standard error, in the order they came.
    pub output: String,
}

impl Outcome {
    /// An error if the step failed; what it said stands on the terminal already.
    pub fn require(self, name: &str) -> Result<Self> {
        anyhow::ensure!(self.ok, "{name} failed");
        Ok(self)
    }
}

/// Runs `command` and prints one line about it, and all it said if it failed.
///
/// # Errors
///
/// When it cannot be started. A program that fails is an [`Outcome`].
pub fn run(name: &str, command: &mut Command, output: Output) -> Result<Outcome> {
    match output {
        Output::Shown => println!("{name}"),
        Output::OnFailure => print!("{name:<40} "),
    }
    io::stdout().flush()?;
    let start = Instant::now();
    let outcome = capture(command, output)
        .with_context(|| format!("{name}: cannot run {}", command.get_program().display()))?;
    if output == Output::Shown {
        print!("{name:<40} ");
    }
    println!("{:<6} {}", if outcome.ok { "ok" } else { "FAILED" }, Took(start.elapsed()));
    if !outcome.ok && output == Output::OnFailure {
        println!("{}", outcome.output.trim_end());
    }
    Ok(outcome)
}

fn capture(command: &mut Command, output: Output) -> Result<Outcome> {
    let (reader, writer) = io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn()?;
    // The command keeps its ends of the pipe: closed here, the reader sees the end when the child is done.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut text = String::new();
    for line in BufReader::new(reader).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        if output == Output::Shown {
            println!("{line}");
        }
        text.push_str(&line);
        text.push('\n');
    }
    Ok(Outcome { ok: child.wait()?.success(), output: text })
}

/// A duration as people read it.
struct Took(Duration);

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            0..60 => write!(f, "{:.1} s", self.0.as_secs_f64()),
            seconds => write!(f, "{} min {:02} s", seconds / 60, seconds % 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Outcome {
        capture(Command::new("sh").args(["-c", script]), Output::OnFailure).unwrap()
    }

    #[test]
    fn keeps_both_streams_in_order() {
        let outcome = shell("echo one; echo two >&2; echo three");
        assert!(outcome.ok);
        assert_eq!(outcome.output, "one\ntwo\nthree\n");
    }

    #[test]
    fn a_failing_program_is_an_outcome() {
        let outcome = shell("printf last; exit 3");
        assert!(!outcome.ok);
        assert_eq!(outcome.output, "last\n");
        assert_eq!(outcome.require("it").unwrap_err().to_string(), "it failed");
    }

    #[test]
    fn survives_what_is_not_utf8() {
        assert_eq!(shell("printf '\\377\\n'").output, "\u{fffd}\n");
    }

    #[test]
    fn tells_time() {
        assert_eq!(Took(Duration::from_millis(1240)).to_string(), "1.2 s");
        assert_eq!(Took(Duration::from_secs(125)).to_string(), "2 min 05 s");
    }
}
