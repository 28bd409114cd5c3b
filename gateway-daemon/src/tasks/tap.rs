//! What the data path tells those who watch it: taken from its ring and passed on.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, warn};

use super::readable;
use crate::{datapath::tap::Record, drain::Shutdown, gateway::Gateway};

/// How often it is looked whether something was left out.
const MISSED_INTERVAL: Duration = Duration::from_secs(1);

/// Follows the ring until the shutdown, and ends every stream then.
///
/// # Errors
///
/// When the ring cannot be waited for.
pub fn spawn(gateway: Arc<Gateway>, shutdown: Shutdown) -> Result<()> {
    let ring = gateway.take_tap().context("somebody else reads what the data path tells")?;
    let mut ring = readable(ring).context("cannot wait for what the data path tells")?;
    tokio::spawn(async move {
        let mut ticks = interval(MISSED_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.requested() => break,
                guard = ring.readable_mut() => match guard {
                    Ok(mut guard) => {
                        while let Some(record) = guard.get_inner_mut().next() {
                            if let Some(record) = Record::read(&record) {
                                gateway.heard(record);
                            } else {
                                debug!("a record of the data path is of another version");
                            }
                        }
                        guard.clear_ready();
                    }
                    Err(error) => break warn!("cannot wait for what the data path tells: {error}"),
                },
                _ = ticks.tick() => if let Err(error) = gateway.tell_what_was_missed() {
                    warn!("{error:#}");
                },
            }
        }
        gateway.stop_watching();
    });
    Ok(())
}
