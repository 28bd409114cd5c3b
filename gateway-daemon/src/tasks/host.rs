//! Changes of the host, told by the kernel as they happen: interfaces, addresses, routes, neighbours.
//!
//! Messages can be lost when the socket's buffer is full, so everything is also looked at from time to time.

use std::{collections::HashMap, net::Ipv4Addr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use futures_util::StreamExt as _;
use netlink_packet_route::{
    RouteNetlinkMessage,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
};
use rtnetlink::{Handle, MulticastGroup, packet_core::NetlinkPayload};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::neighbours::NextHops;
use crate::{
    datapath::host::Host,
    drain::Shutdown,
    gateway::{Gateway, RepairKind},
};

/// How long to wait for more messages before acting on one: changes come in bursts.
const SETTLE: Duration = Duration::from_millis(50);

/// How soon a change is noticed when its message was lost; also how often next hops are confirmed, which the kernel
/// forgets after 15 to 45 s without a sign of life (`base_reachable_time`).
const INTERVAL: Duration = Duration::from_secs(10);

/// How often all routes are asked for without a message. With a hundred thousand destinations it takes seconds.
const ROUTES_INTERVAL: Duration = Duration::from_secs(300);

/// From the failure of a neighbour that somebody deletes to the word that it is gone, at most.
const DELETING: Duration = Duration::from_secs(1);

const GROUPS: [MulticastGroup; 4] =
    [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv4Route, MulticastGroup::Neigh];

/// What has to be looked at again.
#[derive(Default)]
struct Pending {
    host: bool,
    hops: bool,
    routes: bool,
    /// Next hops that somebody has deleted.
    lost: Vec<(u32, Ipv4Addr)>,
    /// Next hops that the kernel has forgotten.
    forgotten: Vec<(u32, Ipv4Addr)>,
}

/// Next hops that do not answer, and since when. The kernel forgets them some time later; what somebody deletes fails at
/// that moment (`neigh_delete` in net/core/neighbour.c).
#[derive(Default)]
struct Failed(HashMap<(u32, Ipv4Addr), Instant>);

impl Failed {
    /// Takes a neighbour's state.
    fn note(&mut self, hop: (u32, Ipv4Addr), state: NeighbourState) {
        if state == NeighbourState::Failed {
            self.0.entry(hop).or_insert_with(Instant::now);
        } else {
            self.0.remove(&hop);
        }
    }

    /// It is deleted: did it fail before?
    fn take(&mut self, hop: (u32, Ipv4Addr)) -> bool {
        self.0.remove(&hop).is_some_and(|since| since.elapsed() > DELETING)
    }
}

/// Follows the host until the shutdown.
///
/// # Errors
///
/// When the kernel's messages cannot be subscribed to.
pub fn spawn(gateway: Arc<Gateway>, netlink: Handle, hops: NextHops, shutdown: Shutdown) -> Result<()> {
    let (connection, _, mut messages) =
        rtnetlink::new_multicast_connection(&GROUPS).context("cannot subscribe to changes of the host")?;
    tokio::spawn(connection);
    tokio::spawn(hops.clone().look_up(shutdown.clone()));
    tokio::spawn(async move {
        let mut pending = Pending { host: true, hops: true, ..Pending::default() };
        let mut failed = Failed::default();
        let mut due = Instant::now();
        let mut routes_due = due + ROUTES_INTERVAL;
        let mut changes = gateway.changes();
        loop {
            tokio::select! {
                () = shutdown.requested() => return,
                () = sleep_until(due) => {
                    follow(&gateway, &netlink, &hops, std::mem::take(&mut pending)).await;
                    due = Instant::now() + INTERVAL;
                    // What is looked at next time without a message.
                    pending.host = true;
                    if due >= routes_due {
                        pending.hops = true;
                        routes_due = due + ROUTES_INTERVAL;
                    }
                }
                told = changes.changed() => {
                    if told.is_err() {
                        return;
                    }
                    hops.ask_new();
                }
                message = messages.next() => {
                    let Some((message, _)) = message else { return warn!("the kernel tells no more about the host") };
                    if let NetlinkPayload::InnerMessage(message) = message.payload
                        && note(&message, &hops, &mut failed, &mut pending)
                    {
                        due = due.min(Instant::now() + SETTLE);
                    }
                }
            }
        }
    });
    Ok(())
}

/// Notes what a message says; returns whether it matters.
fn note(message: &RouteNetlinkMessage, hops: &NextHops, failed: &mut Failed, pending: &mut Pending) -> bool {
    match message {
        RouteNetlinkMessage::NewLink(_)
        | RouteNetlinkMessage::DelLink(_)
        | RouteNetlinkMessage::NewAddress(_)
        | RouteNetlinkMessage::DelAddress(_)
        | RouteNetlinkMessage::NewRoute(_)
        | RouteNetlinkMessage::DelRoute(_) => {
            (pending.host, pending.hops, pending.routes) = (true, true, true);
            true
        }
        RouteNetlinkMessage::DelNeighbour(neighbour) => {
            let Some(hop) = hop_of(neighbour) else { return false };
            // Also when it is none of ours any more: nothing is remembered of what is gone.
            let had_failed = failed.take(hop);
            let is_ours = hops.contains(hop);
            if is_ours {
                if had_failed { &mut pending.forgotten } else { &mut pending.lost }.push(hop);
            }
            is_ours
        }
        RouteNetlinkMessage::NewNeighbour(neighbour) => {
            if let Some(hop) = hop_of(neighbour).filter(|hop| hops.contains(*hop)) {
                failed.note(hop, neighbour.header.state);
            }
            false
        }
        _ => false,
    }
}

fn hop_of(neighbour: &NeighbourMessage) -> Option<(u32, Ipv4Addr)> {
    neighbour.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => {
            Some((neighbour.header.ifindex, *address))
        }
        _ => None,
    })
}

