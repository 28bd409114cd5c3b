//! Next hops: which there are, and keeping them resolved.

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    sync::{Arc, PoisonError, RwLock},
};

use rtnetlink::Handle;
use tracing::{debug, warn};

use crate::{config::Config, datapath::neighbours, gateway::Gateway, metrics::Metrics};

/// The next hops towards everything that the configuration names, shared by the tasks that use them.
#[derive(Clone)]
pub struct NextHops {
    gateway: Arc<Gateway>,
    netlink: Handle,
    metrics: Metrics,
    known: Arc<RwLock<Known>>,
}

#[derive(Default)]
struct Known {
    /// The configuration that the destinations are from.
    config: Option<Arc<Config>>,
    destinations: BTreeSet<Ipv4Addr>,
    hops: BTreeSet<(u32, Ipv4Addr)>,
}

impl NextHops {
    /// None yet.
    pub fn new(gateway: Arc<Gateway>, netlink: Handle, metrics: Metrics) -> Self {
        Self { gateway, netlink, metrics, known: Arc::default() }
    }

    /// Asks the routing table again, and makes the kernel resolve what it says.
    pub async fn look_up(&self) {
        let destinations = self.destinations();
        match neighbours::next_hops(&self.netlink, &destinations).await {
            Ok(hops) => {
                self.known.write().unwrap_or_else(PoisonError::into_inner).hops.clone_from(&hops);
                self.refresh(hops).await;
            }
            Err(error) => warn!("cannot look up next hops, trying again: {error:#}"),
        }
    }

    /// Is this one of them?
    pub fn contains(&self, hop: (u32, Ipv4Addr)) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).hops.contains(&hop)
    }

    /// Makes the kernel resolve next hops, or confirm those that it knows.
    pub async fn refresh(&self, hops: impl IntoIterator<Item = (u32, Ipv4Addr)>) {
        for (ifindex, address) in hops {
            match neighbours::refresh(&self.netlink, ifindex, address).await {
                Ok(()) => drop(self.metrics.neighbour_refreshes().inc()),
                Err(error) => debug!("{error:#}"),
            }
        }
    }

    /// Gathered anew when the configuration is another one.
    fn destinations(&self) -> BTreeSet<Ipv4Addr> {
        let config = self.gateway.config();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if !known.config.as_ref().is_some_and(|known| Arc::ptr_eq(known, &config)) {
            known.destinations = neighbours::destinations(&config);
            known.config = Some(config);
        }
        known.destinations.clone()
    }
}
