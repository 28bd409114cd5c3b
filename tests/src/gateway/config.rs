//! The daemon's configuration as the lab writes it.
//!
//! Deliberately not the daemon's own types: what a user writes is text, and a renamed field must fail a test.

use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::topology::{Mode, Topology};

/// A whole configuration file.
#[derive(Debug, Clone, Serialize)]
pub struct GatewayConfig {
    /// The two VIPs.
    pub gateway: GatewaySection,
    /// This node.
    pub node: NodeSection,
    /// Paths and addresses of the daemon.
    pub daemon: DaemonSection,
    /// Left out when the defaults will do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    /// Left out when the defaults will do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Left out when the defaults will do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconcile: Option<Reconcile>,
    /// Left out when the defaults will do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<Store>,
    /// Where programs are attached.
    pub interface: Vec<Interface>,
    /// What the daemon looks after.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub route: Vec<Route>,
    /// Whom tenants may call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub peer_group: Vec<PeerGroup>,
    /// Customers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tenant: Vec<Tenant>,
}

/// Tenants and peer groups apart from the rest: what `apply` takes.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Document {
    /// Whom tenants may call.
    pub peer_group: Vec<PeerGroup>,
    /// Customers.
    pub tenant: Vec<Tenant>,
}

/// `[gateway]`
#[derive(Debug, Clone, Serialize)]
pub struct GatewaySection {
    /// Where NPCI connects to.
    pub ingress_vip: Ipv4Addr,
    /// Where connections to NPCI come from.
    pub egress_vip: Ipv4Addr,
}

/// `[node]`
#[derive(Debug, Clone, Serialize)]
pub struct NodeSection {
    /// For logs and metrics.
    pub name: String,
    /// Unique among the gateway's nodes.
    pub id: u16,
}

/// `[daemon]`
#[derive(Debug, Clone, Serialize)]
pub struct DaemonSection {
    /// The API's unix socket.
    pub socket: PathBuf,
    /// Where maps and links are pinned.
    pub bpffs: PathBuf,
    /// For the audit, and for the tenants if they are not in the file.
    pub state_dir: PathBuf,
    /// Address of the metrics endpoint.
    pub metrics: SocketAddrV4,
}

/// `[timeouts]`
#[derive(Debug, Clone, Default, Serialize)]
pub struct Timeouts {
    /// TCP, handshake not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_half_open_secs: Option<u64>,
    /// Of the ports of flows that idled out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantine_secs: Option<u64>,
    /// Are the ends of connections that idled out reset?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset_on_expiry: Option<bool>,
}

/// `[limits]`
#[derive(Debug, Clone, Default, Serialize)]
pub struct Limits {
    /// Established flows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flows: Option<u32>,
    /// Half-open flows of a listener above which new clients are challenged; 0: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub challenge_above: Option<u32>,
}

/// `[reconcile]`
#[derive(Debug, Clone, Serialize)]
pub struct Reconcile {
    /// From one full comparison to the next.
    pub interval_ms: u32,
}

/// `[store]`
#[derive(Debug, Clone, Serialize)]
pub struct Store {
    /// `embedded`, `etcd` or `file`.
    pub kind: &'static str,
    /// Of etcd.
    pub endpoints: Vec<String>,
}

impl Store {
    /// An etcd at this URL.
    pub fn etcd(url: &str) -> Self {
        Self { kind: "etcd", endpoints: vec![url.to_owned()] }
    }
}

/// `[[interface]]`
#[derive(Debug, Clone, Serialize)]
pub struct Interface {
    /// Device.
    pub name: String,
    /// `external` or `internal`.
    pub side: &'static str,
    /// `auto`, `xdp` or `tc`.
    pub hook: &'static str,
    /// `native` or `generic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xdp_mode: Option<&'static str>,
    /// Largest TCP segment, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mss_clamp: Option<u16>,
}

impl Interface {
    fn new(name: &str, side: &'static str, mode: Mode) -> Self {
        let (hook, xdp_mode) = match mode {
            Mode::Tc => ("tc", None),
            Mode::XdpNative => ("xdp", Some("native")),
            Mode::XdpGeneric => ("xdp", Some("generic")),
        };
        Self { name: name.to_owned(), side, hook, xdp_mode, mss_clamp: None }
    }
}

