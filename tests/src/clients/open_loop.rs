//! So many requests a second, come what may: each is a new connection, sent when the clock says so and not when an
//! earlier one was answered. A gateway that is slow for a moment therefore meets all that was due meanwhile.

use std::{
    net::SocketAddrV4,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    net::TcpStream,
    select,
    sync::oneshot,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use super::exchange::{After, Aim, in_background, whoami};
use crate::{netns::Namespace, poll::poll_until};

/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(1);
/// Beyond [`OpenLoop::limit`], for the last answers.
const SLACK: Duration = Duration::from_secs(10);

/// A load to be started.
#[derive(Debug, Clone)]
pub struct OpenLoop {
    rate: u32,
    aims: Arc<[Aim]>,
    limit: Duration,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Which of the aims.
    pub aim: usize,
    /// When it was sent.
    pub started: Instant,
    /// How long it took.
    pub took: Duration,
    /// What came of it.
    pub end: End,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The right one answered; this server of it.
    Answered(SocketAddrV4),
    /// Somebody else answered, or saw somebody else; in words.
    Wrong(String),
    /// There was no answer; in words.
    Failed(String),
}

/// All requests.
#[derive(Debug, Clone)]
pub struct Exchanges {
    /// Whom they went to.
    pub aims: Arc<[Aim]>,
    /// In the order of their ends.
    pub all: Vec<Exchange>,
    /// From the first to the last that was sent.
    pub lasted: Duration,
    /// The longest that a request was sent after it was due: the client's own fault, or that of whoever kept it from
    /// the CPU.
    pub latest: Duration,
}

impl OpenLoop {
    /// So many requests a second in total, in turn to each of the aims; each may take five seconds.
    pub fn new(rate: u32, aims: Vec<Aim>) -> Self {
        Self { rate, aims: aims.into(), limit: Duration::from_secs(5) }
    }

    /// Another limit for each request.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Starts it in a namespace.
    pub fn start(self, from: &Namespace) -> Running {
        allow_many_files();
        let (stop, stopped) = oneshot::channel();
        let answered = Arc::new(AtomicUsize::new(0));
        let (counter, limit) = (Arc::clone(&answered), self.limit);
        let thread = in_background(from, "lab-open-loop", move |runtime| {
            runtime.block_on(self.run(stopped, &counter))
        });
        Running { stop, thread, answered, limit }
    }

    async fn run(self, mut stopped: oneshot::Receiver<()>, answered: &AtomicUsize) -> Exchanges {
        let (begin, mut sent, mut tasks, mut all) = (Instant::now(), 0, JoinSet::new(), Vec::new());
        let mut latest = Duration::ZERO;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            select! {
                biased;
                _ = &mut stopped => break,
                _ = ticks.tick() => {}
            }
            let now = begin.elapsed();
            let due = due(now, self.rate);
            latest = latest.max(now.saturating_sub(due_at(sent, self.rate)));
            for number in sent..due {
                tasks.spawn(exchange(Arc::clone(&self.aims), number % self.aims.len(), self.limit));
            }
            sent = due;
            while let Some(done) = tasks.try_join_next() {
                note(&mut all, answered, done.expect("a request does not panic"));
            }
        }
        let lasted = begin.elapsed();
        while let Some(done) = tasks.join_next().await {
            note(&mut all, answered, done.expect("a request does not panic"));
        }
        Exchanges { aims: self.aims, all, lasted, latest }
    }
}

/// How many requests have been due after some time.
fn due(elapsed: Duration, rate: u32) -> usize {
    let due = elapsed.as_nanos() * u128::from(rate) / Duration::from_secs(1).as_nanos();
    usize::try_from(due).unwrap_or(usize::MAX)
}

