//! What the gateway tells operators: the API's and the metrics' source.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use futures_util::stream::BoxStream;
use gateway_common::{
    abi::{CtEntry, EntryFlags, Protocol, TenantId},
    limits::ABI_VERSION,
    tables::FlowTable,
};

use super::{Gateway, State, veth_warning};
use crate::{
    api::{
        source::{Source, SourceError},
        types::{
            CaptureQuery, ConfigStatus, Direction, DropCount, Drops, Endpoints, ExplainRequest, Explanation,
            Flow, FlowFilter, FlowList, Happening, Hook, InterfaceStatus, MonitorFilter, NodeStatus,
            RepairStatus, Status, TableStatus, TenantDrops, TenantStatus, Vips, XdpMode,
        },
    },
    config::{self, Config},
    datapath::{
        flows, hook,
        host::{self, Host},
        lifetimes::Lifetimes,
        monotonic_ns,
    },
};

/// Share of a table that is worth a warning, in percent (RFC 6888 leaves the number to us; 85 leaves time to act).
const FULL_PERCENT: u64 = 85;

impl Source for Gateway {
    fn status(&self) -> Result<Status, SourceError> {
        self.read_status().map_err(unavailable)
    }

    fn flows(&self, filter: &FlowFilter) -> Result<FlowList, SourceError> {
        if let Some(name) = &filter.tenant
            && !self.config().tenants.iter().any(|tenant| tenant.name.as_str() == name)
        {
            return Err(SourceError::UnknownTenant { name: name.clone() });
        }
        self.read_flows(filter).map_err(unavailable)
    }

    fn drops(&self) -> Result<Drops, SourceError> {
        self.read_drops().map_err(unavailable)
    }

    fn explain(&self, request: &ExplainRequest) -> Result<Explanation, SourceError> {
        self.explanation(request)
    }

    fn monitor(self: Arc<Self>, filter: MonitorFilter) -> Result<BoxStream<'static, Happening>, SourceError> {
        self.start_monitor(filter)
    }

    fn capture(
        self: Arc<Self>,
        tenant: &str,
        query: &CaptureQuery,
    ) -> Result<BoxStream<'static, Vec<u8>>, SourceError> {
        self.start_capture(tenant, query)
    }
}

pub(super) fn unavailable(error: anyhow::Error) -> SourceError {
    let remedy = "see the daemon's log; `gateway-daemon unload` and a new start make the tables anew, and end all flows";
    SourceError::unavailable("the kernel's tables cannot be read", remedy, error)
}

