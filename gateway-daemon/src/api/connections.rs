//! Accepts connections, one task each, and keeps their number and their idleness within bounds.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::auth::{Caller, LocalCaller};
use super::gate::UnderWay;

/// Connections at once of one user of this host, or of one address: one user can't keep the others out.
pub(super) const CONNECTIONS_PER_CALLER: usize = 64;

/// How long a client may take for the head of a request, and how long an idle connection is kept.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// How long to wait before accepting again when the system has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whose connections are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    /// A user of this host.
    User(u32),
    /// An address.
    Address(IpAddr),
}

/// How many connections everybody has.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots(Arc<Mutex<HashMap<Origin, usize>>>);

/// One connection that counts until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Slots,
    origin: Origin,
}

impl Slots {
    /// Room for one more, if there is.
    pub(super) fn take(&self, origin: Origin) -> Option<Slot> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(origin).or_default();
        if *count >= CONNECTIONS_PER_CALLER {
            return None;
        }
        *count += 1;
        Some(Slot { slots: self.clone(), origin })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.slots.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.origin) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.origin);
            }
        }
    }
}

/// Where connections come in.
pub(super) trait Door: Send + Sync {
    /// A connection whose other end is not known yet.
    type Guest: Send;

    /// The next one.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Guest>> + Send;

    /// Finds out who it is, and starts to answer.
    fn greet(&self, connections: &mut Connections, guest: Self::Guest);
}

impl Door for UnixListener {
    type Guest = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        UnixListener::accept(self).await.map(|(stream, _)| stream)
    }

    fn greet(&self, connections: &mut Connections, stream: UnixStream) {
        connections.local(stream);
    }
}

/// The connections of one listener. Dropping it breaks them off.
pub(super) struct Connections {
    router: Router,
    slots: Slots,
    tasks: JoinSet<()>,
    ending: watch::Sender<bool>,
}

impl Connections {
    pub(super) fn new(router: Router) -> Self {
        Self { router, slots: Slots::default(), tasks: JoinSet::new(), ending: watch::Sender::new(false) }
    }

    /// Accepts until `shutdown` is ready, then waits for the requests under way.
    pub(super) async fn run<D: Door>(mut self, door: D, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = door.accept() => match accepted {
                    Ok(guest) => door.greet(&mut self, guest),
                    Err(error) => pause(&error).await,
                },
                Some(_) = self.tasks.join_next() => {}
            }
        }
        self.ending.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        // What goes on although nobody is left to be answered.
        self.ending.closed().await;
    }

    /// A process of this host.
    fn local(&mut self, stream: UnixStream) {
        let Ok(peer) = stream.peer_cred() else { return };
        let Some(slot) = self.slot(Origin::User(peer.uid())) else { return };
        let talk = self.conversation();
        self.tasks.spawn(async move {
            let Ok(local) = tokio::task::spawn_blocking(move || LocalCaller::look_up(peer)).await else {
                return;
            };
            talk.with(stream, Caller::Local(Arc::new(local))).await;
            drop(slot);
        });
    }

    /// Whoever `introduce` finds out to be there.
    pub(super) fn remote<S, I>(&mut self, address: IpAddr, introduce: I)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        I: Future<Output = Option<(S, Caller)>> + Send + 'static,
    {
        let Some(slot) = self.slot(Origin::Address(address)) else { return };
        let talk = self.conversation();
        self.tasks.spawn(async move {
            if let Some((stream, caller)) = introduce.await {
                talk.with(stream, caller).await;
            }
            drop(slot);
        });
    }

    fn slot(&self, origin: Origin) -> Option<Slot> {
        let slot = self.slots.take(origin);
        if slot.is_none() {
            tracing::warn!(
                ?origin,
                limit = CONNECTIONS_PER_CALLER,
                "too many connections to the API: refused one"
            );
        }
        slot
    }

    fn conversation(&self) -> Conversation {
        Conversation { router: self.router.clone(), ending: self.ending.subscribe() }
    }
}

async fn pause(error: &io::Error) {
    tracing::warn!(%error, "cannot accept a connection to the API");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// One connection's requests and answers.
struct Conversation {
    router: Router,
    ending: watch::Receiver<bool>,
}

impl Conversation {
    async fn with<S>(mut self, stream: S, caller: Caller)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let router = TowerToHyperService::new(self.router);
        let under_way = UnderWay(self.ending.clone());
        let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(caller.clone());
            request.extensions_mut().insert(under_way.clone());
            let answer = router.call(request);
            async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = asked_to_end(&mut self.ending) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        // The client went away, or was too slow: its own affair.
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection to the API broke off");
        }
    }
}

/// Ready when it is time to end; also when nobody is left to say so.
async fn asked_to_end(ending: &mut watch::Receiver<bool>) {
    let _ = ending.wait_for(|ending| *ending).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_cannot_take_the_room_of_another() {
        let slots = Slots::default();
        let mut held: Vec<_> =
            (0..CONNECTIONS_PER_CALLER).map(|_| slots.take(Origin::User(1_000)).unwrap()).collect();
        assert!(slots.take(Origin::User(1_000)).is_none());
        let other = slots.take(Origin::User(1_001)).unwrap();
        held.pop();
        held.push(slots.take(Origin::User(1_000)).unwrap());
        drop((held, other));
        assert!(slots.0.lock().unwrap().is_empty(), "counts of those who are gone are kept");
    }
}
