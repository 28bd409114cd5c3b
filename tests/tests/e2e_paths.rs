//! Ways of several hops, asked by the real tools: `traceroute`, `tracepath`, and TCP that learns the path MTU.

use gateway_tests::{
    scenarios::paths::{
        clamp::{self, CLAMP, Clamp},
        trace, transfers,
    },
    topology::Mode,
};

/// Transfers of one round, each with a SYN and a SYN-ACK, which come out of the gateway on one wire or the other.
const TRANSFERS: usize = 4;

fn traces_show_the_way(mode: Mode) {
    let seen = trace::run(mode);
    assert_eq!(seen.mistakes(), Vec::<String>::new());
    assert_eq!((seen.routes.len(), seen.paths.len()), (7, 8));
    assert_eq!(seen.shown_to_npci, [].into(), "addresses of the inside on NPCI's wire");
    assert!(seen.errors_to_npci > 0);
    assert_eq!(seen.bad_checksums, []);
}

#[test]
fn traces_show_the_way_in_tc() {
    traces_show_the_way(Mode::Tc);
}

#[test]
fn traces_show_the_way_in_native_xdp() {
    traces_show_the_way(Mode::XdpNative);
}

#[test]
fn traces_show_the_way_in_generic_xdp() {
    traces_show_the_way(Mode::XdpGeneric);
}

fn senders_learn_the_path_mtu(mode: Mode) {
    let passages = transfers::run(mode);
    let wrong: Vec<_> = passages.iter().filter(|passage| !passage.is_right(mode)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let transfers = passages.iter().map(|passage| passage.transfers.len());
    assert_eq!(transfers.collect::<Vec<_>>(), [TRANSFERS; 4], "for each link that is small in turn");
}

#[test]
fn senders_learn_the_path_mtu_in_tc() {
    senders_learn_the_path_mtu(Mode::Tc);
}

#[test]
fn senders_learn_the_path_mtu_in_native_xdp() {
    senders_learn_the_path_mtu(Mode::XdpNative);
}

#[test]
fn senders_learn_the_path_mtu_in_generic_xdp() {
    senders_learn_the_path_mtu(Mode::XdpGeneric);
}

fn clamped_segments_fit_from_the_first_on(mode: Mode) {
    for clamp in Clamp::ALL {
        let seen = clamp::run(mode, clamp);
        assert!(seen.transfers.iter().all(|transfer| transfer.arrived == Ok(())), "{clamp:?}: {seen:#?}");
        assert_eq!(seen.offered, [Some(CLAMP); 2 * TRANSFERS], "{clamp:?}");
        assert_eq!((seen.complaints, seen.dropped), (0, 0), "{clamp:?}");
    }
}

#[test]
fn clamped_segments_fit_from_the_first_on_in_tc() {
    clamped_segments_fit_from_the_first_on(Mode::Tc);
}

#[test]
fn clamped_segments_fit_from_the_first_on_in_native_xdp() {
    clamped_segments_fit_from_the_first_on(Mode::XdpNative);
}
