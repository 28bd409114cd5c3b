//! Real programs through the gateway, in every mode, judged by what is captured on the wires.

use gateway_tests::{
    scenarios::{addresses, traffic},
    topology::{AddressPlan, Mode},
};

fn traffic_is_translated(mode: Mode) {
    let (seen, plan) = (traffic::run(mode), AddressPlan::default());
    assert!(seen.failures.is_empty(), "{:#?}", seen.failures);
    assert_eq!(seen.npci.destinations, [plan.ingress_vip].into(), "whom NPCI calls");
    assert_eq!(seen.npci.sources, [plan.egress_vip].into(), "who calls NPCI");
    assert_eq!(seen.npci.foreign, [].into(), "addresses of the inside on NPCI's wire");
    assert!(seen.npci.packets > 0);
    for wire in &seen.tenants {
        assert!(wire.foreign.is_empty() && wire.nat_ip_seen && wire.packets > 0, "{wire:?}");
    }
    assert_eq!((seen.bad_checksums(), seen.dropped), (vec![], 0));
}

#[test]
fn traffic_is_translated_in_tc() {
    traffic_is_translated(Mode::Tc);
}

#[test]
fn traffic_is_translated_in_native_xdp() {
    traffic_is_translated(Mode::XdpNative);
}

#[test]
fn traffic_is_translated_in_generic_xdp() {
    traffic_is_translated(Mode::XdpGeneric);
}

#[test]
fn vips_and_nat_addresses_are_answered_for_and_configured_nowhere() {
    for mode in Mode::ALL {
        let seen = addresses::run(mode);
        assert_eq!((seen.problems, seen.looked_at), (vec![], 5), "{mode:?}");
        assert!(seen.new_client.is_ok(), "{mode:?}: a client never seen before: {:?}", seen.new_client);
    }
}
