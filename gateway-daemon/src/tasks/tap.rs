//! What the data path tells those who watch it: taken from its ring and passed on.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use aya::maps::{MapData, RingBuf};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tracing::{debug, warn};

use super::readable;
use crate::{datapath::tap::Record, drain::Shutdown, gateway::Gateway};

/// How often it is looked whether something was left out, and whether anybody watches still.
const INTERVAL: Duration = Duration::from_secs(1);

/// Follows the ring whenever somebody watches, until the shutdown, and ends every stream then.
pub fn spawn(gateway: Arc<Gateway>, shutdown: Shutdown) {
    tokio::spawn(async move {
        let mut watched = gateway.is_watched();
        tokio::select! {
            () = shutdown.requested() => {}
            failed = follow(&gateway, &mut watched) => if let Err(error) = failed {
                warn!("{error:#}");
            },
        }
        gateway.stop_watching();
    });
}

/// Ends only when the ring cannot be read.
async fn follow(gateway: &Gateway, watched: &mut watch::Receiver<bool>) -> Result<()> {
    loop {
        watched.wait_for(|watched| *watched).await?;
        pass_on(gateway, watched).await?;
    }
}

/// Passes on what the data path tells until nobody watches any more.
async fn pass_on(gateway: &Gateway, watched: &watch::Receiver<bool>) -> Result<()> {
    let mut ring = readable(gateway.open_tap()?).context("cannot wait for what the data path tells")?;
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            guard = ring.readable_mut() => {
                let mut guard = guard.context("cannot wait for what the data path tells")?;
                empty(guard.get_inner_mut(), gateway);
                guard.clear_ready();
            }
            _ = ticks.tick() => {
                if !*watched.borrow() {
                    // The next one who watches is not to hear of what was before.
                    empty(ring.get_mut(), gateway);
                    return Ok(());
                }
                if let Err(error) = gateway.tell_what_was_missed() {
                    warn!("{error:#}");
                }
            }
        }
    }
}

fn empty(ring: &mut RingBuf<MapData>, gateway: &Gateway) {
    while let Some(record) = ring.next() {
        if let Some(record) = Record::read(&record) {
            gateway.heard(record);
        } else {
            debug!("a record of the data path is of another version");
        }
    }
}
