//! What the API's two ends exchange. Units stand last in the name of a field.

pub use super::problem::{Problem, ProblemKind};
pub use explain::{
    ExplainPacket, ExplainRequest, ExplainStep, ExplainTuple, ExplainedReason, Explanation, Fate, FrameText,
    StepAction, TcpFlag,
};
pub use flows::{AddressOrPrefix, AddressOrPrefixError, FlowFilter, FlowLimit, FlowLimitError, FlowList};
pub use tenancy::{
    Deadline, DrainRequest, Health, History, HistoryVersion, PeerGroupList, RollbackRequest, TenantList,
    VersionDiff, WeightRequest,
};
pub use watch::{
    CaptureQuery, DroppedPacket, EndOfFlow, FlowEnded, FlowNews, Happening, Missed, MonitorFilter,
};

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use gateway_common::abi;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::config;

/// Declares an enum that is one lower-case word in JSON, in a query, on the command line and in tables.
macro_rules! word {
    ($(#[doc = $doc:tt])+ $name:ident { $($(#[doc = $variant_doc:tt])+ $variant:ident = $word:tt,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
        pub enum $name {
            $($(#[doc = $variant_doc])+ #[serde(rename = $word)] #[value(name = $word)] $variant,)+
        }

        impl $name {
            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

// Below the macro, which they use.
mod explain;
mod flows;
mod tenancy;
mod watch;

word! {
    /// Which network an interface leads to.
    Side {
        /// NPCI's network.
        External = "external",
        /// The tenants' networks.
        Internal = "internal",
    }
}

word! {
    /// Where in the kernel a program is attached.
    Hook {
        /// XDP.
        Xdp = "xdp",
        /// TC ingress.
        Tc = "tc",
    }
}

word! {
    /// How an XDP program is attached.
    XdpMode {
        /// In the driver.
        Native = "native",
        /// In the network stack.
        Generic = "generic",
    }
}

word! {
    /// Who opened a flow.
    Direction {
        /// NPCI, towards a tenant.
        Ingress = "ingress",
        /// A tenant, towards NPCI.
        Egress = "egress",
    }
}

word! {
    /// An IP protocol that the gateway translates.
    Protocol {
        /// TCP
        Tcp = "tcp",
        /// UDP
        Udp = "udp",
        /// ICMP echo; its identifier stands where the others have a source port
        Icmp = "icmp",
    }
}

word! {
    /// State of a tracked flow.
    FlowState {
        /// One direction has spoken: TCP SYN sent, a datagram sent
        HalfOpen = "half_open",
        /// TCP: SYN-ACK seen, the third packet not yet
        Answered = "answered",
        /// Both directions have spoken (TCP: three packets)
        Established = "established",
        /// TCP: one direction has sent FIN
        HalfClosed = "half_closed",
        /// TCP: both directions have sent FIN
        Closing = "closing",
        /// TCP: a RST was seen
        Reset = "reset",
        /// It was idle for too long: nothing passes, its ports are kept from others for a while
        Expired = "expired",
    }
}

impl From<config::Side> for Side {
    fn from(side: config::Side) -> Self {
        match side {
            config::Side::External => Self::External,
            config::Side::Internal => Self::Internal,
        }
    }
}

impl From<config::XdpMode> for XdpMode {
    fn from(mode: config::XdpMode) -> Self {
        match mode {
            config::XdpMode::Native => Self::Native,
            config::XdpMode::Generic => Self::Generic,
        }
    }
}

impl From<abi::Side> for Side {
    fn from(side: abi::Side) -> Self {
        match side {
            abi::Side::External => Self::External,
            abi::Side::Internal => Self::Internal,
        }
    }
}

impl From<Protocol> for abi::Protocol {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp,
            Protocol::Udp => Self::Udp,
            Protocol::Icmp => Self::Icmp,
        }
    }
}

impl From<abi::Protocol> for Protocol {
    fn from(protocol: abi::Protocol) -> Self {
        match protocol {
            abi::Protocol::Tcp => Self::Tcp,
            abi::Protocol::Udp => Self::Udp,
            abi::Protocol::Icmp => Self::Icmp,
        }
    }
}

impl From<abi::State> for FlowState {
    fn from(state: abi::State) -> Self {
        match state {
            abi::State::HalfOpen => Self::HalfOpen,
            abi::State::Answered => Self::Answered,
            abi::State::Established => Self::Established,
            abi::State::HalfClosed => Self::HalfClosed,
            abi::State::Closing => Self::Closing,
            abi::State::Reset => Self::Reset,
        }
    }
}

impl From<&abi::CtEntry> for FlowState {
    fn from(entry: &abi::CtEntry) -> Self {
        if entry.flags.contains(abi::EntryFlags::EXPIRED) { Self::Expired } else { entry.state().into() }
    }
}

/// What the node is doing: `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// This node.
    pub node: NodeStatus,
    /// The configuration in force.
    pub config: ConfigStatus,
    /// The two whitelisted addresses.
    pub vips: Vips,
    /// The configured interfaces, in the order of the configuration.
    pub interfaces: Vec<InterfaceStatus>,
    /// How full the tables of the data path are.
    pub tables: Vec<TableStatus>,
    /// Node-wide counters by [`abi::Counter::name`]; they survive a restart of the daemon.
    pub counters: BTreeMap<String, u64>,
    /// The tenants, in the order of the configuration.
    pub tenants: Vec<TenantStatus>,
    /// What was repaired since the daemon started.
    pub repairs: RepairStatus,
    /// What an operator should look at, one sentence each; empty when all is well.
    pub warnings: Vec<String>,
}

/// What somebody else had changed in the kernel and the daemon has put back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RepairStatus {
    /// How many things of each kind: `map_entry`, `address`, `link`, `forwarding`, `route`, `neighbour`.
    pub counts: BTreeMap<String, u64>,
    /// When the last one was made: Unix time in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_at_unix_secs: Option<u64>,
    /// What it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// Could the tables not be brought to the configuration yet?
    pub out_of_step: bool,
}

/// One node of the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Its number, 1 to 63.
    pub id: u8,
    /// The daemon's process id.
    pub pid: u32,
    /// How long the daemon has been running.
    pub uptime_secs: u64,
    /// Version of the layout of the kernel's tables.
    pub abi_version: u32,
}

/// The configuration in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigStatus {
    /// Its file.
    #[schema(value_type = String)]
    pub path: PathBuf,
    /// Raised with every configuration that comes into force.
    pub generation: u32,
    /// When it came into force.
    pub loaded_at_unix_secs: u64,
}

