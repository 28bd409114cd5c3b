//! The command line and the metrics of a running daemon, as operators use them.

use gateway_tests::{lab::Lab, servers::ask_udp, topology::Mode, world::World};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(5);

/// What a subcommand prints for people.
fn shown(world: &World<'_>, command: &str) -> String {
    let output = world.gateway.cli_output(&[command]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn running(lab: &Lab) -> World<'_> {
    let world = World::start(lab);
    let reply = lab.npci.curl(&format!("http://{}/whoami", world.web(1))).run();
    assert!(reply.is_success(), "{reply:?}");
    assert!(ask_udp(&lab.npci, world.echo(1), "hello", LIMIT).is_some());
    world
}

#[test]
fn status_tells_interfaces_tenants_and_vips() {
    for mode in Mode::ALL {
        let lab = Lab::new(mode);
        let world = running(&lab);
        let status = world.gateway.cli(&["status"]);
        let hook = if mode.is_xdp() { "xdp" } else { "tc" };
        let interfaces = status["interfaces"].as_array().expect("a list");
        assert_eq!(interfaces.len(), 4);
        for interface in interfaces {
            assert_eq!((&interface["hook"], &interface["forwarding"]), (&hook.into(), &true.into()));
            assert_eq!(interface["adopted"], false);
        }
        assert_eq!(status["vips"]["ingress"], lab.plan.ingress_vip.to_string());
        assert!(status["tenants"][0]["flows_opened"].as_u64() >= Some(2), "{status:#}");
        let text = shown(&world, "status");
        for part in ["gateway  up", "ext0", "int.3", "bank-1", "192.0.2.20", hook] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}

#[test]
fn flows_and_drops_are_listed() {
    let lab = Lab::new(Mode::Tc);
    let world = running(&lab);
    let nobody = lab.plan.ingress(9);
    assert_eq!(ask_udp(&lab.npci, nobody, "hello", Duration::from_millis(100)), None);
    let flows = world.gateway.cli(&["flows", "--tenant", "bank-1", "--protocol", "udp"]);
    assert_eq!((&flows["total"], &flows["flows"][0]["direction"]), (&1.into(), &"ingress".into()));
    assert!(shown(&world, "flows").contains(&world.echo(1).to_string()));
    let drops = world.gateway.cli(&["drops"]);
    assert_eq!((&drops["total"], drops["reasons"].as_array().map(Vec::len)), (&1.into(), Some(1)));
    let reason = drops["reasons"][0]["reason"].as_str().expect("a name");
    let text = shown(&world, "drops");
    assert!(text.contains("1 packet dropped") && text.contains(reason), "{text}");
}

#[test]
fn metrics_are_served_over_http() {
    let lab = Lab::new(Mode::Tc);
    let _world = running(&lab);
    let reply = lab.gateway.curl("http://127.0.0.1:9464/metrics").run();
    assert!(reply.is_success(), "{reply:?}");
    for line in [
        "gateway_up 1",
        r#"gateway_interface_attached{interface="ext0",side="external",hook="tc"} 1"#,
        r#"gateway_tenant_flows_opened_total{tenant="bank-1"} 2"#,
    ] {
        assert!(reply.body.lines().any(|found| found == line), "{line} in {}", reply.body);
    }
}

#[test]
fn a_daemon_that_is_not_there_is_a_failure_with_help() {
    let lab = Lab::new(Mode::Tc);
    let world = running(&lab);
    world.gateway.process().kill();
    let output = world.gateway.cli_output(&["status"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("help:"), "{output:?}");
}
