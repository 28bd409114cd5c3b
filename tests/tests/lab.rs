//! The lab tested by itself, without a gateway: links, captures, servers, clients, isolation, and tidying up
//! after a killed run.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use gateway_tests::bpffs::BpfFs;
use gateway_tests::clients::Load;
use gateway_tests::fence::Fence;
use gateway_tests::gateway::Gateway;
use gateway_tests::leftovers;
use gateway_tests::netns::Namespace;
use gateway_tests::packet::{Frame, Mac, Packet, TcpFlags};
use gateway_tests::poll_until;
use gateway_tests::process::Proc;
use gateway_tests::raw::{Direction, RawSocket};
use gateway_tests::servers::{Nginx, UdpEcho, ask_udp};
use gateway_tests::topology::Topology;
use gateway_tests::{Lab, Mode};

const LIMIT: Duration = Duration::from_secs(10);
/// Set for the copy of this test binary that is killed.
const VICTIM_VARIABLE: &str = "GATEWAY_LAB_VICTIM";

/// NPCI and the first tenant may talk through the gateway's kernel: there is no NAT in these tests.
fn routed(mode: Mode) -> Lab {
    Lab::with(Topology::builder().tenants(1).mode(mode).npci_route_to_tenants())
}

fn at(address: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address, port)
}

#[test]
fn capture_sees_a_ping_in_full_and_nothing_else() {
    let lab = Lab::with(Topology::builder().tenants(1));
    let capture = lab.capture_npci();
    assert!(lab.npci.ping(lab.plan.gateway_external, 3).all_answered());
    let recording = capture.stop();
    let (npci, gateway) = (lab.plan.npci(), lab.plan.gateway_external);
    assert_eq!(recording.address_pairs(), BTreeSet::from([(npci, gateway), (gateway, npci)]));
    let echoes =
        |direction| recording.going(direction).frames().iter().filter(|frame| frame.icmp().is_some()).count();
    assert_eq!((echoes(Direction::Out), echoes(Direction::In)), (3, 3));
    recording.assert_checksums_strictly();
}

#[test]
fn capture_is_exact_at_its_end() {
    let lab = routed(Mode::Tc);
    slow_down(&lab.gateway, &lab.external.near);
    let sender = RawSocket::open(&lab.gateway, &lab.external.near);
    let packet = Packet::udp((lab.plan.gateway_external, 7), (lab.plan.npci(), 9));
    let frame = packet.macs(lab.external.near_mac, lab.external.far_mac).build();
    for count in [1, 10, 100] {
        let capture = lab.capture_npci();
        (0..count).for_each(|_| sender.send(&frame));
        let udp = capture.stop().going(Direction::In).only(|packet| packet.frame().udp().is_some());
        assert_eq!(udp.packets.len(), count, "every frame sent before stop, no marker, no late one");
    }
}

/// What the exactness of captures rests on: the kernel's default of a queue for each CPU keeps no order.
#[test]
fn links_have_one_queue() {
    let lab = Lab::with(Topology::builder().tenants(1));
    for (far, link) in lab.links() {
        for (namespace, device) in [(far, &link.far), (&lab.gateway, &link.near)] {
            let shown = namespace.ip(&["-d", "link", "show", "dev", device]);
            assert!(shown.contains("numtxqueues 1 ") && shown.contains("numrxqueues 1 "), "{shown}");
        }
    }
}

#[test]
fn settle_waits_for_packets_on_their_way_to_the_gateway() {
    let lab = routed(Mode::Tc);
    slow_down(&lab.npci, &lab.external.far);
    assert_settled_packets_arrived(&lab);
}

#[test]
fn settle_waits_for_packets_on_their_way_from_the_gateway() {
    let lab = routed(Mode::Tc);
    slow_down(&lab.gateway, &lab.tenant(1).link.near);
    assert_settled_packets_arrived(&lab);
}

/// Sends from NPCI through the gateway to the tenant and counts right after [`Topology::settle`].
fn assert_settled_packets_arrived(lab: &Lab) {
    let tenant = lab.tenant(1);
    lab.warm_neighbours();
    let sender = RawSocket::open(&lab.npci, &lab.external.far);
    let receiver = RawSocket::open(&tenant.namespace, &tenant.link.far);
    let packet = Packet::udp((lab.plan.npci(), 7), (tenant.plan.backend(), 9));
    let frame = packet.macs(lab.external.far_mac, lab.external.near_mac).build();
    for count in [1, 10, 100] {
        (0..count).for_each(|_| sender.send(&frame));
        lab.settle();
        let seen = std::iter::from_fn(|| receiver.try_receive()).filter(|one| one.direction == Direction::In);
        let frames = seen.filter_map(|one| Frame::parse(&one.bytes).ok());
        assert_eq!(frames.filter(|frame| frame.udp().is_some()).count(), count);
    }
}

