//! A fuzzer at work: stopped when its CPU time is used up, not when a clock on the wall says so. On a busy machine that
//! takes longer and gives the same figures.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, ChildStderr, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

/// How often its CPU time is read.
const POLL: Duration = Duration::from_millis(200);

/// The wall's clock ends it after so many times its budget, and a minute more: a machine so busy, or a fuzzer that
/// sleeps, tells nothing.
const PATIENCE: u32 = 10;

/// Ticks a second in `/proc/<pid>/stat`: always 100 towards user space (proc(5), `sysconf(_SC_CLK_TCK)`).
const TICKS_A_SECOND: u64 = 100;

/// How it ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Asked to, and without a finding.
    pub ok: bool,
    /// What it used.
    pub cpu: Duration,
    /// What it said.
    pub output: String,
}

/// Runs a fuzzer until it has used its budget or found something.
///
/// # Errors
///
/// When it cannot be run, or does not come to its end.
pub fn run(command: &mut Command, budget: Duration) -> Result<Ended> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let stderr = child.stderr.take().context("its standard error is a pipe")?;
    let listener = thread::spawn(move || listen(stderr));
    let watched = watch(&mut child, budget);
    if watched.is_err() {
        // It must not outlive us.
        let _ = child.kill();
    }
    let ok = child.wait()?.success();
    let output = listener.join().unwrap_or_default();
    let cpu = watched?;
    Ok(Ended { ok, cpu, output })
}

fn watch(child: &mut Child, budget: Duration) -> Result<Duration> {
    let deadline = Instant::now() + PATIENCE * budget + Duration::from_secs(60);
    let (mut cpu, mut asked) = (Duration::ZERO, false);
    while child.try_wait()?.is_none() {
        cpu = cpu_time(child.id()).unwrap_or(cpu);
        if cpu >= budget && !asked {
            ask_to_end(child.id())?;
            asked = true;
        }
        ensure!(Instant::now() < deadline, "it has used {cpu:.1?} of {budget:?} and does not end");
        thread::sleep(POLL);
    }
    Ok(cpu)
}

/// User and system time so far; `None` when it has just ended.
fn cpu_time(pid: u32) -> Option<Duration> {
    parse_cpu_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields 14 and 15 of proc(5)'s `stat`; the second one is a name in parentheses, which may hold anything.
fn parse_cpu_time(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut ticks = fields.split(' ').skip(11).map_while(|field| field.parse::<u64>().ok());
    let ticks = ticks.next()? + ticks.next()?;
    Some(Duration::from_millis(ticks * 1_000 / TICKS_A_SECOND))
}

/// libFuzzer ends gracefully on SIGUSR1 (`-handle_usr1`). Whether the signal arrived is not asked: it may have ended by
/// itself meanwhile.
fn ask_to_end(pid: u32) -> Result<()> {
    Command::new("kill").args(["-USR1", &pid.to_string()]).status().map(drop).context("cannot run kill")
}

fn listen(stderr: ChildStderr) -> String {
    let mut text = String::new();
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        text.push_str(&String::from_utf8_lossy(&line));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_a_name_that_looks_like_fields() {
        let stat = "7 (a) 1 2) R 1 7 7 0 -1 4194304 100 0 0 0 150 25 0 0 20 0 1 0 5 6 7";
        assert_eq!(parse_cpu_time(stat), Some(Duration::from_millis(1_750)));
        assert_eq!(parse_cpu_time("7 (a) R 1"), None);
    }

    #[test]
    fn a_program_that_ends_by_itself_is_waited_for() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo said >&2; exit 77"]);
        let ended = run(&mut command, Duration::from_secs(5)).unwrap();
        assert_eq!((ended.ok, ended.output.as_str()), (false, "said\n"));
    }

    #[test]
    fn one_that_uses_up_its_time_is_asked_to_end() {
        let mut command = Command::new("sh");
        command.args(["-c", "trap 'echo end >&2; exit 0' USR1; while :; do :; done"]);
        let ended = run(&mut command, Duration::from_millis(100)).unwrap();
        assert!(ended.ok && ended.cpu >= Duration::from_millis(100), "{ended:?}");
        assert_eq!(ended.output, "end\n");
    }
}
