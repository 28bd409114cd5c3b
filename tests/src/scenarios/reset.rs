//! Connections that the daemon ends, and new ones that nobody takes: do the programs at both ends learn of it?

use std::{
    io::{self, ErrorKind, Read as _},
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use aya::maps::{HashMap, Map, MapData};
use gateway_common::{
    abi::{Pool, PoolFlags, Port},
    names,
};
use gateway_daemon::datapath::{
    pins::Pins,
    reset::{self, Injector, ResetReport},
    tables::Tables,
};

use super::{conversation, wires::NpciWire};
use crate::{gateway::Gateway, lab::Lab, poll::try_poll, topology::Mode, world::World};

/// Connections that are ended.
pub const CONNECTIONS: u64 = 50;
/// From the call until both ends of every connection have seen the reset.
pub const LIMIT: Duration = Duration::from_millis(200);
/// For whatever should have happened long before.
const PATIENCE: Duration = Duration::from_secs(5);
/// Whose connections are ended.
const VICTIM: usize = 1;
/// Whose go on.
const BYSTANDER: usize = 2;
/// Port of the victim's silent server, and of the listener in front of it.
const SILENT_PORT: u16 = 9999;

/// What was seen.
#[derive(Debug, Default)]
pub struct Resets {
    /// TCP flows that were marked.
    pub ended: u64,
    /// Flows whose ends were not both told in the end.
    pub waiting: usize,
    /// The longest that an end had to wait, counted from the call.
    pub slowest: Duration,
    /// Ends that saw something else than a reset, in words.
    pub failures: Vec<String>,
    /// Do connections of another tenant go on?
    pub others_go_on: bool,
    /// On NPCI's wire.
    pub bad_checksums: Vec<String>,
}

/// Idle connections through the gateway, ended by the library as the daemon would.
#[track_caller]
pub fn run(mode: Mode) -> Resets {
    let lab = Lab::new(mode);
    let backend = SocketAddrV4::new(lab.tenant(VICTIM).plan.backend(), SILENT_PORT);
    let world = World::start_with(&lab, |config| {
        config.tenant(VICTIM).add_pool("silent", &[backend]).add_listener("tcp", SILENT_PORT, "silent");
    });
    let mut others =
        conversation::of_each_kind(&lab, &world, &[BYSTANDER]).expect("connections of another tenant");
    let capture = lab.capture_npci();
    let ends = connect(&lab, backend);
    let mut seen = reset_all(&lab, &world.gateway, backend, ends);
    seen.others_go_on = others.iter_mut().all(|other| other.ask().is_ok());
    seen.bad_checksums = NpciWire::read(&capture.stop(), &lab.plan).bad_checksums;
    seen
}

/// Both ends of every connection, all of them idle.
fn connect(lab: &Lab, backend: SocketAddrV4) -> Vec<TcpStream> {
    let listener: TcpListener = lab.tenant(VICTIM).namespace.listen(backend);
    let target = lab.plan.ingress(SILENT_PORT);
    let one = |_| {
        let client = lab.npci.connect(None, target, PATIENCE).expect("the listener accepts");
        let (server, _) = listener.accept().expect("the server accepts");
        [client, server]
    };
    (0..CONNECTIONS).flat_map(one).collect()
}

/// Ends the flows in the gateway's namespace while every end waits for something to read.
fn reset_all(lab: &Lab, gateway: &Gateway<'_>, backend: SocketAddrV4, ends: Vec<TcpStream>) -> Resets {
    let tables = Tables::open(&Pins::new(gateway.bpffs().path())).expect("the daemon has pinned its tables");
    let injector = lab.gateway.enter(Injector::open).expect("a raw socket");
    thread::scope(|scope| {
        let readers: Vec<_> = ends.into_iter().map(|end| scope.spawn(|| wait_for_reset(end))).collect();
        let started = Instant::now();
        let which = reset::with_backend((*backend.ip()).into(), Port::new(backend.port()));
        let mut report = reset::reset(&tables, &injector, which).expect("the flows can be ended");
        let mut seen = Resets { ended: report.marked, ..Resets::default() };
        for reader in readers {
            match reader.join().expect("reading does not panic") {
                Ok(at) => seen.slowest = seen.slowest.max(at - started),
                Err(problem) => seen.failures.push(problem),
            }
        }
        seen.waiting = finish(&tables, &mut report);
        seen.failures.extend(leftovers(&tables, &report));
        seen
    })
}

/// When the connection was reset.
fn wait_for_reset(mut end: TcpStream) -> Result<Instant, String> {
    end.set_read_timeout(Some(PATIENCE)).expect("a timeout that is not zero");
    match end.read(&mut [0]) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(Instant::now()),
        other => Err(format!("{:?} saw {other:?}", end.local_addr())),
    }
}

