//! What the daemon does besides answering: expiry, next hops, the host's changes, the kernel's messages.
//!
//! | task | when | on failure |
//! |---|---|---|
//! | expiry, ports in use | round after round, see [`scan`] | logged, tried again |
//! | host, next hops | when the kernel tells of a change, when the configuration does, from time to time, and when the data path asks | logged, tried again |
//! | programs, forwarding, pins | every `reconcile.interval_ms` | logged, tried again |
//! | tables | every `reconcile.interval_ms`, large ones less often, and when a write failed | logged, tried again |
//! | numbers of removed tenants | every [`FORGET_INTERVAL`] | logged, tried again |
//! | parts of datagrams that came too early | as they come, then until the first one is known | logged, dropped |
//! | what watchers are told | as it comes | logged; their streams end |
//! | kernel log lines | as they come | ends |
//!
//! Every task ends at the next await after the shutdown is requested; none holds anything that must be finished.

mod effort;
mod held;
mod host;
mod neighbours;
mod tap;

use std::{collections::BTreeSet, net::Ipv4Addr, os::fd::AsRawFd, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use aya::maps::{MapData, RingBuf};
use aya_log::EbpfLogger;
use gateway_common::{
    abi::{Event, EventKind},
    names,
    tables::FlowTable,
};
use rtnetlink::Handle;
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::sleep,
};
use tracing::{debug, warn};

use self::{
    effort::{Effort, rest_after},
    neighbours::NextHops,
};
use crate::{
    datapath::scan,
    drain::Shutdown,
    gateway::{Gateway, Turn},
    metrics::Metrics,
};

/// From one look for removed tenants without flows to the next.
const FORGET_INTERVAL: Duration = Duration::from_secs(5);

/// Starts every task.
///
/// # Errors
///
/// When the kernel's message queues cannot be opened.
pub fn spawn(gateway: &Arc<Gateway>, netlink: &Handle, metrics: &Metrics, shutdown: Shutdown) -> Result<()> {
    spawn_expiry(gateway.clone(), metrics.clone(), shutdown.clone());
    spawn_hooks(gateway.clone(), shutdown.clone());
    spawn_healing(gateway.clone(), shutdown.clone());
    spawn_forgetting(gateway.clone(), shutdown.clone());
    let hops = NextHops::new(gateway.clone(), netlink.clone(), metrics.clone());
    host::spawn(gateway.clone(), netlink.clone(), hops.clone(), shutdown.clone())?;
    spawn_events(gateway, hops, shutdown.clone())?;
    held::spawn(gateway.clone(), metrics.clone(), shutdown.clone())?;
    tap::spawn(gateway.clone(), shutdown.clone());
    spawn_kernel_log(gateway, shutdown)
}

fn spawn_expiry(gateway: Arc<Gateway>, metrics: Metrics, shutdown: Shutdown) {
    tokio::spawn(async move {
        loop {
            let pass = tokio::task::spawn_blocking({
                let gateway = gateway.clone();
                move || gateway.scan()
            });
            let rest = match pass.await.unwrap_or_else(|error| Err(anyhow!(error))) {
                Ok(turn) => {
                    let rest = turn.rest;
                    note_turn(&gateway, &metrics, turn);
                    rest
                }
                Err(error) => {
                    warn!("expiry of idle flows failed, trying again: {error:#}");
                    scan::ROUND_MAX
                }
            };
            tokio::select! {
                () = shutdown.requested() => return,
                () = sleep(rest) => {}
            }
        }
    });
}

fn note_turn(gateway: &Gateway, metrics: &Metrics, turn: Turn) {
    metrics.expired_flows(FlowTable::Established).inc_by(turn.expired.established);
    metrics.expired_flows(FlowTable::HalfOpen).inc_by(turn.expired.half_open);
    let Some(round) = turn.round else { return };
    metrics.flow_round_done(round.took);
    metrics.tenant_flows_compared(round.drift);
    for crossing in metrics.ports(round.ports, |name| gateway.is_tenant(name)) {
        warn!(
            tenant = crossing.tenant,
            percent = crossing.level.percent(),
            "a tenant holds this much of the ports that it may hold to one destination"
        );
    }
}

/// Looks after programs, forwarding and pins, whatever else is going on.
fn spawn_hooks(gateway: Arc<Gateway>, shutdown: Shutdown) {
    tokio::spawn(async move {
        loop {
            let interval = gateway.config().reconcile.interval;
            let pass = tokio::task::spawn_blocking({
                let gateway = gateway.clone();
                move || gateway.heal_hooks()
            });
            if let Err(error) = pass.await.unwrap_or_else(|error| Err(anyhow!(error))) {
                warn!("cannot repair the gateway's hooks, trying again: {error:#}");
            }
            tokio::select! {
                () = shutdown.requested() => return,
                () = sleep(interval) => {}
            }
        }
    });
}

