//! Connections that stay, as in a pool of sockets: asked now and then, and watched in between. When one ends that
//! nobody has ended, the time and the way are noted.

use std::{
    io,
    net::SocketAddrV4,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, select, sync::watch, task::JoinSet, time::timeout};

use super::exchange::{After, Aim, in_background, whoami};
use crate::{netns::Namespace, poll::try_poll};

/// For connecting and for each answer.
const LIMIT: Duration = Duration::from_secs(5);
/// Beyond it, for all answers of a round.
const SLACK: Duration = Duration::from_secs(5);

/// Some connections, open as long as this lives.
#[derive(Debug)]
pub struct Pooled {
    /// The number of the last round of questions; dropped, everything ends.
    rounds: watch::Sender<usize>,
    shared: Arc<Shared>,
    servers: Vec<SocketAddrV4>,
    _thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// In the last round.
    answered: usize,
    ended: Vec<Ended>,
}

/// A connection that ended, or did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its number, from 0.
    pub connection: usize,
    /// The server that had answered on it.
    pub server: SocketAddrV4,
    /// When it was seen.
    pub at: Instant,
    /// How.
    pub how: How,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// RST.
    Reset,
    /// FIN.
    Closed,
    /// Something else; in words.
    Failed(String),
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pooled {
    /// Opens so many connections to each aim from a namespace, and asks each once.
    pub fn open(from: &Namespace, aims: &[Aim], each: usize) -> Result<Self, String> {
        let aims: Vec<Aim> = aims.iter().flat_map(|aim| vec![aim.clone(); each]).collect();
        let (rounds, heard) = watch::channel(0);
        let (opened, wait) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let state = Arc::clone(&shared);
        let thread = in_background(from, "lab-pooled", move |runtime| {
            runtime.block_on(hold(aims, heard, state, opened));
        });
        let servers = wait.recv().expect("the thread says how it went")?;
        Ok(Self { rounds, shared, servers, _thread: thread })
    }

    /// The server at the other end of each connection.
    pub fn servers(&self) -> &[SocketAddrV4] {
        &self.servers
    }

    /// Asks on every connection that is left, and waits for the answers. Those that fail are noted as ended.
    pub fn ask(&self) {
        self.shared.state().answered = 0;
        self.rounds.send_modify(|round| *round += 1);
        // A connection that does not answer within its limit has ended: nothing more is to be waited for then.
        let _ = try_poll(LIMIT + SLACK, "answers", || {
            let state = self.shared.state();
            (state.answered + state.ended.len() >= self.servers.len()).then_some(()).ok_or(None::<String>)
        });
    }

    /// Connections that have ended so far, in the order of their ends.
    pub fn ended(&self) -> Vec<Ended> {
        self.shared.state().ended.clone()
    }
}

async fn hold(
    aims: Vec<Aim>,
    rounds: watch::Receiver<usize>,
    shared: Arc<Shared>,
    opened: mpsc::Sender<Result<Vec<SocketAddrV4>, String>>,
) {
    let streams = match open_all(&aims).await {
        Ok(streams) => streams,
        // Whoever opens them hears of it, and goes.
        Err(problem) => return opened.send(Err(problem)).unwrap_or_default(),
    };
    let _ = opened.send(Ok(streams.iter().map(|(_, server)| *server).collect()));
    let mut tasks = JoinSet::new();
    for (connection, (aim, (stream, server))) in aims.into_iter().zip(streams).enumerate() {
        let (rounds, shared) = (rounds.clone(), Arc::clone(&shared));
        tasks.spawn(async move {
            if let Some(how) = keep(stream, &aim, rounds, &shared).await {
                let ended = Ended { connection, server, at: Instant::now(), how };
                shared.state().ended.push(ended);
            }
        });
    }
    tasks.join_all().await;
}

async fn open_all(aims: &[Aim]) -> Result<Vec<(TcpStream, SocketAddrV4)>, String> {
    let mut streams = Vec::with_capacity(aims.len());
    for aim in aims {
        let open = async {
            let mut stream = TcpStream::connect(aim.address).await?;
            let who = whoami(&mut stream, aim, After::Keep).await?;
            io::Result::Ok((stream, who))
        };
        let opened = timeout(LIMIT, open).await.map_err(|_| format!("{}: no answer", aim.server))?;
        let (stream, who) = opened.map_err(|error| format!("{}: {error}", aim.server))?;
        aim.fault(&who).map_or(Ok(()), Err)?;
        streams.push((stream, SocketAddrV4::new(who.server_addr, who.server_port)));
    }
    Ok(streams)
}

/// Watches a connection until it ends (then says how) or is no longer needed.
async fn keep(
    mut stream: TcpStream,
    aim: &Aim,
    mut rounds: watch::Receiver<usize>,
    shared: &Shared,
) -> Option<How> {
    loop {
        select! {
            changed = rounds.changed() => {
                changed.ok()?;
                match timeout(LIMIT, whoami(&mut stream, aim, After::Keep)).await {
                    Err(_) => return Some(How::Failed(format!("no answer within {LIMIT:?}"))),
                    Ok(Err(error)) => return Some(how(&error)),
                    Ok(Ok(who)) => if let Some(fault) = aim.fault(&who) { return Some(How::Failed(fault)) },
                }
                shared.state().answered += 1;
            }
            ready = stream.readable() => {
                match ready.and_then(|()| stream.try_read(&mut [0; 1])) {
                    Ok(0) => return Some(How::Closed),
                    Ok(_) => return Some(How::Failed("an answer without a question".to_owned())),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Some(how(&error)),
                }
            }
        }
    }
}

fn how(error: &io::Error) -> How {
    match error.kind() {
        // Written to after the RST: it was the first to notice.
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => How::Reset,
        io::ErrorKind::UnexpectedEof => How::Closed,
        _ => How::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::{poll::poll_until, servers::Nginx, session::Session};

    #[test]
    fn connections_answer_again_and_their_end_is_seen() {
        let namespace = Namespace::create(&Session::start(), "alone");
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8080);
        let server = Nginx::start(&namespace, "server", &[address]);
        let aim = Aim { address, server: "server".to_owned(), seen_as: Ipv4Addr::LOCALHOST };
        let pooled = Pooled::open(&namespace, &[aim], 3).expect("three connections");
        assert_eq!(pooled.servers(), [address; 3]);
        pooled.ask();
        pooled.ask();
        assert_eq!(pooled.ended(), []);
        server.process().kill();
        let ended = poll_until(Duration::from_secs(5), "the ends", || {
            let ended = pooled.ended();
            (ended.len() == 3).then_some(ended)
        });
        assert!(ended.iter().all(|ended| matches!(ended.how, How::Reset | How::Closed)), "{ended:?}");
    }

    #[test]
    fn nobody_there_is_told() {
        let namespace = Namespace::create(&Session::start(), "alone");
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);
        let aim = Aim { address, server: "server".to_owned(), seen_as: Ipv4Addr::LOCALHOST };
        assert!(Pooled::open(&namespace, &[aim], 1).is_err());
    }
}
