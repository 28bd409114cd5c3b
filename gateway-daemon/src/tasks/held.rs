//! Parts of datagrams that came before the first one: taken from the data path's ring, and sent on after it.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::maps::{Map, MapData, RingBuf};
use gateway_common::{
    abi::HeldFrame,
    limits::{HELD_BATCH, HELD_REST_MS},
    names,
};
use tokio::{
    io::unix::AsyncFd,
    time::{sleep, sleep_until, timeout},
};
use tracing::warn;

use super::readable;
use crate::{
    datapath::held::{Shelf, Try},
    drain::Shutdown,
    gateway::Gateway,
    metrics::{Metrics, labels::PartFate},
};

/// Follows the ring until the shutdown; what waits then is lost, as it is when the daemon is not there at all.
///
/// # Errors
///
/// When the ring cannot be opened.
pub fn spawn(gateway: Arc<Gateway>, metrics: Metrics, shutdown: Shutdown) -> Result<()> {
    let mut ring = Ring::new(&gateway)?;
    tokio::spawn(async move {
        let mut shelf = Shelf::default();
        loop {
            let left = tokio::select! {
                () = shutdown.requested() => return,
                told = ring.told() => match told.and_then(|()| ring.open()) {
                    Ok(open) => {
                        let left = take_some(frames(open), |frame| {
                            take(frame, &gateway, &metrics, &mut shelf);
                        });
                        ring.rang = left == Left::Perhaps;
                        left
                    }
                    Err(error) => return warn!("cannot wait for parts of datagrams: {error:#}"),
                },
                () = due(&shelf) => {
                    for fate in shelf.try_due(Instant::now(), |frame| attempt(&gateway, frame)) {
                        metrics.held_parts(fate).inc();
                    }
                    Left::Nothing
                }
            };
            if left == Left::Perhaps {
                sleep(REST).await;
            }
        }
    });
    Ok(())
}

/// The ring, open only while something comes: it counts twice its size as the daemon's memory, and most networks never lose
/// the order of parts.
struct Ring {
    /// Tells when there is something in it.
    bell: AsyncFd<OwnedFd>,
    /// May there be something that is not taken yet?
    rang: bool,
    open: Option<RingBuf<MapData>>,
}

impl Ring {
    fn new(gateway: &Gateway) -> Result<Self> {
        let path = gateway.pins().map(names::HELD);
        let map = MapData::from_pin(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let bell = readable(map.fd().as_fd().try_clone_to_owned()?);
        let bell = bell.context("cannot wait for parts of datagrams")?;
        Ok(Self { bell, rang: false, open: None })
    }

    /// Waits until there is something in it, at once if there may be something left. Closes it meanwhile, if that takes long.
    async fn told(&mut self) -> Result<()> {
        if self.rang {
            return Ok(());
        }
        if self.open.is_some() {
            if let Ok(bell) = timeout(IDLE, self.bell.readable()).await {
                bell?.clear_ready();
                return Ok(());
            }
            self.open = None;
        }
        self.bell.readable().await?.clear_ready();
        Ok(())
    }

    fn open(&mut self) -> Result<&mut RingBuf<MapData>> {
        let ring = match self.open.take() {
            Some(ring) => ring,
            None => Map::RingBuf(MapData::from_fd(self.bell.get_ref().try_clone()?)?).try_into()?,
        };
        Ok(self.open.insert(ring))
    }
}

/// After so long without a part the ring is closed.
const IDLE: Duration = Duration::from_secs(1);

/// Waits until a frame is to be tried again; forever if none waits.
async fn due(shelf: &Shelf) {
    match shelf.next_due() {
        Some(due) => sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// How long to rest while a flood goes on.
const REST: Duration = Duration::from_millis(HELD_REST_MS);

/// What there is to do at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// All that there was is taken.
    Nothing,
    /// Something may be left.
    Perhaps,
}

/// Takes as many frames as one turn may.
fn take_some(frames: impl Iterator<Item = HeldFrame>, mut take: impl FnMut(&HeldFrame)) -> Left {
    let mut taken = 0;
    for frame in frames.take(HELD_BATCH) {
        take(&frame);
        taken += 1;
    }
    if taken < HELD_BATCH { Left::Nothing } else { Left::Perhaps }
}

/// What is in the ring.
fn frames(ring: &mut RingBuf<MapData>) -> impl Iterator<Item = HeldFrame> {
    // A record of another size is nobody's: the ring has this one use.
    std::iter::from_fn(|| ring.next().map(|record| bytemuck::try_pod_read_unaligned(&record).ok())).flatten()
}

/// Sends a frame on, or lets it wait. Most first parts are known by now.
fn take(frame: &HeldFrame, gateway: &Gateway, metrics: &Metrics, shelf: &mut Shelf) {
    match attempt(gateway, frame) {
        Try::Done(fate) => _ = metrics.held_parts(fate).inc(),
        Try::Waits if shelf.put(*frame, Instant::now()) => {
            _ = metrics.held_parts(PartFate::Displaced).inc();
        }
        Try::Waits => {}
    }
}

fn attempt(gateway: &Gateway, frame: &HeldFrame) -> Try {
    gateway.resume(frame).unwrap_or_else(|error| {
        warn!("a part of a datagram is lost: {error:#}");
        Try::Done(PartFate::Dropped)
    })
}

#[cfg(test)]
mod tests {
    use std::iter;

    use bytemuck::Zeroable as _;

    use super::*;

    fn taken_of(frames: usize) -> (usize, Left) {
        let mut taken = 0;
        let left = take_some(iter::repeat_n(HeldFrame::zeroed(), frames), |_| taken += 1);
        (taken, left)
    }

    #[test]
    fn a_flood_is_taken_a_part_at_a_time() {
        assert_eq!(taken_of(0), (0, Left::Nothing));
        assert_eq!(taken_of(HELD_BATCH - 1), (HELD_BATCH - 1, Left::Nothing));
        assert_eq!(taken_of(HELD_BATCH), (HELD_BATCH, Left::Perhaps), "nobody knows without another look");
        assert_eq!(taken_of(100 * HELD_BATCH), (HELD_BATCH, Left::Perhaps));
    }

    #[test]
    fn a_flood_gets_fifty_thousand_tries_a_second() {
        let turns = Duration::from_secs(1).as_nanos() / REST.as_nanos();
        assert_eq!(turns * HELD_BATCH as u128, 51_200);
    }
}