/// Frees the numbers of removed tenants whose last flow has ended. Reads all flows as long as there are any.
fn spawn_forgetting(gateway: Arc<Gateway>, shutdown: Shutdown) {
    tokio::spawn(async move {
        loop {
            let (forgotten, rest) = with_effort(&gateway, Gateway::forget_removed_tenants).await;
            if let Err(error) = forgotten {
                warn!("cannot free the numbers of removed tenants, trying again: {error:#}");
            }
            tokio::select! {
                () = shutdown.requested() => return,
                () = sleep(FORGET_INTERVAL.max(rest)) => {}
            }
        }
    });
}

/// Does one pass in a thread of its own, and tells how long to rest after it.
async fn with_effort<T: Send + 'static>(
    gateway: &Arc<Gateway>,
    pass: impl FnOnce(&Gateway) -> Result<T> + Send + 'static,
) -> (Result<T>, Duration) {
    let gateway = gateway.clone();
    let done = tokio::task::spawn_blocking(move || {
        let effort = Effort::begin();
        (pass(&gateway), rest_after(effort.spent()))
    });
    done.await.unwrap_or_else(|error| (Err(anyhow!(error)), Duration::ZERO))
}

/// Compares the tables with what they should hold, again and again. Large ones take long, and are compared less often;
/// what could not be written is tried again soon.
fn spawn_healing(gateway: Arc<Gateway>, shutdown: Shutdown) {
    tokio::spawn(async move {
        loop {
            let interval = gateway.config().reconcile.interval;
            let (healed, rest) = with_effort(&gateway, Gateway::heal).await;
            let rest = match healed {
                Ok(healed) if healed.things == 0 => interval.max(rest),
                // Damage seldom comes alone, and a pass that repairs takes long by its nature.
                Ok(_) => interval,
                Err(error) => {
                    warn!("cannot compare the kernel with the configuration, trying again: {error:#}");
                    interval.max(rest)
                }
            };
            tokio::select! {
                () = shutdown.requested() => return,
                () = sleep(rest) => {}
                () = gateway.is_upset() => sleep(interval).await,
            }
        }
    });
}

/// Resolves next hops that the data path did not find.
fn spawn_events(gateway: &Gateway, next_hops: NextHops, shutdown: Shutdown) -> Result<()> {
    let mut ring = open_ring(gateway, names::EVENTS)?;
    tokio::spawn(async move {
        loop {
            let hops = tokio::select! {
                () = shutdown.requested() => return,
                guard = ring.readable_mut() => match guard {
                    Ok(mut guard) => {
                        let hops = unresolved(guard.get_inner_mut());
                        guard.clear_ready();
                        hops
                    }
                    Err(error) => return warn!("cannot wait for events of the data path: {error}"),
                },
            };
            next_hops.refresh(hops).await;
        }
    });
    Ok(())
}

/// Opens a ring buffer of the data path for waiting.
fn open_ring(gateway: &Gateway, name: &str) -> Result<AsyncFd<RingBuf<MapData>>> {
    let path = gateway.pins().map(name);
    let map = MapData::from_pin(&path).with_context(|| format!("cannot open {}", path.display()))?;
    let ring: RingBuf<MapData> = aya::maps::Map::RingBuf(map).try_into()?;
    readable(ring).with_context(|| format!("cannot wait for {name}"))
}

/// Empties the ring. The data path reports every packet that it drops; each next hop is asked for once.
fn unresolved(ring: &mut RingBuf<MapData>) -> BTreeSet<(u32, Ipv4Addr)> {
    let mut hops = BTreeSet::new();
    while let Some(record) = ring.next() {
        let Ok(event) = bytemuck::try_pod_read_unaligned::<Event>(&record) else { continue };
        if event.kind() == Some(EventKind::NoNeighbour) {
            hops.insert((event.ifindex, event.address.into()));
        }
    }
    hops
}

/// Writes the data path's own log lines to the daemon's log.
fn spawn_kernel_log(gateway: &Gateway, shutdown: Shutdown) -> Result<()> {
    let logger = gateway.with_programs(EbpfLogger::init).context("cannot read the data path's log")?;
    debug!(fd = logger.as_raw_fd(), "reading the data path's log");
    let mut logger = readable(logger).context("cannot wait for log lines")?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = shutdown.requested() => return,
                guard = logger.readable_mut() => match guard {
                    Ok(mut guard) => {
                        guard.get_inner_mut().flush();
                        guard.clear_ready();
                    }
                    Err(error) => return warn!("cannot wait for log lines of the data path: {error}"),
                },
            }
        }
    });
    Ok(())
}

/// Waits for an object that owns its descriptor.
fn readable<T: AsRawFd>(object: T) -> std::io::Result<AsyncFd<T>> {
    // SAFETY: each ring buffer owns its map's descriptor, which stays open and the same until the object, which
    // `AsyncFd` owns from now on, is dropped.
    unsafe { AsyncFd::register_with_interest(object, Interest::READABLE) }
        .map_err(|error| error.into_parts().1)
}
