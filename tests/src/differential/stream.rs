//! Ends with real TCP stacks. Nothing is compared packet by packet here, but what the programs at both ends see.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream},
    os::fd::AsFd as _,
    panic::resume_unwind,
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::{
    libc::linger,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{setsockopt, sockopt::Linger},
};

use super::{
    conversation::{Conversation, Path},
    frame::{Map, data},
    places,
    sight::{Place, Seen, Sight},
};
use crate::{netns::Namespace, poll::poll_result, scenarios::Digest, tcp::connect_from, topology::Topology};

/// For each step. All are done in microseconds, but on a busy machine.
const LIMIT: Duration = Duration::from_secs(10);
/// Bytes that follow a half-close.
const LAST_WORDS: usize = 5000;
/// Streams that run at once in a lab, each with a service of its own.
pub const LANES: u16 = 4;

/// What real stacks do with a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamScript {
    /// Who sends how much, in turn.
    pub turns: Vec<Turn>,
    /// How it ends.
    pub ending: Ending,
}

/// One end sends, the other reads it all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Else the server does.
    pub by_client: bool,
    /// Bytes.
    pub length: usize,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ending {
    /// Nobody listens: it never begins.
    Refused,
    /// The client closes first.
    ClientCloses,
    /// The server closes first.
    ServerCloses,
    /// The client closes its direction, and the server goes on for a while.
    ClientHalfCloses,
    /// The server closes its direction, and the client goes on for a while.
    ServerHalfCloses,
    /// The client resets.
    ClientAborts,
    /// The server resets.
    ServerAborts,
}

/// What one end does last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Close,
    AwaitClose,
    HalfClose,
    AwaitHalfClose,
    Abort,
    AwaitAbort,
}

impl Ending {
    fn parts(self) -> (Last, Last) {
        match self {
            Self::Refused | Self::ClientCloses => (Last::Close, Last::AwaitClose),
            Self::ServerCloses => (Last::AwaitClose, Last::Close),
            Self::ClientHalfCloses => (Last::HalfClose, Last::AwaitHalfClose),
            Self::ServerHalfCloses => (Last::AwaitHalfClose, Last::HalfClose),
            Self::ClientAborts => (Last::Abort, Last::AwaitAbort),
            Self::ServerAborts => (Last::AwaitAbort, Last::Abort),
        }
    }
}

/// Which services real stacks use: those of one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamService {
    /// On the ingress VIP.
    pub listener: u16,
    /// On the tenant's NAT IP.
    pub mapped: u16,
    /// Of the server, at either side.
    pub server: u16,
}

impl StreamService {
    /// Where somebody listens.
    pub fn open(lane: u16) -> Self {
        Self {
            listener: places::STREAM_LISTENER + lane,
            mapped: places::STREAM_MAPPED + lane,
            server: places::STREAM_PORT + lane,
        }
    }

    /// Where nobody does.
    pub fn closed() -> Self {
        Self { listener: places::CLOSED_LISTENER, mapped: places::CLOSED_MAPPED, server: places::CLOSED_PORT }
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..LANES).map(Self::open).chain([Self::closed()])
    }
}

/// The sockets of one stream.
struct Sockets {
    client: SocketAddrV4,
    called: SocketAddrV4,
    server: SocketAddrV4,
}

impl Sockets {
    fn of(map: &Map, conversation: &Conversation, service: StreamService) -> Self {
        let (npci, backend) = (map.plan.npci(), map.tenant.backend());
        let at = SocketAddrV4::new;
        let from = |host: Ipv4Addr| at(host, places::client_port(conversation.index, 0));
        match conversation.path {
            Path::Ingress => Self {
                client: from(npci),
                called: map.plan.ingress(service.listener),
                server: at(backend, service.server),
            },
            Path::Egress => Self {
                client: from(backend),
                called: at(npci, service.server),
                server: at(npci, service.server),
            },
            Path::Addressed => Self {
                client: from(backend),
                called: map.tenant.nat(service.mapped),
                server: at(npci, service.server),
            },
        }
    }
}

/// Holds a conversation of real stacks, and returns what both programs saw.
pub fn converse(topology: &Topology, map: &Map, told: &Conversation, script: &StreamScript) -> Vec<Sight> {
    let lane = u16::try_from(told.index % u64::from(LANES)).expect("few lanes");
    let refused = script.ending == Ending::Refused;
    let service = if refused { StreamService::closed() } else { StreamService::open(lane) };
    let sockets = Sockets::of(map, told, service);
    let tenant = &topology.tenant(map.tenant.number).namespace;
    let (near, far, places) = match told.path {
        Path::Ingress => (&topology.npci, tenant, (Place::Npci, Place::Tenant)),
        Path::Egress | Path::Addressed => (tenant, &topology.npci, (Place::Tenant, Place::Npci)),
    };
    let (client, server) = if refused {
        (failure(connect(near, &sockets)), Vec::new())
    } else {
        both_ends(near, far, &sockets, told, script)
    };
    let at = |place| move |(round, seen)| Sight { round, place, seen };
    let sights = client.into_iter().enumerate().map(at(places.0));
    sights.chain(server.into_iter().enumerate().map(at(places.1))).collect()
}

