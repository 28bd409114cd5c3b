//! What the gateway tells those who watch it: drops and flows as they happen, and a tenant's packets before and after
//! translation, with nothing of anybody else.

use std::{
    fs,
    net::{SocketAddrV4, UdpSocket},
    path::{Path, PathBuf},
    time::Duration,
};

use aya::{maps::MapData, programs::loaded_programs};
use gateway_common::names;
use gateway_tests::{
    gateway::{Gateway, Timeouts, binary},
    lab::Lab,
    poll::{poll_result, poll_until},
    process::Proc,
    tool,
    topology::Mode,
    world::{World, web_listener},
};
use nix::sys::signal::Signal;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);
/// Whose packets are captured, and whose are not.
const WATCHED: usize = 1;
const OTHER: usize = 2;
/// Nobody listens there.
const CLOSED_PORT: u16 = 9;

/// Starts a command of the gateway's that goes on for a while.
fn spawn(lab: &Lab, world: &World<'_>, name: &str, arguments: &[&str]) -> Proc {
    let mut command = lab.gateway.command(&binary().to_string_lossy());
    command.args(arguments).arg("--socket").arg(world.gateway.socket());
    Proc::spawn(&lab.gateway, name, command)
}

/// A capture of the watched tenant that has begun.
fn start_capture(lab: &Lab, world: &World<'_>, name: &str, options: &[&str]) -> (Proc, PathBuf) {
    let path = lab.gateway.session().path(&format!("{name}.pcapng"));
    let tenant = &lab.tenant(WATCHED).plan.name;
    let file = path.to_string_lossy();
    let arguments = [&["capture", "--tenant", tenant, "--output", &file], options].concat();
    let capture = spawn(lab, world, name, &arguments);
    // The file is made when the daemon has said that it captures.
    poll_until(LIMIT, "the capture to begin", || {
        assert!(capture.is_running() || path.exists(), "{}", capture.tail());
        path.exists().then_some(())
    });
    (capture, path)
}

/// Requests of both tenants, in both directions.
#[track_caller]
fn traffic(lab: &Lab, world: &World<'_>) {
    for tenant in [WATCHED, OTHER] {
        let reply = lab.npci.curl(&format!("http://{}/whoami", world.web(tenant))).run();
        assert!(reply.is_success(), "{reply:?}");
        let reply =
            lab.tenant(tenant).namespace.curl(&format!("http://{}/whoami", world.mapped(tenant))).run();
        assert!(reply.is_success(), "{reply:?}");
    }
}

/// Makes traffic until the capture has enough of it.
fn capture_all(lab: &Lab, world: &World<'_>, name: &str, options: &[&str]) -> (Vec<u8>, String) {
    let (capture, path) = start_capture(lab, world, name, options);
    poll_until(LIMIT, "the capture to end", || {
        traffic(lab, world);
        (!capture.is_running()).then_some(())
    });
    assert!(capture.wait(LIMIT).success(), "{}", capture.tail());
    assert!(capture.stdout().ends_with("; 0 packets lost\n"), "{}", capture.stdout());
    let text = read_back(lab, &path);
    (fs::read(&path).expect("the capture was written"), text)
}

