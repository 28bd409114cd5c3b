//! The roster, driven by a clock that the tests move.

use super::*;
use crate::health::passive::SignKind;
use crate::health::target::Initial;
use crate::health::target::tests::{target, tcp_check};

const MS: Duration = Duration::from_millis(1);

/// A roster and its clock.
struct Bench {
    roster: Roster,
    now: Instant,
}

impl Bench {
    fn new(targets: &[Target]) -> Self {
        let mut bench = Self { roster: Roster::new(7), now: Instant::now() };
        bench.roster.update(targets, bench.now);
        bench
    }

    /// Makes the checks that are due until `end`; each takes no time. How many there were.
    fn run_until(
        &mut self,
        end: Instant,
        mut result: impl FnMut(&BackendId) -> Result<(), Failure>,
    ) -> usize {
        let mut made = 0;
        while let Some(next) = self.next().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.roster.advance(self.now);
            while let Some(job) = self.roster.start_due(self.now) {
                self.roster.finished(job.ticket, result(&job.id), self.now);
                made += 1;
            }
        }
        self.now = end;
        made
    }

    fn next(&self) -> Option<Instant> {
        self.roster.next_check().into_iter().chain(self.roster.next_step()).min()
    }

    fn standings(&self) -> Vec<Standing> {
        self.roster.report(self.now).into_iter().map(|report| report.standing).collect()
    }

    fn changes(&mut self) -> Vec<(Option<Standing>, Option<Standing>)> {
        self.roster.take_changes().into_iter().map(|change| (change.from, change.to)).collect()
    }
}

fn targets(count: u32) -> Vec<Target> {
    let check = Arc::new(tcp_check());
    (0..count).map(|number| target(number, &check)).collect()
}

fn refused(_: &BackendId) -> Result<(), Failure> {
    Err(Failure::Refused)
}

#[test]
fn backends_come_up_fall_and_are_reported() {
    let mut bench = Bench::new(&targets(2));
    let (sick, start) = (targets(1)[0].id.clone(), bench.now);
    assert_eq!(bench.changes(), [(None, Some(Standing::Down)); 2]);
    bench.run_until(start + tcp_check().recovery_time(), |_| Ok(()));
    assert_eq!(bench.changes(), [(Some(Standing::Down), Some(Standing::Up)); 2]);
    let end = bench.now + tcp_check().detection_time();
    bench.run_until(end, |id| if *id == sick { Err(Failure::Refused) } else { Ok(()) });
    assert_eq!(bench.changes(), [(Some(Standing::Up), Some(Standing::Down))]);
    let report = &bench.roster.report(bench.now)[0];
    assert_eq!(
        (&report.id, report.standing, report.reason.as_str()),
        (&sick, Standing::Down, "connection refused")
    );
    assert!(report.since < end - start && report.failures >= 3 && report.checks > report.failures);
    assert_eq!(report.last_check_ms, Some(0));
    let totals = bench.roster.totals();
    assert_eq!((totals.targets, totals.down, totals.transitions, totals.overruns), (2, 1, 3, 0));
    assert_eq!(totals.failures, report.failures);
}

#[test]
fn what_stays_keeps_its_standing_and_what_goes_is_said() {
    let mut bench = Bench::new(&targets(3));
    bench.run_until(bench.now + tcp_check().recovery_time(), |_| Ok(()));
    bench.changes();
    let slower = Arc::new(Check { interval: 4 * tcp_check().interval, ..tcp_check() });
    let changed = [target(1, &slower), targets(3)[2].clone(), target(9, &slower)];
    bench.roster.update(&changed, bench.now);
    assert_eq!(bench.standings(), [Standing::Up, Standing::Up, Standing::Down]);
    assert_eq!(bench.changes(), [(None, Some(Standing::Down)), (Some(Standing::Up), None)]);
    bench.roster.update(&changed, bench.now);
    assert_eq!(bench.changes(), []);
}

