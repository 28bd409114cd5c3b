//! Next hops: which there are, and keeping them resolved.

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use rtnetlink::Handle;
use tokio::{sync::Notify, time::sleep};
use tracing::debug;

use crate::{config::Config, datapath::neighbours, drain::Shutdown, gateway::Gateway, metrics::Metrics};

/// Looking up rests so many times as long as it took: routes that never stop changing cost a tenth of a CPU at most.
const REST: u32 = 10;

/// A next hop: interface and address.
type Hop = (u32, Ipv4Addr);

/// What was found out.
#[derive(Default)]
struct Known {
    /// Destinations that were asked about, in their order, also those that no route leads to. A list: there may be 100,000.
    destinations: Vec<Ipv4Addr>,
    /// The next hops towards them.
    hops: BTreeSet<Hop>,
    /// The configuration whose destinations are among them.
    config: Option<Arc<Config>>,
}

impl Known {
    fn has(&self, destination: Ipv4Addr) -> bool {
        self.destinations.binary_search(&destination).is_ok()
    }

    /// Takes what was found out about destinations that are not known yet.
    fn add(&mut self, found: Vec<(Ipv4Addr, Option<Hop>)>, config: Arc<Config>) {
        self.config = Some(config);
        if found.is_empty() {
            return;
        }
        self.hops.extend(found.iter().filter_map(|(_, hop)| *hop));
        self.destinations.extend(found.into_iter().map(|(destination, _)| destination));
        self.destinations.sort_unstable();
        self.destinations.shrink_to_fit();
    }
}

/// The next hops towards everything that the configuration names, shared by the tasks that use them.
#[derive(Clone)]
pub struct NextHops {
    gateway: Arc<Gateway>,
    netlink: Handle,
    metrics: Metrics,
    known: Arc<RwLock<Known>>,
    wanted: Arc<Wanted>,
}

/// What is to be looked up.
#[derive(Default)]
struct Wanted {
    told: Notify,
    /// Everything, or what is new?
    all: AtomicBool,
}

impl NextHops {
    /// None yet.
    pub fn new(gateway: Arc<Gateway>, netlink: Handle, metrics: Metrics) -> Self {
        Self { gateway, netlink, metrics, known: Arc::default(), wanted: Arc::default() }
    }

    /// Has every destination looked up again, soon.
    pub fn ask_all(&self) {
        self.wanted.all.store(true, Ordering::Relaxed);
        self.wanted.told.notify_one();
    }

    /// Has the destinations looked up that are new in the configuration, soon.
    pub fn ask_new(&self) {
        self.wanted.told.notify_one();
    }

    /// Looks up what was asked for, until the shutdown. With a hundred thousand destinations that takes seconds, in which
    /// more may be asked for: it is done once then, after a rest.
    pub async fn look_up(self, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.requested() => return,
                () = self.wanted.told.notified() => {}
            }
            let started = Instant::now();
            if self.wanted.all.swap(false, Ordering::Relaxed) {
                self.look_up_all().await;
            } else {
                self.look_up_new().await;
            }
            tokio::select! {
                () = shutdown.requested() => return,
                () = sleep(started.elapsed() * REST) => {}
            }
        }
    }

    /// Asks the routing table about every destination again, and makes the kernel resolve what it says.
    async fn look_up_all(&self) {
        let config = self.gateway.config();
        let found = self.ask(neighbours::destinations(&config, None)).await;
        let mut known = Known::default();
        known.add(found, config);
        *self.write() = known;
        self.refresh_all().await;
    }

    /// Asks about the destinations that are new in the configuration. Those that it no longer has are forgotten when all
    /// are looked up.
    async fn look_up_new(&self) {
        let config = self.gateway.config();
        let before = self.read().config.clone();
        let mut new = neighbours::destinations(&config, before.as_deref());
        new.retain(|destination| !self.read().has(*destination));
        let found = self.ask(new).await;
        let hops: BTreeSet<Hop> = found.iter().filter_map(|(_, hop)| *hop).collect();
        self.write().add(found, config);
        self.refresh(hops).await;
    }

    /// The answers of the routing table, in the order of the destinations.
    async fn ask(&self, destinations: BTreeSet<Ipv4Addr>) -> Vec<(Ipv4Addr, Option<Hop>)> {
        let mut found = Vec::with_capacity(destinations.len());
        for destination in destinations {
            found.push((destination, neighbours::next_hop_towards(&self.netlink, destination).await));
        }
        found
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
        self.read().hops.clone()
    }

    /// Is this one of them?
    pub fn contains(&self, hop: Hop) -> bool {
        self.read().hops.contains(&hop)
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
