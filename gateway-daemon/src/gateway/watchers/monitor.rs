//! A stream of drops, and of flows that begin and end.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::broadcast;

use super::{Gateway, armed::Lease, busy, ending, lock, unavailable};
use crate::api::{
    source::SourceError,
    types::{Happening, Missed, MonitorFilter},
};

/// Watchers of drops and flows at a time: each gets a copy of everything.
const MONITORS_MAX: usize = 16;

impl Gateway {
    pub(in crate::gateway) fn start_monitor(
        self: Arc<Self>,
        filter: MonitorFilter,
    ) -> Result<BoxStream<'static, Happening>, SourceError> {
        filter.tenant.as_deref().map_or(Ok(()), |name| self.known_tenant(name))?;
        let receiver = self.watchers.happenings().map(|all| all.subscribe()).ok_or_else(ending)?;
        let mut armed = self.watchers.armed();
        if armed.monitors >= MONITORS_MAX {
            return Err(busy(format!("{MONITORS_MAX} others watch already"), "end one of them"));
        }
        if armed.monitors == 0 {
            *lock(&self.watchers.missed) = armed.tap.missed().map_err(unavailable)?;
        }
        self.join(&mut armed, |what| what.events = 1).map_err(unavailable)?;
        armed.monitors += 1;
        drop(armed);
        let lease = Lease { gateway: self, is_capture: false };
        Ok(stream::unfold((receiver, filter, lease), next_wanted).boxed())
    }
}

type Monitor = (broadcast::Receiver<Arc<Happening>>, MonitorFilter, Lease);

/// The next thing that a monitor wants to know.
async fn next_wanted((mut receiver, filter, lease): Monitor) -> Option<(Happening, Monitor)> {
    loop {
        let what = match receiver.recv().await {
            Ok(what) if filter.wants(&what) => Happening::clone(&what),
            Ok(_) => continue,
            Err(broadcast::error::RecvError::Lagged(lost)) => {
                Happening::Missed(Missed { lost, ..Missed::default() })
            }
            Err(broadcast::error::RecvError::Closed) => return None,
        };
        return Some((what, (receiver, filter, lease)));
    }
}
