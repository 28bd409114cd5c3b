//! The fields of the configuration file. The doc comments here are the operator's manual: the sample file
//! (`docs/config.example.toml`, `gateway-daemon config example`) is made of them.

use std::str::FromStr;

use super::address::{AddressError, BackendAddr, NatAddr, VipAddr, parse_peer_socket};
use super::bounded::{Bounded, NodeId, Weight};
use super::choice::{HookChoice, Protocol, Side, SourceMode, Transport, XdpMode};
use super::limits::{FlowCount, IcmpSecs, TcpEstablishedSecs, TcpHalfOpenSecs, TcpTransitorySecs, UdpSecs};
use super::model::EgressTarget;
use super::name::{InterfaceName, ListenerName, NodeName, PeerGroupName, PoolName, TenantName};
use super::path::{DirectoryPath, MetricsAddr, SocketPath};
use super::port::Port;
use super::port_slices::PortSlices;
use super::prefix::Prefix;
use super::problem::{At, Reported};
use super::reader::{List, Reader, Section, from_toml_string};
use super::schema::{Defaulted, Field, FieldKind, Optional, Required, Schema, Table, Tables, section};

section! {
    /// Configuration of the two-IP gateway, field by field.
    ///
    /// This file is printed by `gateway-daemon config example`; `gateway-daemon config check FILE` checks
    /// yours. A field that is commented out has a default, and shows it. Unknown fields are refused. All
    /// addresses are IPv4. Names are 1 to 63 characters of a-z, 0-9 and "-", unless said otherwise.
    struct File {
        /// The two addresses that NPCI whitelists, once. They belong to nothing else in this file.
        gateway: Table<Gateway>,
        /// This node among the nodes of the gateway. Differs on every node; all else is the same everywhere.
        node: Table<Node>,
        /// Files and local addresses of the daemon.
        daemon: Table<Daemon>,
        /// Sizes of the flow tables. They are allocated at start, so memory does not grow under load.
        limits: Table<Limits>,
        /// How long an idle flow is kept, in seconds, by its state. The minima are those of the RFCs for NAT.
        timeouts: Table<Timeouts>,
        /// A network interface that the gateway attaches to: at least one external and one internal, at most
        /// 64.
        interface: Tables<Interface>,
        /// Endpoints of NPCI that tenants may call. A tenant reaches only endpoints of the groups that it
        /// names.
        peer_group: Tables<PeerGroup>,
        /// A customer: at most 16,383, in any order.
        tenant: Tables<Tenant>,
    }
}

section! {
    /// The two whitelisted addresses.
    struct Gateway {
        /// Ingress VIP: the one address that NPCI connects to. Required; a unicast address.
        ingress_vip: Required<VipAddr> = "192.0.2.10",
        /// Egress VIP: the one address that NPCI ever sees connections from. Required; differs from
        /// `ingress_vip`.
        egress_vip: Required<VipAddr> = "192.0.2.20",
    }
}

section! {
    /// This node.
    struct Node {
        /// Name in `status`, metrics and logs: 1 to 253 characters of a-z, 0-9, "-" and ".".
        name: Defaulted<NodeName> = "gateway",
        /// Number of this node, 1 to 63; different on every node.
        id: Defaulted<NodeId> = 1,
        /// Slices of the egress VIP's ports that this node owns: numbers and ranges, as in "0-30,40". There
        /// are 63 slices, 0 to 62; slice i holds the 1,024 ports from 1024 * (i + 1). No two nodes may own
        /// the same slice, or both could give the same port to different flows.
        port_slices: Defaulted<PortSlices> = "0-62",
    }
}

section! {
    /// The daemon itself.
    struct Daemon {
        /// Unix socket of the local API, which the command line uses: an absolute path of at most 107 bytes.
        socket: Defaulted<SocketPath> = "/run/two-ip-gateway/gateway.sock",
        /// Directory in a mounted BPF file system, where programs and tables outlive the daemon: an absolute
        /// path.
        bpffs: Defaulted<DirectoryPath> = "/sys/fs/bpf/two-ip-gateway",
        /// Address and port where Prometheus metrics are served over HTTP, without authentication. "" serves
        /// none.
        metrics: Defaulted<MetricsAddr> = "127.0.0.1:9464",
    }
}

section! {
    /// Sizes of the flow tables.
    struct Limits {
        /// Established flows that are tracked, of all tenants, both directions together counting once: 1,024
        /// to 16,777,216. When it is full, new flows are dropped and counted; established ones are never
        /// evicted.
        flows: Defaulted<Bounded<FlowCount>> = 262144,
        /// Flows whose handshake is not complete: 1,024 to 16,777,216. A flood of SYNs fills this table only.
        half_open_flows: Defaulted<Bounded<FlowCount>> = 65536,
    }
}

section! {
    /// Idle timeouts.
    struct Timeouts {
        /// TCP, established: 7,440 (RFC 5382 REQ-5) to 86,400 seconds. Payment sockets are idle for hours.
        tcp_established_secs: Defaulted<Bounded<TcpEstablishedSecs>> = 7440,
        /// TCP, closing (FIN or RST seen): 240 (RFC 5382 REQ-5) to 7,440 seconds.
        tcp_transitory_secs: Defaulted<Bounded<TcpTransitorySecs>> = 240,
        /// TCP, handshake not complete: 6 (RFC 5382 REQ-4) to 240 seconds. RFC 7857 section 2 allows less
        /// than the 4 minutes of RFC 5382 against SYN floods. Every repeated SYN starts it anew.
        tcp_half_open_secs: Defaulted<Bounded<TcpHalfOpenSecs>> = 30,
        /// UDP: 120 (RFC 4787 REQ-5) to 86,400 seconds; 300 is what the RFC recommends.
        udp_secs: Defaulted<Bounded<UdpSecs>> = 300,
        /// ICMP queries, such as echo: 60 (RFC 5508 REQ-2) to 3,600 seconds.
        icmp_secs: Defaulted<Bounded<IcmpSecs>> = 60,
    }
}

