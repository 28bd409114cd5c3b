//! Every transition, and what must hold for all sequences of them.

use proptest::prelude::*;

use super::*;
use crate::health::failure::Phase;
use crate::health::target::tests::tcp_check;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    Passed,
    Failed,
    Unable,
    TrafficFailed(u32),
    TrafficPassed,
}

fn apply(machine: &mut Machine, input: Input, now: Instant) {
    match input {
        Input::Passed => machine.check_succeeded(now),
        Input::Failed => machine.check_failed(now, Failure::Refused),
        Input::Unable => machine.check_failed(now, Failure::Unable("no descriptors".into())),
        Input::TrafficFailed(count) => machine.passive_failure(SignKind::Refused, count),
        Input::TrafficPassed => machine.passive_success(),
    }
}

fn machine(check: Check, slow_start: Duration, initial: Initial) -> (Machine, Instant) {
    let now = Instant::now();
    (Machine::new(Arc::new(check), slow_start, initial, now), now)
}

const fn down(successes: u8) -> State {
    State::Down { successes }
}

const fn up(failures: u8, signs: u8) -> State {
    State::Up { failures, signs, rise: None }
}

#[test]
fn every_state_meets_every_input() {
    use Input::{Failed, Passed, TrafficFailed, TrafficPassed, Unable};
    // rise 2, fall 3
    let table = [
        (
            down(0),
            [
                (Passed, down(1)),
                (Failed, down(0)),
                (Unable, down(0)),
                (TrafficFailed(9), down(0)),
                (TrafficPassed, down(0)),
            ],
        ),
        (
            down(1),
            [
                (Passed, up(0, 0)),
                (Failed, down(0)),
                (Unable, down(1)),
                (TrafficFailed(9), down(1)),
                (TrafficPassed, down(1)),
            ],
        ),
        (
            up(0, 0),
            [
                (Passed, up(0, 0)),
                (Failed, up(1, 0)),
                (Unable, up(0, 0)),
                (TrafficFailed(1), up(0, 1)),
                (TrafficPassed, up(0, 0)),
            ],
        ),
        (
            up(0, 1),
            [
                (Passed, up(0, 0)),
                (Failed, up(1, 1)),
                (Unable, up(0, 1)),
                (TrafficFailed(1), up(0, 2)),
                (TrafficPassed, up(0, 0)),
            ],
        ),
        (
            up(0, 2),
            [
                (Passed, up(0, 0)),
                (Failed, down(0)),
                (Unable, up(0, 2)),
                (TrafficFailed(9), up(0, 2)),
                (TrafficPassed, up(0, 0)),
            ],
        ),
        (
            up(1, 0),
            [
                (Passed, up(0, 0)),
                (Failed, up(2, 0)),
                (Unable, up(1, 0)),
                (TrafficFailed(9), up(1, 1)),
                (TrafficPassed, up(1, 0)),
            ],
        ),
        (
            up(1, 1),
            [
                (Passed, up(0, 0)),
                (Failed, down(0)),
                (Unable, up(1, 1)),
                (TrafficFailed(9), up(1, 1)),
                (TrafficPassed, up(1, 0)),
            ],
        ),
        (
            up(2, 0),
            [
                (Passed, up(0, 0)),
                (Failed, down(0)),
                (Unable, up(2, 0)),
                (TrafficFailed(9), up(2, 0)),
                (TrafficPassed, up(2, 0)),
            ],
        ),
    ];
    let (template, now) = machine(tcp_check(), Duration::ZERO, Initial::Down);
    for (before, row) in table {
        for (input, after) in row {
            let mut machine = Machine { state: before, ..template.clone() };
            apply(&mut machine, input, now);
            assert_eq!(machine.state, after, "{before:?} meets {input:?}");
        }
    }
}

