//! Flows that the daemon ends: both ends of an idle connection learn of it at once, in every mode.

use gateway_tests::{scenarios::reset, topology::Mode};

fn idle_connections_are_reset(mode: Mode) {
    let seen = reset::run(mode);
    assert_eq!(seen.failures, Vec::<String>::new(), "{mode:?}");
    assert_eq!((seen.ended, seen.waiting), (reset::CONNECTIONS, 0), "{mode:?}: {seen:?}");
    println!("{mode:?}: {} connections, both ends reset within {:?}", seen.ended, seen.slowest);
    assert!(seen.slowest <= reset::LIMIT, "{mode:?}: {:?}", seen.slowest);
    assert!(seen.others_go_on, "{mode:?}: the other tenant's connections were hit too");
    assert_eq!(seen.bad_checksums, Vec::<String>::new(), "{mode:?}: what the gateway sent by itself");
}

#[test]
fn idle_connections_are_reset_in_tc() {
    idle_connections_are_reset(Mode::Tc);
}

#[test]
fn idle_connections_are_reset_in_native_xdp() {
    idle_connections_are_reset(Mode::XdpNative);
}

#[test]
fn idle_connections_are_reset_in_generic_xdp() {
    idle_connections_are_reset(Mode::XdpGeneric);
}

fn refusals_reach_real_programs(mode: Mode) {
    let seen = reset::refusals(mode);
    assert_eq!(seen.failures, Vec::<String>::new(), "{mode:?}");
    println!("{mode:?}: refused within {:?}", seen.slowest);
    assert!(seen.slowest <= reset::LIMIT, "{mode:?}: {:?}", seen.slowest);
}

#[test]
fn refusals_reach_real_programs_in_tc() {
    refusals_reach_real_programs(Mode::Tc);
}

#[test]
fn refusals_reach_real_programs_in_native_xdp() {
    refusals_reach_real_programs(Mode::XdpNative);
}

#[test]
fn refusals_reach_real_programs_in_generic_xdp() {
    refusals_reach_real_programs(Mode::XdpGeneric);
}
