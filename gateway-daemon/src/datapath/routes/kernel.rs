//! The kernel's side of the routes that the daemon looks after.

use std::{collections::HashSet, io, net::Ipv4Addr};

use futures_util::{StreamExt as _, TryStreamExt as _};
use ipnet::Ipv4Net;
use netlink_packet_route::{
    RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
};
use nix::net::if_::if_nametoindex;
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
};

use super::{Change, Found, PROTOCOL, Plan, Rival, Step, Wanted, Way, plan};
use crate::config::Route;

/// Why the routes are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum RoutesError {
    /// Other routes are in the way.
    #[error("{}", list(.0))]
    Taken(Vec<Rival>),
    /// No connection to the kernel.
    #[error("cannot open a netlink socket for routes")]
    Socket(#[source] io::Error),
    /// The routes could not be read.
    #[error("cannot list the routes")]
    List(#[source] rtnetlink::Error),
    /// A route of ours could not be removed.
    #[error("cannot remove the route {route}")]
    Remove {
        /// Which one.
        route: Found,
        /// What the kernel says.
        source: io::Error,
    },
}

fn list(rivals: &[Rival]) -> String {
    rivals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl RoutesError {
    /// What to do about it, if that is known.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Taken(rivals) => Some(rivals.iter().map(Rival::remedy).collect::<Vec<_>>().join("; ")),
            _ => None,
        }
    }
}

/// What became of the routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// What was done, a line for each prefix.
    pub done: Vec<String>,
    /// What an operator should look at.
    pub troubles: Vec<String>,
}

/// Are routes of others in the way of these?
///
/// # Errors
///
/// They are, or the routes could not be read.
pub fn refuse(routes: &[Route]) -> Result<(), RoutesError> {
    if routes.is_empty() {
        return Ok(());
    }
    let (plan, _) = with_netlink(async |netlink| look(&netlink, routes).await)?;
    let rivals: Vec<Rival> = plan.rivals.into_iter().filter(|rival| rival.is_alone).collect();
    if rivals.is_empty() { Ok(()) } else { Err(RoutesError::Taken(rivals)) }
}

/// Brings the kernel's routes to these.
///
/// # Errors
///
/// When the routes cannot be read. What cannot be put in place is a trouble, and tried again by the next call.
pub fn bring(routes: &[Route]) -> Result<Brought, RoutesError> {
    with_netlink(async |netlink| {
        let (plan, missing) = look(&netlink, routes).await?;
        let mut brought = Brought { done: Vec::new(), troubles: missing };
        let warning = |rival: &Rival| format!("{rival}; {}", rival.remedy());
        brought.troubles.extend(plan.rivals.iter().map(warning));
        for step in &plan.steps {
            match make(&netlink, step).await {
                Ok(line) => brought.done.push(line),
                Err(trouble) => brought.troubles.push(trouble),
            }
        }
        Ok(brought)
    })
}

/// Removes all of ours; returns what was done, a line each.
///
/// # Errors
///
/// The first one that could not be removed, or all when they cannot be read.
pub fn remove_all() -> Result<Vec<String>, RoutesError> {
    with_netlink(async |netlink| {
        let (plan, _) = look(&netlink, &[]).await?;
        let mut done = Vec::new();
        for change in plan.steps.iter().flat_map(|step| &step.changes) {
            let Change::Remove(route) = *change else { continue };
            remove(&netlink, &route).await.map_err(|source| RoutesError::Remove { route, source })?;
            done.push(format!("removed the route {route}"));
        }
        Ok(done)
    })
}

/// Runs work that waits for the kernel, from anywhere: on a thread of its own, with a connection of its own.
fn with_netlink<T: Send>(
    work: impl AsyncFnOnce(Handle) -> Result<T, RoutesError> + Send,
) -> Result<T, RoutesError> {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        runtime.map_err(RoutesError::Socket)?.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection().map_err(RoutesError::Socket)?;
            tokio::spawn(connection);
            work(handle).await
        })
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("routes".to_owned()).spawn_scoped(scope, run);
        match thread.map_err(RoutesError::Socket)?.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// What is to be done; and, in words, the routes whose interfaces are missing.
