//! Child processes that end with their guard, or with the test run, whichever is first.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::netns::Namespace;
use crate::poll::try_poll;

/// How long a process may take to end after SIGTERM before it gets SIGKILL.
const GRACE: Duration = Duration::from_secs(3);
/// How much of each log a panic message repeats.
const TAIL_LINES: usize = 20;

/// A running program of the lab.
///
/// - It is started by a thread that lives as long as the test process, since the kernel ties the death signal
///   to the starting *thread* (prctl(2), `PR_SET_PDEATHSIG`): a killed test run leaves no process, and a
///   finished test thread kills none.
/// - It leads its own process group, so that what it forks is ended with it.
/// - Standard output and error go to `<name>.out` and `<name>.err` in the lab's directory.
#[derive(Debug)]
pub struct Proc {
    name: String,
    child: Arc<Child>,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Proc {
    /// Starts a command made by [`Namespace::command`] of the same namespace.
    #[track_caller]
    pub fn spawn(namespace: &Namespace, name: &str, mut command: Command) -> Self {
        let (stdout, stdout_file) = new_log(namespace, name, "out");
        let (stderr, stderr_file) = new_log(namespace, name, "err");
        command.process_group(0).stdin(Stdio::null()).stdout(stdout_file).stderr(stderr_file);
        let shown = format!("{command:?}");
        let child = spawn_on_lasting_thread(command).unwrap_or_else(|error| panic!("start {shown}: {error}"));
        let child = Arc::new(Child::new(child));
        namespace.adopt(&child);
        Self { name: name.to_owned(), child, stdout, stderr }
    }

    /// Process number; stays ours until the guard drops, even when the process has ended.
    pub fn id(&self) -> u32 {
        self.child.pid.as_raw().unsigned_abs()
    }

    /// Everything written to standard output so far.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// Everything written to standard error so far.
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// False once the process has ended.
    pub fn is_running(&self) -> bool {
        self.child.is_running()
    }

    /// Waits for a complete line with `text` on either output and returns it; panics when the process ends
    /// first.
    #[track_caller]
    pub fn wait_for_line(&self, limit: Duration, text: &str) -> String {
        self.wait_for(limit, &format!("a line with {text:?}"), |proc| {
            find_line(&proc.stdout(), text).or_else(|| find_line(&proc.stderr(), text))
        })
    }

    /// Waits until `probe` has a value; panics with the logs when the process ends first or time is up.
    #[track_caller]
    pub fn wait_for<T>(&self, limit: Duration, what: &str, mut probe: impl FnMut(&Self) -> Option<T>) -> T {
        let outcome = try_poll(limit, &format!("{what} of {}", self.name), || {
            let running = self.is_running();
            match probe(self) {
                Some(value) => Ok(Ok(value)),
                None if running => Err(None::<String>),
                None => Ok(Err(())),
            }
        });
        match outcome {
            Ok(Ok(value)) => value,
            Ok(Err(())) => panic!("{} ended before {what}\n{}", self.name, self.tail()),
            Err(timed_out) => panic!("{timed_out}\n{}", self.tail()),
        }
    }

    /// Waits for the process to end by itself.
    #[track_caller]
    pub fn wait(&self, limit: Duration) -> ExitStatus {
        match try_poll(limit, &format!("end of {}", self.name), || {
            self.child.try_reap().ok_or(None::<String>)
        }) {
            Ok(status) => status,
            Err(timed_out) => panic!("{timed_out}\n{}", self.tail()),
        }
    }

    /// Sends a signal to the process alone.
    pub fn signal(&self, signal: Signal) {
        self.child.signal(signal);
    }

    /// Ends it with SIGTERM, then SIGKILL, and returns its status.
    pub fn stop(&self) -> ExitStatus {
        self.child.end();
        self.child.try_reap().expect("an ended child has a status")
    }

    /// Ends it with SIGKILL, as a crash would.
    pub fn kill(&self) -> ExitStatus {
        self.child.kill();
        self.child.try_reap().expect("a killed child has a status")
    }

    /// The last lines of both logs.
    pub fn tail(&self) -> String {
        format!("{}{}", tail_of(&self.stdout), tail_of(&self.stderr))
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("lab: {} (pid {}):\n{}", self.name, self.id(), self.tail());
        }
        self.child.end();
    }
}

/// The process itself, shared by its guard and its namespace. Not reaped before its group is dead, so that
/// neither its number nor its group's can have passed to somebody else when a signal is sent.
#[derive(Debug)]
pub(crate) struct Child {
    pid: Pid,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    process: std::process::Child,
    status: Option<ExitStatus>,
}

impl Child {
    fn new(process: std::process::Child) -> Self {
        let pid = Pid::from_raw(i32::try_from(process.id()).expect("process numbers fit"));
        Self { pid, state: Mutex::new(State { process, status: None }) }
    }

    /// SIGTERM, grace, then SIGKILL to the whole group. Does nothing the second time.
    pub(crate) fn end(&self) {
        self.signal(Signal::SIGTERM);
        let ended =
            try_poll(GRACE, "end after SIGTERM", || (!self.is_running()).then_some(()).ok_or(None::<String>));
        if ended.is_err() {
            eprintln!("lab: pid {} ignored SIGTERM for {GRACE:?}", self.pid);
        }
        self.kill();
    }

    fn kill(&self) {
        let mut state = self.lock();
        if state.status.is_none() {
            // The group may hold nothing but the zombie that keeps its number: then there is nothing to do.
            let _ = killpg(self.pid, Signal::SIGKILL);
            state.reap();
        }
    }