/// `[[route]]`
#[derive(Debug, Clone, Serialize)]
pub struct Route {
    /// Address or prefix.
    pub to: String,
    /// The router.
    pub via: String,
}

impl Route {
    /// A route by a router whose interface the kernel finds.
    pub fn new(to: &str, via: &str) -> Self {
        Self { to: to.to_owned(), via: via.to_owned() }
    }
}

/// `[[peer_group]]`
#[derive(Debug, Clone, Serialize)]
pub struct PeerGroup {
    /// Referred to by tenants.
    pub name: String,
    /// Its endpoints.
    pub endpoint: Vec<Endpoint>,
}

/// `[[peer_group.endpoint]]`
#[derive(Debug, Clone, Serialize)]
pub struct Endpoint {
    /// Address or prefix.
    pub address: String,
    /// `tcp`, `udp` or `icmp`.
    pub protocol: &'static str,
    /// Any port when absent; absent for ICMP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// `[[tenant]]`
#[derive(Debug, Clone, Serialize)]
pub struct Tenant {
    /// Unique.
    pub name: String,
    /// The tenant NAT IP.
    pub nat_ip: Ipv4Addr,
    /// Prefixes that its packets come from.
    pub sources: Vec<String>,
    /// Names of peer groups that it may call.
    pub peer_groups: Vec<String>,
    /// What it may take, and whom else it may call.
    #[serde(flatten)]
    pub limits: TenantLimits,
    /// Its backends.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pool: Vec<Pool>,
    /// What NPCI may connect to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listener: Vec<Listener>,
    /// Ports of the tenant NAT IP that lead to NPCI.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<Egress>,
}

/// The fields of `[[tenant]]` that limit a tenant or allow it more than others; each is left out when the default will do.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TenantLimits {
    /// Names of the tenants whose listeners it may call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hairpin_to: Vec<String>,
    /// New flows a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_flows_per_second: Option<u32>,
    /// Ports of the egress VIP of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserved_ports: Option<u32>,
    /// Largest TCP segment, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mss_clamp: Option<u16>,
    /// Idle timeouts of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<TenantTimeouts>,
}

/// `[tenant.timeouts]`
#[derive(Debug, Clone, Serialize)]
pub struct TenantTimeouts {
    /// TCP, established; 0 is the node's.
    pub tcp_established_secs: u64,
    /// UDP; 0 is the node's.
    pub udp_secs: u64,
    /// May they be shorter than the RFCs allow?
    pub allow_short_timeouts: bool,
}

impl TenantTimeouts {
    /// As short as it takes.
    pub fn short(tcp_established_secs: u64, udp_secs: u64) -> Self {
        Self { tcp_established_secs, udp_secs, allow_short_timeouts: true }
    }
}

/// `[[tenant.pool]]`
#[derive(Debug, Clone, Serialize)]
pub struct Pool {
    /// Referred to by listeners.
    pub name: String,
    /// `keep` or `reset`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_backend_down: Option<&'static str>,
    /// How its members are checked, if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Its members.
    pub backend: Vec<Backend>,
}

/// `[tenant.pool.health]`
#[derive(Debug, Clone, Serialize)]
pub struct Health {
    /// `tcp`, `http`, ...
    pub check: &'static str,
    /// From one check to the next.
    pub interval_ms: u32,
    /// For one check.
    pub timeout_ms: u32,
    /// Successes until it is up.
    pub rise: u32,
    /// Failures until it is down.
    pub fall: u32,
    /// Of the interval.
    pub jitter_percent: u32,
    /// Whether real traffic is judged as well.
    pub passive: bool,
    /// Of `http`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<&'static str>,
}

/// `[[tenant.pool.backend]]`
#[derive(Debug, Clone, Serialize)]
pub struct Backend {
    /// Of the server.
    pub address: Ipv4Addr,
    /// Of the server.
    pub port: u16,
    /// Share of new flows.
    pub weight: u32,
}

/// `[[tenant.listener]]`
#[derive(Debug, Clone, Serialize)]
pub struct Listener {
    /// For metrics.
    pub name: String,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// On the ingress VIP.
    pub port: u16,
    /// Name of a pool.
    pub pool: String,
    /// `nat` or `preserve`.
    pub source: &'static str,
    /// Prefixes of allowed clients.
    pub allow: Vec<String>,
}

/// `[[tenant.egress]]`
#[derive(Debug, Clone, Serialize)]
pub struct Egress {
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// On the tenant NAT IP.
    pub port: u16,
    /// NPCI's endpoint.
    pub to: SocketAddrV4,
}