async fn look(netlink: &Handle, routes: &[Route]) -> Result<(Plan, Vec<String>), RoutesError> {
    let (mut wanted, mut missing) = (Vec::with_capacity(routes.len()), Vec::new());
    for route in routes {
        let (to, via) = (route.to, route.via.get());
        let ifindex = route.interface.as_ref().map(|name| if_nametoindex(name.as_str()).map_err(|_| name));
        match ifindex.transpose() {
            Ok(ifindex) => wanted.push(Wanted { to, via, ifindex }),
            Err(name) => missing.push(format!(
                "the route {to} via {via} is not in place: there is no interface `{name}` now"
            )),
        }
    }
    let found = read(netlink, routes).await?;
    Ok((plan(&wanted, &found), missing))
}

/// The routes of the main table that matter: ours, and those to the prefixes of `routes`. In the kernel's order.
async fn read(netlink: &Handle, routes: &[Route]) -> Result<Vec<Found>, RoutesError> {
    let prefixes: HashSet<Ipv4Net> = routes.iter().map(|route| route.to).collect();
    let all = netlink.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
    let that_matter = all.try_filter_map(|message| {
        let found = found(&message).filter(|route| route.is_ours() || prefixes.contains(&route.to));
        std::future::ready(Ok(found))
    });
    that_matter.try_collect().await.map_err(RoutesError::List)
}

/// A route of the main table; none for one of another table, or for one kind of service only.
fn found(message: &RouteMessage) -> Option<Found> {
    let header = &message.header;
    if header.table != RouteHeader::RT_TABLE_MAIN || header.tos != 0 {
        return None;
    }
    let (mut to, mut metric, mut via, mut ifindex) = (Ipv4Addr::UNSPECIFIED, 0, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => to = *address,
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => via = Some(*address),
            RouteAttribute::Oif(index) => ifindex = Some(*index),
            _ => {}
        }
    }
    let way = match via.zip(ifindex) {
        Some((via, ifindex)) if header.kind == RouteType::Unicast => Way::Router { via, ifindex },
        _ => Way::Other,
    };
    let to = Ipv4Net::new(to, header.destination_prefix_length).ok()?;
    Some(Found { to, metric, protocol: header.protocol.into(), way })
}

/// Makes the changes of one prefix, up to the first that fails; returns what was done, or what is wrong.
async fn make(netlink: &Handle, step: &Step) -> Result<String, String> {
    let mut line = format!("the route {} (removed)", step.to);
    for change in &step.changes {
        match change {
            Change::Put(wanted) => {
                put(netlink, wanted).await.map_err(|error| not_in_place(wanted, &error))?;
                line = format!("the route {wanted}");
            }
            Change::Remove(found) => {
                let failed = |error| format!("the route {found} cannot be removed: {error}");
                remove(netlink, found).await.map_err(failed)?;
            }
        }
    }
    Ok(line)
}

fn not_in_place(wanted: &Wanted, error: &io::Error) -> String {
    format!(
        "the route {wanted} is not in place: {error}; the router must be on a network of an interface that is up"
    )
}

/// `ip route prepend`: rtnetlink's own request has `NLM_F_EXCL` or `NLM_F_REPLACE`, and the latter may take the place of
/// another's route.
async fn put(netlink: &Handle, wanted: &Wanted) -> io::Result<()> {
    let route = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(wanted.to.network(), wanted.to.prefix_len())
        .gateway(wanted.via)
        .protocol(RouteProtocol::from(PROTOCOL));
    let route = match wanted.ifindex {
        Some(ifindex) => route.output_interface(ifindex),
        None => route,
    };
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewRoute(route.build()));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE;
    let mut answers = netlink.clone().request(request).map_err(io::Error::other)?;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::Error(error) = answer.payload
            && error.code.is_some()
        {
            return Err(error.to_io());
        }
    }
    Ok(())
}

/// Removes one of ours. The kernel compares the protocol, so it can be no other's.
async fn remove(netlink: &Handle, route: &Found) -> io::Result<()> {
    let message = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(route.to.network(), route.to.prefix_len())
        .protocol(RouteProtocol::from(PROTOCOL))
        .kind(RouteType::Unspec)
        .scope(RouteScope::NoWhere)
        .priority(route.metric);
    let message = match route.way {
        Way::Router { via, ifindex } => message.gateway(via).output_interface(ifindex),
        Way::Other => message,
    };
    match netlink.route().del(message.build()).execute().await {
        Ok(()) => Ok(()),
        Err(rtnetlink::Error::NetlinkError(error)) => match error.to_io() {
            // Somebody was faster.
            gone if gone.raw_os_error() == Some(nix::libc::ESRCH) => Ok(()),
            other => Err(other),
        },
        Err(other) => Err(io::Error::other(other)),
    }
}