#[test]
fn it_begins_as_told() {
    let (down, now) = machine(tcp_check(), SECOND, Initial::Down);
    assert_eq!((down.standing(now), down.reason().as_str()), (Standing::Down, "not checked yet"));
    assert_eq!(down.next_check_at(now, u64::MAX), now);
    let (up, now) = machine(tcp_check(), SECOND, Initial::Up);
    assert_eq!((up.standing(now), up.reason().as_str()), (Standing::Up, "assumed up, not checked yet"));
    assert!(up.next_check_at(now, u64::MAX) <= now + tcp_check().interval());
    assert_eq!(up.next_check_at(now, 1 << 63), now + tcp_check().interval() / 2);
}

#[test]
fn slow_start_takes_nine_steps() {
    let check = Check { rise: 1, ..tcp_check() };
    let (mut machine, start) = machine(check, 9 * SECOND, Initial::Down);
    machine.check_succeeded(start);
    for step in 0..9_u8 {
        let at = start + SECOND * u32::from(step);
        assert_eq!(machine.standing(at), Standing::Rising(10 * (step + 1)));
        assert_eq!(machine.next_change_at(at), Some(at + SECOND));
        assert_eq!(machine.age(at), SECOND * u32::from(step));
    }
    let end = start + 9 * SECOND;
    assert_eq!((machine.standing(end), machine.next_change_at(end)), (Standing::Up, None));
    assert_eq!(machine.age(end + SECOND), SECOND);
}

#[test]
fn a_rising_backend_can_fall_and_begins_again() {
    let check = Check { rise: 1, fall: 1, ..tcp_check() };
    let (mut machine, start) = machine(check, 9 * SECOND, Initial::Down);
    machine.check_succeeded(start);
    let middle = start + 4 * SECOND;
    assert_eq!(machine.standing(middle), Standing::Rising(50));
    machine.check_failed(middle, Failure::Refused);
    assert_eq!((machine.standing(middle), machine.next_change_at(middle)), (Standing::Down, None));
    machine.check_succeeded(middle + SECOND);
    assert_eq!(machine.standing(middle + SECOND), Standing::Rising(10));
}

#[test]
fn who_was_taken_for_up_has_no_slow_start() {
    let (mut machine, now) = machine(tcp_check(), 9 * SECOND, Initial::Up);
    machine.check_succeeded(now);
    assert_eq!((machine.standing(now), machine.next_change_at(now)), (Standing::Up, None));
}

#[test]
fn other_settings_keep_the_standing_and_forget_what_was_counted() {
    let (mut machine, now) = machine(tcp_check(), 9 * SECOND, Initial::Up);
    machine.check_started(now);
    machine.check_failed(now, Failure::Refused);
    machine.reconfigure(Arc::new(Check { fall: 1, ..tcp_check() }), Duration::ZERO);
    assert_eq!((machine.standing(now), machine.state), (Standing::Up, up(0, 0)));
    assert_eq!(machine.next_check_at(now, 0), now + tcp_check().fast_interval());
    machine.check_failed(now, Failure::Refused);
    assert_eq!(machine.standing(now), Standing::Down);
}

#[test]
fn a_slow_start_under_way_does_not_follow_the_settings() {
    let check = Check { rise: 1, ..tcp_check() };
    let (mut machine, start) = machine(check.clone(), 9 * SECOND, Initial::Down);
    machine.check_succeeded(start);
    machine.reconfigure(Arc::new(check), 900 * SECOND);
    assert_eq!(machine.standing(start + 4 * SECOND), Standing::Rising(50));
}

#[test]
fn traffic_brings_the_next_check_forward_but_no_sooner_than_the_fast_interval() {
    let (mut machine, start) = machine(Check { fall: 1, ..tcp_check() }, Duration::ZERO, Initial::Up);
    machine.check_started(start);
    machine.check_succeeded(start);
    assert!(machine.next_check_at(start, 0) >= start + Duration::from_millis(1_800));
    machine.passive_failure(SignKind::Unanswered, 1);
    assert_eq!(machine.next_check_at(start, 0), start + Duration::from_millis(500));
    assert_eq!(machine.next_check_at(start + SECOND, 0), start + SECOND);
    assert_eq!(machine.reason(), "traffic: SYNs are not answered; the next check decides");
    machine.check_started(start + SECOND);
    machine.check_succeeded(start + SECOND);
    assert!(machine.next_check_at(start + SECOND, 0) >= start + Duration::from_millis(2_800));
}

