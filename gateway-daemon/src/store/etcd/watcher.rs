//! Follows `meta/version`, and comes back after every interruption.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{EventType, WatchResponse};
use tokio::time::{sleep, timeout};

use super::Shared;
use crate::store::StoreError;

/// The pause before the first new attempt; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause: etcd is back for at most this long before changes work again.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// When nothing was reported for this long, it is asked whether etcd is still there: a connection through a firewall
/// that forgot it stays silent for ever.
const SILENCE: Duration = Duration::from_secs(2);

/// Follows until the store is dropped.
pub(super) async fn follow_forever(shared: Arc<Shared>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let Err(error) = follow(&shared, &mut pause).await;
        // Only noted: `trouble` tells it, and the log has it from there.
        let _ = shared.noted::<()>(Err(error));
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Follows until something breaks.
async fn follow(shared: &Shared, pause: &mut Duration) -> Result<Infallible, StoreError> {
    let seen = shared.wire.head().await?;
    *pause = FIRST_PAUSE;
    shared.publish_anew(&seen.head, seen.mod_revision);
    shared.noted(Ok(()))?;
    let mut reports = shared.wire.watch(seen.revision + 1).await?;
    loop {
        match timeout(SILENCE, reports.message()).await {
            Ok(Ok(Some(report))) => take(shared, &report)?,
            Ok(Ok(None)) => return Err(shared.wire.unavailable(Ended)),
            Ok(Err(error)) => return Err(shared.wire.unavailable(error)),
            Err(_silence) => ask(shared).await?,
        }
    }
}

fn take(shared: &Shared, report: &WatchResponse) -> Result<(), StoreError> {
    if report.canceled() {
        return Err(shared.wire.unavailable(Ended));
    }
    let puts = report.events().iter().filter(|event| event.event_type() == EventType::Put);
    for pair in puts.filter_map(|event| event.kv()) {
        shared.publish(&shared.wire.head_of(pair.value())?, pair.mod_revision());
    }
    Ok(())
}

async fn ask(shared: &Shared) -> Result<(), StoreError> {
    let seen = shared.noted(shared.wire.head().await)?;
    shared.publish(&seen.head, seen.mod_revision);
    Ok(())
}

/// etcd ended the reports.
#[derive(Debug, thiserror::Error)]
#[error("etcd ended the watch")]
struct Ended;