impl GatewayConfig {
    /// All interfaces in the topology's mode, one peer group `npci` with NPCI's main port on every endpoint
    /// and ICMP, all tenants without pools, listeners and egress ports. `dir` takes the socket and the state.
    pub fn for_topology(topology: &Topology, dir: &Path, bpffs: &Path) -> Self {
        let plan = &topology.plan;
        Self {
            gateway: GatewaySection { ingress_vip: plan.ingress_vip, egress_vip: plan.egress_vip },
            node: NodeSection { name: "gw-1".to_owned(), id: 1 },
            daemon: DaemonSection {
                socket: dir.join("gateway.sock"),
                bpffs: bpffs.to_owned(),
                state_dir: dir.join("state"),
                metrics: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9464),
            },
            timeouts: None,
            limits: None,
            reconcile: None,
            store: None,
            interface: interfaces(topology),
            route: Vec::new(),
            peer_group: vec![npci_group(topology)],
            tenant: topology.tenants.iter().map(Tenant::new).collect(),
        }
    }

    /// A tenant by its number, from 1.
    pub fn tenant(&mut self, number: usize) -> &mut Tenant {
        &mut self.tenant[number - 1]
    }

    /// Takes tenants and peer groups out, for a daemon that keeps them in its state directory.
    pub fn take_document(&mut self) -> Document {
        Document { peer_group: mem::take(&mut self.peer_group), tenant: mem::take(&mut self.tenant) }
    }

    /// The file's text.
    pub fn render(&self) -> String {
        toml::to_string(self).expect("the configuration is plain data")
    }
}

fn interfaces(topology: &Topology) -> Vec<Interface> {
    let external = Interface::new(&topology.external.near, "external", topology.mode);
    let internal =
        topology.tenants.iter().map(|tenant| Interface::new(&tenant.link.near, "internal", topology.mode));
    std::iter::once(external).chain(internal).collect()
}

fn npci_group(topology: &Topology) -> PeerGroup {
    let plan = &topology.plan;
    let endpoints = plan.npci_endpoints.iter().flat_map(|address| {
        let address = format!("{address}/32");
        [
            Endpoint { address: address.clone(), protocol: "tcp", port: Some(plan.npci_port) },
            Endpoint { address: address.clone(), protocol: "udp", port: Some(plan.npci_port) },
            Endpoint { address, protocol: "icmp", port: None },
        ]
    });
    PeerGroup { name: "npci".to_owned(), endpoint: endpoints.collect() }
}

impl Tenant {
    fn new(tenant: &crate::topology::Tenant) -> Self {
        Self {
            name: tenant.plan.name.clone(),
            nat_ip: tenant.plan.nat_ip,
            sources: vec![tenant.plan.subnet.to_string()],
            peer_groups: vec!["npci".to_owned()],
            limits: TenantLimits::default(),
            pool: Vec::new(),
            listener: Vec::new(),
            egress: Vec::new(),
        }
    }

    /// Adds a pool of equal backends.
    pub fn add_pool(&mut self, name: &str, backends: &[SocketAddrV4]) -> &mut Self {
        let backend = |at: &SocketAddrV4| Backend { address: *at.ip(), port: at.port(), weight: 1 };
        self.pool.push(Pool {
            name: name.to_owned(),
            on_backend_down: None,
            health: None,
            backend: backends.iter().map(backend).collect(),
        });
        self
    }

    /// Adds a listener that hides the client's address and lets every client of the external documentation
    /// network in.
    pub fn add_listener(&mut self, protocol: &'static str, port: u16, pool: &str) -> &mut Self {
        self.listener.push(Listener {
            name: format!("{protocol}-{port}"),
            protocol,
            port,
            pool: pool.to_owned(),
            source: "nat",
            allow: vec!["192.0.2.0/24".to_owned()],
        });
        self
    }