#[test]
fn traffic_counts_for_nothing_where_it_is_not_asked() {
    let (mut machine, start) = machine(Check { passive: false, ..tcp_check() }, Duration::ZERO, Initial::Up);
    machine.check_started(start);
    machine.passive_failure(SignKind::Refused, 100);
    assert_eq!(machine.state, up(0, 0));
    assert!(machine.next_check_at(start, 0) >= start + Duration::from_millis(1_800));
}

#[test]
fn reasons_can_be_read() {
    let (mut machine, now) = machine(tcp_check(), Duration::ZERO, Initial::Up);
    machine.check_succeeded(now);
    assert_eq!(machine.reason(), "the check passed");
    let timeout = Failure::Timeout { after: SECOND, during: Phase::Connecting };
    machine.check_failed(now, timeout);
    assert_eq!(machine.reason(), "timeout after 1000 ms while connecting; 1 of 3 failures in a row");
    machine.check_failed(now, Failure::Refused);
    machine.check_failed(now, Failure::Refused);
    assert_eq!(machine.reason(), "connection refused");
    machine.check_succeeded(now);
    assert_eq!(machine.reason(), "the check passed, 1 of 2 in a row");
}

fn any_check() -> impl Strategy<Value = Check> {
    let durations = (0_u64..20_000, 1_u64..5_000);
    (durations, 0_u8..6, 0_u8..6, any::<u8>(), any::<bool>()).prop_map(
        |((interval, timeout), rise, fall, jitter_percent, passive)| Check {
            interval: Duration::from_millis(interval),
            timeout: Duration::from_millis(timeout),
            rise,
            fall,
            jitter_percent,
            passive,
            ..tcp_check()
        },
    )
}

fn any_input() -> impl Strategy<Value = Input> {
    prop_oneof![
        3 => Just(Input::Passed),
        3 => Just(Input::Failed),
        1 => Just(Input::Unable),
        2 => any::<u32>().prop_map(Input::TrafficFailed),
        1 => Just(Input::TrafficPassed),
    ]
}

/// The last results of checks that count, newest first.
fn last_results(inputs: &[Input]) -> impl Iterator<Item = Input> {
    inputs.iter().rev().copied().filter(|input| matches!(input, Input::Passed | Input::Failed))
}

/// How many failures traffic has reported since the last good sign.
fn traffic_failures(inputs: &[Input]) -> usize {
    let good = |input: &&Input| matches!(input, Input::Passed | Input::TrafficPassed);
    let since = inputs.iter().rev().take_while(|input| !good(input));
    since
        .map(|input| if let Input::TrafficFailed(count) = input { *count as usize } else { 0 })
        .fold(0, usize::saturating_add)
}

