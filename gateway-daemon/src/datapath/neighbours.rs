//! Keeping next hops resolved.
//!
//! Packets that the data path redirects never pass the kernel's IP layer, so nobody there confirms or renews the link
//! address of the next hop. The daemon asks for it: at start, at intervals, and when the data path reports a next hop
//! that it did not find.

use std::{
    collections::{BTreeSet, HashSet},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use netlink_packet_route::{
    neighbour::{NeighbourFlags, NeighbourState},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteType},
};
use rtnetlink::{Handle, RouteMessageBuilder};

use crate::config::Config;

/// Addresses that the gateway forwards to, by configuration: all backends, and peer endpoints. For a prefix its first
/// host stands in: all that matters is the router in front of it. Those of objects that `before` shares are left out.
pub fn destinations(config: &Config, before: Option<&Config>) -> BTreeSet<Ipv4Addr> {
    let backends = not_in(&config.tenants, before.map_or(&[], |before| &before.tenants))
        .flat_map(|tenant| &tenant.pools)
        .flat_map(|pool| &pool.backends)
        .map(|backend| backend.address.get());
    let endpoints = not_in(&config.peer_groups, before.map_or(&[], |before| &before.peer_groups))
        .flat_map(|group| &group.endpoints)
        .filter_map(|endpoint| endpoint.address.hosts().next());
    backends.chain(endpoints).collect()
}

/// The objects that are not shared with `before`. Both are alive, so no two different ones have one address.
fn not_in<'a, T>(objects: &'a [Arc<T>], before: &[Arc<T>]) -> impl Iterator<Item = &'a Arc<T>> {
    let before: HashSet<*const T> = before.iter().map(Arc::as_ptr).collect();
    objects.iter().filter(move |object| !before.contains(&Arc::as_ptr(object)))
}

/// The next hop towards a destination, as (interface index, address). Destinations without a route, and the host's own
/// addresses, have none: packets to them are dropped and counted as `no_route`.
pub async fn next_hop_towards(netlink: &Handle, destination: Ipv4Addr) -> Option<(u32, Ipv4Addr)> {
    let query = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(destination, 32).build();
    let answer = netlink.route().get(query).execute().try_next().await;
    answer.ok().flatten().and_then(|route| next_hop(&route, destination))
}

/// Interface and address that a route leads to; `None` for one to nowhere or to this host.
pub(super) fn next_hop(route: &RouteMessage, destination: Ipv4Addr) -> Option<(u32, Ipv4Addr)> {
    if route.header.kind != RouteType::Unicast {
        return None;
    }
    let (mut ifindex, mut next) = (None, destination);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => ifindex = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => next = *gateway,
            _ => {}
        }
    }
    ifindex.map(|ifindex| (ifindex, next))
}

/// Makes the kernel resolve a next hop, or confirm one that it knows (`NTF_USE`: as if a packet were sent there).
pub async fn refresh(netlink: &Handle, ifindex: u32, address: Ipv4Addr) -> Result<()> {
    netlink
        .neighbours()
        .add(ifindex, IpAddr::V4(address))
        .state(NeighbourState::None)
        .flags(NeighbourFlags::Use)
        .replace()
        .execute()
        .await
        .with_context(|| format!("cannot resolve the neighbour {address} on interface {ifindex}"))
}
