//! Nothing crosses the gateway untranslated, although the kernel under it forwards.

use gateway_tests::{
    lab::Lab,
    topology::{Mode, Topology},
    world::World,
};

/// An address that belongs to no tenant.
const STRANGER: &str = "203.0.113.7";

fn drops(world: &World<'_>, reason: &str) -> u64 {
    let drops = world.gateway.cli(&["drops"]);
    let reasons = drops["reasons"].as_array().expect("a list of reasons");
    let found = reasons.iter().find(|count| count["reason"] == reason);
    found.and_then(|count| count["packets"].as_u64()).unwrap_or(0)
}

fn nothing_crosses_untranslated(mode: Mode) {
    let lab = Lab::with(Topology::builder().mode(mode).npci_route_to_tenants());
    let world = World::start(&lab);
    let tenant = lab.tenant(1);
    tenant.namespace.ip(&["addr", "add", &format!("{STRANGER}/32"), "dev", "eth0"]);
    lab.gateway.ip(&["route", "add", &format!("{STRANGER}/32"), "dev", &tenant.link.near]);
    lab.npci.ip(&["route", "add", &format!("{STRANGER}/32"), "via", &lab.plan.gateway_external.to_string()]);
    let npci = lab.capture_npci();
    let inside = lab.capture_tenant(1);

    // A source that is no tenant's, from the inside; a tenant's server, straight from NPCI; one tenant to another.
    let from_stranger = tenant.namespace.ping_with(lab.plan.npci(), 2, &["-I", STRANGER]);
    let to_server = lab.npci.ping(tenant.plan.backend(), 2);
    let to_stranger = lab.npci.ping_with(STRANGER.parse().unwrap(), 2, &[]);
    let to_neighbour = tenant.namespace.ping(lab.tenant(2).plan.backend(), 2);
    for report in [from_stranger, to_server, to_stranger, to_neighbour] {
        assert!(!report.all_answered(), "{report:?}");
    }
    assert!(drops(&world, "crosses_sides") >= 2);
    assert!(drops(&world, "direct_to_tenant") >= 2);
    assert!(drops(&world, "destination_not_allowed") >= 2);

    let stranger: std::net::Ipv4Addr = STRANGER.parse().unwrap();
    let seen = npci.stop();
    assert!(seen.address_pairs().iter().all(|(src, _)| *src != stranger), "{:?}", seen.pair_counts());
    let seen = inside.stop();
    let npci = lab.plan.npci();
    assert!(seen.address_pairs().iter().all(|(src, _)| *src != npci), "{:?}", seen.pair_counts());
}

#[test]
fn nothing_crosses_untranslated_in_tc() {
    nothing_crosses_untranslated(Mode::Tc);
}

#[test]
fn nothing_crosses_untranslated_in_native_xdp() {
    nothing_crosses_untranslated(Mode::XdpNative);
}