fn finish(tables: &Tables, report: &mut ResetReport) -> usize {
    let finished =
        try_poll(PATIENCE, "both ends of every flow to be told", || match reset::finish(tables, report) {
            Ok(0) => Ok(()),
            Ok(waiting) => Err(Some(format!("{waiting} flows"))),
            Err(error) => Err(Some(format!("{error:#}"))),
        });
    finished.map_or_else(|_| report.waiting(), |()| 0)
}

/// Entries of finished flows that are still there.
fn leftovers(tables: &Tables, report: &ResetReport) -> Option<String> {
    let is_victims = |entry: &gateway_common::abi::CtEntry| entry.pair.src_port == Port::new(SILENT_PORT);
    let left = reset::forget(tables, is_victims).expect("the flows can be read");
    (left > 0).then(|| format!("{left} flows left of {report:?}"))
}

/// What programs say that are refused.
#[derive(Debug, Default)]
pub struct Refusals {
    /// The longest that one had to wait.
    pub slowest: Duration,
    /// Those that saw something else, in words.
    pub failures: Vec<String>,
}

/// New connections and datagrams to pools whose backends are all gone.
#[track_caller]
pub fn refusals(mode: Mode) -> Refusals {
    let lab = Lab::new(mode);
    let world = World::start(&lab);
    empty_pools(&world.gateway);
    let mut seen = Refusals::default();
    let tenant = lab.tenant(VICTIM);
    let mut note = |what: &str, outcome: io::Result<()>, took: Duration| {
        seen.slowest = seen.slowest.max(took);
        if outcome.as_ref().map_err(io::Error::kind) != Err(ErrorKind::ConnectionRefused) {
            seen.failures.push(format!("{what}: {outcome:?} after {took:?}"));
        }
    };
    for (what, from, tcp, udp) in [
        ("NPCI", &lab.npci, world.web(VICTIM), world.echo(VICTIM)),
        ("the tenant", &tenant.namespace, world.mapped(VICTIM), world.mapped(VICTIM)),
    ] {
        let started = Instant::now();
        let connected = from.connect(None, tcp, PATIENCE).map(drop);
        note(&format!("{what}, TCP"), connected, started.elapsed());
        for length in [0, 1, 1400] {
            let started = Instant::now();
            let asked = from.enter(|| ask(udp, length));
            note(&format!("{what}, {length} bytes of UDP"), asked, started.elapsed());
        }
    }
    seen
}

/// Sends a datagram and waits for what comes back.
fn ask(target: SocketAddrV4, length: usize) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(target)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(&vec![0x5a; length])?;
    socket.recv(&mut [0; 2048]).map(drop)
}

/// What the daemon writes when every backend is down: the configuration cannot say it.
fn empty_pools(gateway: &Gateway<'_>) {
    let map = MapData::from_pin(Pins::new(gateway.bpffs().path()).map(names::POOLS)).expect("it is pinned");
    let mut pools: HashMap<MapData, u32, Pool> = Map::HashMap(map).try_into().expect("a map of pools");
    let numbers: Vec<u32> = pools.keys().collect::<Result<_, _>>().expect("readable");
    for number in numbers {
        let pool = Pool { maglev_offset: 0, maglev_len: 0, flags: PoolFlags::REFUSE };
        pools.insert(number, pool, 0).expect("writable");
    }
}