impl Gateway {
    fn read_status(&self) -> Result<Status> {
        let config = self.config();
        let state = self.state();
        let interfaces: Vec<_> =
            self.config().interfaces.iter().map(|interface| state.interface(interface)).collect();
        let tables = state.table_status()?;
        let mut warnings = state.all_warnings(&config, &interfaces, &tables);
        warnings.extend(self.routes.troubles().iter().cloned());
        warnings.extend(
            self.trouble
                .load()
                .as_deref()
                .map(|trouble| format!("the tenant store takes no changes: {trouble}")),
        );
        let counters = state.tables.counters()?;
        let gateway = &config.gateway;
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: NodeStatus {
                name: config.node.name.as_str().to_owned(),
                id: config.node.id.get(),
                pid: std::process::id(),
                uptime_secs: self.started.elapsed().as_secs(),
                abi_version: ABI_VERSION,
            },
            config: ConfigStatus {
                path: self.config_path.clone(),
                generation: state.generation,
                loaded_at_unix_secs: unix_secs(state.loaded_at),
            },
            vips: Vips { ingress: gateway.ingress_vip.get(), egress: gateway.egress_vip.get() },
            interfaces,
            tables,
            counters: counters
                .into_iter()
                .map(|(counter, value)| (counter.name().to_owned(), value))
                .collect(),
            tenants: self.tenant_status(&state)?,
            repairs: state.repair_status(),
            warnings,
        })
    }

    fn tenant_status(&self, state: &State) -> Result<Vec<TenantStatus>> {
        let [established, half_open] = state.tables.flow_maps();
        let (tracked, opening) = (flows::count(established)?, flows::count(half_open)?);
        let read = |tenant: &std::sync::Arc<config::Tenant>| -> Result<TenantStatus> {
            let id = state.tenant_id(tenant.name.as_str());
            let traffic = state.tables.tenant_stats(id)?;
            Ok(TenantStatus {
                name: tenant.name.as_str().to_owned(),
                nat_ip: tenant.nat_ip.get(),
                flows: tracked.tenants.get(&id).copied().unwrap_or(0),
                half_open_flows: opening.tenants.get(&id).copied().unwrap_or(0),
                counted_flows: u64::try_from(state.tables.tenant_use(id)?.flows).unwrap_or(0),
                max_flows: tenant.limits.max_flows,
                from_external_packets: traffic.from_external_packets,
                from_external_bytes: traffic.from_external_bytes,
                to_external_packets: traffic.to_external_packets,
                to_external_bytes: traffic.to_external_bytes,
                flows_opened: traffic.flows_opened,
                dropped_packets: traffic.dropped_packets,
            })
        };
        self.config().tenants.iter().map(read).collect()
    }

    fn read_flows(&self, filter: &FlowFilter) -> Result<FlowList> {
        let state = self.state();
        let names: HashMap<TenantId, &str> =
            state.tenants.iter().map(|(name, id)| (*id, name.as_str())).collect();
        let lifetimes = Lifetimes::new(state.tables.settings()?.timeouts, state.mirror.tenant_settings());
        let now_ns = monotonic_ns();
        let (mut total, limit, mut found) = (0, filter.most(), Vec::new());
        for (table, map) in
            [FlowTable::Established, FlowTable::HalfOpen].into_iter().zip(state.tables.flow_maps())
        {
            let wanted = |entry: &CtEntry| {
                let Some(protocol) = entry.protocol() else { return false };
                let (name, state) = (name_of(&names, entry), entry.into());
                let matches = filter.matches(name, protocol.into(), state, &ends(entry));
                total += u64::from(matches);
                matches && total <= limit as u64
            };
            let (entries, replies) = flows::list(map, wanted).context("cannot read the flows")?;
            found.extend(entries.into_iter().filter_map(|entry| {
                let answered_ns = replies.get(&entry.pair).copied().unwrap_or(0);
                let last_seen_ns = entry.last_seen_ns.max(answered_ns);
                let protocol = entry.protocol()?;
                let lifetime = lifetimes.lifetime_ns(table, &entry);
                Some(flow(&entry, protocol, name_of(&names, &entry), [now_ns, last_seen_ns, lifetime]))
            }));
        }
        Ok(FlowList { total, truncated: total > found.len() as u64, flows: found })
    }

    fn read_drops(&self) -> Result<Drops> {
        let state = self.state();
        let reasons: Vec<_> = state
            .tables
            .drops()?
            .into_iter()
            .map(|(reason, packets)| DropCount {
                reason: reason.name().to_owned(),
                explanation: reason.explanation().trim().to_owned(),
                packets,
            })
            .collect();
        let mut tenants = Vec::new();
        for tenant in self.config().tenants.iter() {
            let name = tenant.name.as_str();
            let packets = state.tables.tenant_stats(state.tenant_id(name))?.dropped_packets;
            if packets > 0 {
                tenants.push(TenantDrops { tenant: name.to_owned(), packets });
            }
        }
        Ok(Drops { total: reasons.iter().map(|reason| reason.packets).sum(), reasons, tenants })
    }
}

fn name_of<'a>(names: &HashMap<TenantId, &'a str>, entry: &CtEntry) -> &'a str {
    names.get(&entry.tenant).copied().unwrap_or("(removed)")
}

fn flow(
    entry: &CtEntry,
    protocol: Protocol,
    tenant: &str,
    [now_ns, last_seen_ns, lifetime_ns]: [u64; 3],
) -> Flow {
    let secs = |ns: u64| ns / 1_000_000_000;
    let idle_ns = now_ns.saturating_sub(last_seen_ns);
    let [original, translated] = ends(entry);
    let direction =
        if entry.flags.contains(EntryFlags::INGRESS) { Direction::Ingress } else { Direction::Egress };
    Flow {
        tenant: tenant.to_owned(),
        direction,
        protocol: protocol.into(),
        state: entry.into(),
        original,
        translated,
        age_secs: secs(now_ns.saturating_sub(entry.birth_ns)),
        idle_secs: secs(idle_ns),
        expires_in_secs: secs(lifetime_ns.saturating_sub(idle_ns)),
        owner: entry.owner,
    }
}

