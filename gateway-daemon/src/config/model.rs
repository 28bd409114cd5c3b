//! What comes out of a configuration file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fmt, net::Ipv4Addr};

use ipnet::Ipv4Net;

use super::address::{BackendAddr, NatAddr, PeerAddr, RouterAddr, VipAddr};
use super::api::ApiConfig;
use super::bounded::{NodeId, Weight};
use super::choice::{HookChoice, OnBackendDown, Protocol, Side, SourceMode, Transport, WhenAllDown, XdpMode};
use super::health::HealthCheck;
use super::name::{InterfaceName, ListenerName, NodeName, PeerGroupName, PoolName, TenantName};
use super::port::Port;
use super::port_slices::PortSlices;
use super::store::StoreConfig;
use super::tenant_limits::TenantLimits;
use crate::tenancy::spec::AdminState;

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
    /// The routes that the daemon looks after, in file order; no two to the same prefix.
    pub routes: Arc<[Route]>,
    /// Where the tenants are kept.
    pub store: StoreConfig,
    /// Who may use the API.
    pub api: ApiConfig,
    /// How the tables of the kernel are kept right.
    pub reconcile: Reconcile,
    /// The peer groups, in the order of the file or, when they come from a store, of their names.
    pub peer_groups: Arc<[Arc<PeerGroup>]>,
    /// The tenants, in the order of the file or, when they come from a store, of their names.
    pub tenants: Arc<[Arc<Tenant>]>,
}

impl Config {
    /// The peer group that a tenant of this configuration refers to.
    pub fn peer_group(&self, index: PeerGroupIndex) -> &PeerGroup {
        &self.peer_groups[index.0]
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
    /// The directory of what must outlive the daemon.
    pub state_dir: PathBuf,
    /// Where metrics are served, if they are.
    pub metrics: Option<SocketAddr>,
}

/// Sizes of the flow tables, in flows, and what guards them; a flow counts once, not once a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Established flows.
    pub flows: u32,
    /// Flows whose handshake is not complete.
    pub half_open_flows: u32,
    /// Half-open flows of a listener above which new clients are challenged; 0 is never.
    pub challenge_above: u16,
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
    /// How long the ports of an established flow that idled out are kept from others.
    pub quarantine: Duration,
    /// Are both ends of a TCP connection that idled out reset?
    pub reset_on_expiry: bool,
}

/// How the tables of the kernel are kept right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reconcile {
    /// From one full comparison to the next.
    pub interval: Duration,
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
    /// Largest TCP segment that connections through it may agree on, in bytes.
    pub mss_clamp: Option<u16>,
}

/// A route that the gateway needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it leads to.
    pub to: Ipv4Net,
    /// The router.
    pub via: RouterAddr,
    /// The interface that the router is on; the kernel finds it if absent.
    pub interface: Option<InterfaceName>,
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

/// A customer of the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its name.
    pub name: TenantName,
    /// What may happen to its flows.
    pub state: AdminState,
    /// When a draining tenant's remaining flows are reset; never when absent.
    pub drain_until: Option<SystemTime>,
    /// The inside address that stands for it.
    pub nat_ip: NatAddr,
    /// Its own addresses: who may use its egress. No two prefixes, of any tenants, overlap.
    pub sources: Vec<Ipv4Net>,
    /// The peer groups that it may call.
    pub peer_groups: Vec<PeerGroupIndex>,
    /// The tenants whose listeners it may call, by name: positions change whenever a tenant comes or goes.
    pub hairpin_to: Vec<TenantName>,
    /// What it may take of what all share. Most have no limits of their own, and share these.
    pub limits: Arc<TenantLimits>,
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
    /// What new flows meet when no backend takes any.
    pub when_all_down: WhenAllDown,
    /// What becomes of the flows of a backend that goes down.
    pub on_backend_down: OnBackendDown,
    /// In which time the share of a backend that came up grows to its full weight; zero is at once.
    pub slow_start: Duration,
    /// How its servers are checked; unchecked ones count as up.
    pub health: Option<Box<HealthCheck>>,
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
    /// What may happen to its flows.
    pub state: AdminState,
    /// When a draining backend's remaining flows are reset; never when absent.
    pub drain_until: Option<SystemTime>,
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
