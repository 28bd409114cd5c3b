//! The driver, with a prober that needs no network and a clock that tests hold still.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::*;
use crate::drain::{self, Drained, Trigger};
use crate::health::target::tests::{target, tcp_check};
use crate::health::target::{Check, Initial};

/// Answers as told, after as long as told.
#[derive(Default)]
struct Fake {
    takes: Duration,
    sick: Mutex<HashSet<BackendId>>,
    panics: bool,
    running: AtomicUsize,
    most: AtomicUsize,
}

impl Fake {
    fn sicken(&self, id: &BackendId) {
        self.sick.lock().unwrap().insert(id.clone());
    }
}

impl Prober for Fake {
    fn probe<'a>(&'a self, id: &'a BackendId, _: &'a Check) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            assert!(!self.panics, "as the test wants it");
            let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(running, Ordering::SeqCst);
            if !self.takes.is_zero() {
                tokio::time::sleep(self.takes).await;
            }
            self.running.fetch_sub(1, Ordering::SeqCst);
            if self.sick.lock().unwrap().contains(id) { Err(Failure::Refused) } else { Ok(()) }
        })
    }
}

fn start(fake: Fake, concurrency: usize) -> (Health, Arc<Fake>, Trigger) {
    let (trigger, shutdown) = drain::channel();
    let fake = Arc::new(fake);
    (Health::start(fake.clone(), concurrency, shutdown), fake, trigger)
}

fn targets(count: u32) -> Vec<Target> {
    let check = Arc::new(tcp_check());
    (0..count).map(|number| target(number, &check)).collect()
}

async fn wait_for(standings: &mut watch::Receiver<Standings>, all: Standing) {
    let is_so = |standings: &Standings| standings.values().all(|standing| *standing == all);
    tokio::time::timeout(Duration::from_secs(60), standings.wait_for(is_so)).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn down_until_proven_from_the_first_moment() {
    let (health, _fake, _trigger) = start(Fake::default(), 10);
    let mut standings = health.standings();
    health.update_targets(&targets(3));
    assert_eq!(standings.borrow_and_update().values().collect::<Vec<_>>(), [&Standing::Down; 3]);
    wait_for(&mut standings, Standing::Up).await;
    health.update_targets(&targets(1));
    assert_eq!(standings.borrow().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_published_within_the_detection_time() {
    let (health, fake, _trigger) = start(Fake::default(), 10);
    let (targets, mut standings) = (targets(20), health.standings());
    health.update_targets(&targets);
    wait_for(&mut standings, Standing::Up).await;
    for target in &targets {
        fake.sicken(&target.id);
    }
    let began = now();
    wait_for(&mut standings, Standing::Down).await;
    // The clock of the runtime counts whole milliseconds, up to one more for each wait.
    assert!(now() - began <= tcp_check().detection_time() + Duration::from_millis(10));
    assert_eq!(health.totals().overruns, 0);
}

#[tokio::test(start_paused = true)]
async fn changes_at_one_time_are_published_once() {
    let (health, fake, _trigger) = start(Fake::default(), 1_000);
    let once = Arc::new(Check { rise: 1, fall: 1, ..tcp_check() });
    let targets: Vec<_> = (0..100).map(|number| target(number, &once)).collect();
    fake.sicken(&targets[99].id);
    let mut standings = health.standings();
    health.update_targets(&targets);
    standings.mark_unchanged();
    standings.changed().await.unwrap();
    let up = standings.borrow_and_update().values().filter(|standing| **standing == Standing::Up).count();
    assert_eq!(up, 99);
    // Nothing changes any more, so nothing is published.
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!standings.has_changed().unwrap());
    assert!(health.totals().checks > 400);
}

#[tokio::test(start_paused = true)]
async fn traffic_brings_the_end_forward() {
    let (health, fake, _trigger) = start(Fake::default(), 10);
    let slow = Arc::new(Check { interval: Duration::from_secs(60), ..tcp_check() });
    let backend = Target { initial: Initial::Up, ..target(0, &slow) };
    let mut standings = health.standings();
    health.update_targets(std::slice::from_ref(&backend));
    tokio::time::sleep(Duration::from_secs(85)).await;
    fake.sicken(&backend.id);
    let began = now();
    health.passive([(&backend.id, Signs { unanswered: 3, ..Signs::default() })]);
    wait_for(&mut standings, Standing::Down).await;
    assert!(now() - began <= slow.fast_interval() + Duration::from_millis(10), "{:?}", now() - began);
}

#[tokio::test(start_paused = true)]
async fn no_more_checks_at_once_than_allowed_and_those_that_wait_are_counted() {
    let fake = Fake { takes: Duration::from_millis(400), ..Fake::default() };
    let (health, fake, _trigger) = start(fake, 4);
    health.update_targets(&targets(40));
    let mut standings = health.standings();
    wait_for(&mut standings, Standing::Up).await;
    assert_eq!(fake.most.load(Ordering::SeqCst), 4);
    assert!(health.totals().overruns > 0);
    assert!(health.report().iter().all(|report| report.last_check_ms >= Some(400)));
}

#[tokio::test(start_paused = true)]
async fn a_check_that_panics_blames_nobody() {
    let (health, _fake, _trigger) = start(Fake { panics: true, ..Fake::default() }, 10);
    let up = Target { initial: Initial::Up, ..targets(1)[0].clone() };
    health.update_targets(&[up]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(health.report()[0].standing, Standing::Up);
    assert!(health.totals().unable > 10);
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_asked_though_checks_are_under_way() {
    let (health, fake, trigger) = start(Fake { takes: Duration::from_secs(3_600), ..Fake::default() }, 10);
    health.update_targets(&targets(5));
    while fake.running.load(Ordering::SeqCst) < 5 {
        tokio::task::yield_now().await;
    }
    trigger.request();
    assert_eq!(trigger.drained(Duration::from_secs(1)).await, Drained::All);
}

/// The resident memory of this process in bytes.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

/// The time of a core that this process has used.
fn cpu() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap().into()
}

/// 100,000 backends, a check of each every 2 s for 20 s: prints what it costs.
/// `cargo test --release -p gateway-daemon --lib a_hundred_thousand -- --ignored --nocapture --test-threads 1`
#[tokio::test(start_paused = true)]
#[ignore = "a measurement: run it alone, in release"]
async fn a_hundred_thousand() {
    const COUNT: u32 = 100_000;
    let span = Duration::from_secs(20);
    let (health, _fake, _trigger) = start(Fake::default(), CONCURRENCY_DEFAULT);
    let targets = targets(COUNT);
    let before = resident();
    health.update_targets(&targets);
    let mut standings = health.standings();
    wait_for(&mut standings, Standing::Up).await;
    let per_target = (resident() - before) / u64::from(COUNT);
    let (used, checks) = (cpu(), health.totals().checks);
    tokio::time::sleep(span).await;
    let (used, checks) = (cpu().saturating_sub(used), health.totals().checks - checks);
    let core_percent = used.as_secs_f64() / span.as_secs_f64() * 100.0;
    println!(
        "{checks} checks of {COUNT} backends in {span:?}: {core_percent:.1} % of a core, {per_target} B a backend"
    );
    assert_eq!(health.totals().down, 0);
    assert!(checks >= 9 * u64::from(COUNT));
    assert!(per_target < 2_000);
    let began = cpu();
    assert_eq!(health.report().len(), COUNT as usize);
    println!("a report of all takes {:?} of CPU", cpu().saturating_sub(began));
}
