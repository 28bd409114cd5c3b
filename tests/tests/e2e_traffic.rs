//! Real programs through the gateway, in every mode, judged by what is captured on the wires.

use std::{collections::BTreeSet, net::Ipv4Addr, time::Duration};

use gateway_tests::{
    capture::{Capture, Recording},
    lab::Lab,
    servers::ask_udp,
    topology::Mode,
    world::{NPCI, World},
};

const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const TENANTS: std::ops::RangeInclusive<usize> = 1..=3;

/// HTTP, UDP and ping, both ways, for every tenant.
fn exercise(lab: &Lab, world: &World<'_>) {
    let npci = lab.plan.npci_endpoint();
    for number in TENANTS {
        let tenant = lab.tenant(number);
        let seen = lab.npci.curl(&format!("http://{}/whoami", world.web(number))).run().who();
        assert_eq!(
            (seen.name.as_str(), *seen.client().ip()),
            (tenant.plan.name.as_str(), tenant.plan.nat_ip)
        );
        for target in [npci, world.mapped(number)] {
            let seen = tenant.namespace.curl(&format!("http://{target}/whoami")).run().who();
            assert_eq!((seen.name.as_str(), *seen.client().ip()), (NPCI, lab.plan.egress_vip), "by {target}");
        }
        let answer = ask_udp(&lab.npci, world.echo(number), "hello", ANSWER_LIMIT);
        assert_eq!(answer, Some(format!("{} hello", tenant.plan.name)));
        for target in [npci, world.mapped(number)] {
            let answer = ask_udp(&tenant.namespace, target, "hello", ANSWER_LIMIT);
            assert_eq!(answer, Some(format!("{NPCI} hello")), "by {target}");
        }
        assert!(tenant.namespace.ping(*npci.ip(), 3).all_answered(), "egress ping of tenant {number}");
    }
    for vip in [lab.plan.ingress_vip, lab.plan.egress_vip] {
        assert!(lab.npci.ping(vip, 3).all_answered(), "ping of {vip}");
    }
}

/// NPCI sees the two VIPs and itself; nothing of the inside.
fn assert_npci_sees_two_addresses(lab: &Lab, recording: &Recording) {
    let plan = &lab.plan;
    let ours: BTreeSet<Ipv4Addr> = [plan.ingress_vip, plan.egress_vip].into();
    for (src, dst) in recording.address_pairs() {
        let (near, far) = if plan.npci_endpoints.contains(&src) { (dst, src) } else { (src, dst) };
        assert!(plan.npci_endpoints.contains(&far), "{src} > {dst} on NPCI's wire");
        assert!(ours.contains(&near), "{src} > {dst} on NPCI's wire");
    }
    assert!(ours.is_subset(&recording.addresses()), "both VIPs were used: {:?}", recording.addresses());
}

/// A tenant sees its own NAT IP, its own backends, and NPCI's endpoint when it calls that by name.
fn assert_tenant_sees_its_own(lab: &Lab, number: usize, recording: &Recording) {
    let tenant = &lab.tenant(number).plan;
    for (src, dst) in recording.address_pairs() {
        let (inside, other) = if tenant.backends.contains(&src) { (src, dst) } else { (dst, src) };
        assert!(tenant.backends.contains(&inside), "{src} > {dst} on the wire of tenant {number}");
        let allowed = other == tenant.nat_ip || lab.plan.npci_endpoints.contains(&other);
        assert!(allowed, "{src} > {dst} on the wire of tenant {number}");
    }
    assert!(recording.addresses().contains(&tenant.nat_ip));
}

fn traffic_is_translated(mode: Mode) {
    let lab = Lab::new(mode);
    let world = World::start(&lab);
    let npci = lab.capture_npci();
    let tenants: Vec<Capture> = TENANTS.map(|number| lab.capture_tenant(number)).collect();
    exercise(&lab, &world);
    let recording = npci.stop();
    assert_npci_sees_two_addresses(&lab, &recording);
    recording.assert_checksums();
    for (number, capture) in TENANTS.zip(tenants) {
        let recording = capture.stop();
        assert_tenant_sees_its_own(&lab, number, &recording);
        recording.assert_checksums();
    }
    let drops = world.gateway.cli(&["drops"]);
    assert_eq!(drops["total"], 0, "{drops:#}");
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
