//! What the data path is told to tell. The programs that tell are loaded with the first watcher and unloaded with the last.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::Result;
use gateway_common::abi::{self, TenantId};
use tokio::runtime::Handle;
use tracing::warn;

use super::{Gateway, lock};
use crate::datapath::tap::{self, Kind, Tap};

/// What the data path has been told to tell.
pub(super) struct Armed {
    pub(super) tap: Tap,
    what: abi::Tap,
    kinds: BTreeSet<Kind>,
    pub(super) monitors: usize,
    pub(super) capture: Option<String>,
}

impl Armed {
    /// Nobody watches through this tap yet.
    pub(super) fn new(tap: Tap) -> Self {
        Self { tap, what: abi::Tap::default(), kinds: BTreeSet::new(), monitors: 0, capture: None }
    }

    fn is_idle(&self) -> bool {
        self.monitors == 0 && self.capture.is_none()
    }

    fn set(&mut self, change: impl FnOnce(&mut abi::Tap)) -> Result<()> {
        change(&mut self.what);
        self.tap.set(self.what)
    }
}

/// One watcher. The data path is told less when it is dropped.
pub(super) struct Lease {
    pub(super) gateway: Arc<Gateway>,
    pub(super) is_capture: bool,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (gateway, is_capture) = (self.gateway.clone(), self.is_capture);
        // It unloads programs, which takes its time. Without a runtime the daemon ends, and the kernel does it.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn_blocking(move || gateway.leave(is_capture));
        }
    }
}

/// Watchers come and go.
impl Gateway {
    /// Loads the programs that tell and puts them in their places. Each is a moment's work for the kernel's verifier, and
    /// changes of the configuration may come in between.
    fn arm(&self, armed: &mut Armed) -> Result<()> {
        let kinds: BTreeSet<_> = self.state().attachments.iter().map(|one| one.link.hook.into()).collect();
        for kind in kinds {
            armed.kinds.insert(kind);
            for (index, name) in (0..).zip(kind.programs()) {
                let program = kind.load(&mut self.state_mut().ebpf, &name)?;
                armed.tap.put(kind, index, &program)?;
            }
        }
        Ok(())
    }

    fn disarm(&self, armed: &mut Armed) {
        for kind in std::mem::take(&mut armed.kinds) {
            armed.tap.clear(kind);
            for name in kind.programs() {
                tap::unload(&mut self.state_mut().ebpf, &name);
            }
        }
    }

    /// A watcher comes: `change` says what the data path is to tell for it. When that fails it is as before.
    pub(super) fn join(&self, armed: &mut Armed, change: impl FnOnce(&mut abi::Tap)) -> Result<()> {
        let before = armed.what;
        armed.set(change)?;
        if !armed.kinds.is_empty() {
            return Ok(());
        }
        let Err(error) = self.arm(armed) else {
            self.watchers.watched.send_replace(true);
            return Ok(());
        };
        self.disarm(armed);
        armed.set(|what| *what = before)?;
        Err(error.context("cannot load the programs that watch"))
    }

    pub(super) fn leave(&self, is_capture: bool) {
        let mut armed = self.watchers.armed();
        let changed = if is_capture {
            *lock(&self.watchers.frames) = None;
            armed.capture = None;
            armed.set(|what| (what.capture_until_ns, what.capture_tenant) = (0, TenantId::NONE))
        } else {
            armed.monitors -= 1;
            let events = u8::from(armed.monitors > 0);
            armed.set(|what| what.events = events)
        };
        if let Err(error) = changed {
            warn!("the data path goes on telling what nobody watches: {error:#}");
        }
        if armed.is_idle() {
            self.disarm(&mut armed);
            self.watchers.watched.send_replace(false);
        }
    }
}
