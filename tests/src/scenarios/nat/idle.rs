//! Flows of a tenant with timeouts of its own: alive while somebody speaks, and gone when the time is up, no sooner and not
//! much later.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use crate::{
    capture::Recording,
    gateway::{TenantTimeouts, Timeouts, api::Api},
    lab::Lab,
    packet::TcpFlags,
    poll::poll_until,
    topology::{Mode, Topology},
    world::World,
};

/// Whose timeouts are short.
const SHORT: usize = 1;
/// Whose are the node's.
const NODE: usize = 2;
/// Port of the silent servers, and of the listeners in front of them.
const PORT: u16 = 9999;
/// From one keep-alive to the next.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// What the daemon promises: times are noted to a second.
pub const GRANULARITY: Duration = Duration::from_secs(1);
/// What the daemon promises beyond: two seconds while the tables are small.
pub const SLACK: Duration = Duration::from_secs(3);
/// How much longer is looked, so that a late end is measured rather than missed.
const PATIENCE: Duration = Duration::from_secs(20);
/// For connecting and answers.
const LIMIT: Duration = Duration::from_secs(5);

/// The timeouts, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// TCP, established.
    pub tcp: u64,
    /// UDP.
    pub udp: u64,
}

/// When a flow was there, and when not.
#[derive(Debug, Clone, Copy, Default)]
pub struct Life {
    /// Last seen alive, since its last packet.
    pub kept: Duration,
    /// First seen gone, since its last packet; the longest when it never was.
    pub gone: Option<Duration>,
}

/// What was seen.
#[derive(Debug)]
pub struct Idle {
    /// Of the silent connection.
    pub tcp: Life,
    /// Of the silent datagrams.
    pub udp: Life,
    /// Flows that should live and do not: with keep-alives, and a silent one of another tenant.
    pub lost: Vec<String>,
    /// Ends of the silent connection that saw no reset, and wires that carried none.
    pub not_reset: Vec<String>,
}

/// A silent flow and a steady one of each kind, and a silent one of another tenant.
#[track_caller]
pub fn run(size: Size) -> Idle {
    let lab = Lab::with(Topology::builder().mode(Mode::Tc).tenants(2));
    let world = World::start_with(&lab, |config| {
        config.timeouts = Some(Timeouts { reset_on_expiry: Some(true), ..Timeouts::default() });
        config.tenant(SHORT).limits.timeouts = Some(TenantTimeouts::short(size.tcp, size.udp));
        for number in [SHORT, NODE] {
            let server = server(&lab, number);
            config.tenant(number).add_pool("silent", &[server]).add_listener(
                "tcp",
                listener(number),
                "silent",
            );
        }
    });
    lab.warm_neighbours();
    let captures = [("NPCI's", lab.capture_npci()), ("the tenant's", lab.capture_tenant(SHORT))];
    let servers = [SHORT, NODE].map(|number| lab.tenant(number).namespace.listen(server(&lab, number)));
    let mut steady = [Stream::open(&lab, SHORT, &servers[0])];
    let steady_udp = Datagrams::open(&lab, &world);
    let mut other = Stream::open(&lab, NODE, &servers[1]);
    let mut silent = Stream::open(&lab, SHORT, &servers[0]);
    let silent_udp = Datagrams::open(&lab, &world);
    let mut lost = Vec::new();
    let lives =
        watch(&world, &lab.tenant(SHORT).plan.name, [&silent.watched, &silent_udp.watched], size, || {
            lost.extend(steady[0].speak().err());
            lost.extend(steady_udp.speak().err());
        });
    lost.extend(other.speak().err());
    let not_reset = not_reset(&mut silent, &captures.map(|(whose, capture)| (whose, capture.stop())));
    let [tcp, udp] = lives;
    Idle { tcp, udp, lost, not_reset }
}

fn server(lab: &Lab, number: usize) -> SocketAddrV4 {
    SocketAddrV4::new(lab.tenant(number).plan.backend(), PORT)
}

fn listener(number: usize) -> u16 {
    PORT - 10 + u16::try_from(number).expect("few tenants")
}

/// A flow whose life is watched: how the daemon names it, and when it last carried a packet.
#[derive(Debug)]
struct Watched {
    protocol: &'static str,
    client_port: u16,
    quiet_since: Instant,
}

/// A connection with both its ends.
#[derive(Debug)]
struct Stream {
    client: TcpStream,
    server: TcpStream,
    watched: Watched,
}

