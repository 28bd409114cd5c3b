//! Keys and values of the tables, as people read them.

use std::collections::HashMap;

use gateway_common::{
    abi::{
        AddressKind, Backend, DestinationKey, FlowKey, Interface, Listener, ListenerFlags, ListenerKey,
        OwnedAddress, Pool, PoolFlags, Port, Protocol, Settings, TenantId, TenantSettings, TenantSource,
    },
    memory::MemorySlot,
    port_slice::PortShare,
    tables::{FlowSlot as _, FlowTable, Insertion, Pace, Route, RouteQuery},
};

/// Names of what the tables know by its number.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Tenants.
    pub tenants: HashMap<TenantId, String>,
    /// Interfaces, by index.
    pub interfaces: HashMap<u32, String>,
}

impl Names {
    /// A tenant's name.
    pub fn tenant(&self, tenant: TenantId) -> String {
        match self.tenants.get(&tenant) {
            _ if tenant == TenantId::NONE => "no tenant".to_owned(),
            Some(name) => name.clone(),
            None => format!("tenant {}", tenant.0),
        }
    }

    /// An interface's name.
    pub fn interface(&self, ifindex: u32) -> String {
        self.interfaces.get(&ifindex).cloned().unwrap_or_else(|| format!("interface {ifindex}"))
    }

    pub(super) fn address(&self, address: OwnedAddress) -> String {
        match address.kind() {
            Some(AddressKind::IngressVip) => "the ingress VIP".to_owned(),
            Some(AddressKind::EgressVip) => "the egress VIP".to_owned(),
            Some(AddressKind::TenantNatIp) => format!("the NAT IP of {}", self.tenant(address.tenant)),
            Some(AddressKind::Host) => "this host's own".to_owned(),
            None => "of an unknown kind".to_owned(),
        }
    }

    pub(super) fn listener(&self, listener: &Listener) -> String {
        let Listener { tenant, flags, pool, allow_list, nat } = listener;
        let source = if flags.contains(ListenerFlags::PRESERVE_SOURCE) {
            "source kept".to_owned()
        } else {
            format!("source becomes {nat}")
        };
        let draining = if flags.contains(ListenerFlags::DRAINING) { ", draining" } else { "" };
        format!("of {}: pool {pool}, allow-list {allow_list}, {source}{draining}", self.tenant(*tenant))
    }

    pub(super) fn source(&self, source: TenantSource) -> String {
        let draining = if source.is_draining() { ", draining" } else { "" };
        format!("of {}{draining}", self.tenant(source.tenant()))
    }

    pub(super) fn destination(&self, key: &DestinationKey) -> String {
        let protocol = key.protocol().map_or("?", Protocol::name);
        let port = match key.port() {
            Port::NONE => "any port".to_owned(),
            port => format!("port {port}"),
        };
        format!("{} to {} {protocol}, {port}", self.tenant(key.tenant()), key.address)
    }

    pub(super) fn backend(&self, backend: Backend) -> String {
        format!("{}:{} of {}", backend.address, backend.port, self.tenant(backend.tenant))
    }

    pub(super) fn route(&self, route: &Route) -> String {
        match route {
            Route::Forward { ifindex, .. } => format!("out of {}", self.interface(*ifindex)),
            Route::Unresolved { ifindex, next_hop } => {
                format!("out of {}, where {next_hop} is not resolved", self.interface(*ifindex))
            }
            Route::TooLarge { ifindex, mtu } => {
                format!("too large for {}, which takes {mtu} bytes", self.interface(*ifindex))
            }
            Route::None => "no way".to_owned(),
            Route::Disabled => "forwarding is off where the packet comes in".to_owned(),
        }
    }

    pub(super) fn entry(&self, slot: &MemorySlot, key: &FlowKey) -> String {
        slot.view(key).map_or_else(String::new, |entry| {
            let (tenant, state) = (self.tenant(entry.tenant), entry.state.name());
            format!("of {tenant}, {state}; its answers: {}", flow_key(&entry.pair))
        })
    }
}

pub(super) fn settings(settings: &Settings) -> String {
    let Settings { node, generation, slices, .. } = settings;
    format!("node {node}, generation {generation}, {} ports", slices.ports())
}

pub(super) fn listener_key(key: ListenerKey) -> String {
    format!("{}:{} {}", key.address, key.port, key.protocol().map_or("?", Protocol::name))
}

pub(super) fn tenant(tenant: &TenantSettings) -> String {
    let TenantSettings { nat, mss, flows_max, ports, tcp_established_secs, udp_secs, .. } = *tenant;
    let mut words = vec![format!("NAT IP {nat}")];
    if flows_max != 0 {
        words.push(format!("at most {flows_max} flows"));
    }
    if tenant.new_flow_interval_ns != 0 {
        let (rate, burst) = pace(tenant.new_flow_interval_ns, tenant.new_flow_credit_ns);
        words.push(format!("at most {rate} new flows a second, {burst} at once"));
    }
    if ports != PortShare::ALL {
        words.push(format!("ports {} to {} of each slice", ports.first, ports.first + ports.len.max(1) - 1));
    }
    if mss != 0 {
        words.push(format!("segments of at most {mss} bytes"));
    }
    for (protocol, secs) in [("TCP", tcp_established_secs), ("UDP", udp_secs)] {
        if secs != 0 {
            words.push(format!("{protocol} idle for at most {secs} s"));
        }
    }
    words.join(", ")
}

/// New flows a second, and at once.
fn pace(interval_ns: u64, credit_ns: u64) -> (u64, u64) {
    let interval_ns = interval_ns.max(1);
    ((1_000_000_000 + interval_ns / 2) / interval_ns, credit_ns / interval_ns)
}

/// The flows that a tenant has before one more.
pub(super) fn flows(flows: i64, max: u32) -> String {
    if max == 0 { format!("{flows} flows") } else { format!("{flows} of {max} flows") }
}

pub(super) fn turn(has_turn: bool, limit: &Pace) -> String {
    let (rate, burst) = pace(limit.interval_ns, limit.credit_ns);
    let whether = if has_turn { "one more may be opened now" } else { "no more may be opened now" };
    format!("{whether}, of {rate} a second and {burst} at once")
}

pub(super) fn pool(pool: &Pool) -> String {
    match pool.maglev_len {
        0 if pool.flags.contains(PoolFlags::REFUSE) => "no backend takes new flows: refuse them".to_owned(),
        0 => "no backend takes new flows: drop them".to_owned(),
        len => format!("{len} hash slots from {}", pool.maglev_offset),
    }
}

pub(super) fn interface(interface: &Interface) -> String {
    let side = interface.side().name();
    match interface.vlan_id {
        0 => side.to_owned(),
        vlan => format!("{side}, VLAN {vlan}"),
    }
}

pub(super) fn route_query(query: &RouteQuery, ingress: &str) -> String {
    format!("{} -> {}, from {ingress}", query.src, query.dst)
}

pub(super) const fn flow_table(table: FlowTable) -> &'static str {
    match table {
        FlowTable::Established => "flows",
        FlowTable::HalfOpen => "half_open",
    }
}

pub(super) fn flow_key(key: &FlowKey) -> String {
    let (side, protocol) = (key.side().name(), key.protocol().map_or("?", Protocol::name));
    let FlowKey { src, src_port, dst, dst_port, .. } = key;
    format!("{side} {protocol} {src}:{src_port} -> {dst}:{dst_port}")
}

pub(super) const fn insertion(insertion: Insertion) -> &'static str {
    match insertion {
        Insertion::Inserted => "free: inserted",
        Insertion::Exists => "taken",
        Insertion::Full => "the table is full",
    }
}
