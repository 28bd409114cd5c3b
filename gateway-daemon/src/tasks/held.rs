//! Parts of datagrams that came before the first one: taken from the data path's ring, and sent on after it.

use std::{sync::Arc, time::Instant};

use anyhow::Result;
use aya::maps::{MapData, RingBuf};
use gateway_common::{abi::HeldFrame, names};
use tokio::time::sleep_until;
use tracing::warn;

use super::open_ring;
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
    let mut ring = open_ring(&gateway, names::HELD)?;
    tokio::spawn(async move {
        let mut shelf = Shelf::default();
        loop {
            tokio::select! {
                () = shutdown.requested() => return,
                guard = ring.readable_mut() => match guard {
                    Ok(mut guard) => {
                        take_all(guard.get_inner_mut(), &gateway, &metrics, &mut shelf);
                        guard.clear_ready();
                    }
                    Err(error) => return warn!("cannot wait for parts of datagrams: {error}"),
                },
                () = due(&shelf) => {
                    for fate in shelf.try_due(Instant::now(), |frame| attempt(&gateway, frame)) {
                        metrics.held_parts(fate).inc();
                    }
                }
            }
        }
    });
    Ok(())
}

/// Waits until a frame is to be tried again; forever if none waits.
async fn due(shelf: &Shelf) {
    match shelf.next_due() {
        Some(due) => sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// Empties the ring. Most first parts are known by now.
fn take_all(ring: &mut RingBuf<MapData>, gateway: &Gateway, metrics: &Metrics, shelf: &mut Shelf) {
    while let Some(record) = ring.next() {
        let Ok(frame) = bytemuck::try_pod_read_unaligned::<HeldFrame>(&record) else { continue };
        match attempt(gateway, &frame) {
            Try::Done(fate) => _ = metrics.held_parts(fate).inc(),
            Try::Waits if shelf.put(frame, Instant::now()) => {
                _ = metrics.held_parts(PartFate::Displaced).inc();
            }
            Try::Waits => {}
        }
    }
}

fn attempt(gateway: &Gateway, frame: &HeldFrame) -> Try {
    gateway.resume(frame).unwrap_or_else(|error| {
        warn!("a part of a datagram is lost: {error:#}");
        Try::Done(PartFate::Dropped)
    })
}
