//! Next hops: which there are, and keeping them resolved.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::{Arc, PoisonError, RwLock},
};

use rtnetlink::Handle;
use tracing::debug;

use crate::{datapath::neighbours, gateway::Gateway, metrics::Metrics};

/// A next hop: interface and address.
type Hop = (u32, Ipv4Addr);

/// The next hops towards everything that the configuration names, shared by the tasks that use them.
#[derive(Clone)]
pub struct NextHops {
    gateway: Arc<Gateway>,
    netlink: Handle,
    metrics: Metrics,
    /// By destination; none for one that no route leads to.
    known: Arc<RwLock<BTreeMap<Ipv4Addr, Option<Hop>>>>,
}

impl NextHops {
    /// None yet.
    pub fn new(gateway: Arc<Gateway>, netlink: Handle, metrics: Metrics) -> Self {
        Self { gateway, netlink, metrics, known: Arc::default() }
    }

    /// Asks the routing table about every destination again, and makes the kernel resolve what it says.
    pub async fn look_up(&self) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.follow_config().await;
    }

    /// Asks about the destinations that are new in the configuration, and forgets those that it no longer has.
    pub async fn follow_config(&self) {
        let wanted = neighbours::destinations(&self.gateway.config());
        let new: Vec<Ipv4Addr> = {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            known.retain(|destination, _| wanted.contains(destination));
            wanted.into_iter().filter(|destination| !known.contains_key(destination)).collect()
        };
        let mut hops = BTreeSet::new();
        for destination in new {
            let hop = neighbours::next_hop_towards(&self.netlink, destination).await;
            hops.extend(hop);
            self.known.write().unwrap_or_else(PoisonError::into_inner).insert(destination, hop);
        }
        self.refresh(hops).await;
    }

    /// Makes the kernel confirm all that are known.
    pub async fn refresh_all(&self) {
        self.refresh(self.all()).await;
    }

    fn all(&self) -> BTreeSet<Hop> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).values().flatten().copied().collect()
    }

    /// Is this one of them?
    pub fn contains(&self, hop: Hop) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).values().any(|known| *known == Some(hop))
    }

    /// Makes the kernel resolve next hops, or confirm those that it knows.
    pub async fn refresh(&self, hops: impl IntoIterator<Item = Hop>) {
        for (ifindex, address) in hops {
            match neighbours::refresh(&self.netlink, ifindex, address).await {
                Ok(()) => drop(self.metrics.neighbour_refreshes().inc()),
                Err(error) => debug!("{error:#}"),
            }
        }
    }
}