/// Lets what leaves an interface wait in a queue: 100 small frames take some 400 ms, far longer than a fence.
fn slow_down(namespace: &Namespace, interface: &str) {
    let mut command = namespace.command("tc");
    command.args(["qdisc", "add", "dev", interface, "root", "tbf"]);
    command.args(["rate", "100kbit", "burst", "2000", "limit", "1mb"]);
    assert!(command.status().expect("start tc").success());
}

#[test]
fn fence_that_is_not_crossed_is_told() {
    let lab = Lab::with(Topology::builder().tenants(1));
    let fence = Fence::between((&lab.npci, &lab.external.far), (&lab.tenant(1).namespace, "eth0"));
    let crossing = AssertUnwindSafe(|| fence.cross_within(Duration::from_millis(50)));
    let panic = catch_unwind(crossing).expect_err("the two ends are not of one veth");
    assert!(panic.downcast_ref::<String>().is_some_and(|message| message.contains("did not cross")));
}

#[test]
fn captured_files_are_read_by_tcpdump() {
    let lab = Lab::with(Topology::builder().tenants(1));
    let capture = lab.capture_npci();
    let path = capture.path().to_owned();
    assert!(lab.npci.ping(lab.plan.gateway_external, 2).all_answered());
    capture.stop();
    let output =
        Command::new("tcpdump").args(["-n", "-r"]).arg(&path).arg("icmp").output().expect("start tcpdump");
    let lines = String::from_utf8_lossy(&output.stdout);
    assert_eq!(lines.matches("ICMP echo request").count(), 2, "{lines}");
    assert_eq!(lines.matches("ICMP echo reply").count(), 2, "{lines}");
}

#[test]
fn npci_has_no_way_to_the_tenants() {
    let lab = Lab::new(Mode::Tc);
    let capture = lab.capture_npci();
    for tenant in &lab.tenants {
        assert!(tenant.namespace.ping(tenant.plan.gateway, 1).all_answered());
        let refused = lab.npci.connect(None, at(tenant.plan.backend(), 80), LIMIT).expect_err("no route");
        assert_eq!(refused.raw_os_error(), Some(101), "network is unreachable");
    }
    assert!(capture.stop().addresses().is_empty());
}

#[test]
fn vips_and_nat_addresses_belong_to_nobody() {
    let lab = Lab::with(Topology::builder().tenants(1));
    let tenant = lab.tenant(1);
    for (namespace, address) in [
        (&lab.npci, lab.plan.ingress_vip),
        (&lab.npci, lab.plan.egress_vip),
        (&tenant.namespace, tenant.plan.nat_ip),
    ] {
        assert_eq!(namespace.ping(address, 1).received, 0, "{address} answers");
    }
}

#[test]
fn http_in_all_modes_with_right_checksums() {
    for mode in Mode::ALL {
        let lab = routed(mode);
        let tenant = lab.tenant(1);
        let address = at(tenant.plan.backend(), 8080);
        let nginx = Nginx::start(&tenant.namespace, "web", &[address]);
        let (outside, inside) = (lab.capture_npci(), lab.capture_tenant(1));
        let reply = lab.npci.curl(&format!("http://{address}/whoami")).run();
        let who = reply.who();
        assert_eq!(
            (who.name.as_str(), who.client()),
            ("web", at(lab.plan.npci(), reply.local_port)),
            "{mode:?}"
        );
        assert_eq!((who.server_addr, who.server_port), (*address.ip(), 8080));
        for recording in [outside.stop(), inside.stop()] {
            recording.assert_checksums();
            let frames = recording.frames();
            let syn = frames.iter().filter_map(|frame| frame.tcp()).find(|tcp| tcp.flags == TcpFlags::SYN);
            assert!(syn.is_some(), "{mode:?}");
        }
        let access = &nginx.accesses()[0];
        assert_eq!((access.client, access.server, access.status), (who.client(), address, 200));
    }
}

