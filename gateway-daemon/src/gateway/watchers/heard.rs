//! What the data path told, on its way to those who watch.

use std::sync::{Arc, atomic::Ordering};

use anyhow::Result;
use aya::maps::{MapData, RingBuf};
use gateway_common::abi::TapKind;
use tokio::sync::{mpsc, watch};

use super::{
    CapturedFrame, Gateway, lock,
    news::{WallClock, happening},
};
use crate::{
    api::types::{Happening, Missed},
    datapath::tap::Record,
};

/// What the task that reads the ring buffer needs.
impl Gateway {
    /// Does anybody watch?
    pub fn is_watched(&self) -> watch::Receiver<bool> {
        self.watchers.watched.subscribe()
    }

    /// The ring buffer with what the data path tells; for one reader at a time.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn open_tap(&self) -> Result<RingBuf<MapData>> {
        self.watchers.armed().tap.open_ring()
    }

    /// Passes on what the data path told.
    pub fn heard(&self, record: Record) {
        match record {
            Record::Packet(head, frame) if head.kind() != Some(TapKind::Dropped) => {
                self.heard_frame((head, frame));
            }
            record => {
                let Some(watchers) = self.watchers.happenings().filter(|all| all.receiver_count() > 0) else {
                    return;
                };
                if let Some(what) = happening(&record, &self.names(), WallClock::now()) {
                    // The only error is that the last one has just left.
                    let _heard_by = watchers.send(Arc::new(what));
                }
            }
        }
    }

    fn heard_frame(&self, frame: CapturedFrame) {
        let frames = lock(&self.watchers.frames).clone();
        if let Some(frames) = frames
            && matches!(frames.try_send(frame), Err(mpsc::error::TrySendError::Full(_)))
        {
            self.watchers.overflowed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells monitors what was left out since the last word about it, if anything was.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn tell_what_was_missed(&self) -> Result<()> {
        let Some(watchers) = self.watchers.happenings().filter(|all| all.receiver_count() > 0) else {
            return Ok(());
        };
        // Whoever loads programs takes his time; there is another look in a second.
        let Ok(armed) = self.watchers.armed.try_lock() else {
            return Ok(());
        };
        let now = armed.tap.missed()?;
        drop(armed);
        let before = std::mem::replace(&mut *lock(&self.watchers.missed), now);
        let missed = Missed::from(now.since(before));
        if missed != Missed::default() {
            let _heard_by = watchers.send(Arc::new(Happening::Missed(missed)));
        }
        Ok(())
    }

    /// Ends every stream: the daemon ends.
    pub fn stop_watching(&self) {
        *lock(&self.watchers.happenings) = None;
        *lock(&self.watchers.frames) = None;
    }
}