proptest! {
    #[test]
    fn standing_changes_only_for_cause(
        check in any_check(),
        assumed_up: bool,
        inputs in prop::collection::vec(any_input(), 0..200),
    ) {
        let initial = if assumed_up { Initial::Up } else { Initial::Down };
        let (mut machine, now) = machine(check.clone(), Duration::ZERO, initial);
        for count in 0..inputs.len() {
            let before = machine.standing(now);
            apply(&mut machine, inputs[count], now);
            let past = &inputs[..=count];
            match (before, machine.standing(now)) {
                (Standing::Down, Standing::Up) => {
                    let successes = last_results(past).take_while(|input| *input == Input::Passed).count();
                    prop_assert!(successes >= usize::from(check.rise()));
                }
                (Standing::Up, Standing::Down) => {
                    prop_assert_eq!(inputs[count], Input::Failed, "only a check of this node takes it out");
                    let failures = last_results(past).take_while(|input| *input == Input::Failed).count();
                    let helped = if check.passive { traffic_failures(past) } else { 0 };
                    let helped = helped.min(usize::from(check.fall()) - 1);
                    prop_assert!(failures + helped >= usize::from(check.fall()));
                }
                (before, after) => prop_assert_eq!(before, after),
            }
        }
    }

    #[test]
    fn enough_results_in_a_row_always_decide(
        check in any_check(),
        inputs in prop::collection::vec(any_input(), 0..50),
    ) {
        let (mut machine, now) = machine(check.clone(), Duration::ZERO, Initial::Down);
        for input in inputs {
            apply(&mut machine, input, now);
        }
        (0..check.rise()).for_each(|_| machine.check_succeeded(now));
        prop_assert_eq!(machine.standing(now), Standing::Up);
        (0..check.fall()).for_each(|_| machine.check_failed(now, Failure::Refused));
        prop_assert_eq!(machine.standing(now), Standing::Down);
    }

    #[test]
    fn the_next_check_is_within_bounds(
        check in any_check(),
        inputs in prop::collection::vec((any_input(), any::<u64>(), 0_u64..5_000), 1..50),
    ) {
        let (mut machine, mut now) = machine(check.clone(), Duration::ZERO, Initial::Down);
        for (input, random, took) in inputs {
            let started = now;
            machine.check_started(started);
            now += Duration::from_millis(took);
            apply(&mut machine, input, now);
            let next = machine.next_check_at(now, random);
            prop_assert!(next >= now && next >= started + check.fast_interval());
            prop_assert!(next <= now.max(started + check.longest_interval()), "no starving");
            if !machine.is_undecided() && !machine.hurried {
                prop_assert!(next + check.jitter() >= started + check.interval());
            }
            now = next;
        }
    }

    #[test]
    fn a_share_only_grows_and_each_step_comes_when_it_was_said(
        over in 1_u64..10_000_000_000,
        mut looks in prop::collection::vec(0_u64..11_000_000_000, 1..50),
    ) {
        let check = Check { rise: 1, ..tcp_check() };
        let (mut machine, start) = machine(check, Duration::from_nanos(over), Initial::Down);
        machine.check_succeeded(start);
        let share = |at| match machine.standing(at) {
            Standing::Up => 100,
            Standing::Rising(share) => share,
            Standing::Down => 0,
        };
        looks.sort_unstable();
        let shares: Vec<_> = looks.iter().map(|at| share(start + Duration::from_nanos(*at))).collect();
        prop_assert!(shares.is_sorted() && shares[0] >= 10);
        let (mut at, mut steps) = (start, 1);
        while let Some(next) = machine.next_change_at(at) {
            prop_assert!(next > at);
            at = next;
            steps += 1;
            prop_assert!(share(at) >= (10 * steps).min(100));
        }
        prop_assert_eq!(share(at), 100);
        prop_assert_eq!(at, start + Duration::from_nanos(over));
    }

    /// A backend that works until `fails_after` and then lets every check run into its timeout.
    #[test]
    fn a_failure_is_detected_in_the_promised_time(
        check in any_check(),
        fails_after in 0_u64..60_000,
        randoms in prop::collection::vec(any::<u64>(), 8),
        is_refused: bool,
    ) {
        let (mut machine, start) = machine(check.clone(), Duration::ZERO, Initial::Up);
        let dies = start + Duration::from_millis(fails_after);
        let mut randoms = randoms.into_iter().cycle();
        let mut at = machine.next_check_at(start, 0);
        loop {
            machine.check_started(at);
            let works = at < dies;
            let ends = if works || is_refused { at } else { at + check.timeout };
            if works { machine.check_succeeded(ends) } else { machine.check_failed(ends, Failure::Refused) }
            if machine.standing(ends) == Standing::Down {
                prop_assert!(ends - dies <= check.detection_time());
                break;
            }
            at = machine.next_check_at(ends, randoms.next().unwrap_or(0));
        }
    }
}
