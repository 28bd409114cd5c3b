//! A stream of one tenant's packets, as a file.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tracing::info;

use super::{
    Bounds, CapturedFrame, Gateway,
    armed::Lease,
    busy, ending, lock,
    news::WallClock,
    session::{Session, Take},
    unavailable,
};
use crate::{
    api::{source::SourceError, types::CaptureQuery},
    datapath::{monotonic_ns, tap},
};

/// Frames that wait to be written into a capture; a caller that reads slowly loses some, and is told how many.
const CAPTURE_BACKLOG: usize = 4_096;

/// Pieces of a file that wait for the caller.
const PIECES: usize = 64;

/// How long a capture that is full waits for what its last packets became.
const LAST_FRAMES: Duration = Duration::from_millis(200);

impl Gateway {
    pub(in crate::gateway) fn start_capture(
        self: Arc<Self>,
        tenant: &str,
        query: &CaptureQuery,
    ) -> Result<BoxStream<'static, Vec<u8>>, SourceError> {
        self.known_tenant(tenant)?;
        let bounds = Bounds::of(query)?;
        let mut armed = self.watchers.armed();
        if let Some(other) = &armed.capture {
            let message = format!("a capture of `{other}` is running, and there is one at a time");
            return Err(busy(message, "wait until it is over, or end it"));
        }
        if self.watchers.happenings().is_none() {
            return Err(ending());
        }
        let id = self.state().tenant_id(tenant);
        let (sender, frames) = mpsc::channel(CAPTURE_BACKLOG);
        let session = Session::new(tenant, id, bounds, monotonic_ns());
        let before = armed.tap.missed().map_err(unavailable)?;
        let until_ns = monotonic_ns() + u64::try_from(bounds.time.as_nanos()).unwrap_or(u64::MAX);
        self.join(&mut armed, |what| {
            (what.capture_until_ns, what.snap_len, what.capture_tenant) = (until_ns, bounds.snap_len(), id);
        })
        .map_err(unavailable)?;
        armed.capture = Some(tenant.to_owned());
        *lock(&self.watchers.frames) = Some(sender);
        self.watchers.overflowed.store(0, Ordering::Relaxed);
        drop(armed);
        info!(tenant, packets = bounds.packets, seconds = bounds.time.as_secs(), "capturing packets");
        let (pieces, receiver) = mpsc::channel(PIECES);
        let lease = Lease { gateway: self, is_capture: true };
        tokio::spawn(run_capture(lease, session, frames, pieces, before));
        Ok(stream::unfold(receiver, async |mut pieces| pieces.recv().await.map(|piece| (piece, pieces)))
            .boxed())
    }
}

/// Writes a capture until it is over: full, late, or nobody reads any more.
async fn run_capture(
    lease: Lease,
    mut session: Session,
    mut frames: mpsc::Receiver<CapturedFrame>,
    pieces: mpsc::Sender<Vec<u8>>,
    before: tap::Missed,
) {
    let mut until = Instant::now() + session.bounds().time;
    let mut read = pieces.send(session.start()).await.is_ok();
    while read && !session.is_over() {
        tokio::select! {
            frame = frames.recv() => {
                let Some((head, frame)) = frame else { break };
                let (names, clock) = (lease.gateway.names(), WallClock::now());
                if let Take::Wanted(piece) = session.take(&head, &frame, &names, clock) {
                    read = pieces.send(piece).await.is_ok();
                }
            }
            () = pieces.closed() => break,
            () = sleep_until(until) => break,
        }
        if session.is_full() {
            until = until.min(Instant::now() + LAST_FRAMES);
        }
    }
    let after = lease.gateway.watchers.armed().tap.missed().unwrap_or(before);
    let lost = after.since(before).frames + lease.gateway.watchers.overflowed.load(Ordering::Relaxed);
    info!(packets = session.packets(), lost, "the capture is over");
    // Before the end is told, so that whoever reads it can capture again at once.
    end(lease).await;
    let _read = pieces.send(session.end(WallClock::now().unix_ns(monotonic_ns()), lost)).await;
}

/// Ends a watcher, and waits until that is done.
async fn end(lease: Lease) {
    let gateway = lease.gateway.clone();
    std::mem::forget(lease);
    let _done = tokio::task::spawn_blocking(move || gateway.leave(true)).await;
}
