//! Next hops: which there are, and keeping them resolved.

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use rtnetlink::Handle;
use tracing::debug;

use crate::{config::Config, datapath::neighbours, gateway::Gateway, metrics::Metrics};

/// A next hop: interface and address.
type Hop = (u32, Ipv4Addr);

/// What was found out.
#[derive(Default)]
struct Known {
    /// By destination, in their order; none for one that no route leads to. A list: there may be 100,000.
    hops: Vec<(Ipv4Addr, Option<Hop>)>,
    /// The configuration whose destinations are among them.
    config: Option<Arc<Config>>,
}

impl Known {
    fn has(&self, destination: Ipv4Addr) -> bool {
        self.hops.binary_search_by_key(&destination, |(known, _)| *known).is_ok()
    }

    /// Takes what was found out; of two answers about one destination any.
    fn add(&mut self, found: Vec<(Ipv4Addr, Option<Hop>)>) {
        self.hops.extend(found);
        self.hops.sort_unstable_by_key(|(destination, _)| *destination);
        self.hops.dedup_by_key(|(destination, _)| *destination);
        self.hops.shrink_to_fit();
    }
}

/// The next hops towards everything that the configuration names, shared by the tasks that use them.
#[derive(Clone)]
pub struct NextHops {
    gateway: Arc<Gateway>,
    netlink: Handle,
    metrics: Metrics,
    known: Arc<RwLock<Known>>,
}

impl NextHops {
    /// None yet.
    pub fn new(gateway: Arc<Gateway>, netlink: Handle, metrics: Metrics) -> Self {
        Self { gateway, netlink, metrics, known: Arc::default() }
    }

    /// Asks the routing table about every destination again, and makes the kernel resolve what it says.
    pub async fn look_up(&self) {
        *self.write() = Known::default();
        self.follow_config().await;
    }

    /// Asks about the destinations that are new in the configuration. Those that it no longer has are forgotten by the
    /// next [`NextHops::look_up`].
    pub async fn follow_config(&self) {
        let config = self.gateway.config();
        let before = self.write().config.replace(config.clone());
        let mut new = neighbours::destinations(&config, before.as_deref());
        new.retain(|destination| !self.read().has(*destination));
        let mut found = Vec::with_capacity(new.len());
        for destination in new {
            found.push((destination, neighbours::next_hop_towards(&self.netlink, destination).await));
        }
        let hops: BTreeSet<Hop> = found.iter().filter_map(|(_, hop)| *hop).collect();
        self.write().add(found);
        self.refresh(hops).await;
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the kernel confirm all that are known.
    pub async fn refresh_all(&self) {
        self.refresh(self.all()).await;
    }

    fn all(&self) -> BTreeSet<Hop> {
        self.read().hops.iter().filter_map(|(_, hop)| *hop).collect()
    }

    /// Is this one of them?
    pub fn contains(&self, hop: Hop) -> bool {
        self.read().hops.iter().any(|(_, known)| *known == Some(hop))
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
