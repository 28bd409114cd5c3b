//! Shutdown: who asks for it, who hears of it, and when all are done.

use std::io;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// How long threads may go on that wait for the kernel, a disk or a directory service when all tasks have ended. What
/// they do is not lost: a commit of the store is whole or was never answered, and tables are compared with the
/// configuration by the next start. With the time for the tasks it makes the second in which the daemon promises to end.
const LAST_GRACE: Duration = Duration::from_millis(150);

/// Does the work, and leaves threads behind that do not end within `LAST_GRACE`: they end with the process.
pub fn run<T>(runtime: Runtime, work: impl Future<Output = T>) -> T {
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(LAST_GRACE);
    done
}

/// Makes the two ends: one asks for the shutdown, the other is cloned into every task.
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Shutdown(receiver))
}

/// Asks for the shutdown and waits for the tasks. Dropping it asks, too.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

impl Trigger {
    /// Tells every task to end.
    pub fn request(&self) {
        self.0.send_replace(true);
    }

    /// Waits until every [`Shutdown`] is dropped, at most this long.
    pub async fn drained(&self, within: Duration) -> Drained {
        match tokio::time::timeout(within, self.0.closed()).await {
            Ok(()) => Drained::All,
            Err(_) => Drained::Remaining(self.0.receiver_count()),
        }
    }
}

/// Did the tasks end in time?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "tasks may still be running"]
pub enum Drained {
    /// All of them.
    All,
    /// So many handles are still held.
    Remaining(usize),
}

/// A task's handle. It hears of the shutdown through it, and counts as running until it drops it: a task keeps
/// it to its very end.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Is ready once the shutdown is asked for. The future has a handle of its own.
    pub fn requested(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut receiver = self.0.clone();
        async move {
            // An error means that the trigger is gone: nobody is left to ask, so it is time to end.
            let _ = receiver.wait_for(|requested| *requested).await;
        }
    }

    /// Is the shutdown asked for?
    pub fn is_requested(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

/// The signals that ask the daemon to end: SIGTERM and SIGINT. From `install` on they no longer kill it.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes over the signals. Needs a tokio runtime.
    pub fn install() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The name of the next signal that comes.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(5);

    #[test]
    fn a_thread_that_waits_for_ever_does_not_hold_up_the_end() {
        let (sender, never) = std::sync::mpsc::channel::<()>();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let started = std::time::Instant::now();
        let done = run(runtime, async move {
            let (begun, has_begun) = tokio::sync::oneshot::channel();
            tokio::task::spawn_blocking(move || {
                begun.send(()).unwrap();
                never.recv()
            });
            has_begun.await.unwrap();
            7
        });
        assert_eq!(done, 7);
        assert!(started.elapsed() < DEADLINE, "{:?}", started.elapsed());
        drop(sender);
    }

    #[tokio::test(start_paused = true)]
    async fn all_is_drained_when_every_task_has_dropped_its_handle() {
        let (trigger, shutdown) = channel();
        for _ in 0..3 {
            let shutdown = shutdown.clone();
            tokio::spawn(async move { shutdown.requested().await });
        }
        assert!(!shutdown.is_requested());
        trigger.request();
        assert!(shutdown.is_requested());
        drop(shutdown);
        assert_eq!(trigger.drained(DEADLINE).await, Drained::All);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_end_is_counted_at_the_deadline() {
        let (trigger, shutdown) = channel();
        trigger.request();
        shutdown.requested().await;
        assert_eq!(trigger.drained(DEADLINE).await, Drained::Remaining(1));
    }

    #[tokio::test]
    async fn a_dropped_trigger_asks_too() {
        let (trigger, shutdown) = channel();
        drop(trigger);
        shutdown.requested().await;
        assert!(shutdown.is_requested());
    }

    #[tokio::test]
    async fn both_signals_are_told_apart() {
        let mut signals = Signals::install().unwrap();
        for (signal, name) in [(nix::sys::signal::SIGTERM, "SIGTERM"), (nix::sys::signal::SIGINT, "SIGINT")] {
            nix::sys::signal::raise(signal).unwrap();
            assert_eq!(signals.next().await, name);
        }
    }
}