#[test]
fn a_place_that_became_free_is_used_again_and_kept() {
    let mut bench = Bench::new(&targets(3));
    bench.roster.update(&targets(1), bench.now);
    let again = targets(2);
    bench.roster.update(&again, bench.now);
    let ids: Vec<_> = bench.roster.report(bench.now).into_iter().map(|report| report.id).collect();
    assert_eq!(ids, again.iter().map(|target| target.id.clone()).collect::<Vec<_>>());
    assert_eq!(bench.roster.entries.len(), 3);
}

#[test]
fn a_backend_that_comes_back_begins_anew() {
    let mut bench = Bench::new(&targets(1));
    bench.run_until(bench.now + tcp_check().recovery_time(), |_| Ok(()));
    assert_eq!(bench.standings(), [Standing::Up]);
    bench.roster.update(&[], bench.now);
    assert_eq!(bench.next(), None);
    bench.roster.update(&targets(1), bench.now);
    assert_eq!(bench.standings(), [Standing::Down]);
}

#[test]
fn results_of_old_checks_do_not_count() {
    let once = Arc::new(Check { rise: 1, ..tcp_check() });
    let mut bench = Bench::new(&[target(0, &once)]);
    let old = bench.roster.start_due(bench.now).unwrap();
    let other = Arc::new(Check { timeout: 7 * MS, ..Check::clone(&once) });
    bench.roster.update(&[target(0, &other)], bench.now);
    bench.roster.finished(old.ticket, Ok(()), bench.now);
    assert_eq!(bench.standings(), [Standing::Down]);
    // The same for a backend that went, and one that now has its place.
    bench.now += tcp_check().fast_interval();
    let old = bench.roster.start_due(bench.now).unwrap();
    bench.roster.update(&[target(5, &once)], bench.now);
    bench.roster.finished(old.ticket, Ok(()), bench.now);
    assert_eq!((bench.standings(), bench.roster.totals().checks), (vec![Standing::Down], 0));
    let new = bench.roster.start_due(bench.now).unwrap();
    bench.roster.finished(new.ticket, Ok(()), bench.now);
    bench.roster.finished(new.ticket, Err(Failure::Refused), bench.now);
    assert_eq!((bench.standings(), bench.roster.totals().checks), (vec![Standing::Up], 1));
}

#[test]
fn traffic_makes_one_failed_check_enough_but_cannot_take_a_backend_out() {
    let up = Target { initial: Initial::Up, ..targets(1)[0].clone() };
    let mut bench = Bench::new(std::slice::from_ref(&up));
    bench.run_until(bench.now + 10 * tcp_check().interval, |_| Ok(()));
    let signs = Signs { refused: 1_000, ..Signs::default() };
    assert_eq!(signs.failures(), Some((SignKind::Refused, 1_000)));
    // A backend that answers checks stays up under any number of signs, checked at most at the fast pace.
    let hostile_until = bench.now + 100 * MS * 100;
    let mut made = 0;
    while bench.now < hostile_until {
        bench.roster.passive(&up.id, signs, bench.now);
        made += bench.run_until(bench.now + 100 * MS, |_| Ok(()));
        assert_eq!(bench.standings(), [Standing::Up]);
    }
    assert!((15..=21).contains(&made), "{made} checks in 10 s at a fast interval of 500 ms");
    // One that is dead goes with the first check, which comes within a fast interval.
    bench.roster.passive(&up.id, signs, bench.now);
    bench.run_until(bench.now + tcp_check().fast_interval(), refused);
    assert_eq!(bench.standings(), [Standing::Down]);
}

#[test]
fn successes_of_traffic_take_back_what_traffic_said() {
    let up = Target { initial: Initial::Up, ..targets(1)[0].clone() };
    let mut bench = Bench::new(std::slice::from_ref(&up));
    bench.roster.passive(&up.id, Signs { unanswered: 5, ..Signs::default() }, bench.now);
    bench.roster.passive(&up.id, Signs { answered: 1, ..Signs::default() }, bench.now);
    let check = bench.roster.start_due(bench.now).unwrap();
    bench.roster.finished(check.ticket, Err(Failure::Refused), bench.now);
    assert_eq!(bench.standings(), [Standing::Up]);
}

