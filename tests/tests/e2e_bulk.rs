//! What arrives is what was sent: big transfers and many short requests, in every mode.

use gateway_tests::{
    scenarios::{bulk, requests},
    topology::Mode,
};

/// Of each transfer; `prove` takes 1 GiB.
const SIZE: u64 = 64 << 20;
/// `prove` takes 10,000.
const REQUESTS: usize = 3_000;

fn transfers_are_equal(mode: Mode) {
    let seen = bulk::run(mode, SIZE);
    assert_eq!(seen.equal(), 4, "{:#?}", seen.transfers);
}

#[test]
fn transfers_are_equal_in_tc() {
    transfers_are_equal(Mode::Tc);
}

#[test]
fn transfers_are_equal_in_native_xdp() {
    transfers_are_equal(Mode::XdpNative);
}

#[test]
fn transfers_are_equal_in_generic_xdp() {
    transfers_are_equal(Mode::XdpGeneric);
}

#[test]
fn every_request_reaches_its_tenant() {
    for mode in Mode::ALL {
        let seen = requests::run(mode, REQUESTS);
        assert_eq!(
            (seen.sent, seen.failed, seen.wrong_tenant),
            (REQUESTS, 0, 0),
            "{mode:?}: {:#?}",
            seen.problems
        );
    }
}
