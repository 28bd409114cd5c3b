//! The fields of the configuration file. The doc comments here are the operator's manual: the sample file
//! (`docs/config.example.toml`, `gateway-daemon config example`) is made of them.

use std::str::FromStr;

use super::address::{AddressError, BackendAddr, NatAddr, RouterAddr, VipAddr, parse_peer_socket};
use super::api::Principal;
use super::bounded::{Bounded, NodeId, OrNone, Weight};
use super::choice::{
    CheckWord, HookChoice, OnBackendDown, Protocol, Side, SourceMode, StateWord, StoreWord, Transport,
    WhenAllDown, XdpMode,
};
use super::hex::{HexBytes, HexPattern};
use super::http::{HostName, HttpPath};
use super::limits::{
    ChallengeAbove, CheckCount, CheckIntervalMs, CheckTimeoutMs, FlowCount, HistoryVersions, IcmpSecs,
    JitterPercent, NewFlowCount, PortsPerDestination, QuarantineSecs, ReconcileMs, ReservedPorts,
    SegmentBytes, SlowStartSecs, TcpEstablishedSecs, TcpHalfOpenSecs, TcpTransitorySecs, TenantFlowCount,
    TenantIdleSecs, UdpSecs, UnixSecs,
};
use super::model::EgressTarget;
use super::name::{InterfaceName, ListenerName, NodeName, PeerGroupName, PoolName, TenantName};
use super::path::{DirectoryPath, ListenAddr, OptionalFile, SocketPath};
use super::port::Port;
use super::port_slices::PortSlices;
use super::prefix::Prefix;
use super::problem::{At, Reported};
use super::reader::{FromToml, List, Reader, Section, from_toml_string};
use super::schema::{
    Defaulted, Field, FieldKind, Optional, OptionalTable, Required, Schema, Table, Tables, section,
};
use super::status_ranges::StatusRanges;
use super::store::{EndpointUrl, KeyPrefix};

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
        /// Where the tenants are kept: in a database of this node, in an etcd cluster, or in this file.
        store: Table<Store>,
        /// Who may use the API, and where it listens besides the unix socket. A name in several roles has the
        /// highest. Names are users, "#uid", "@group", or "cert:NAME" for the name in a client's certificate.
        api: Table<Api>,
        /// How the tables of the kernel are kept right.
        reconcile: Table<Reconcile>,
        /// A network interface that the gateway attaches to: at least one external and one internal, at most
        /// 64.
        interface: Tables<Interface>,
        /// A route that the gateway needs, towards NPCI or towards tenants: at most 4,096. The daemon puts it into
        /// the kernel's main table, under protocol 221, and puts it back when somebody else removes or changes it.
        /// Routes of other protocols are never touched: one that leads the same way is left in charge, one to the
        /// same prefix by another way is refused at the start.
        route: Tables<Route>,
        /// Endpoints of NPCI that tenants may call. A tenant reaches only endpoints of the groups that it
        /// names.
        peer_group: Tables<PeerGroup>,
        /// A customer: at most 16,383, in any order.
        tenant: Tables<Tenant>,
    }
}

section! {
    /// The objects of the tenant store alone.
    struct Document {
        /// As in the file.
        peer_group: Tables<PeerGroup>,
        /// As in the file.
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
        /// Directory for what must outlive the daemon, such as the embedded store: an absolute path.
        state_dir: Defaulted<DirectoryPath> = "/var/lib/two-ip-gateway",
        /// Address and port where Prometheus metrics are served over HTTP, without authentication. "" serves
        /// none.
        metrics: Defaulted<ListenAddr> = "127.0.0.1:9464",
    }
}