    /// Adds a port of the tenant NAT IP that leads to an endpoint of NPCI.
    pub fn add_egress(&mut self, protocol: &'static str, port: u16, to: SocketAddrV4) -> &mut Self {
        self.egress.push(Egress { protocol, port, to });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_tenants_has_the_rest() {
        let mut config = GatewayConfig {
            gateway: GatewaySection {
                ingress_vip: [192, 0, 2, 10].into(),
                egress_vip: [192, 0, 2, 20].into(),
            },
            node: NodeSection { name: "gw-1".to_owned(), id: 1 },
            daemon: DaemonSection {
                socket: "/tmp/x/gateway.sock".into(),
                bpffs: "/tmp/x/bpffs".into(),
                state_dir: "/tmp/x/state".into(),
                metrics: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9464),
            },
            timeouts: None,
            limits: None,
            reconcile: Some(Reconcile { interval_ms: 200 }),
            store: None,
            interface: Vec::new(),
            route: vec![Route::new("203.0.113.0/24", "192.0.2.101")],
            peer_group: vec![PeerGroup { name: "npci".to_owned(), endpoint: Vec::new() }],
            tenant: Vec::new(),
        };
        let document = config.take_document();
        assert_eq!(document.peer_group.len(), 1);
        let file: toml::Table = config.render().parse().expect("the rendered text is TOML");
        assert_eq!(file["daemon"]["state_dir"].as_str(), Some("/tmp/x/state"));
        assert_eq!(file["reconcile"]["interval_ms"].as_integer(), Some(200));
        assert_eq!(file["route"][0]["via"].as_str(), Some("192.0.2.101"));
        assert!(!file.contains_key("tenant") && !file.contains_key("peer_group"));
    }

    #[test]
    fn limits_stand_beside_the_other_fields_of_a_tenant() {
        let limits = TenantLimits {
            mss_clamp: Some(1260),
            timeouts: Some(TenantTimeouts::short(5, 0)),
            ..TenantLimits::default()
        };
        let tenant = Tenant {
            name: "bank-1".to_owned(),
            nat_ip: Ipv4Addr::new(198, 51, 100, 30),
            sources: Vec::new(),
            peer_groups: Vec::new(),
            limits,
            pool: Vec::new(),
            listener: Vec::new(),
            egress: Vec::new(),
        };
        let text = toml::to_string(&tenant).expect("plain data");
        let table: toml::Table = text.parse().expect("the rendered text is TOML");
        assert_eq!(table["mss_clamp"].as_integer(), Some(1260));
        assert_eq!(table["timeouts"]["tcp_established_secs"].as_integer(), Some(5));
        assert!(!table.contains_key("reserved_ports") && !table.contains_key("hairpin_to"));
    }

    #[test]
    fn rendered_text_has_the_documented_shape() {
        let tenant = Tenant {
            name: "bank-1".to_owned(),
            nat_ip: Ipv4Addr::new(198, 51, 100, 30),
            sources: vec!["198.51.100.16/28".to_owned()],
            peer_groups: vec!["npci".to_owned()],
            limits: TenantLimits::default(),
            pool: Vec::new(),
            listener: Vec::new(),
            egress: Vec::new(),
        };
        let mut config = GatewayConfig {
            gateway: GatewaySection {
                ingress_vip: [192, 0, 2, 10].into(),
                egress_vip: [192, 0, 2, 20].into(),
            },
            node: NodeSection { name: "gw-1".to_owned(), id: 1 },
            daemon: DaemonSection {
                socket: "/tmp/x/gateway.sock".into(),
                bpffs: "/tmp/x/bpffs".into(),
                state_dir: "/tmp/x/state".into(),
                metrics: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9464),
            },
            timeouts: None,
            limits: None,
            reconcile: None,
            store: None,
            interface: vec![
                Interface::new("ext0", "external", Mode::XdpNative),
                Interface::new("int1", "internal", Mode::Tc),
            ],
            route: Vec::new(),
            peer_group: vec![PeerGroup {
                name: "npci".to_owned(),
                endpoint: vec![
                    Endpoint { address: "192.0.2.100/32".to_owned(), protocol: "tcp", port: Some(443) },
                    Endpoint { address: "192.0.2.100/32".to_owned(), protocol: "icmp", port: None },
                ],
            }],
            tenant: vec![tenant],
        };
        let npci = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 100), 443);
        let backend = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 18), 8080);
        config
            .tenant(1)
            .add_pool("web", &[backend])
            .add_listener("tcp", 8443, "web")
            .add_egress("tcp", 9001, npci);
        let expected: toml::Table = include_str!("testdata/config.toml").parse().expect("the sample is TOML");
        let rendered: toml::Table = config.render().parse().expect("the rendered text is TOML");
        assert_eq!(rendered, expected);
    }
}