/// When a request is due.
fn due_at(number: usize, rate: u32) -> Duration {
    let nanos = number as u128 * Duration::from_secs(1).as_nanos() / u128::from(rate);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

fn note(all: &mut Vec<Exchange>, answered: &AtomicUsize, exchange: Exchange) {
    answered.fetch_add(usize::from(matches!(exchange.end, End::Answered(_))), Ordering::Relaxed);
    all.push(exchange);
}

async fn exchange(aims: Arc<[Aim]>, aim: usize, limit: Duration) -> Exchange {
    let started = Instant::now();
    let end = timeout(limit, ask(&aims[aim])).await;
    let end = end.unwrap_or_else(|_| End::Failed(format!("no answer within {limit:?}")));
    Exchange { aim, started, took: started.elapsed(), end }
}

async fn ask(aim: &Aim) -> End {
    let mut stream = match TcpStream::connect(aim.address).await {
        Ok(stream) => stream,
        Err(error) => return End::Failed(format!("connect: {error}")),
    };
    match whoami(&mut stream, aim, After::Close).await {
        Ok(who) => match aim.fault(&who) {
            None => End::Answered(SocketAddrV4::new(who.server_addr, who.server_port)),
            Some(fault) => End::Wrong(fault),
        },
        Err(error) => End::Failed(format!("ask: {error}")),
    }
}

/// A target that does not answer holds a descriptor for each request: as many as the system lets us have.
fn allow_many_files() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("limits can be read");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("a soft limit may be raised to the hard one");
}

/// A load under way. Dropped, it ends by itself.
#[derive(Debug)]
pub struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Exchanges>,
    answered: Arc<AtomicUsize>,
    limit: Duration,
}

impl Running {
    /// Right answers so far.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits for so many more right answers.
    #[track_caller]
    pub fn wait_for(&self, more: usize) {
        let wanted = self.answered() + more;
        poll_until(self.limit + SLACK, &format!("{more} more answers"), || {
            (self.answered() >= wanted || self.thread.is_finished()).then_some(())
        });
    }

    /// Sends no more, and waits for the last answers.
    pub fn stop(self) -> Exchanges {
        // A thread that has panicked says so below.
        let _ = self.stop.send(());
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Exchanges {
    /// Requests a second.
    #[expect(clippy::cast_precision_loss, reason = "a rate, for people")]
    pub fn rate(&self) -> f64 {
        self.all.len() as f64 / self.lasted.as_secs_f64()
    }

    /// Those without an answer, to some of the aims.
    pub fn failed(&self, which: impl Fn(usize) -> bool) -> Vec<String> {
        let begin = self.begin();
        let ends = self.all.iter().filter(|exchange| which(exchange.aim));
        ends.filter_map(|exchange| match &exchange.end {
            End::Failed(problem) => Some(self.tell(exchange, problem, begin)),
            _ => None,
        })
        .collect()
    }

    /// Those that somebody else answered.
    pub fn wrong(&self) -> Vec<String> {
        let begin = self.begin();
        let ends = self.all.iter();
        ends.filter_map(|exchange| match &exchange.end {
            End::Wrong(problem) => Some(self.tell(exchange, problem, begin)),
            _ => None,
        })
        .collect()
    }

    fn begin(&self) -> Option<Instant> {
        self.all.iter().map(|exchange| exchange.started).min()
    }

    fn tell(&self, exchange: &Exchange, problem: &str, begin: Option<Instant>) -> String {
        let at = begin.map(|begin| exchange.started - begin).unwrap_or_default();
        format!("{} after {:.3} s: {problem}", self.aims[exchange.aim].server, at.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::session::Session;

    #[test]
    fn what_is_due_follows_the_clock() {
        assert_eq!(due(Duration::ZERO, 2_000), 0);
        assert_eq!(due(Duration::from_micros(1_500), 2_000), 3);
        assert_eq!(due(Duration::from_secs(60), 2_000), 120_000);
        assert_eq!(due_at(120_000, 2_000), Duration::from_secs(60));
    }

    #[test]
    fn a_target_that_is_not_there_is_a_failure_each_time() {
        let namespace = Namespace::create(&Session::start(), "alone");
        let aim = Aim {
            address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9),
            server: "nobody".to_owned(),
            seen_as: Ipv4Addr::LOCALHOST,
        };
        let running = OpenLoop::new(500, vec![aim]).start(&namespace);
        poll_until(Duration::from_secs(5), "some time", {
            let begin = Instant::now();
            move || (begin.elapsed() >= Duration::from_millis(200)).then_some(())
        });
        let seen = running.stop();
        assert!(seen.all.len() >= 90 && seen.failed(|_| true).len() == seen.all.len(), "{}", seen.all.len());
        assert!(seen.failed(|aim| aim > 0).is_empty() && seen.wrong().is_empty());
        assert!(seen.failed(|_| true)[0].contains("connect: "), "{:?}", seen.failed(|_| true)[0]);
    }
}