/// The file as tcpdump reads it: a line a frame.
fn read_back(lab: &Lab, path: &Path) -> String {
    let mut command = lab.gateway.command("tcpdump");
    command.args(["-nn", "-t", "-r"]).arg(path);
    tool::run(command)
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

fn packets_are_captured_before_and_after(mode: Mode) {
    let lab = Lab::new(mode);
    let world = World::start(&lab);
    // Next hops are known: no packet of the capture is dropped for want of one.
    traffic(&lab, &world);
    let (file, text) = capture_all(&lab, &world, "headers", &["--limit", "40"]);

    let (plan, watched, other) = (&lab.plan, &lab.tenant(WATCHED).plan, &lab.tenant(OTHER).plan);
    let to = |address: std::net::Ipv4Addr, port: u16| format!("> {address}.{port}:");
    let is_syn = |line: &str| line.contains("Flags [S],");
    for (what, expected) in [
        ("NPCI's SYN as it comes in", to(plan.ingress_vip, web_listener(WATCHED))),
        ("and as it goes out", format!("IP {}.", watched.nat_ip)),
        ("the tenant's SYN as it comes in", to(watched.nat_ip, world.mapped(WATCHED).port())),
        ("and as it goes out", format!("IP {}.", plan.egress_vip)),
    ] {
        let is_there = text.lines().any(|line| is_syn(line) && line.contains(&expected));
        assert!(is_there, "{what}, {expected}:\n{text}");
    }
    for foreign in [
        format!("{}.", other.nat_ip),
        format!("{}.", other.backend()),
        format!("{}.{}:", plan.ingress_vip, web_listener(OTHER)),
    ] {
        assert!(!text.contains(&foreign), "{foreign} is the other tenant's:\n{text}");
    }
    let frames = text.lines().count();
    assert!((41..=80).contains(&frames), "40 packets, most of them before and after: {frames}\n{text}");
    for place in ["(before)", "(after)", "translated and sent"] {
        assert!(holds(&file, place), "{place}");
    }
    assert!(!holds(&file, "HTTP/1.1"), "what people send is nobody's business");

    let (file, _) = capture_all(&lab, &world, "payload", &["--limit", "40", "--payload"]);
    assert!(holds(&file, "HTTP/1.1"), "unless it is asked for");
}

#[test]
fn packets_are_captured_before_and_after_in_tc() {
    packets_are_captured_before_and_after(Mode::Tc);
}

#[test]
fn packets_are_captured_before_and_after_in_native_xdp() {
    packets_are_captured_before_and_after(Mode::XdpNative);
}

#[test]
fn packets_are_captured_before_and_after_in_generic_xdp() {
    packets_are_captured_before_and_after(Mode::XdpGeneric);
}

/// Programs of this gateway that watch.
fn watching_programs(gateway: &Gateway<'_>) -> usize {
    let flows = MapData::from_pin(gateway.pins().map(names::FLOWS)).expect("the flow table is pinned");
    let flows = flows.info().expect("the kernel tells of a map").id();
    let watches = |program: &aya::programs::ProgramInfo| {
        program.name_as_str().is_some_and(|name| name.starts_with(names::TAPPED))
            && program.map_ids().ok().flatten().is_some_and(|maps| maps.contains(&flows))
    };
    loaded_programs().filter_map(Result::ok).filter(watches).count()
}

#[test]
fn one_captures_at_a_time_and_nothing_of_it_outlives_the_daemon() {
    let lab = Lab::new(Mode::Tc);
    let mut world = World::start(&lab);
    traffic(&lab, &world);
    assert_eq!(watching_programs(&world.gateway), 0, "nobody watches");

    let (first, _) = start_capture(&lab, &world, "first", &[]);
    assert!(watching_programs(&world.gateway) > 0);
    let second = lab.gateway.session().path("second.pcapng");
    let arguments =
        ["capture", "--tenant", &lab.tenant(OTHER).plan.name, "--output", &second.to_string_lossy()];
    let problem = world.gateway.try_cli(&arguments).expect_err("there is one already");
    assert!(problem.contains("one at a time") && !second.exists(), "{problem}");

    // Whoever captures goes away.
    first.signal(Signal::SIGKILL);
    first.wait(LIMIT);
    let gone = |gateway: &Gateway<'_>| match watching_programs(gateway) {
        0 => Ok(()),
        programs => Err(format!("{programs} programs watch")),
    };
    // A request makes the daemon notice that nobody reads what it has to write.
    poll_result(LIMIT, "the programs to be unloaded", || {
        traffic(&lab, &world);
        gone(&world.gateway)
    });

    let (third, _) = start_capture(&lab, &world, "third", &[]);
    assert!(watching_programs(&world.gateway) > 0);
    world.gateway.process().kill();
    third.wait(LIMIT);
    assert!(third.stderr().contains("broke off"), "{}", third.tail());
    poll_result(LIMIT, "the kernel to forget them", || gone(&world.gateway));
    traffic(&lab, &world);
    world.gateway.launch();
    traffic(&lab, &world);
    let (_, text) = capture_all(&lab, &world, "fourth", &["--limit", "10"]);
    assert!(text.lines().count() > 10, "{text}");
}

/// What a monitor has told so far.
fn told(monitor: &Proc) -> Vec<Value> {
    let lines = monitor.stdout();
    let whole = lines.rfind('\n').map_or("", |end| &lines[..end]);
    whole.lines().map(|line| serde_json::from_str(line).expect("lines are JSON")).collect()
}

fn first(monitor: &Proc, is_wanted: impl Fn(&Value) -> bool) -> Option<Value> {
    assert!(monitor.is_running(), "{}", monitor.tail());
    told(monitor).into_iter().find(is_wanted)
}

fn drop_one(lab: &Lab) {
    drop_many(lab, 1);
}