fn connect(near: &Namespace, sockets: &Sockets) -> io::Result<TcpStream> {
    near.enter(|| connect_from(sockets.client, sockets.called, LIMIT))
}

fn failure(connected: io::Result<TcpStream>) -> Vec<Seen> {
    connected.err().map(|error| Seen::Failed(error.kind())).into_iter().collect()
}

fn both_ends(
    near: &Namespace,
    far: &Namespace,
    sockets: &Sockets,
    told: &Conversation,
    script: &StreamScript,
) -> (Vec<Seen>, Vec<Seen>) {
    let listener = listen(far, sockets.server);
    let connected = match connect(near, sockets) {
        Ok(connected) => connected,
        Err(error) => return (vec![Seen::Failed(error.kind())], Vec::new()),
    };
    let (accepted, peer) = match accept(&listener) {
        Ok(accepted) => accepted,
        Err(error) => return (Vec::new(), vec![Seen::Failed(error.kind())]),
    };
    let (client_last, server_last) = script.ending.parts();
    // Nobody ends the connection before the other has read all: else a reset would overtake data, now and then.
    let ((done, is_done), (done_too, is_done_too)) = (mpsc::channel(), mpsc::channel());
    let part = |by_client, last, done, other_done| Part { told, script, by_client, last, done, other_done };
    let client = part(true, client_last, done, is_done_too);
    let server = part(false, server_last, done_too, is_done);
    thread::scope(|scope| {
        let client = scope.spawn(move || client.play(connected));
        let mut seen = vec![Seen::Peer(*peer.ip())];
        seen.extend(server.play(accepted));
        (client.join().unwrap_or_else(|panic| resume_unwind(panic)), seen)
    })
}

/// One end's part.
struct Part<'a> {
    told: &'a Conversation,
    script: &'a StreamScript,
    by_client: bool,
    last: Last,
    done: mpsc::Sender<()>,
    other_done: mpsc::Receiver<()>,
}

impl Part<'_> {
    fn play(&self, mut stream: TcpStream) -> Vec<Seen> {
        let mut seen = Vec::new();
        if let Err(error) = self.talk(&mut stream, &mut seen) {
            seen.push(Seen::Failed(error.kind()));
        }
        seen
    }

    fn talk(&self, stream: &mut TcpStream, seen: &mut Vec<Seen>) -> io::Result<()> {
        for turn in &self.script.turns {
            if turn.by_client == self.by_client {
                stream.write_all(&data(self.told.index, turn.length))?;
            } else {
                let mut bytes = vec![0; turn.length];
                stream.read_exact(&mut bytes)?;
                seen.push(received(&bytes));
            }
        }
        // If the other end has failed it says so itself.
        let _ = self.done.send(());
        let _ = self.other_done.recv_timeout(LIMIT);
        self.end(stream, seen)
    }

    fn end(&self, stream: &mut TcpStream, seen: &mut Vec<Seen>) -> io::Result<()> {
        match self.last {
            Last::Close => return Ok(()),
            Last::AwaitClose | Last::AwaitAbort => {}
            Last::HalfClose => stream.shutdown(Shutdown::Write)?,
            Last::AwaitHalfClose => {
                read_to_end(stream, seen)?;
                return stream.write_all(&data(self.told.index, LAST_WORDS));
            }
            Last::Abort => {
                let at_once = linger { l_onoff: 1, l_linger: 0 };
                return Ok(setsockopt(stream, Linger, &at_once)?);
            }
        }
        read_to_end(stream, seen)
    }
}

fn read_to_end(stream: &mut TcpStream, seen: &mut Vec<Seen>) -> io::Result<()> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    if !bytes.is_empty() {
        seen.push(received(&bytes));
    }
    seen.push(Seen::End);
    Ok(())
}

fn received(bytes: &[u8]) -> Seen {
    let (sum, length) = Digest::of(bytes, |_| ()).expect("memory");
    Seen::Received(usize::try_from(length).expect("as many as there are"), format!("{sum:?}"))
}

/// Listens where the conversation before has just ceased to. A process that is being started elsewhere holds that one's socket
/// until it is another program, so the port may be taken for a moment.
fn listen(far: &Namespace, at: SocketAddrV4) -> TcpListener {
    poll_result(LIMIT, &format!("a listener on {at}"), || far.enter(|| TcpListener::bind(at)))
}

fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddrV4)> {
    let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(LIMIT).expect("some seconds");
    if poll(&mut fds, timeout)? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let (stream, peer) = listener.accept()?;
    let std::net::SocketAddr::V4(peer) = peer else { return Err(io::ErrorKind::InvalidData.into()) };
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    Ok((stream, peer))
}
