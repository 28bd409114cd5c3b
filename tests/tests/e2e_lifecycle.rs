//! Traffic goes on whatever happens to the daemon, and `unload` leaves nothing.

use gateway_tests::{
    scenarios::{
        expiry::{self, HALF_OPEN},
        layouts, lifecycle, routes, unload,
    },
    topology::Mode,
};

/// Packets of new flows in the milliseconds when two interfaces have programs with flow tables of their own.
const COPY_DROPS: u64 = 50;

fn traffic_goes_on(mode: Mode) {
    let seen = lifecycle::run(mode);
    for event in seen.events() {
        assert!(event.failures.is_empty(), "{mode:?}: {event:#?}");
        assert_eq!(event.lost_datagrams, 0, "{mode:?}: {event:#?}");
        assert!(event.transfers == 2 && event.connections >= 6, "{event:?}");
        assert!(event.requests > 0 && event.datagrams > 0, "{event:?}");
    }
    assert!(seen.drops.is_empty(), "{mode:?}: {:?}", seen.drops);
    assert!(seen.migration_drops.is_empty(), "{mode:?}: {:?}", seen.migration_drops);
}

#[test]
fn traffic_goes_on_in_tc() {
    traffic_goes_on(Mode::Tc);
}

#[test]
fn traffic_goes_on_in_native_xdp() {
    traffic_goes_on(Mode::XdpNative);
}

#[test]
fn traffic_goes_on_in_generic_xdp() {
    traffic_goes_on(Mode::XdpGeneric);
}

#[test]
fn another_layout_is_refused_or_taken_over_and_traffic_goes_on() {
    let seen = layouts::run(Mode::Tc);
    for event in &seen.events {
        assert!(event.failures.is_empty(), "{event:#?}");
        assert_eq!(event.lost_datagrams, 0, "{event:#?}");
    }
    assert_eq!(seen.drops, 0, "{seen:#?}");
    assert!(seen.copy_drops <= COPY_DROPS, "{} packets dropped", seen.copy_drops);
}

#[test]
fn unload_leaves_nothing() {
    for mode in Mode::ALL {
        let seen = unload::run(mode);
        assert!(seen.leftovers.is_empty(), "{mode:?}: {:#?}", seen.leftovers);
        assert!(seen.changes_while_loaded >= 4, "{mode:?}: programs on four interfaces at least");
    }
}

#[test]
fn routes_are_put_in_place_followed_left_and_removed_by_unload() {
    let problems = routes::run();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn half_open_flows_expire_and_established_ones_do_not() {
    let seen = expiry::run(Mode::Tc);
    let lifetime = seen.half_open.expect("the half-open flow goes in time");
    assert!(lifetime >= HALF_OPEN, "gone after {lifetime:?}");
    assert!(seen.failures.is_empty() && seen.connections == 3, "{:?}", seen.failures);
}