#[test]
fn offload_leaves_half_done_checksums_in_tc_mode_only() {
    for mode in Mode::ALL {
        let lab = routed(mode);
        let tenant = lab.tenant(1);
        let address = at(tenant.plan.backend(), 8080);
        let listener = tenant.namespace.listen(address);
        let capture = lab.capture_npci();
        drop(lab.npci.connect(None, address, LIMIT).expect("connects"));
        drop(listener);
        let sent = capture.stop().going(Direction::Out).only(|packet| packet.frame().tcp().is_some());
        let pending = sent.packets.iter().filter(|packet| packet.checksum_pending).count();
        let expected = if mode == Mode::Tc { sent.packets.len() } else { 0 };
        assert_eq!(pending, expected, "{mode:?}");
        sent.assert_checksums();
    }
}

#[test]
fn big_transfers_both_ways_are_identical() {
    const SIZE: u64 = 64 << 20;
    let lab = routed(Mode::Tc);
    let tenant = lab.tenant(1);
    let address = at(tenant.plan.backend(), 8080);
    let nginx = Nginx::start(&tenant.namespace, "web", &[address]);
    let file = nginx.add_file("big", SIZE + 1, 7);
    let download = lab.npci.curl(&format!("http://{address}/big")).compare_with(&file);
    assert!(download.identical && download.bytes == SIZE + 1 && download.error == 0, "{download:?}");
    let upload = lab.npci.curl(&format!("http://{address}/upload/copy")).upload(&file).run();
    assert_eq!(upload.status, 201, "{upload:?}");
    assert!(fs::read(&file).expect("readable") == fs::read(nginx.uploaded("copy")).expect("readable"));
}

#[test]
fn failed_requests_are_told_apart() {
    let lab = Lab::with(Topology::builder().tenants(1));
    let gateway = lab.plan.gateway_external;
    let refused = lab.npci.curl(&format!("http://{gateway}:1/")).run();
    assert_eq!((refused.error, refused.status, refused.is_success()), (7, 0, false), "{refused:?}");
    let silent =
        lab.npci.curl(&format!("http://{}:1/", lab.plan.ingress_vip)).limit(Duration::from_millis(300)).run();
    assert_eq!(silent.error, 28, "{silent:?}");
    let report = Load::new(at(gateway, 1), 10).run(&lab.npci);
    assert_eq!((report.answered(), report.failed()), (0, 10), "{report:?}");
}

#[test]
fn load_counts_answers_by_server_and_client() {
    const REQUESTS: usize = 2_000;
    let lab = routed(Mode::Tc);
    let tenant = lab.tenant(1);
    let address = at(tenant.plan.backend(), 8080);
    let _nginx = Nginx::start(&tenant.namespace, "web", &[address]);
    let source = lab.plan.npci_endpoints[1];
    let report = Load::new(address, REQUESTS).from(source).run(&lab.npci);
    report.assert_no_failures();
    assert_eq!(report.by_server.get("web"), Some(&REQUESTS));
    assert_eq!(report.by_seen_client.into_iter().collect::<Vec<_>>(), [(source, REQUESTS)]);
}

#[test]
fn udp_echo_says_who_answered() {
    let lab = routed(Mode::Tc);
    let tenant = lab.tenant(1);
    let address = at(tenant.plan.backends[1], 5353);
    let echo = UdpEcho::start(&tenant.namespace, "dns", address);
    assert_eq!(ask_udp(&lab.npci, address, "hello", LIMIT).as_deref(), Some("dns hello"));
    drop(echo);
    assert_eq!(ask_udp(&lab.npci, address, "hello", Duration::from_millis(100)), None);
}

#[test]
fn injected_packets_get_real_answers() {
    let lab = Lab::with(Topology::builder().tenants(1));
    let (ghost, mac) = (Ipv4Addr::new(192, 0, 2, 200), Mac::local(0x0f00));
    let raw = RawSocket::open(&lab.npci, &lab.external.far);
    let syn = Packet::tcp((ghost, 4000), (lab.plan.gateway_external, 1)).flags(TcpFlags::SYN);
    raw.send(&syn.macs(mac, lab.external.near_mac).build());
    let reset = raw.wait_for(LIMIT, "a reset", |frame| {
        raw.answer_arp(frame, ghost, mac);
        frame.tcp().filter(|tcp| tcp.flags.contains(TcpFlags::RST)).map(|_| frame.clone())
    });
    reset.assert_checksums();
    assert_eq!(reset.ethernet.dst, mac);
}

