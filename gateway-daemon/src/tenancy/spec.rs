//! The objects of the tenant store. Fields are named and mean what the sections of the configuration file do
//! (`gateway-daemon config example` documents them); a missing field has its default there.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Any number of objects: a file of `apply`, the answer of `export`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Peer groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peer_group: Vec<PeerGroupSpec>,
    /// Tenants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenant: Vec<TenantSpec>,
}

/// Endpoints of NPCI that tenants may call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PeerGroupSpec {
    /// Name that tenants refer to; unique.
    pub name: String,
    /// The endpoints, at least one.
    #[serde(default)]
    pub endpoint: Vec<EndpointSpec>,
}

/// One destination of a peer group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointSpec {
    /// Address or prefix.
    pub address: String,
    /// `tcp`, `udp` or `icmp`.
    pub protocol: String,
    /// Port; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// What may happen to new flows of a tenant or to a backend. Set by people; health is another matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum AdminState {
    /// Takes new flows.
    #[default]
    Active,
    /// Takes no new flows; those that it has go on until the drain deadline, and are then reset.
    Draining,
    /// Takes no new flows; those that it has are reset at once.
    Maintenance,
}

impl AdminState {
    /// Is it the default?
    pub fn is_active(&self) -> bool {
        *self == Self::Active
    }
}

/// A customer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantSpec {
    /// Its name; unique.
    pub name: String,
    /// Tenant NAT IP.
    pub nat_ip: String,
    /// Its own addresses.
    pub sources: Vec<String>,
    /// Names of the peer groups that it may call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peer_groups: Vec<String>,
    /// Administrative state.
    #[serde(default, skip_serializing_if = "AdminState::is_active")]
    pub state: AdminState,
    /// When a draining tenant's remaining flows are reset: Unix time in seconds. Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_until: Option<u64>,
    /// Names of the tenants whose listeners it may call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hairpin_to: Vec<String>,
    /// Flows that it may have at a time; any number when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_flows: Option<u32>,
    /// New flows that it may open or get a second; any number when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_flows_per_second: Option<u32>,
    /// New flows that it may have at once; those of one second when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_flows_burst: Option<u32>,
    /// Ports of the egress VIP that only its calls use, and the only ones that they use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_ports: Option<u32>,
    /// Ports of the egress VIP that its calls may take among those that tenants share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports_per_destination: Option<u32>,
    /// Largest TCP segment that its connections may agree on, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mss_clamp: Option<u32>,
    /// Let its packets come in by other interfaces than the one that leads to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loose_source: Option<bool>,
    /// Its own idle timeouts; those of the node when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<TimeoutsSpec>,
    /// Its pools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pool: Vec<PoolSpec>,
    /// Its ports of the ingress VIP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listener: Vec<ListenerSpec>,
    /// Its addressed egress.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<EgressSpec>,
}

/// Idle timeouts of a tenant, where they are not the node's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeoutsSpec {
    /// TCP, established, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_established_secs: Option<u32>,
    /// UDP, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp_secs: Option<u32>,
    /// Allow these down to 1 second, less than the RFCs do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_short_timeouts: Option<bool>,
}

/// The servers behind a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolSpec {
    /// Its name; unique within the tenant.
    pub name: String,
    /// `refuse` (RST or ICMP at once) or `drop`: what new flows meet when no backend takes any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_all_down: Option<String>,
    /// `keep` or `reset`: what becomes of the flows of a backend that goes down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_backend_down: Option<String>,
    /// Seconds in which the share of a backend that came up grows to its full weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start_secs: Option<u32>,
    /// How its backends are checked; unchecked ones count as up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Box<HealthSpec>>,
    /// Its servers.
    #[serde(default)]
    pub backend: Vec<BackendSpec>,
}

/// How the backends of a pool are checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthSpec {
    /// `tcp`, `http`, `https`, `tls` or `script`.
    pub check: String,
    /// Milliseconds from one check to the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u32>,
    /// Milliseconds that a check may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u32>,
    /// Successes in a row until a backend is up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rise: Option<u32>,
    /// Failures in a row until a backend is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fall: Option<u32>,
    /// Per cent of the interval by which checks are spread at random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter_percent: Option<u32>,
    /// Count a backend as up until it is proven down; without, it is down until proven up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assume_up: Option<bool>,
    /// Let unanswered SYNs and RSTs of real traffic mark a backend down sooner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passive: Option<bool>,
    /// Port to check, if not the backend's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `http` and `https`: the path to GET.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `http` and `https`: the value of the Host header; `tls` and `https`: the server name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// `http` and `https`: statuses that count as success, as in "200-299,304".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_status: Option<String>,
    /// `script`: bytes to send, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_hex: Option<String>,
    /// `script`: bytes that the answer must begin with, in hex; `..` stands for any byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_hex: Option<String>,
}

/// One inside server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BackendSpec {
    /// Its address, one of its tenant's sources.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// Its share of new flows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// Administrative state.
    #[serde(default, skip_serializing_if = "AdminState::is_active")]
    pub state: AdminState,
    /// When a draining backend's remaining flows are reset: Unix time in seconds. Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_until: Option<u64>,
}

/// A port of the ingress VIP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerSpec {
    /// Its name; unique within the tenant.
    pub name: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Its port; (protocol, port) is unique among all tenants.
    pub port: u16,
    /// Name of the pool that gets its flows.
    pub pool: String,
    /// `nat` or `preserve`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Who may connect.
    pub allow: Vec<String>,
}

/// A port of the tenant NAT IP that leads to one NPCI endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EgressSpec {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The port of the tenant NAT IP.
    pub port: u16,
    /// The endpoint, as address:port.
    pub to: String,
}