    fn signal(&self, signal: Signal) {
        if self.lock().status.is_none() {
            // Signalling a zombie is allowed and does nothing.
            let _ = kill(self.pid, signal);
        }
    }

    fn is_running(&self) -> bool {
        self.lock().status.is_none() && !self.has_exited()
    }

    fn try_reap(&self) -> Option<ExitStatus> {
        if self.is_running() {
            return None;
        }
        self.kill();
        self.lock().status
    }

    /// Looks without reaping.
    fn has_exited(&self) -> bool {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        !matches!(waitid(Id::Pid(self.pid), look), Ok(WaitStatus::StillAlive))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn reap(&mut self) {
        match self.process.wait() {
            Ok(status) => self.status = Some(status),
            Err(error) => eprintln!("lab: wait for pid {}: {error}", self.process.id()),
        }
    }
}

type Request = (Command, Sender<io::Result<std::process::Child>>);

/// Starts the command from a thread that never ends. See [`Proc`] for the reason.
fn spawn_on_lasting_thread(command: Command) -> io::Result<std::process::Child> {
    static SPAWNER: OnceLock<Sender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        thread::Builder::new()
            .name("lab-spawner".to_owned())
            .spawn(move || {
                for (mut command, reply) in requests {
                    // The asker waits for the answer, so it is there.
                    let _ = reply.send(command.spawn());
                }
            })
            .expect("start the spawner thread");
        sender
    });
    let (reply, answer) = mpsc::channel();
    spawner.send((command, reply)).expect("the spawner thread never ends");
    answer.recv().expect("the spawner thread never ends")
}

/// `<name>.<extension>`, or with a number when the same program was started before: a restart must not wipe
/// the first log.
fn new_log(namespace: &Namespace, name: &str, extension: &str) -> (PathBuf, File) {
    for run in 1..u32::MAX {
        let number = if run == 1 { String::new() } else { format!(".{run}") };
        let path = namespace.session().path(&format!("{name}{number}.{extension}"));
        match File::create_new(&path) {
            Ok(file) => return (path, file),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => panic!("create {}: {error}", path.display()),
        }
    }
    unreachable!("no test starts a program four billion times")
}

fn read(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Complete lines only: the program may be in the middle of writing the last one.
fn find_line(log: &str, text: &str) -> Option<String> {
    log.split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'))
        .find(|line| line.contains(text))
        .map(str::to_owned)
}

fn tail_of(path: &Path) -> String {
    let log = read(path);
    let lines: Vec<&str> = log.lines().collect();
    let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    format!("--- {} (last {} of {} lines)\n{}\n", path.display(), tail.len(), lines.len(), tail.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Session;

    const LIMIT: Duration = Duration::from_secs(10);

    fn shell(namespace: &Namespace, script: &str) -> Proc {
        let mut command = namespace.command("sh");
        command.args(["-c", script]);
        Proc::spawn(namespace, "sh", command)
    }

    fn namespace() -> Namespace {
        Namespace::create(&Session::start(), "proc")
    }

    #[test]
    fn output_is_captured_and_awaited() {
        let namespace = namespace();
        let proc = shell(&namespace, "echo ready now; echo oops >&2; exec sleep 60");
        assert_eq!(proc.wait_for_line(LIMIT, "ready"), "ready now");
        assert_eq!(proc.wait_for_line(LIMIT, "oops"), "oops");
        assert!(proc.is_running());
        assert!(!proc.stop().success());
        assert!(!proc.is_running());
    }

    #[test]
    fn grandchildren_end_with_the_guard() {
        let namespace = namespace();
        let proc = shell(&namespace, "sleep 60 & echo pid $!; wait");
        let line = proc.wait_for_line(LIMIT, "pid ");
        let grandchild = format!("/proc/{}", line.trim_start_matches("pid "));
        assert!(Path::new(&grandchild).exists());
        drop(proc);
        crate::poll_until(LIMIT, "grandchild to end", || {
            let stat = read(&Path::new(&grandchild).join("stat"));
            (stat.is_empty() || stat.contains(") Z ")).then_some(())
        });
    }

    #[test]
    fn child_outlives_the_thread_that_asked_for_it() {
        let namespace = namespace();
        let proc = thread::scope(|scope| {
            scope.spawn(|| shell(&namespace, "echo up; while read -r _; do :; done; exec sleep 60")).join()
        })
        .expect("no panic");
        proc.wait_for_line(LIMIT, "up");
        assert!(proc.is_running());
    }

    #[test]
    fn restart_keeps_the_first_log() {
        let namespace = namespace();
        let first = shell(&namespace, "echo first");
        assert!(first.wait(LIMIT).success());
        let second = shell(&namespace, "echo second");
        assert!(second.wait(LIMIT).success());
        assert_eq!((first.stdout(), second.stdout()), ("first\n".to_owned(), "second\n".to_owned()));
    }

    #[test]
    fn early_end_is_told() {
        let namespace = namespace();
        let proc = shell(&namespace, "echo no luck >&2; exit 1");
        let waiting = std::panic::AssertUnwindSafe(|| proc.wait_for_line(LIMIT, "never"));
        let panic = std::panic::catch_unwind(waiting).expect_err("the line never comes");
        let message = panic.downcast_ref::<String>().expect("a formatted message");
        assert!(message.contains("ended before a line with") && message.contains("no luck"), "{message}");
    }

    #[test]
    fn half_lines_are_not_lines() {
        assert_eq!(find_line("one\ntw", "tw"), None);
        assert_eq!(find_line("one\ntwo\n", "tw").as_deref(), Some("two"));
    }
}