section! {
    /// Sizes of the flow tables, and what guards them.
    struct Limits {
        /// Established flows that are tracked, of all tenants, both directions together counting once: 1,024
        /// to 16,777,216. When it is full, new flows are dropped and counted; established ones are never
        /// evicted.
        flows: Defaulted<Bounded<FlowCount>> = 262144,
        /// Flows whose handshake is not complete: 1,024 to 16,777,216. A flood of SYNs fills this table only.
        half_open_flows: Defaulted<Bounded<FlowCount>> = 65536,
        /// Half-open flows of one listener above which new clients have to show that they are where they say,
        /// by answering a SYN cookie: 0 to 470; 0 is never. A listener has at most 480 half-open flows: the one
        /// more that comes takes the place of the oldest.
        challenge_above: Defaulted<Bounded<ChallengeAbove>> = 240,
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
        /// How long the ports of an established flow that idled out are kept from other flows: 0 to 3,600
        /// seconds; 120 is what RFC 6888 REQ-8 asks for. Meanwhile its packets are dropped (`flow_expired`).
        quarantine_secs: Defaulted<Bounded<QuarantineSecs>> = 120,
        /// Reset both ends of a TCP connection that idled out, so that they learn of it at once? Otherwise they
        /// learn of it when they speak and are not answered. Needs a quarantine.
        reset_on_expiry: Defaulted<bool> = false,
    }
}

section! {
    /// The tenant store.
    struct Store {
        /// "embedded" (a database in `daemon.state_dir`), "etcd" (several nodes), or "file" (this file: the API
        /// refuses changes). Absent: "file" if this file has a tenant or a peer group, else "embedded". With the
        /// first two this file has neither.
        kind: Optional<StoreWord> = "file",
        /// Versions that are kept for `history` and `rollback`: 10 to 100,000.
        history: Defaulted<Bounded<HistoryVersions>> = 1000,
        /// "etcd": URLs of its members, as in `https://etcd-1.example:2379`. At least one.
        endpoints: Defaulted<List<EndpointUrl>> = [],
        /// "etcd": what the gateway's keys begin with. All nodes of one gateway have the same, and no other
        /// gateway has it.
        prefix: Defaulted<KeyPrefix> = "/two-ip-gateway/",
        /// "etcd": file with the certificates of the authorities that sign the members' certificates, in PEM. ""
        /// is those that the system trusts.
        ca_file: Defaulted<OptionalFile> = "",
        /// "etcd": file with the certificate that this daemon shows, in PEM; with `key_file`. "" shows none.
        cert_file: Defaulted<OptionalFile> = "",
        /// "etcd": file with the private key of `cert_file`, in PEM.
        key_file: Defaulted<OptionalFile> = "",
    }
}

section! {
    /// The API.
    struct Api {
        /// Who may change everything.
        admins: Defaulted<List<Principal>> = ["root"],
        /// Who may drain, resume, and change weights.
        operators: Defaulted<List<Principal>> = [],
        /// Who may look.
        viewers: Defaulted<List<Principal>> = [],
        /// Address and port where the API is served over TLS as well, to clients that show a certificate. ""
        /// serves it on the unix socket only. Needs the three files below.
        listen: Defaulted<ListenAddr> = "",
        /// File with the certificate that `listen` shows, in PEM.
        tls_cert_file: Defaulted<OptionalFile> = "",
        /// File with the private key of `tls_cert_file`, in PEM.
        tls_key_file: Defaulted<OptionalFile> = "",
        /// File with the certificates of the authorities that sign the clients' certificates, in PEM.
        tls_client_ca_file: Defaulted<OptionalFile> = "",
    }
}

section! {
    /// Self-healing.
    struct Reconcile {
        /// Milliseconds from one full comparison of the kernel's tables to the next: 100 to 60,000. What
        /// somebody else removed is repaired by the next one at the latest.
        interval_ms: Defaulted<Bounded<ReconcileMs>> = 500,
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
        /// Largest TCP segment that connections through this interface may agree on, in bytes (the MSS option of
        /// SYNs is lowered to it): 536 to 9,140, or 0 to leave it alone. For a link with an MTU of 1,300 it is
        /// 1,260: 40 bytes are headers.
        mss_clamp: Defaulted<OrNone<SegmentBytes>> = 0,
    }
}

