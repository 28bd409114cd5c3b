//! The kernel's routing table, asked as `bpf_fib_lookup` would be.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use gateway_common::{
    abi::{LinkAddresses, Mac},
    tables::{Route, RouteQuery},
};
use netlink_packet_route::{
    AddressFamily,
    link::{LinkAttribute, LinkMessage},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
};
use rtnetlink::{Handle, RouteMessageBuilder};
use tokio::runtime::{Builder, Runtime};

use super::Routes;
use crate::datapath::{host, neighbours::next_hop};

/// A socket to the kernel, for callers that may block.
pub struct KernelRoutes {
    runtime: Runtime,
    netlink: Handle,
}

/// What an outgoing interface has to say.
#[derive(Clone, Copy, Debug, Default)]
struct Device {
    mac: Mac,
    mtu: u32,
}

impl KernelRoutes {
    /// Opens it. Not from a task: the calls of [`Routes`] block.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn open() -> Result<Self> {
        let runtime =
            Builder::new_current_thread().enable_io().build().context("cannot start an event loop")?;
        let netlink = {
            let _inside = runtime.enter();
            let (connection, netlink, _) = rtnetlink::new_connection().context("cannot open netlink")?;
            runtime.spawn(connection);
            netlink
        };
        Ok(Self { runtime, netlink })
    }

    /// The interface that a packet of ours to this address would leave by; `None` if there is no way.
    pub fn interface_towards(&self, address: Ipv4Addr) -> Result<Option<u32>> {
        let hop = self.runtime.block_on(self.plain(address))?;
        Ok(hop.map(|(ifindex, _)| ifindex))
    }

    async fn ask(&self, query: &RouteQuery) -> Result<Route> {
        let Some((ifindex, next)) = self.hop(query).await? else {
            return Ok(Route::None);
        };
        let device = self.device(ifindex).await?;
        if u32::from(query.total_len) > device.mtu {
            let mtu = u16::try_from(device.mtu).unwrap_or(u16::MAX);
            return Ok(Route::TooLarge { ifindex, mtu });
        }
        Ok(match self.neighbour(ifindex, next).await? {
            Some(mac) => Route::Forward { ifindex, link: LinkAddresses::new(mac, device.mac) },
            None => Route::Unresolved { ifindex, next_hop: next.into() },
        })
    }

    /// By the rules for this very packet; where the kernel would not believe that it comes from there (it checks
    /// sources here, as it does not for the data path), by its destination alone.
    async fn hop(&self, query: &RouteQuery) -> Result<Option<(u32, Ipv4Addr)>> {
        let (source, destination) = (query.src.into(), query.dst.into());
        let exact = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(destination, 32)
            .source_prefix(source, 32)
            .input_interface(query.ingress_ifindex)
            .tos(query.tos)
            .ip_protocol(query.protocol)
            .build();
        match self.netlink.route().get(exact).execute().try_next().await {
            Ok(route) => Ok(route.and_then(|route| next_hop(&route, destination))),
            Err(error) if is_disbelief(&error) => self.plain(destination).await,
            Err(error) => none_or(error),
        }
    }

    async fn plain(&self, destination: Ipv4Addr) -> Result<Option<(u32, Ipv4Addr)>> {
        let query = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(destination, 32).build();
        match self.netlink.route().get(query).execute().try_next().await {
            Ok(route) => Ok(route.and_then(|route| next_hop(&route, destination))),
            Err(error) => none_or(error),
        }
    }

    async fn device(&self, ifindex: u32) -> Result<Device> {
        let mut links = self.netlink.link().get().match_index(ifindex).execute();
        let link = links.try_next().await.with_context(|| format!("cannot look at interface {ifindex}"))?;
        Ok(link.as_ref().map(Device::from).unwrap_or_default())
    }

    async fn neighbour(&self, ifindex: u32, address: Ipv4Addr) -> Result<Option<Mac>> {
        let list = self.netlink.neighbours().get().set_address_family(AddressFamily::Inet).execute();
        let all: Vec<NeighbourMessage> = list.try_collect().await.context("cannot list neighbours")?;
        let found = all.iter().filter(|one| one.header.ifindex == ifindex && is_valid(one.header.state));
        Ok(found.filter(|one| is_of(one, address)).find_map(link_address))
    }
}

impl Routes for KernelRoutes {
    fn route(&self, query: &RouteQuery) -> Result<Route> {
        let forwards = host::name_of(query.ingress_ifindex).and_then(|name| host::forwarding(&name).ok());
        if forwards == Some(false) {
            return Ok(Route::Disabled);
        }
        self.runtime.block_on(self.ask(query))
    }
}

impl From<&LinkMessage> for Device {
    fn from(message: &LinkMessage) -> Self {
        let mut device = Self::default();
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::Address(bytes) => {
                    device.mac = Mac::new(bytes.as_slice().try_into().unwrap_or_default());
                }
                LinkAttribute::Mtu(mtu) => device.mtu = *mtu,
                _ => {}
            }
        }
        device
    }
}

/// The kernel's check of the source: a martian (EINVAL), or the wrong way back (EXDEV, `rp_filter`).
fn is_disbelief(error: &rtnetlink::Error) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message)
        if [libc::EINVAL, libc::EXDEV].contains(&-message.raw_code()))
}

/// "Unreachable" is an answer; no answer is none.
fn none_or<T>(error: rtnetlink::Error) -> Result<Option<T>> {
    match error {
        rtnetlink::Error::NetlinkError(_) => Ok(None),
        error => Err(error).context("cannot ask the routing table"),
    }
}

/// `NUD_VALID` of the kernel: a link address is known, if an old one.
const fn is_valid(state: NeighbourState) -> bool {
    matches!(
        state,
        NeighbourState::Permanent
            | NeighbourState::Noarp
            | NeighbourState::Reachable
            | NeighbourState::Probe
            | NeighbourState::Stale
            | NeighbourState::Delay
    )
}

fn is_of(neighbour: &NeighbourMessage, address: Ipv4Addr) -> bool {
    let of = NeighbourAttribute::Destination(NeighbourAddress::Inet(address));
    neighbour.attributes.contains(&of)
}

fn link_address(neighbour: &NeighbourMessage) -> Option<Mac> {
    neighbour.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => bytes.as_slice().try_into().ok().map(Mac::new),
        _ => None,
    })
}
