//! What comes out of a configuration file.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, net::Ipv4Addr};

use ipnet::Ipv4Net;

use super::address::{BackendAddr, NatAddr, PeerAddr, VipAddr};
use super::bounded::{NodeId, Weight};
use super::choice::{HookChoice, Protocol, Side, SourceMode, Transport, XdpMode};
use super::name::{InterfaceName, ListenerName, NodeName, PeerGroupName, PoolName, TenantName};
use super::port::Port;
use super::port_slices::PortSlices;

/// A complete, consistent configuration. Cheap to clone: the lists are shared.
///
/// What holds of every value that [`Config::parse`] returned: names and ports are unique where the sample
/// file says so, every index points into its list, the sources of two tenants have no address in common,
/// every backend is one of its own tenant's sources, and no VIP or tenant NAT IP serves as anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The two whitelisted addresses.
    pub gateway: Gateway,
    /// This node.
    pub node: Node,
    /// The daemon's own files and addresses.
    pub daemon: Daemon,
    /// Sizes of the tables.
    pub limits: Limits,
    /// How long idle flows are kept.
    pub timeouts: Timeouts,
    /// The interfaces in file order; at least one of each side.
    pub interfaces: Arc<[Interface]>,
    /// The peer groups in file order.
    pub peer_groups: Arc<[PeerGroup]>,
    /// The tenants in file order: `tenants[i].id` is `i + 1`.
    pub tenants: Arc<[Tenant]>,
}

impl Config {
    /// The peer group that a tenant of this configuration refers to.
    pub fn peer_group(&self, index: PeerGroupIndex) -> &PeerGroup {
        &self.peer_groups[index.0]
    }

    /// The tenant with this id, if there is one.
    pub fn tenant(&self, id: TenantId) -> Option<&Tenant> {
        self.tenants.get(usize::from(id.get()) - 1)
    }
}

/// The two addresses that NPCI whitelists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Where NPCI connects to.
    pub ingress_vip: VipAddr,
    /// Where all connections to NPCI come from.
    pub egress_vip: VipAddr,
}

/// This node among the gateway's nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name in `status`, metrics and logs.
    pub name: NodeName,
    /// Its number.
    pub id: NodeId,
    /// Its slices of the egress VIP's ports.
    pub port_slices: PortSlices,
}

/// The daemon's own files and addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// The unix socket of the API.
    pub socket: PathBuf,
    /// The directory in a BPF file system where maps and links are pinned.
    pub bpffs: PathBuf,
    /// Where metrics are served, if they are.
    pub metrics: Option<SocketAddr>,
}

/// Sizes of the flow tables, in flows; a flow counts once, not once a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Established flows.
    pub flows: u32,
    /// Flows whose handshake is not complete.
    pub half_open_flows: u32,
}

/// How long an idle flow is kept, by its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP, established.
    pub tcp_established: Duration,
    /// TCP, closing.
    pub tcp_transitory: Duration,
    /// TCP, handshake not complete.
    pub tcp_half_open: Duration,
    /// UDP.
    pub udp: Duration,
    /// ICMP queries.
    pub icmp: Duration,
}

/// A network interface that the gateway attaches to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: InterfaceName,
    /// Where it leads to.
    pub side: Side,
    /// Which hook to attach to.
    pub hook: HookChoice,
    /// How to attach, if the hook is XDP.
    pub xdp_mode: XdpMode,
}

/// Endpoints of NPCI that tenants may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerGroup {
    /// Its name.
    pub name: PeerGroupName,
    /// Its endpoints, at least one.
    pub endpoints: Vec<Endpoint>,
}

impl PeerGroup {
    /// Whether a flow to (`address`, `protocol`, `port`) goes to one of the endpoints.
    pub fn allows(&self, address: Ipv4Addr, protocol: Protocol, port: Port) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.allows(address, protocol, port))
    }
}

/// One destination that a peer group allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The addresses.
    pub address: Ipv4Net,
    /// The protocol.
    pub protocol: Protocol,
    /// The port; `None` is any port, and always `None` for ICMP.
    pub port: Option<Port>,
}

impl Endpoint {
    fn allows(self, address: Ipv4Addr, protocol: Protocol, port: Port) -> bool {
        self.protocol == protocol
            && self.port.is_none_or(|allowed| allowed == port)
            && self.address.contains(&address)
    }
}

/// Position of a peer group in [`Config::peer_groups`], from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerGroupIndex(pub(super) usize);

impl PeerGroupIndex {
    /// The position.
    pub fn get(self) -> usize {
        self.0
    }
}

/// Position of a pool in [`Tenant::pools`], from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolIndex(pub(super) usize);

impl PoolIndex {
    /// The position.
    pub fn get(self) -> usize {
        self.0
    }
}

/// A tenant's number: 1 for the first of the file, without gaps. Not stable when tenants are added or removed
/// before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(NonZeroU16);

impl TenantId {
    /// The id of the tenant at `position` (from 0) of the file; `None` beyond [`super::MAX_TENANTS`].
    pub(super) fn at(position: usize) -> Option<Self> {
        if position >= super::MAX_TENANTS {
            return None;
        }
        u16::try_from(position + 1).ok().and_then(NonZeroU16::new).map(Self)
    }

    /// The id as a number, 1 to 16,383.
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A customer of the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its number.
    pub id: TenantId,
    /// Its name.
    pub name: TenantName,
    /// The inside address that stands for it.
    pub nat_ip: NatAddr,
    /// Its own addresses: who may use its egress. No two prefixes, of any tenants, overlap.
    pub sources: Vec<Ipv4Net>,
    /// The peer groups that it may call.
    pub peer_groups: Vec<PeerGroupIndex>,
    /// Its pools.
    pub pools: Vec<Pool>,
    /// Its ports of the ingress VIP.
    pub listeners: Vec<Listener>,
    /// Its addressed egress: ports of its NAT IP that lead to NPCI.
    pub egress: Vec<Egress>,
}

impl Tenant {
    /// The pool that a listener of this tenant refers to.
    pub fn pool(&self, index: PoolIndex) -> &Pool {
        &self.pools[index.0]
    }
}

/// The servers behind a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: PoolName,
    /// Its servers: at least one, and at least one with a weight above 0.
    pub backends: Vec<Backend>,
}

/// One inside server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its address, one of its tenant's sources.
    pub address: BackendAddr,
    /// Its port.
    pub port: Port,
    /// Its share of new flows.
    pub weight: Weight,
}

/// A port of the ingress VIP that belongs to one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name.
    pub name: ListenerName,
    /// Its protocol.
    pub protocol: Transport,
    /// Its port; (protocol, port) is unique among all tenants.
    pub port: Port,
    /// Where its flows go, see [`Tenant::pool`].
    pub pool: PoolIndex,
    /// What the backends see.
    pub source: SourceMode,
    /// Who may connect; never empty.
    pub allow: Vec<Ipv4Net>,
}

/// A port of the tenant NAT IP that leads to one NPCI endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Egress {
    /// Its protocol.
    pub protocol: Transport,
    /// The port of the tenant NAT IP; (protocol, port) is unique within the tenant.
    pub port: Port,
    /// Where its flows go; one of the tenant's peer groups allows it.
    pub to: EgressTarget,
}

/// Address and port of an NPCI endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EgressTarget {
    /// The address.
    pub address: PeerAddr,
    /// The port.
    pub port: Port,
}

impl fmt::Display for EgressTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.address, self.port)
    }
}
