//! Ending the flows of backends and tenants, so that both ends learn of it at once.

use std::{
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use gateway_common::abi::{CtEntry, Port, TenantId};
use tracing::{info, warn};

use super::Gateway;
use crate::{
    datapath::{
        reset::{self, Injector},
        tables::Tables,
    },
    health::BackendId,
};

/// How long both ends are given to ask for their reset.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often it is looked whether they have.
const LOOK: Duration = Duration::from_millis(20);

/// Whose flows.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ending {
    /// Those that lead to this backend of a tenant.
    Backend {
        /// The tenant's name.
        tenant: String,
        /// The backend's address.
        address: Ipv4Addr,
        /// Its port.
        port: u16,
    },
    /// All of a tenant's.
    Tenant(String),
}

impl Ending {
    /// Of the flows that lead to a backend, by whichever of its pools.
    pub fn backend(id: &BackendId) -> Self {
        Self::Backend { tenant: id.tenant.to_string(), address: id.address, port: id.port }
    }

    fn selects(&self, ids: &super::TenantIds) -> impl Fn(&CtEntry) -> bool + use<> {
        let (name, backend) = match self {
            Self::Backend { tenant, address, port } => (tenant, Some((*address, *port))),
            Self::Tenant(tenant) => (tenant, None),
        };
        let id = ids.get(name).copied().unwrap_or(TenantId::NONE);
        let leads_there = backend.map(|(address, port)| reset::with_backend(address.into(), Port::new(port)));
        move |entry: &CtEntry| {
            id != TenantId::NONE
                && entry.tenant == id
                && leads_there.as_ref().is_none_or(|leads_there| leads_there(entry))
        }
    }
}

impl Gateway {
    /// Ends these flows: TCP is reset at both ends, other flows are forgotten. Returns how many there were. Blocks while
    /// it sends and waits for the ends, a second at most for the latter. When `go_on` says no it only marks what is left:
    /// such an end learns of it when it speaks.
    ///
    /// # Errors
    ///
    /// When the tables cannot be read or written, or there is no way to send packets of our own.
    pub fn end_flows(&self, endings: &[Ending], go_on: impl Fn() -> bool) -> Result<u64> {
        // Tables of its own: nobody waits for the lock while packets are sent.
        let tables = Tables::open(&self.pins())?;
        let injector = self.injector()?;
        let ids = self.state().tenants.clone();
        let selects: Vec<_> = endings.iter().map(|ending| ending.selects(&ids)).collect();
        let mut report =
            reset::reset_while(&tables, &injector, |entry| selects.iter().any(|one| one(entry)), &go_on)?;
        let ended = report.marked + report.deleted;
        let until = Instant::now() + PATIENCE;
        while reset::finish(&tables, &mut report)? > 0 && Instant::now() < until && go_on() {
            std::thread::sleep(LOOK);
        }
        if ended > 0 {
            info!(flows = ended, waiting = report.waiting(), ?endings, "flows were ended");
        }
        if report.unsent > 0 {
            warn!(
                probes = report.unsent,
                "ends of flows could not be asked to speak: they learn of it when they do"
            );
        }
        Ok(ended)
    }

    /// What packets of our own are sent with.
    pub(super) fn injector(&self) -> Result<Arc<Injector>> {
        if let Some(injector) = self.injector.get() {
            return Ok(injector.clone());
        }
        let injector = Injector::open().context("cannot open a raw socket (CAP_NET_RAW is needed)")?;
        Ok(self.injector.get_or_init(|| Arc::new(injector)).clone())
    }
}