async fn follow(gateway: &Arc<Gateway>, netlink: &Handle, hops: &NextHops, pending: Pending) {
    // Before the next hops that they lead to are looked up.
    if pending.routes
        && let Err(error) = heal_routes(gateway.clone()).await
    {
        warn!("cannot compare the routes with the configuration, trying again: {error:#}");
    }
    for (ifindex, address) in &pending.lost {
        let what = format!("the neighbour {address} on interface {ifindex}");
        gateway.note_repair(RepairKind::Neighbour, &what);
    }
    hops.refresh(pending.lost.into_iter().chain(pending.forgotten)).await;
    if pending.host
        && let Err(error) = follow_host(gateway.clone(), netlink).await
    {
        warn!("cannot follow a change of the host, trying again: {error:#}");
    }
    if pending.hops {
        hops.ask_all();
    } else {
        hops.refresh_all().await;
    }
}

async fn heal_routes(gateway: Arc<Gateway>) -> Result<u64> {
    tokio::task::spawn_blocking(move || gateway.heal_routes())
        .await
        .unwrap_or_else(|error| Err(anyhow!(error)))
}

async fn follow_host(gateway: Arc<Gateway>, netlink: &Handle) -> Result<bool> {
    let host = Host::read(netlink).await?;
    tokio::task::spawn_blocking(move || gateway.follow_host(host))
        .await
        .unwrap_or_else(|error| Err(anyhow!(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_the_kernel_forgets_is_no_sabotage() {
        let (hop, mut failed) = ((2, Ipv4Addr::new(198, 18, 0, 2)), Failed::default());
        assert!(!failed.take(hop), "it never failed");
        failed.note(hop, NeighbourState::Failed);
        assert!(!failed.take(hop), "it failed as it was deleted");
        failed.note(hop, NeighbourState::Failed);
        tokio::time::advance(2 * DELETING).await;
        failed.note(hop, NeighbourState::Failed);
        assert!(failed.take(hop), "it has not answered for long");
        failed.note(hop, NeighbourState::Failed);
        tokio::time::advance(2 * DELETING).await;
        failed.note(hop, NeighbourState::Reachable);
        assert!(!failed.take(hop), "it answered again");
    }
}