section! {
    /// A network interface.
    struct Interface {
        /// Name as `ip link` shows it, at most 15 bytes. Required, unique; the interface must exist.
        name: Required<InterfaceName> = "ext0",
        /// Where it leads to: "external" (NPCI) or "internal" (the tenants). Required.
        side: Required<Side> = "external",
        /// Where in the kernel to attach: "xdp" (physical network cards), "tc" (veth, bonds, pods of the same
        /// host) or "auto", which chooses by the kind of interface and explains its choice in `gateway-daemon
        /// status`.
        hook: Defaulted<HookChoice> = "auto",
        /// How to attach with XDP: "native" (in the driver) or "generic" (any interface, slower).
        xdp_mode: Defaulted<XdpMode> = "native",
    }
}

section! {
    /// A group of NPCI endpoints.
    struct PeerGroup {
        /// Name that tenants refer to. Required, unique.
        name: Required<PeerGroupName> = "npci",
        /// One destination of the group: at least one, at most 4,096. It can't be a VIP, a tenant NAT IP or a
        /// tenant's source.
        endpoint: Tables<Endpoint>,
    }
}

section! {
    /// A destination.
    struct Endpoint {
        /// Address, or prefix as in "192.0.2.96/28". Required.
        address: Required<Prefix> = "192.0.2.100",
        /// "tcp", "udp" or "icmp" (echo). Required.
        protocol: Required<Protocol> = "tcp",
        /// Port, 1 to 65535. Absent means any port; "icmp" has none.
        port: Optional<Port> = 443,
    }
}

section! {
    /// A customer.
    struct Tenant {
        /// Name in `status`, metrics and the audit ledger. Required, unique.
        name: Required<TenantName> = "bank-a",
        /// Tenant NAT IP, the inside address that stands for this tenant: its backends see ingress from it.
        /// Required, unique; no VIP, no backend, not among the sources of another tenant.
        nat_ip: Required<NatAddr> = "198.51.100.30",
        /// The tenant's own addresses, as addresses or prefixes: packets from them are the tenant's, all
        /// others are not. Required, at least one. No overlap with each other or with another tenant's, and
        /// no VIP among them.
        sources: Required<List<Prefix>> = ["198.51.100.16/28"],
        /// Names of the peer groups that the tenant may call. Absent means none: then it can call nobody.
        peer_groups: Optional<List<PeerGroupName>> = ["npci"],
        /// A set of servers for listeners of this tenant.
        pool: Tables<Pool>,
        /// A port of the ingress VIP that belongs to this tenant. Listeners and egress entries of all
        /// tenants: at most 65,536.
        listener: Tables<Listener>,
        /// Addressed egress: a port of the tenant NAT IP that leads to one NPCI endpoint, for software that
        /// can't call NPCI's address.
        egress: Tables<Egress>,
    }
}

section! {
    /// A pool.
    struct Pool {
        /// Name that listeners refer to. Required, unique within the tenant.
        name: Required<PoolName> = "web",
        /// A server of the pool: at least one, at most 1,024 a pool and 100,000 in all. One of them must have
        /// a weight above 0.
        backend: Tables<Backend>,
    }
}

section! {
    /// A server.
    struct Backend {
        /// Address. Required; one of the tenant's sources, so that its replies are known to be the tenant's.
        address: Required<BackendAddr> = "198.51.100.18",
        /// Port, 1 to 65535. Required; (address, port) is unique within the pool.
        port: Required<Port> = 8080,
        /// Share of new flows relative to the other servers, 0 to 1,000. 0 gets no new flows and keeps those
        /// it has.
        weight: Defaulted<Weight> = 1,
    }
}

section! {
    /// A listener.
    struct Listener {
        /// Name. Required, unique within the tenant.
        name: Required<ListenerName> = "upi",
        /// "tcp" or "udp". Required. (The gateway itself answers ICMP echo to its VIPs.)
        protocol: Required<Transport> = "tcp",
        /// Port of the ingress VIP, 1 to 65535. Required; (protocol, port) belongs to one listener of one
        /// tenant.
        port: Required<Port> = 8443,
        /// Name of the pool that gets the flows. Required.
        pool: Required<PoolName> = "web",
        /// Source address that the servers see: "nat" (the tenant NAT IP) or "preserve" (the client's own).
        source: Defaulted<SourceMode> = "nat",
        /// Who may connect, as addresses or prefixes. Required, at least one, at most 4,096; "0.0.0.0/0" is
        /// anyone. `sources` and `allow` of all tenants: at most 65,536.
        allow: Required<List<Prefix>> = ["192.0.2.0/24"],
    }
}

section! {
    /// Addressed egress.
    struct Egress {
        /// "tcp" or "udp". Required.
        protocol: Required<Transport> = "tcp",
        /// Port of the tenant NAT IP, 1 to 65535. Required; (protocol, port) is unique within the tenant.
        port: Required<Port> = 9001,
        /// NPCI endpoint as address:port. Required; one of the tenant's peer groups must allow it.
        to: Required<EgressTarget> = "192.0.2.100:443",
    }
}

impl FromStr for EgressTarget {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (address, port) = parse_peer_socket(text)?;
        Ok(Self { address, port })
    }
}

from_toml_string!(EgressTarget);