#[test]
fn tagged_frames_are_captured_with_their_tags() {
    for mode in Mode::ALL {
        let lab = Lab::with(Topology::builder().tenants(1).mode(mode));
        let sender = RawSocket::open(&lab.gateway, &lab.external.near);
        let packet = Packet::udp((lab.plan.gateway_external, 7), (lab.plan.npci(), 9)).vlan(100);
        let sent = packet.macs(lab.external.near_mac, lab.external.far_mac).build();
        let capture = lab.capture_npci();
        sender.send(&sent);
        let recording = capture.stop();
        assert_eq!(
            recording.packets.iter().map(|packet| &packet.bytes).collect::<Vec<_>>(),
            [&sent],
            "{mode:?}"
        );
        assert_eq!(recording.address_pairs().len(), 1, "addresses behind a tag are seen");
    }
}

#[test]
fn mtu_is_that_of_the_links() {
    let lab = Lab::with(Topology::builder().tenants(1).mtu(1400).external_mtu(1300));
    let fits = |size: &str| {
        lab.npci.ping_with(lab.plan.gateway_external, 1, &["-M", "do", "-s", size]).all_answered()
    };
    assert!(fits("1272") && !fits("1273"));
    assert!(lab.tenant(1).namespace.ip(&["link", "show", "dev", "eth0"]).contains("mtu 1400"));
}

#[test]
fn two_labs_at_once_do_not_collide() {
    let (one, two) = (Lab::with(Topology::builder().tenants(1)), Lab::with(Topology::builder().tenants(1)));
    let names =
        |lab: &Lab| lab.namespaces().map(|namespace| namespace.name().to_owned()).collect::<BTreeSet<_>>();
    assert!(names(&one).is_disjoint(&names(&two)));
    let capture = one.capture_npci();
    assert!(two.npci.ping(two.plan.gateway_external, 1).all_answered());
    assert!(capture.stop().addresses().is_empty(), "the same addresses, but another network");
}

/// A stand-in for the daemon, which the lab's own tests don't need: what is tested is how it is started,
/// asked and ended.
#[test]
fn gateway_is_started_asked_and_restarted() {
    let lab = Lab::with(Topology::builder().tenants(1).mode(Mode::XdpGeneric));
    let stand_in = lab.session().path("stand-in");
    let script = r#"#!/bin/sh
case "$1" in
  run) echo "config $3"; trap 'exit 0' TERM; ip -o link show ext0; while :; do sleep 0.01; done;;
  status) echo "{\"asked\": \"$*\"}";;
  *) echo "no such command" >&2; exit 2;;
esac
"#;
    fs::write(&stand_in, script).expect("write the script");
    fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).expect("make it executable");
    let mut gateway = Gateway::prepare(&lab, &stand_in, |config| config.node.id = 7);
    gateway.launch();
    let config = fs::read_to_string(gateway.config_path()).expect("the configuration was written");
    assert!(config.contains("id = 7") && config.contains("xdp_mode = \"generic\""), "{config}");
    gateway.process().wait_for_line(LIMIT, "ext0");
    let socket = lab.session().dir().join("gateway.sock");
    let asked = format!("status --json --socket {}", socket.display());
    assert_eq!(gateway.cli(&["status"])["asked"], asked.as_str());
    assert!(gateway.try_cli(&["nonsense"]).expect_err("exits with 2").contains("no such command"));
    assert!(gateway.process().stop().success(), "SIGTERM is enough");
    gateway.launch();
    assert_eq!(gateway.process().kill().signal(), Some(9));
}

#[test]
fn bpffs_is_seen_from_every_namespace() {
    let lab = Lab::with(Topology::builder().tenants(1));
    let bpffs = BpfFs::mount(lab.session(), "bpffs");
    for namespace in lab.namespaces() {
        let output = namespace
            .command("stat")
            .args(["-f", "-c", "%T"])
            .arg(bpffs.path())
            .output()
            .expect("start stat");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "bpf_fs", "{}", namespace.role());
    }
}

#[test]
fn namespace_ends_the_processes_that_were_started_in_it() {
    let lab = Lab::with(Topology::builder().tenants(1));
    let mut command = lab.npci.command("sleep");
    command.arg("600");
    let sleeper = Proc::spawn(&lab.npci, "sleep", command);
    drop(lab);
    assert!(!sleeper.is_running());
}