/// The ends of the opener's packets, as they come in and as they go out.
fn ends(entry: &CtEntry) -> [Endpoints; 2] {
    let (key, pair) = (&entry.key, &entry.pair);
    let original = Endpoints {
        source: key.src.into(),
        source_port: key.src_port.number(),
        destination: key.dst.into(),
        destination_port: key.dst_port.number(),
    };
    let translated = Endpoints {
        source: pair.dst.into(),
        source_port: pair.dst_port.number(),
        destination: pair.src.into(),
        destination_port: pair.src_port.number(),
    };
    [original, translated]
}

/// Addresses of the gateway that somebody also put on an interface: the kernel would answer ARP for them as well.
fn owned_elsewhere<'a>(config: &'a Config, host: &'a Host) -> impl Iterator<Item = Ipv4Addr> + 'a {
    let vips = [config.gateway.ingress_vip.get(), config.gateway.egress_vip.get()];
    let owned = vips.into_iter().chain(config.tenants.iter().map(|tenant| tenant.nat_ip.get()));
    owned.filter(|address| host.addresses.contains(address))
}

fn unix_secs(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl State {
    pub(super) fn tenant_id(&self, name: &str) -> TenantId {
        self.tenants.get(name).copied().unwrap_or(TenantId::NONE)
    }

    fn repair_status(&self) -> RepairStatus {
        let counts = self.repairs.counts.iter().map(|(kind, count)| (kind.name().to_owned(), *count));
        RepairStatus {
            counts: counts.collect(),
            last_at_unix_secs: self.repairs.last.as_ref().map(|(at, _)| unix_secs(*at)),
            last: self.repairs.last.as_ref().map(|(_, what)| what.clone()),
            out_of_step: self.out_of_step,
        }
    }

    fn table_status(&self) -> Result<Vec<TableStatus>> {
        let rows = self.tables.occupancy()?;
        Ok(rows
            .into_iter()
            .map(|(name, entries, capacity)| TableStatus { name: name.to_lowercase(), entries, capacity })
            .collect())
    }

    fn interface(&self, configured: &config::Interface) -> InterfaceStatus {
        let name = configured.name.as_str();
        let link = self.host.link(name);
        let attachment = self.attachments.iter().find(|attachment| attachment.link.interface == name);
        let (hook, xdp_mode) = attachment.map_or((None, None), |attachment| match attachment.link.hook {
            hook::Hook::Tc | hook::Hook::TcFilter => (Some(Hook::Tc), None),
            hook::Hook::XdpNative => (Some(Hook::Xdp), Some(XdpMode::Native)),
            hook::Hook::XdpGeneric => (Some(Hook::Xdp), Some(XdpMode::Generic)),
        });
        InterfaceStatus {
            name: name.to_owned(),
            ifindex: link.map(|link| link.index),
            side: configured.side.into(),
            hook,
            xdp_mode,
            why: attachment.map_or_else(|| "not attached".to_owned(), |attachment| attachment.why.clone()),
            mac: link.map(|link| link.mac.to_string()),
            forwarding: host::forwarding(name).unwrap_or(false),
            adopted: attachment.is_some_and(|attachment| attachment.adopted),
        }
    }

    /// What an operator should look at.
    fn all_warnings(
        &self,
        config: &Config,
        interfaces: &[InterfaceStatus],
        tables: &[TableStatus],
    ) -> Vec<String> {
        let mut warnings = self.warnings.clone();
        warnings
            .extend(self.attachments.iter().filter_map(|attachment| veth_warning(attachment, &self.host)));
        warnings.extend(owned_elsewhere(config, &self.host).map(|address| {
            format!("{address} belongs to the gateway and stands on an interface of this host as well: remove it there")
        }));
        for interface in interfaces {
            if !interface.is_attached() {
                warnings.push(format!("{}: not attached, its packets are not translated", interface.name));
            }
            if !interface.forwarding {
                warnings.push(format!(
                    "{0}: IPv4 forwarding is off, everything that comes in here is dropped: \
                     `sysctl net.ipv4.conf.{0}.forwarding=1`",
                    interface.name
                ));
            }
        }
        let full =
            |table: &&TableStatus| table.entries * 100 >= table.capacity * FULL_PERCENT && table.capacity > 0;
        warnings.extend(
            tables.iter().filter(full).map(|table| {
                format!("table {} is {} % full", table.name, table.entries * 100 / table.capacity)
            }),
        );
        warnings
    }
}
