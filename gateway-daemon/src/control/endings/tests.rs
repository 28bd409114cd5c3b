//! Deadlines that come, move and go, on a clock of their own.

use std::{
    future::ready,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::drains::{Drains, LONGEST_SLEEP, Look};
use super::{EndOfFallen, Follow, RETRY};
use crate::{
    config::{Config, Interfaces},
    drain::{self, Drained, Trigger},
    gateway::Ending,
    health::BackendId,
    tenancy::{
        Tenancy,
        edit::{Edit, apply},
        spec::{AdminState, BackendSpec, PoolSpec, TenantSpec},
    },
};

/// When the tests begin, in Unix time.
const START: u64 = 1_800_000_000;

const SECOND: Duration = Duration::from_secs(1);

fn at(after_secs: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(START + after_secs)
}

fn base() -> Config {
    let text = "
        gateway = { ingress_vip = '192.0.2.10', egress_vip = '192.0.2.20' }
        interface = [{ name = 'ext0', side = 'external' }, { name = 'int0', side = 'internal' }]
    ";
    Config::parse("base", text, &Interfaces::Unchecked).unwrap()
}

fn backend(host: u8) -> BackendSpec {
    BackendSpec { address: format!("10.1.0.{host}"), port: 80, ..BackendSpec::default() }
}

fn pool(name: &str) -> PoolSpec {
    PoolSpec { name: name.to_owned(), backend: vec![backend(1), backend(2)], ..PoolSpec::default() }
}

/// Tenants as a store has them, and the configuration that is made of them.
#[derive(Clone)]
struct Stored {
    tenancy: Tenancy,
    config: Config,
}

impl Stored {
    /// A tenant whose two backends are in both of its pools.
    fn new() -> Self {
        let tenant = TenantSpec {
            name: "bank-a".to_owned(),
            nat_ip: "198.51.100.1".to_owned(),
            sources: vec!["10.1.0.0/24".to_owned()],
            pool: vec![pool("web"), pool("app")],
            ..TenantSpec::default()
        };
        let tenancy = apply(&Tenancy::default(), &[Edit::PutTenant { tenant, only_new: true }]).unwrap();
        let config = base().with_tenancy(&tenancy, None).unwrap();
        Self { tenancy, config }
    }

    /// As a change makes the next configuration of the one in force.
    fn edit(&mut self, edit: Edit) {
        let after = apply(&self.tenancy, &[edit]).unwrap();
        self.config = self.config.with_tenancy(&after, Some(&self.tenancy)).unwrap();
        self.tenancy = after;
    }

    fn set_tenant(&mut self, state: AdminState, after_secs: Option<u64>) {
        let drain_until = after_secs.map(|secs| START + secs);
        self.edit(Edit::SetTenantState { tenant: "bank-a".to_owned(), state, drain_until });
    }

    fn set(&mut self, pool: &str, host: u8, state: AdminState, after_secs: Option<u64>) {
        self.edit(Edit::SetBackendState {
            tenant: "bank-a".to_owned(),
            pool: pool.to_owned(),
            backend: format!("10.1.0.{host}:80"),
            state,
            drain_until: after_secs.map(|secs| START + secs),
        });
    }

    fn set_in_both(&mut self, host: u8, state: AdminState, after_secs: Option<u64>) {
        self.set("web", host, state, after_secs);
        self.set("app", host, state, after_secs);
    }
}

fn tenant() -> Ending {
    Ending::Tenant("bank-a".to_owned())
}

fn flows_of(host: u8) -> Ending {
    Ending::Backend { tenant: "bank-a".to_owned(), address: [10, 1, 0, host].into(), port: 80 }
}

/// Looks, and does what is due.
fn ends(drains: &mut Drains, config: &Config, after_secs: u64) -> Vec<Ending> {
    let Look { due, .. } = drains.look(config, at(after_secs));
    let endings = due.keys().cloned().collect();
    drains.ended(due);
    endings
}

use AdminState::{Active, Draining, Maintenance};

#[test]
fn a_deadline_ends_flows_once_and_not_a_second_early() {
    let (mut stored, mut drains) = (Stored::new(), Drains::default());
    stored.set_tenant(Draining, Some(5));
    assert_eq!(drains.look(&stored.config, at(0)).again_in, 5 * SECOND);
    let just_before = at(5) - Duration::from_nanos(1);
    assert!(drains.look(&stored.config, just_before).due.is_empty());
    assert_eq!(ends(&mut drains, &stored.config, 5), [tenant()]);
    assert_eq!(ends(&mut drains, &stored.config, 6), []);
    assert_eq!(drains.look(&stored.config, at(6)).again_in, LONGEST_SLEEP);
}

#[test]
fn a_deadline_that_moves_while_draining_counts_as_it_is_now() {
    let (mut stored, mut drains) = (Stored::new(), Drains::default());
    stored.set_in_both(1, Draining, Some(5));
    assert_eq!(ends(&mut drains, &stored.config, 4), []);
    stored.set_in_both(1, Draining, Some(9));
    assert_eq!(drains.look(&stored.config, at(4)).again_in, 5 * SECOND, "later than it was");
    assert_eq!(ends(&mut drains, &stored.config, 8), []);
    stored.set_in_both(1, Draining, Some(6));
    assert_eq!(ends(&mut drains, &stored.config, 8), [flows_of(1)], "earlier than it was, and past");
    stored.set_in_both(1, Draining, Some(20));
    assert_eq!(ends(&mut drains, &stored.config, 19), [], "prolonged after it had passed");
    assert_eq!(ends(&mut drains, &stored.config, 20), [flows_of(1)]);
    stored.set_in_both(1, Draining, None);
    assert_eq!(ends(&mut drains, &stored.config, 1_000), [], "without a deadline nothing is ended");
}

#[test]
fn two_deadlines_are_each_met_in_their_turn() {
    let (mut stored, mut drains) = (Stored::new(), Drains::default());
    stored.set_in_both(1, Draining, Some(7));
    stored.set_in_both(2, Draining, Some(3));
    stored.set_tenant(Draining, Some(8));
    let mut wait = |after_secs| {
        let Look { due, again_in } = drains.look(&stored.config, at(after_secs));
        let endings: Vec<_> = due.keys().cloned().collect();
        drains.ended(due);
        (endings, again_in)
    };
    assert_eq!(wait(0), (vec![], 3 * SECOND));
    assert_eq!(wait(3), (vec![flows_of(2)], 4 * SECOND));
    assert_eq!(wait(7), (vec![flows_of(1)], SECOND));
    assert_eq!(wait(8), (vec![tenant()], LONGEST_SLEEP));
}

#[test]
fn of_a_backends_pools_the_one_that_keeps_its_flows_longest_decides() {
    for (web, app, expected) in [
        ((Draining, Some(3)), (Active, None), None),
        ((Maintenance, None), (Active, None), None),
        ((Draining, Some(3)), (Draining, None), None),
        ((Maintenance, None), (Draining, None), None),
        ((Draining, Some(3)), (Draining, Some(6)), Some(6)),
        ((Draining, Some(6)), (Draining, Some(3)), Some(6)),
        ((Draining, Some(3)), (Maintenance, None), Some(3)),
        ((Maintenance, None), (Maintenance, None), Some(0)),
    ] {
        let (mut stored, mut drains) = (Stored::new(), Drains::default());
        stored.set("web", 1, web.0, web.1);
        stored.set("app", 1, app.0, app.1);
        let first = (0..10).find(|secs| !ends(&mut drains, &stored.config, *secs).is_empty());
        assert_eq!(first, expected, "{web:?}, {app:?}");
    }
}

#[test]
fn whoever_took_flows_in_between_is_ended_again() {
    let (mut stored, mut drains) = (Stored::new(), Drains::default());
    for state in [(Maintenance, None), (Draining, Some(3))] {
        stored.set_tenant(state.0, state.1);
        assert_eq!(ends(&mut drains, &stored.config, 3), [tenant()], "{state:?}");
        assert_eq!(ends(&mut drains, &stored.config, 3), [], "{state:?}");
        // Both between two looks, to the very same deadline.
        stored.set_tenant(Active, None);
        stored.set_tenant(state.0, state.1);
        assert_eq!(ends(&mut drains, &stored.config, 3), [tenant()], "{state:?}");
    }
}

#[test]
fn a_change_of_another_tenant_ends_nothing_again() {
    let (mut stored, mut drains) = (Stored::new(), Drains::default());
    stored.set_tenant(Maintenance, None);
    assert_eq!(ends(&mut drains, &stored.config, 0), [tenant()]);
    let other = TenantSpec {
        name: "bank-b".to_owned(),
        nat_ip: "198.51.100.2".to_owned(),
        sources: vec!["10.2.0.0/24".to_owned()],
        ..TenantSpec::default()
    };
    stored.edit(Edit::PutTenant { tenant: other, only_new: true });
    assert_eq!(ends(&mut drains, &stored.config, 0), []);
}

#[test]
fn a_daemon_that_starts_goes_on_where_the_last_one_was() {
    let mut stored = Stored::new();
    stored.set_in_both(1, Draining, Some(5));
    stored.set_in_both(2, Draining, Some(50));
    // What the next daemon reads is what the store holds.
    let read_again = |stored: &Stored| base().with_tenancy(&stored.config.tenancy(), None).unwrap();
    for (restarted_after, ended_at_once) in [(3, vec![]), (5, vec![flows_of(1)]), (40, vec![flows_of(1)])] {
        let (config, mut drains) = (read_again(&stored), Drains::default());
        assert_eq!(ends(&mut drains, &config, restarted_after), ended_at_once, "after {restarted_after} s");
        let rest: Vec<_> = (restarted_after..60).flat_map(|secs| ends(&mut drains, &config, secs)).collect();
        assert_eq!(rest.last(), Some(&flows_of(2)));
        assert_eq!(rest.len() + ended_at_once.len(), 2, "each of them once");
    }
}

#[test]
fn what_could_not_be_ended_is_due_until_it_is() {
    let (mut stored, mut drains) = (Stored::new(), Drains::default());
    stored.set_tenant(Draining, Some(1));
    for secs in 1..4 {
        assert_eq!(drains.look(&stored.config, at(secs)).due.len(), 1, "after {secs} s");
    }
    assert_eq!(ends(&mut drains, &stored.config, 4), [tenant()]);
}

#[test]
fn a_clock_that_is_set_back_ends_nothing_twice() {
    let (mut stored, mut drains) = (Stored::new(), Drains::default());
    stored.set_tenant(Draining, Some(5));
    assert_eq!(ends(&mut drains, &stored.config, 6), [tenant()]);
    assert_eq!(ends(&mut drains, &stored.config, 2), []);
    assert_eq!(ends(&mut drains, &stored.config, 6), []);
}

/// What was ended, and how many milliseconds after the start.
type Ended = (u128, Vec<Ending>);

/// The loop, on a paused clock that the wall clock follows.
struct Looped {
    config: Arc<ArcSwap<Config>>,
    changes: watch::Sender<u32>,
    seen: Arc<Mutex<Vec<Ended>>>,
    began: Instant,
    trigger: Trigger,
}

impl Looped {
    /// The first `failures` endings fail.
    fn start(stored: &Stored, failures: usize) -> Self {
        let config = Arc::new(ArcSwap::from_pointee(stored.config.clone()));
        let (changes, told) = watch::channel(0);
        let (seen, began) = (Arc::<Mutex<Vec<Ended>>>::default(), Instant::now());
        let (trigger, shutdown) = drain::channel();
        let (heard, read) = (seen.clone(), config.clone());
        let follow = Follow {
            config: move || read.load_full(),
            now: move || at(0) + began.elapsed(),
            end: move |endings| {
                let mut heard = heard.lock().unwrap();
                heard.push((began.elapsed().as_millis(), endings));
                ready(heard.len() > failures)
            },
        };
        tokio::spawn(follow.deadlines(told, shutdown));
        Self { config, changes, seen, began, trigger }
    }

    fn change(&self, stored: &Stored) {
        self.config.store(Arc::new(stored.config.clone()));
        self.changes.send_modify(|number| *number += 1);
    }

    /// Lets the time pass.
    async fn until(&self, after_secs: u64) {
        sleep((Duration::from_secs(after_secs)).saturating_sub(self.began.elapsed())).await;
    }

    async fn stop(self) -> Vec<Ended> {
        self.trigger.request();
        assert_eq!(self.trigger.drained(SECOND).await, Drained::All);
        self.seen.lock().unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn the_loop_wakes_for_a_deadline_that_moved_while_it_slept() {
    let mut stored = Stored::new();
    stored.set_tenant(Draining, Some(9));
    let looped = Looped::start(&stored, 0);
    looped.until(2).await;
    stored.set_tenant(Draining, Some(4));
    stored.set_in_both(1, Draining, Some(30));
    looped.change(&stored);
    looped.until(12).await;
    stored.set_in_both(1, Draining, Some(25));
    looped.change(&stored);
    looped.until(60).await;
    assert_eq!(
        looped.stop().await,
        [
            (4_000, vec![tenant()]),
            // The tenant that was changed is looked after once more.
            (12_000, vec![tenant()]),
            (25_000, vec![flows_of(1)]),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_loop_tries_again_soon_when_the_kernel_refuses() {
    let mut stored = Stored::new();
    stored.set_tenant(Maintenance, None);
    let looped = Looped::start(&stored, 2);
    looped.until(30).await;
    let retry = RETRY.as_millis();
    let times: Vec<_> = looped.stop().await.into_iter().map(|(at, _)| at).collect();
    assert_eq!(times, [0, retry, 2 * retry]);
}

#[tokio::test(start_paused = true)]
async fn an_ending_that_takes_long_holds_up_no_other() {
    let mut stored = Stored::new();
    stored.set_in_both(1, Draining, Some(1));
    stored.set_in_both(2, Draining, Some(3));
    let (config, began) = (Arc::new(stored.config.clone()), Instant::now());
    let (seen, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let (trigger, shutdown) = drain::channel();
    let (_changes, told) = watch::channel(0);
    let follow = Follow {
        config: move || config.clone(),
        now: move || at(0) + began.elapsed(),
        end: move |endings: Vec<Ending>| {
            seen.send((began.elapsed().as_secs(), endings.clone())).unwrap();
            let long = endings == [flows_of(1)];
            async move {
                sleep(if long { 60 * SECOND } else { Duration::ZERO }).await;
                true
            }
        },
    };
    tokio::spawn(follow.deadlines(told, shutdown));
    assert_eq!(heard.recv().await.unwrap(), (1, vec![flows_of(1)]));
    assert_eq!(heard.recv().await.unwrap(), (3, vec![flows_of(2)]));
    // Each of them once, also while the first one is under way and after it.
    sleep(100 * SECOND).await;
    assert!(heard.try_recv().is_err());
    // Nothing that is under way holds up the end.
    trigger.request();
    assert_eq!(trigger.drained(SECOND).await, Drained::All);
}

#[tokio::test(start_paused = true)]
async fn an_ending_that_panics_is_tried_again() {
    let mut under_way = super::UnderWay::new();
    under_way.begin(7, async { panic!("a defect") });
    assert_eq!(under_way.next().await, (7, false));
}

#[tokio::test(start_paused = true)]
async fn flows_of_a_fallen_backend_are_ended_in_the_end_however_often_that_fails() {
    let mut stored = Stored::new();
    let mut reset = pool("web");
    reset.on_backend_down = Some("reset".to_owned());
    stored.edit(Edit::PutPool { tenant: "bank-a".to_owned(), pool: reset });
    let (seen, began) = (Arc::<Mutex<Vec<Ended>>>::default(), Instant::now());
    let heard = seen.clone();
    let mut falls = EndOfFallen::new(move |endings: Vec<Ending>| {
        let mut heard = heard.lock().unwrap();
        heard.push((began.elapsed().as_millis(), endings));
        ready(heard.len() > 2)
    });
    let id =
        BackendId { tenant: "bank-a".into(), pool: "web".into(), address: [10, 1, 0, 1].into(), port: 80 };
    let fallen = Arc::new([id].into());
    for _ in 0..3 {
        falls.follow(&stored.config, &fallen);
        falls.settled().await;
    }
    falls.follow(&stored.config, &fallen);
    assert!(timeout(60 * SECOND, falls.settled()).await.is_err(), "it was ended");
    let retry = RETRY.as_millis();
    let times = [0, retry, 2 * retry].map(|at| (at, vec![flows_of(1)]));
    assert_eq!(*seen.lock().unwrap(), times);
}