#[test]
fn slow_start_is_stepped_without_checks() {
    let check = Arc::new(Check { rise: 1, interval: Duration::from_secs(3_600), ..tcp_check() });
    let mut bench = Bench::new(&[Target { slow_start: 900 * MS, ..target(0, &check) }]);
    let end = bench.now + 900 * MS;
    bench.changes();
    assert_eq!(bench.run_until(end, |_| Ok(())), 1);
    let shares: Vec<_> = bench.changes().into_iter().filter_map(|(_, to)| to).collect();
    let steps = (1..=9).map(|step| Standing::Rising(10 * step));
    assert_eq!(shares, steps.chain([Standing::Up]).collect::<Vec<_>>());
    assert_eq!(bench.roster.totals().transitions, 1);
}

#[test]
fn a_check_that_starts_late_is_an_overrun() {
    let mut bench = Bench::new(&targets(2));
    assert!(bench.roster.start_due(bench.now + OVERRUN).is_some());
    assert!(bench.roster.start_due(bench.now + OVERRUN + MS).is_some());
    assert_eq!(bench.roster.totals().overruns, 1);
}

#[test]
fn what_this_node_cannot_check_keeps_its_standing() {
    let up = Target { initial: Initial::Up, ..targets(1)[0].clone() };
    let mut bench = Bench::new(&[up]);
    bench.run_until(bench.now + 20 * tcp_check().interval, |_| {
        Err(Failure::Unable("too many open files".into()))
    });
    assert_eq!(bench.standings(), [Standing::Up]);
    let totals = bench.roster.totals();
    assert!(totals.unable > 10 && totals.unable == totals.failures);
    let reason = &bench.roster.report(bench.now)[0].reason;
    assert_eq!(reason, "this node cannot check it: too many open files");
}

#[test]
fn checks_are_spread() {
    let check = Arc::new(tcp_check());
    let up: Vec<_> = (0..1_000).map(|n| Target { initial: Initial::Up, ..target(n, &check) }).collect();
    let mut bench = Bench::new(&up);
    let start = bench.now;
    let tenth = tcp_check().interval / 10;
    for part in 1..=10 {
        let made = bench.run_until(start + tenth * part, |_| Ok(()));
        assert!((60..=140).contains(&made), "{made} of 1000 in tenth {part}");
    }
}

/// Who has fallen, as the changes said it in their order.
fn falls(bench: &mut Bench) -> Vec<bool> {
    bench.roster.take_changes().into_iter().map(|change| change.fallen).collect()
}

#[test]
fn one_that_began_as_down_has_fallen_when_as_many_checks_in_a_row_say_so_as_it_takes() {
    let check = Arc::new(tcp_check());
    let down = Target { initial: Initial::Down, ..target(0, &check) };
    let mut bench = Bench::new(&[down]);
    assert_eq!(falls(&mut bench), [false], "it only began so");
    let fall = usize::from(check.fall());
    assert!(fall > 1, "the test needs more than one");
    let mut made = 0;
    let mut results = |_: &BackendId| {
        made += 1;
        // A success in between begins the row anew.
        if made == fall { Ok(()) } else { refused(&target(0, &Arc::new(tcp_check())).id) }
    };
    let (mut checks, mut end) = (0, bench.now);
    while checks < 2 * fall - 1 {
        end += MS;
        checks += bench.run_until(end, &mut results);
    }
    assert_eq!(falls(&mut bench), [false; 0]);
    assert_eq!(bench.roster.totals().transitions, 0);
    while checks < 2 * fall {
        end += MS;
        checks += bench.run_until(end, &mut results);
    }
    assert_eq!(falls(&mut bench), [true]);
    bench.run_until(end + 60_000 * MS, refused);
    assert_eq!(falls(&mut bench), [false; 0], "told once");
    assert_eq!(bench.roster.totals().transitions, 0, "it was down all the time");
    bench.run_until(end + 120_000 * MS, |_| Ok(()));
    assert_eq!(falls(&mut bench).last(), Some(&false));
    bench.run_until(end + 180_000 * MS, refused);
    assert_eq!(falls(&mut bench), [true]);
}
