//! Traffic that goes on while something else happens: short requests and datagrams, until they are told to stop.

use std::{
    net::UdpSocket,
    panic::resume_unwind,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{Scope, ScopedJoinHandle},
    time::Duration,
};

use super::targets::Target;
use crate::clients::Load;

/// Requests between two looks at the stop sign.
const BATCH: usize = 10;
/// Requests at a time.
const CONCURRENCY: usize = 2;
/// Between two of them: some CPU is left to what happens meanwhile.
const PAUSE: Duration = Duration::from_millis(1);
/// After which a datagram counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(2);

/// What has been done, and whether to go on.
#[derive(Debug, Default)]
pub struct Progress {
    stopped: Mutex<bool>,
    stopping: Condvar,
    requests: AtomicUsize,
    datagrams: AtomicUsize,
}

/// What came out.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Short requests.
    pub requests: usize,
    /// Datagrams.
    pub datagrams: usize,
    /// Datagrams without an answer.
    pub lost_datagrams: usize,
    /// Requests without the right answer, in words.
    pub failures: Vec<String>,
}

impl Progress {
    /// Datagrams sent so far.
    pub fn datagrams(&self) -> usize {
        self.datagrams.load(Ordering::Relaxed)
    }

    fn stop(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stopping.notify_all();
    }

    /// False once it was stopped, at once then; else after [`PAUSE`].
    fn goes_on(&self) -> bool {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.stopping.wait_timeout_while(stopped, PAUSE, |stopped| !*stopped);
        !*waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// The threads.
#[derive(Debug)]
pub struct Background<'scope, 'env> {
    progress: &'env Progress,
    requests: Vec<ScopedJoinHandle<'scope, Vec<String>>>,
    datagrams: Vec<ScopedJoinHandle<'scope, usize>>,
}

impl<'scope, 'env> Background<'scope, 'env> {
    /// Starts one for each target.
    pub fn start(
        scope: &'scope Scope<'scope, 'env>,
        progress: &'env Progress,
        web: &'env [Target<'env>],
        echo: &'env [Target<'env>],
    ) -> Self {
        Self {
            progress,
            requests: web.iter().map(|target| scope.spawn(|| requests(target, progress))).collect(),
            datagrams: echo.iter().map(|target| scope.spawn(|| datagrams(target, progress))).collect(),
        }
    }

    /// Stops all.
    pub fn stop(self) -> Outcome {
        self.progress.stop();
        let join = |thread: ScopedJoinHandle<'_, Vec<String>>| {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))
        };
        let lost =
            |thread: ScopedJoinHandle<'_, usize>| thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        Outcome {
            failures: self.requests.into_iter().flat_map(join).collect(),
            lost_datagrams: self.datagrams.into_iter().map(lost).sum(),
            requests: self.progress.requests.load(Ordering::Relaxed),
            datagrams: self.progress.datagrams(),
        }
    }
}

fn requests(target: &Target<'_>, progress: &Progress) -> Vec<String> {
    let mut failures = Vec::new();
    while progress.goes_on() {
        failures.extend(ask(target, BATCH));
        progress.requests.fetch_add(BATCH, Ordering::Relaxed);
    }
    failures
}

/// Sends so many short requests, a connection each; returns the failures in words.
pub fn ask(target: &Target<'_>, count: usize) -> Vec<String> {
    let report = Load::new(target.address, count).concurrency(CONCURRENCY).run(target.from);
    let failed = report.failures.iter().map(|(words, count)| format!("{count} x {words}"));
    let wrong = report.by_server.iter().filter(|(name, _)| *name != target.server);
    let wrong = wrong.map(|(name, count)| format!("{count} x answered by {name}"));
    let problems = failed.chain(wrong);
    problems.map(|problem| format!("{} to {}: {problem}", target.from.role(), target.address)).collect()
}

/// Numbered ones, the next when the last was answered; returns how many were not.
fn datagrams(target: &Target<'_>, progress: &Progress) -> usize {
    let socket = target.from.enter(|| UdpSocket::bind("0.0.0.0:0")).expect("bind any port");
    socket.connect(target.address).unwrap_or_else(|error| panic!("connect UDP: {error}"));
    socket.set_read_timeout(Some(LOST_AFTER)).expect("the limit is not zero");
    let (mut number, mut lost) = (0_u64, 0);
    while progress.goes_on() {
        number += 1;
        lost += usize::from(!is_echoed(&socket, target.server, number));
        progress.datagrams.fetch_add(1, Ordering::Relaxed);
    }
    lost
}

/// Late answers to earlier numbers are skipped.
fn is_echoed(socket: &UdpSocket, server: &str, number: u64) -> bool {
    let answer = format!("{server} {number}");
    let mut buffer = [0; 128];
    if socket.send(number.to_string().as_bytes()).is_err() {
        return false;
    }
    while let Ok(length) = socket.recv(&mut buffer) {
        if buffer[..length] == *answer.as_bytes() {
            return true;
        }
    }
    false
}
