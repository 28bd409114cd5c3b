//! `explain` tells beforehand what the data path then does, and changes nothing.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use gateway_tests::{lab::Lab, poll::poll_result, topology::Mode, world::World};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(5);
/// Ports that nothing else in a lab uses.
const CLIENT_PORT: u16 = 40_123;
const CALLER_PORT: u16 = 50_123;

/// Asks what would become of a packet.
fn explain(world: &World<'_>, protocol: &str, from: SocketAddrV4, to: SocketAddrV4) -> Value {
    let [from, to] = [from, to].map(|end| end.to_string());
    world.gateway.cli(&["explain", "--protocol", protocol, "--from", &from, "--to", &to])
}

/// The same, once the next hop's link address is known: XDP drops until then.
#[track_caller]
fn explain_translated(world: &World<'_>, protocol: &str, from: SocketAddrV4, to: SocketAddrV4) -> Value {
    poll_result(LIMIT, "the next hop to be resolved", || {
        let explanation = explain(world, protocol, from, to);
        if explanation["fate"] == "translated" { Ok(explanation) } else { Err(format!("{explanation:#}")) }
    })
}

/// The one flow with this source port.
#[track_caller]
fn flow(world: &World<'_>, port: u16) -> Value {
    let list = world.gateway.cli(&["flows", "--port", &port.to_string()]);
    assert_eq!(list["total"], 1, "{list:#}");
    list["flows"][0].clone()
}

/// Nothing was tracked, translated, opened or dropped so far.
#[track_caller]
fn assert_untouched(world: &World<'_>) {
    let status = world.gateway.cli(&["status"]);
    for table in status["tables"].as_array().expect("a list") {
        if table["name"] == "flows" || table["name"] == "half_open" {
            assert_eq!(table["entries"], 0, "{table:#}");
        }
    }
    let counters = &status["counters"];
    assert_eq!((&counters["translated"], &counters["flows_opened"]), (&json!(0), &json!(0)), "{counters:#}");
    assert_eq!(world.gateway.cli(&["drops"])["total"], 0);
}

fn source_of(ends: &Value) -> (String, u64) {
    let address = ends["source"].as_str().expect("an address").to_owned();
    (address, ends["source_port"].as_u64().expect("a port"))
}

/// Sends a datagram from a port of the caller's and waits for the echo.
fn ask_from(lab: &Lab, from: SocketAddrV4, to: SocketAddrV4) -> UdpSocket {
    let socket = lab.tenant(1).namespace.enter(|| UdpSocket::bind(from)).expect("the port is free");
    socket.connect(to).expect("there is a route");
    socket.set_read_timeout(Some(LIMIT)).expect("the limit is not zero");
    socket.send(b"hello").expect("the datagram leaves");
    assert!(socket.recv(&mut [0; 512]).expect("NPCI answers") > 0);
    socket
}

fn what_is_explained_is_what_happens(mode: Mode) {
    let lab = Lab::new(mode);
    let world = World::start(&lab);
    let client = SocketAddrV4::new(lab.plan.npci(), CLIENT_PORT);
    let caller = SocketAddrV4::new(lab.tenant(1).plan.backend(), CALLER_PORT);
    let inward = explain_translated(&world, "tcp", client, world.web(1));
    let outward = explain_translated(&world, "udp", caller, lab.plan.npci_endpoint());
    assert_untouched(&world);
    assert_eq!((&inward["tenant"], &inward["interface"]), (&json!("bank-1"), &json!("ext0")));
    assert_eq!((&outward["tenant"], &outward["leaves_by"]), (&json!("bank-1"), &json!("ext0")));
    assert_eq!(source_of(&outward["translated"]), (lab.plan.egress_vip.to_string(), CALLER_PORT.into()));

    let url = format!("http://{}/whoami", world.web(1));
    let reply = lab.npci.curl(&url).option(&["--local-port", &CLIENT_PORT.to_string()]).run();
    assert!(reply.is_success(), "{reply:?}");
    let seen = reply.who().client();
    assert_eq!(source_of(&inward["translated"]), (seen.ip().to_string(), seen.port().into()));
    let opened = flow(&world, CLIENT_PORT);
    assert_eq!((&opened["original"], &opened["translated"]), (&inward["original"], &inward["translated"]));

    let _socket = ask_from(&lab, caller, lab.plan.npci_endpoint());
    let opened = flow(&world, CALLER_PORT);
    assert_eq!((&opened["original"], &opened["translated"]), (&outward["original"], &outward["translated"]));
    an_answer_goes_back(&world, &outward, caller);
}

/// An answer to the flow that was opened leads back to whoever opened it.
#[track_caller]
fn an_answer_goes_back(world: &World<'_>, outward: &Value, caller: SocketAddrV4) {
    let ends = &outward["translated"];
    let end = |address: &str, port: &str| {
        let address: Ipv4Addr = ends[address].as_str().expect("an address").parse().expect("an address");
        SocketAddrV4::new(address, u16::try_from(ends[port].as_u64().expect("a port")).expect("a port"))
    };
    let (vip, npci) = (end("source", "source_port"), end("destination", "destination_port"));
    let answer = explain_translated(world, "udp", npci, vip);
    assert_eq!(answer["side"], "external");
    let translated = &answer["translated"];
    assert_eq!(translated["destination"], caller.ip().to_string(), "{answer:#}");
    assert_eq!(translated["destination_port"], caller.port(), "{answer:#}");
    let steps = answer["steps"].as_array().expect("a list");
    assert!(steps.iter().all(|step| step["action"] != "insert"), "the flow is known: {answer:#}");
}

#[test]
fn what_is_explained_is_what_happens_in_tc() {
    what_is_explained_is_what_happens(Mode::Tc);
}

#[test]
fn what_is_explained_is_what_happens_in_native_xdp() {
    what_is_explained_is_what_happens(Mode::XdpNative);
}

#[test]
fn a_packet_that_would_be_dropped_is_told_why_and_not_counted() {
    let lab = Lab::new(Mode::Tc);
    let world = World::start(&lab);
    let client = SocketAddrV4::new(lab.plan.npci(), CLIENT_PORT);
    let explanation = explain(&world, "tcp", client, lab.plan.ingress(9));
    assert_eq!((&explanation["fate"], &explanation["translated"]), (&json!("dropped"), &Value::Null));
    assert_eq!(explanation["reason"]["name"], "no_listener", "{explanation:#}");
    assert_untouched(&world);
    let to = lab.plan.ingress(9).to_string();
    let output =
        world.gateway.cli_output(&["explain", "--from", "192.0.2.100:1", "--to", &to, "--interface", "lo"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("`lo` is no interface"), "{output:?}");
}
