//! Limits and timeouts of a tenant, from the file to the packets.

use std::{
    io::{ErrorKind, Read as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use aya::maps::MapData;
use gateway_common::{
    abi::{Addr, CtEntry, EntryFlags, FlowKey, Port, Protocol, Side, State, TenantId},
    names,
};
use gateway_daemon::datapath::{batch, monotonic_ns};
use gateway_tests::{
    gateway::{Gateway, Limits},
    lab::Lab,
    poll::poll_result,
    topology::{Mode, Topology},
    usage::cpu_share,
    world::World,
};
use serde_json::Value;

/// For connecting: less than a second retransmission.
const CONNECT: Duration = Duration::from_millis(900);
/// How late the daemon may be, on a busy machine.
const SLACK: Duration = Duration::from_secs(15);

/// Writes lines into the first tenant's section and behind all others, and has the daemon read its file again.
fn change(gateway: &Gateway<'_>, of_tenant: &str, behind: &str) {
    let path = gateway.config_path();
    let text = std::fs::read_to_string(path).expect("the configuration is there");
    let (head, tail) = text.split_once("[[tenant]]\n").expect("there are tenants");
    std::fs::write(path, format!("{head}[[tenant]]\n{of_tenant}\n{tail}\n{behind}\n"))
        .expect("it is written");
    gateway.cli(&["reload"]);
}

fn tenant_status(gateway: &Gateway<'_>, number: usize) -> Value {
    gateway.cli(&["status"])["tenants"][number - 1].clone()
}

#[test]
fn a_tenant_has_no_more_flows_than_it_may_and_others_are_not_touched() {
    let lab = Lab::with(Topology::builder().mode(Mode::Tc).tenants(2));
    let world = World::start(&lab);
    change(&world.gateway, "max_flows = 3", "");
    let connect = |tenant| lab.npci.connect(None, world.web(tenant), CONNECT);
    let open: Vec<TcpStream> = (0..3).map(|_| connect(1).expect("it is allowed")).collect();
    assert!(connect(1).is_err(), "a fourth flow");
    assert!(world.gateway.drops()["tenant_flows_exceeded"] > 0);
    let status = tenant_status(&world.gateway, 1);
    assert_eq!((status["counted_flows"].as_u64(), status["max_flows"].as_u64()), (Some(3), Some(3)));
    connect(2).expect("another tenant's");
    drop(open);
}

#[test]
fn both_ends_of_what_idled_out_are_told_by_the_tenants_own_timeout() {
    let idle = Duration::from_secs(3);
    let lab = Lab::with(Topology::builder().mode(Mode::Tc).tenants(2));
    let world = World::start(&lab);
    let own = "timeouts = { tcp_established_secs = 3, allow_short_timeouts = true }";
    change(&world.gateway, own, "[timeouts]\nreset_on_expiry = true");
    let mut steady = lab.npci.connect(None, world.web(2), CONNECT).expect("a connection of another tenant");
    let mut silent = lab.npci.connect(None, world.web(1), CONNECT).expect("a connection");
    let opened = Instant::now();
    silent.set_read_timeout(Some(idle + SLACK)).expect("a timeout");
    let error = silent.read(&mut [0]).expect_err("nobody sends anything");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    assert!(opened.elapsed() >= idle, "after {:?}", opened.elapsed());
    poll_result(SLACK, "the flow to be in quarantine", || {
        let expired =
            world.gateway.cli(&["flows", "--tenant", &lab.tenant(1).plan.name, "--state", "expired"]);
        if expired["total"] == 1 { Ok(()) } else { Err(expired.to_string()) }
    });
    steady.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    let error = steady.read(&mut [0]).expect_err("nobody sends anything");
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "the other tenant's connection lives");
}

#[test]
fn what_the_daemon_ends_is_counted_back() {
    let lab = Lab::with(Topology::builder().mode(Mode::Tc).tenants(1));
    let world = World::start(&lab);
    let open: Vec<TcpStream> =
        (0..5).map(|_| lab.npci.connect(None, world.web(1), CONNECT).expect("a connection")).collect();
    assert_eq!(tenant_status(&world.gateway, 1)["counted_flows"], 5);
    change(&world.gateway, "state = \"maintenance\"", "");
    poll_result(SLACK, "the flows to be gone, and counted back", || {
        let status = tenant_status(&world.gateway, 1);
        let left = ["flows", "half_open_flows", "counted_flows"].map(|field| status[field].as_u64());
        if left == [Some(0); 3] { Ok(()) } else { Err(status.to_string()) }
    });
    drop(open);
}

/// Both entries of an established flow that a tenant has opened.
fn flow(number: u32, now_ns: u64) -> [CtEntry; 2] {
    let port = |number: u32| Port::new(u16::try_from(1_024 + number % 60_000).expect("a port"));
    let server = (Addr::new([198, 51, 100, 18]), port(number));
    let npci = (Addr::new([10, 1, 0, u8::try_from(number / 60_000).expect("few")]), Port::new(443));
    let egress = (Addr::new([192, 0, 2, 20]), port(number));
    let original = FlowKey::v4(Side::Internal, Protocol::Tcp, server, npci);
    let reply = FlowKey::v4(Side::External, Protocol::Tcp, npci, egress);
    [(original, reply, EntryFlags::ORIGINAL), (reply, original, EntryFlags::default())].map(
        |(key, pair, flags)| {
            let mut entry = CtEntry::open(key, pair, TenantId(1), flags, now_ns);
            entry.owner = 1;
            entry.set_state(State::Established);
            entry
        },
    )
}

#[test]
#[ignore = "a measurement: what looking at a million flows costs; run it with a release build, --nocapture"]
fn a_million_flows_are_looked_at_in_small_turns() {
    const FLOWS: u32 = 1_000_000;
    let lab = Lab::with(Topology::builder().mode(Mode::Tc).tenants(1));
    let world = World::start_with(&lab, |config| {
        config.limits = Some(Limits { flows: Some(FLOWS), ..Limits::default() });
    });
    let map = MapData::from_pin(world.gateway.pins().map(names::FLOWS)).expect("the table is pinned");
    let now_ns = monotonic_ns();
    for first in (0..FLOWS).step_by(10_000) {
        let entries: Vec<CtEntry> = (first..first + 10_000).flat_map(|number| flow(number, now_ns)).collect();
        let keys: Vec<FlowKey> = entries.iter().map(|entry| entry.key).collect();
        batch::update(&map, &keys, &entries).expect("there is room");
    }
    let metric = |name: &str| -> Option<f64> {
        let text = lab.gateway.curl("http://127.0.0.1:9464/metrics").run().body;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    };
    let round =
        poll_result(Duration::from_secs(60), "a round over all of them, and their number corrected", || {
            let corrected = tenant_status(&world.gateway, 1)["counted_flows"] == FLOWS;
            let round =
                metric("gateway_flow_round_duration_seconds ").filter(|took| corrected && *took > 1.0);
            round.ok_or("not yet")
        });
    let share = cpu_share(world.gateway.process().id(), Duration::from_secs(20));
    println!("a round over {FLOWS} flows takes {round:.1} s, the daemon {:.1} % of a CPU", share * 100.0);
    assert!((6.0..15.0).contains(&round), "{round} s");
}