/// The two whitelisted addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Vips {
    /// NPCI calls it.
    #[schema(value_type = String)]
    pub ingress: Ipv4Addr,
    /// NPCI is called from it.
    #[schema(value_type = String)]
    pub egress: Ipv4Addr,
}

/// A configured network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// The kernel's number; `None` while there is no such interface.
    pub ifindex: Option<u32>,
    /// Where it leads to.
    pub side: Side,
    /// Where the gateway's program is attached; `None` while it is not.
    pub hook: Option<Hook>,
    /// How it is attached, if by XDP.
    pub xdp_mode: Option<XdpMode>,
    /// Why this hook, or why none.
    pub why: String,
    /// Its Ethernet address, `02:00:00:00:00:01`; `None` if it has none or does not exist.
    pub mac: Option<String>,
    /// Is IPv4 forwarding on? The data path drops without it.
    pub forwarding: bool,
    /// Was the program already attached by a daemon before this one?
    pub adopted: bool,
}

impl InterfaceStatus {
    /// Do its packets reach the gateway?
    pub fn is_attached(&self) -> bool {
        self.hook.is_some()
    }
}

/// A table of the data path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TableStatus {
    /// Its name, lower case.
    pub name: String,
    /// Entries in use.
    pub entries: u64,
    /// Entries that there is room for.
    pub capacity: u64,
}

/// A tenant and its traffic. Packets and bytes are those translated, counted as frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TenantStatus {
    /// Its name.
    pub name: String,
    /// The inside address that stands for it.
    #[schema(value_type = String)]
    pub nat_ip: Ipv4Addr,
    /// Flows now tracked, half-open ones excluded.
    pub flows: u64,
    /// Half-open flows now tracked.
    pub half_open_flows: u64,
    /// Flows, half-open ones included, as the data path counts them against `max_flows`.
    pub counted_flows: u64,
    /// How many of these it may have; any number when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_flows: Option<u32>,
    /// Packets from NPCI's side to the tenant.
    pub from_external_packets: u64,
    /// Bytes from NPCI's side to the tenant.
    pub from_external_bytes: u64,
    /// Packets from the tenant to NPCI's side.
    pub to_external_packets: u64,
    /// Bytes from the tenant to NPCI's side.
    pub to_external_bytes: u64,
    /// Flows opened so far, in both directions.
    pub flows_opened: u64,
    /// Packets dropped that were known to be this tenant's.
    pub dropped_packets: u64,
}

/// A tracked flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Flow {
    /// The tenant's name.
    pub tenant: String,
    /// Who opened it.
    pub direction: Direction,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its state.
    pub state: FlowState,
    /// The packets of its opener, as they come in.
    pub original: Endpoints,
    /// The same packets, as they go out.
    pub translated: Endpoints,
    /// Time since it was opened.
    pub age_secs: u64,
    /// Time since its last packet.
    pub idle_secs: u64,
    /// Time until it is forgotten if no packet comes.
    pub expires_in_secs: u64,
    /// The node that owns it, 1 to 63.
    pub owner: u8,
}

/// The two ends of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Endpoints {
    /// Source address.
    #[schema(value_type = String)]
    pub source: Ipv4Addr,
    /// Source port, or the identifier of an ICMP echo.
    pub source_port: u16,
    /// Destination address.
    #[schema(value_type = String)]
    pub destination: Ipv4Addr,
    /// Destination port; 0 for ICMP.
    pub destination_port: u16,
}

/// What was dropped, why and of whom: `GET /v1/drops`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Drops {
    /// All dropped packets.
    pub total: u64,
    /// By reason.
    pub reasons: Vec<DropCount>,
    /// By tenant, as far as the packet was known to be a tenant's.
    pub tenants: Vec<TenantDrops>,
}

/// Packets dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DropCount {
    /// The reason's stable name.
    pub reason: String,
    /// What it means and what to look at.
    pub explanation: String,
    /// How many.
    pub packets: u64,
}

/// Packets dropped of one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TenantDrops {
    /// The tenant's name.
    pub tenant: String,
    /// How many.
    pub packets: u64,
}