/// Sends datagrams that nobody wants.
fn drop_many(lab: &Lab, count: usize) {
    let target = SocketAddrV4::new(lab.plan.ingress_vip, CLOSED_PORT);
    lab.npci.enter(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
        for _ in 0..count {
            socket.send_to(b"nobody wants this", target).expect("there is a route");
        }
    });
}

/// How many drops a monitor told, and how many it says that it did not.
fn drops_of(told: &[Value]) -> (u64, u64) {
    let drops = told.iter().filter(|what| what["kind"] == "dropped").count() as u64;
    let missed = told.iter().filter(|what| what["kind"] == "missed");
    let missed = missed.map(|what| what["drops"].as_u64().unwrap_or(0) + what["lost"].as_u64().unwrap_or(0));
    (drops, missed.sum())
}

fn drops_and_flows_are_told(mode: Mode) {
    let lab = Lab::new(mode);
    let world = World::start(&lab);
    traffic(&lab, &world);
    let monitor = spawn(&lab, &world, "monitor", &["monitor", "--json"]);

    let drop = poll_until(LIMIT, "a drop to be told", || {
        drop_one(&lab);
        first(&monitor, |what| what["kind"] == "dropped" && what["reason"] == "no_listener")
    });
    assert_eq!(drop["side"], "external");
    assert_eq!(drop["packet"]["destination"], lab.plan.ingress_vip.to_string());
    assert_eq!(
        (&drop["packet"]["destination_port"], &drop["protocol_number"]),
        (&CLOSED_PORT.into(), &17.into())
    );

    traffic(&lab, &world);
    let tenant = &lab.tenant(WATCHED).plan;
    for (direction, from) in [("ingress", tenant.nat_ip), ("egress", lab.plan.egress_vip)] {
        let opened = poll_until(LIMIT, "a flow to be told", || {
            first(&monitor, |what| {
                what["kind"] == "opened"
                    && what["tenant"] == tenant.name.as_str()
                    && what["direction"] == direction
            })
        });
        assert_eq!(opened["translated"]["source"], from.to_string(), "{opened}");
    }

    // More than is told in a second: the rest is counted, to the last one.
    let dropped = || world.gateway.drops().values().sum::<u64>();
    let (dropped_before, (told_before, missed_before)) = (dropped(), drops_of(&told(&monitor)));
    drop_many(&lab, 5_000);
    poll_result(LIMIT, "every drop to be told or counted", || {
        let (told_now, missed_now) = drops_of(&told(&monitor));
        let (told, missed) = (told_now - told_before, missed_now - missed_before);
        let dropped = dropped() - dropped_before;
        if dropped >= 5_000 && told + missed == dropped && missed > 0 {
            return Ok(());
        }
        Err(format!("{dropped} dropped, {told} told, {missed} left out"))
    });
    monitor.stop();
}

#[test]
fn drops_and_flows_are_told_in_tc() {
    drops_and_flows_are_told(Mode::Tc);
}

#[test]
fn drops_and_flows_are_told_in_native_xdp() {
    drops_and_flows_are_told(Mode::XdpNative);
}

#[test]
fn the_end_of_an_idle_flow_is_told() {
    let lab = Lab::new(Mode::Tc);
    let world = World::start_with(&lab, |config| {
        config.timeouts = Some(Timeouts { tcp_half_open_secs: Some(6), ..Timeouts::default() });
    });
    let tenant = lab.tenant(WATCHED);
    let monitor =
        spawn(&lab, &world, "monitor", &["monitor", "--json", "--flows", "--tenant", &tenant.plan.name]);
    // The server's answers end in a black hole, so no third packet comes.
    tenant.namespace.ip(&["route", "add", "blackhole", &format!("{}/32", tenant.plan.nat_ip)]);
    let opened = poll_until(LIMIT, "the flow to be told", || {
        let connected = lab.npci.connect(None, world.web(WATCHED), Duration::from_millis(100));
        assert!(connected.is_err(), "the server cannot answer");
        first(&monitor, |what| what["kind"] == "opened")
    });
    let ended = poll_until(LIMIT, "its end to be told", || {
        first(&monitor, |what| what["kind"] == "ended" && what["original"] == opened["original"])
    });
    assert_eq!((&ended["why"], &ended["translated"]), (&"expired".into(), &opened["translated"]), "{ended}");
    // The daemon's end is the stream's.
    world.gateway.process().stop();
    assert!(monitor.wait(LIMIT).success(), "{}", monitor.tail());
}