#[test]
fn failure_keeps_the_evidence_and_success_leaves_nothing() {
    let run = |fail: bool| {
        let lab = Lab::with(Topology::builder().tenants(1));
        let names = lab.namespaces().map(|namespace| namespace.name().to_owned()).collect::<Vec<_>>();
        let dir = lab.session().dir().to_owned();
        let outcome = catch_unwind(AssertUnwindSafe(move || {
            let _capture = lab.capture_npci();
            assert!(lab.npci.ping(lab.plan.gateway_external, 1).all_answered());
            assert!(!fail, "this failure is part of a passing test");
            drop(lab);
        }));
        assert_eq!(outcome.is_err(), fail);
        assert!(names.iter().all(|name| !Path::new("/run/netns").join(name).exists()));
        dir
    };
    let gone = run(false);
    assert!(!gone.exists() && !kept(&gone).exists());
    let evidence = kept(&run(true));
    let state = fs::read_to_string(evidence.join("state.txt")).expect("the state was described");
    assert!(state.contains("192.0.2.100"), "{state}");
    let capture = fs::read(evidence.join("npci-npci0.1.pcap")).expect("the capture was kept");
    assert!(capture.len() > 24, "more than a header");
    fs::remove_dir_all(evidence).expect("removable");
}

fn kept(dir: &Path) -> std::path::PathBuf {
    let name = dir.file_name().expect("a name").to_string_lossy();
    dir.with_file_name(format!("gateway-lab-failed-{name}"))
}

/// Runs a copy of this test binary, kills it as an impatient user would, and looks at what is left.
#[test]
fn killed_run_is_tidied_up_and_a_live_one_is_not() {
    let alive = Lab::with(Topology::builder().tenants(1));
    let mut victim = Command::new(env::current_exe().expect("own path"))
        .args(["--exact", "victim", "--nocapture", "--include-ignored"])
        .env(VICTIM_VARIABLE, "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("start the victim");
    let (prefix, sleeper) = read_report(&mut victim);
    assert!(!left_of(&prefix).is_empty(), "the victim made its namespaces");
    victim.kill().expect("kill the victim");
    victim.wait().expect("reap the victim");

    poll_until(LIMIT, "the victim's child to die with it", || (!is_running(&sleeper)).then_some(()));
    leftovers::remove();
    assert_eq!(left_of(&prefix), Vec::<String>::new());
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("readable");
    assert!(!mounts.contains(&prefix), "the victim's bpffs is unmounted");
    assert_eq!(left_of(&alive.session().name().to_string()).len(), 4, "the live lab was left alone");
}

/// The process that is killed. Does nothing in an ordinary run.
#[test]
#[ignore = "only run by killed_run_is_tidied_up_and_a_live_one_is_not"]
fn victim() {
    if env::var_os(VICTIM_VARIABLE).is_none() {
        return;
    }
    let lab = Lab::with(Topology::builder().tenants(1));
    let _bpffs = BpfFs::mount(lab.session(), "bpffs");
    let sleeper = sleeper(&lab.npci);
    println!("\nvictim {} {}", lab.session().name(), sleeper.id());
    sleeper.wait(Duration::from_secs(600));
}

fn sleeper(namespace: &Namespace) -> Proc {
    let mut command = namespace.command("sleep");
    command.arg("600");
    Proc::spawn(namespace, "sleep", command)
}

/// The victim's session and its child's number.
fn read_report(victim: &mut std::process::Child) -> (String, String) {
    use std::io::{BufRead, BufReader};
    let stdout = BufReader::new(victim.stdout.take().expect("stdout is piped"));
    let line = stdout
        .lines()
        .map_while(Result::ok)
        .find(|line| line.starts_with("victim "))
        .expect("the victim reports before it ends");
    let words: Vec<&str> = line.split(' ').collect();
    (words[1].to_owned(), words[2].to_owned())
}

fn is_running(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Namespaces and directories with the victim's name.
fn left_of(prefix: &str) -> Vec<String> {
    let names = |dir: &Path| {
        fs::read_dir(dir)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.starts_with(prefix))
            .collect::<Vec<_>>()
    };
    [names(Path::new("/run/netns")), names(&env::temp_dir())].concat()
}