section! {
    /// A route.
    struct Route {
        /// Address, or prefix as in "203.0.113.0/24"; "0.0.0.0/0" is everything else. Required, unique; no VIP.
        to: Required<Prefix> = "203.0.113.0/24",
        /// Address of the router. Required; no VIP. Within `to` only for "0.0.0.0/0", or with `interface`.
        via: Required<RouterAddr> = "192.0.2.1",
        /// Name of the interface that the router is on, one of those above. Absent: the kernel finds it.
        interface: Optional<InterfaceName> = "ext0",
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
        /// Names of the tenants whose listeners it may call, over the ingress VIP as NPCI does; its own name is
        /// allowed. Without, it can call no tenant, not even itself. At most 8,192 pairs over all tenants.
        hairpin_to: Defaulted<List<TenantName>> = [],
        /// "active"; "draining": new flows are refused, known ones go on until `drain_until`; "maintenance": all
        /// flows are reset.
        state: Defaulted<StateWord> = "active",
        /// When the remaining flows of a draining tenant are reset: Unix time in seconds. 0 is never.
        drain_until: Defaulted<Bounded<UnixSecs>> = 0,
        /// Flows that it may have at a time, established and half-open, in both directions: 1 to 16,777,216, or
        /// 0 for any number. More are dropped (`tenant_flows_exceeded`).
        max_flows: Defaulted<OrNone<TenantFlowCount>> = 0,
        /// New flows that it may open or get a second: 1 to 1,000,000, or 0 for any number. More are dropped
        /// (`tenant_rate_exceeded`). Exact to 0.1 %.
        new_flows_per_second: Defaulted<OrNone<NewFlowCount>> = 0,
        /// New flows that it may have at once, after it had none for a while: 1 to 1,000,000, or 0 for those of
        /// one second. With `new_flows_per_second`.
        new_flows_burst: Defaulted<OrNone<NewFlowCount>> = 0,
        /// Ports of the egress VIP that only this tenant's calls use, and the only ones that they use: 1 to
        /// 48,384, or 0 for none. Rounded up to a multiple of 63, as the share is the same cut of each of the 63
        /// slices; a node with fewer slices has as many fewer. It is also how many connections the tenant may
        /// have to one destination. All tenants together: 48,384. Flows that are open keep their ports.
        reserved_ports: Defaulted<OrNone<ReservedPorts>> = 0,
        /// Ports of the egress VIP that its calls may take, among those that tenants share: how many
        /// connections it may have to one destination. 1 to 64,512, or 0 for all that are not reserved. Rounded
        /// down to a multiple of 63, but not below 63; a node with fewer slices has as many fewer. Not with
        /// `reserved_ports`.
        ports_per_destination: Defaulted<OrNone<PortsPerDestination>> = 0,
        /// Largest TCP segment that its connections may agree on, in bytes: 536 to 9,140, or 0 to leave it
        /// alone. Where the interface has one as well, the smaller one holds.
        mss_clamp: Defaulted<OrNone<SegmentBytes>> = 0,
        /// Let its packets come in by other interfaces than the one that its route leads out of. Without, a packet from
        /// one of its addresses that comes in elsewhere is dropped (`source_spoofed`): somebody else may use the
        /// address. For networks where the ways to and fro differ.
        loose_source: Defaulted<bool> = false,
        /// Idle timeouts of this tenant's flows, where they are not the node's.
        timeouts: Table<TenantTimeouts>,
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
    /// A tenant's own timeouts.
    struct TenantTimeouts {
        /// TCP, established: 7,440 (RFC 5382 REQ-5) to 86,400 seconds, or 0 for the node's.
        tcp_established_secs: Defaulted<OrNone<TenantIdleSecs>> = 0,
        /// UDP: 120 (RFC 4787 REQ-5) to 86,400 seconds, or 0 for the node's.
        udp_secs: Defaulted<OrNone<TenantIdleSecs>> = 0,
        /// Allow these two down to 1 second? That violates RFC 5382 REQ-5 and RFC 4787 REQ-5: connections that
        /// are silent for longer break. For tests, and for tenants whose applications are known never to be.
        allow_short_timeouts: Defaulted<bool> = false,
    }
}

section! {
    /// A pool.
    struct Pool {
        /// Name that listeners refer to. Required, unique within the tenant.
        name: Required<PoolName> = "web",
        /// What new flows meet when no server takes any: "refuse" (a RST, or an ICMP error, at once) or "drop".
        when_all_down: Defaulted<WhenAllDown> = "refuse",
        /// What becomes of the flows of a server that goes down: "keep" (they go on if it comes back) or "reset"
        /// (both ends get a RST, so that connection pools connect anew at once).
        on_backend_down: Defaulted<OnBackendDown> = "keep",
        /// Seconds in which the share of a server that came up grows to its full weight: 0 (at once) to 3,600.
        slow_start_secs: Defaulted<Bounded<SlowStartSecs>> = 0,
        /// How the servers are checked. Without this section they are not, and count as up.
        health: OptionalTable<Health>,
        /// A server of the pool: at least one, at most 1,024 a pool and 100,000 in all. One of them must have
        /// a weight above 0.
        backend: Tables<Backend>,
    }
}

section! {
    /// A check.
    struct Health {
        /// "tcp" (the connection stands), "http", "https" (a GET is answered with the right status), "tls" (the
        /// handshake is done; certificates are not verified), or "script" (bytes are answered with bytes).
        /// Required.
        check: Required<CheckWord> = "http",
        /// Milliseconds from one check of a server to the next: 100 to 3,600,000.
        interval_ms: Defaulted<Bounded<CheckIntervalMs>> = 2000,
        /// Milliseconds that a check may take: 10 to `interval_ms`. Absent: 1,000, or the interval if that is
        /// less.
        timeout_ms: Optional<Bounded<CheckTimeoutMs>> = 1000,
        /// Successes in a row until a server is up: 1 to 10.
        rise: Defaulted<Bounded<CheckCount>> = 2,
        /// Failures in a row until a server is down: 1 to 10.
        fall: Defaulted<Bounded<CheckCount>> = 3,
        /// Per cent of the interval by which checks are spread at random: 0 to 50.
        jitter_percent: Defaulted<Bounded<JitterPercent>> = 10,
        /// Count a new server as up until it is proven down? Otherwise it is down until it is proven up.
        assume_up: Defaulted<bool> = false,
        /// Let unanswered SYNs and RSTs of real traffic mark a server down sooner?
        passive: Defaulted<bool> = true,
        /// Port to check. Absent: that of the server.
        port: Optional<Port> = 8080,
        /// "http", "https": path to GET, with its query.
        path: Defaulted<HttpPath> = "/",
        /// "http", "https": Host header; "https", "tls": server name. "" is the server's address, and no server
        /// name.
        host: Defaulted<HostName> = "",
        /// "http", "https": statuses that count as success, as in "200-299,304".
        expect_status: Defaulted<StatusRanges> = "200-299",
        /// "script": bytes to send, in hex, as in "000c 30383030"; at most 2,048. "" sends nothing and waits.
        send_hex: Defaulted<HexBytes> = "",
        /// "script": bytes that the answer must begin with, in hex; ".." stands for any byte. Required with it.
        expect_hex: Defaulted<HexPattern> = "",
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
        /// "active"; "draining": no new flows, known ones go on until `drain_until`; "maintenance": its flows are
        /// reset.
        state: Defaulted<StateWord> = "active",
        /// When the remaining flows of a draining server are reset: Unix time in seconds. 0 is never.
        drain_until: Defaulted<Bounded<UnixSecs>> = 0,
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

from_toml_string!(EgressTarget: "address and port");