impl Stream {
    fn open(lab: &Lab, number: usize, server: &TcpListener) -> Self {
        let target = lab.plan.ingress(listener(number));
        let client = lab.npci.connect(None, target, LIMIT).expect("the listener accepts");
        let (server, _) = server.accept().expect("the server accepts");
        server.set_read_timeout(Some(LIMIT)).expect("a timeout");
        let client_port = client.local_addr().expect("it is bound").port();
        let watched = Watched { protocol: "tcp", client_port, quiet_since: Instant::now() };
        let mut stream = Self { client, server, watched };
        stream.speak().unwrap_or_else(|problem| panic!("{problem}"));
        stream.watched.quiet_since = Instant::now();
        stream
    }

    /// A byte there and another one back.
    fn speak(&mut self) -> Result<(), String> {
        let Self { client, server, .. } = self;
        let mut exchange = || -> io::Result<()> {
            client.write_all(b"?")?;
            server.read_exact(&mut [0])?;
            server.write_all(b"!")?;
            client.read_exact(&mut [0])
        };
        exchange().map_err(|error| format!("connection from port {}: {error}", self.watched.client_port))
    }
}

/// A socket that talks to the tenant's echo.
#[derive(Debug)]
struct Datagrams {
    socket: UdpSocket,
    watched: Watched,
}

impl Datagrams {
    fn open(lab: &Lab, world: &World<'_>) -> Self {
        let socket = lab.npci.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))).expect("bind any port");
        socket.connect(world.echo(SHORT)).expect("there is a route");
        socket.set_read_timeout(Some(LIMIT)).expect("a timeout");
        let client_port = socket.local_addr().expect("it is bound").port();
        let watched = Watched { protocol: "udp", client_port, quiet_since: Instant::now() };
        let mut datagrams = Self { socket, watched };
        datagrams.speak().unwrap_or_else(|problem| panic!("{problem}"));
        datagrams.watched.quiet_since = Instant::now();
        datagrams
    }

    fn speak(&self) -> Result<(), String> {
        let answer = self.socket.send(b"?").and_then(|_| self.socket.recv(&mut [0; 64]));
        answer.map(drop).map_err(|error| format!("datagrams from port {}: {error}", self.watched.client_port))
    }
}

/// Looks at the flows until both silent ones have been gone for long enough; `speak` keeps the others alive.
fn watch(
    world: &World<'_>,
    tenant: &str,
    silent: [&Watched; 2],
    size: Size,
    mut speak: impl FnMut(),
) -> [Life; 2] {
    let (mut lives, mut spoken) = ([Life::default(); 2], Instant::now());
    let longest = Duration::from_secs(size.tcp.max(size.udp));
    let (mut api, begin) = (world.gateway.api(), Instant::now());
    poll_until(longest + 2 * PATIENCE, "the silent flows to go", || {
        if spoken.elapsed() >= KEEP_ALIVE {
            spoken = Instant::now();
            speak();
        }
        look(&mut api, tenant, silent, &mut lives);
        let all_gone = lives.iter().all(|life| life.gone.is_some());
        // The steady ones have to outlive the silent ones by as much as these may be late.
        let is_over = all_gone && begin.elapsed() >= longest + SLACK;
        (is_over || begin.elapsed() >= longest + PATIENCE).then_some(())
    });
    lives
}

/// One look: who of them is alive?
fn look(api: &mut Api, tenant: &str, silent: [&Watched; 2], lives: &mut [Life; 2]) {
    let asked = Instant::now();
    let flows = api.flows(tenant).unwrap_or_else(|problem| panic!("{problem}"));
    for (watched, life) in silent.into_iter().zip(lives) {
        let is_it = |flow: &&serde_json::Value| {
            flow["protocol"] == watched.protocol && flow["original"]["source_port"] == watched.client_port
        };
        let is_alive = flows.iter().filter(is_it).any(|flow| flow["state"] != "expired");
        if is_alive {
            life.kept = asked.saturating_duration_since(watched.quiet_since);
        } else if life.gone.is_none() {
            life.gone = Some(watched.quiet_since.elapsed());
        }
    }
}

/// Both ends, and both wires.
fn not_reset(silent: &mut Stream, wires: &[(&str, Recording); 2]) -> Vec<String> {
    let ends = [("the client", &mut silent.client), ("the server", &mut silent.server)];
    let unaware = ends.into_iter().filter_map(|(who, end)| match end.read(&mut [0]) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
        other => Some(format!("{who} saw {other:?}")),
    });
    let mut missing: Vec<String> = unaware.collect();
    let mute = wires.iter().filter(|(_, wire)| {
        let frames = wire.frames();
        !frames.iter().any(|frame| frame.tcp().is_some_and(|tcp| tcp.flags.contains(TcpFlags::RST)))
    });
    missing.extend(mute.map(|(whose, _)| format!("no reset on {whose} wire")));
    missing
}
