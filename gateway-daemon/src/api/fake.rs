//! A source with made-up numbers, for the tests of everything that shows them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use gateway_common::abi::Counter;
use gateway_common::drop_reason::DropReason;

use super::source::{Source, SourceError};
use super::types::{
    CaptureQuery, ConfigStatus, Direction, DropCount, DroppedPacket, Drops, EndOfFlow, Endpoints,
    ExplainRequest, ExplainStep, Explanation, Fate, Flow, FlowEnded, FlowFilter, FlowList, FlowNews,
    FlowState, Happening, Hook, InterfaceStatus, Missed, MonitorFilter, NodeStatus, Protocol, RepairStatus,
    Side, Status, StepAction, TableStatus, TenantDrops, TenantStatus, Vips, XdpMode,
};
use crate::gateway::explain::request::{Given, ends_of, frame, no_such_interface};
use crate::gateway::watchers::Bounds;
use crate::pcapng;

/// When the fake's configuration was loaded.
pub(crate) const LOADED_AT_UNIX_SECS: u64 = 1_700_000_000;

/// Answers from lists that a test may change.
pub(crate) struct FakeSource {
    pub(crate) status: Mutex<Status>,
    /// From now on every answer is an error.
    pub(crate) broken: AtomicBool,
    /// From now on every question is a panic.
    pub(crate) defect: AtomicBool,
}

impl FakeSource {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            status: Mutex::new(status()),
            broken: AtomicBool::new(false),
            defect: AtomicBool::new(false),
        })
    }

    fn answer<T>(&self, value: impl FnOnce() -> Result<T, SourceError>) -> Result<T, SourceError> {
        assert!(!self.defect.load(Ordering::Relaxed), "the fake was told to panic");
        if !self.broken.load(Ordering::Relaxed) {
            return value();
        }
        let cause = std::io::Error::other("no such map");
        Err(SourceError::unavailable("cannot read the flow table", "restart the daemon", cause))
    }
}

impl Source for FakeSource {
    fn status(&self) -> Result<Status, SourceError> {
        self.answer(|| Ok(self.status.lock().unwrap().clone()))
    }

    fn flows(&self, filter: &FlowFilter) -> Result<FlowList, SourceError> {
        self.answer(|| flow_list(filter))
    }

    fn drops(&self) -> Result<Drops, SourceError> {
        self.answer(|| Ok(drops()))
    }

    fn explain(&self, request: &ExplainRequest) -> Result<Explanation, SourceError> {
        self.answer(|| explain(request))
    }

    fn monitor(self: Arc<Self>, filter: MonitorFilter) -> Result<BoxStream<'static, Happening>, SourceError> {
        self.answer(|| {
            known(filter.tenant.as_deref())?;
            let told = happenings().into_iter().filter(move |what| filter.wants(what));
            Ok(stream::iter(told).boxed())
        })
    }

    fn capture(
        self: Arc<Self>,
        tenant: &str,
        query: &CaptureQuery,
    ) -> Result<BoxStream<'static, Vec<u8>>, SourceError> {
        self.answer(|| {
            known(Some(tenant))?;
            Bounds::of(query)?;
            Ok(stream::iter(capture_file()).boxed())
        })
    }
}

fn known(tenant: Option<&str>) -> Result<(), SourceError> {
    match tenant.filter(|name| !["bank-a", "bank-b"].contains(name)) {
        Some(name) => Err(SourceError::UnknownTenant { name: name.to_owned() }),
        None => Ok(()),
    }
}

fn flow_list(filter: &FlowFilter) -> Result<FlowList, SourceError> {
    known(filter.tenant.as_deref())?;
    let mut flows = flows();
    flows.retain(|flow| {
        filter.matches(&flow.tenant, flow.protocol, flow.state, &[flow.original, flow.translated])
    });
    let total = flows.len();
    flows.truncate(filter.most());
    Ok(FlowList { total: total as u64, truncated: flows.len() < total, flows })
}

pub(crate) fn status() -> Status {
    Status {
        version: "0.1.0".to_owned(),
        node: NodeStatus { name: "node-a".to_owned(), id: 1, pid: 4_711, uptime_secs: 7_384, abi_version: 1 },
        config: ConfigStatus {
            path: "/etc/two-ip-gateway/config.toml".into(),
            generation: 3,
            loaded_at_unix_secs: LOADED_AT_UNIX_SECS,
        },
        vips: Vips { ingress: Ipv4Addr::new(192, 0, 2, 10), egress: Ipv4Addr::new(192, 0, 2, 20) },
        interfaces: vec![external_interface(), internal_interface()],
        tables: vec![table("flows", 123_456, 524_288), table("half_open", 131_072, 131_072)],
        counters: (1..)
            .zip(Counter::ALL)
            .map(|(n, counter)| (counter.name().to_owned(), n * 1_111))
            .collect(),
        tenants: vec![tenant("bank-a", 30), tenant("bank-b", 31)],
        repairs: RepairStatus {
            counts: [("map_entry".to_owned(), 2)].into(),
            last_at_unix_secs: Some(LOADED_AT_UNIX_SECS),
            last: Some("entries of the tables".to_owned()),
            out_of_step: false,
        },
        warnings: vec!["table half_open is full: new flows are dropped".to_owned()],
    }
}

fn external_interface() -> InterfaceStatus {
    InterfaceStatus {
        name: "ext0".to_owned(),
        ifindex: Some(2),
        side: Side::External,
        hook: Some(Hook::Xdp),
        xdp_mode: Some(XdpMode::Native),
        why: "auto: all interfaces are hardware".to_owned(),
        mac: Some("02:00:00:00:00:01".to_owned()),
        forwarding: true,
        adopted: true,
    }
}

fn internal_interface() -> InterfaceStatus {
    InterfaceStatus {
        name: "int0".to_owned(),
        ifindex: Some(3),
        side: Side::Internal,
        hook: Some(Hook::Tc),
        xdp_mode: None,
        why: "as configured".to_owned(),
        mac: Some("02:00:00:00:00:02".to_owned()),
        forwarding: false,
        adopted: false,
    }
}

/// What becomes of an interface that is deleted.
pub(crate) fn delete(interface: &mut InterfaceStatus) {
    interface.ifindex = None;
    interface.hook = None;
    interface.mac = None;
    "there is no such interface".clone_into(&mut interface.why);
}

fn table(name: &str, entries: u64, capacity: u64) -> TableStatus {
    TableStatus { name: name.to_owned(), entries, capacity }
}

pub(crate) fn tenant(name: &str, host: u8) -> TenantStatus {
    let number = u64::from(host);
    TenantStatus {
        name: name.to_owned(),
        nat_ip: Ipv4Addr::new(198, 51, 100, host),
        flows: number * 100,
        half_open_flows: number,
        counted_flows: number * 101,
        max_flows: host.is_multiple_of(2).then_some(10_000),
        from_external_packets: number * 1_000,
        from_external_bytes: number * 1_000_000,
        to_external_packets: number * 2_000,
        to_external_bytes: number * 3_000_000,
        flows_opened: number * 500,
        dropped_packets: number - 30,
    }
}

pub(crate) fn flows() -> Vec<Flow> {
    vec![
        flow("bank-a", Direction::Ingress, Protocol::Tcp, FlowState::Established),
        flow("bank-a", Direction::Egress, Protocol::Udp, FlowState::HalfOpen),
        flow("bank-b", Direction::Egress, Protocol::Icmp, FlowState::Established),
    ]
}

fn flow(tenant: &str, direction: Direction, protocol: Protocol, state: FlowState) -> Flow {
    let ports = if protocol == Protocol::Icmp { (77, 0) } else { (40_000, 443) };
    let ends = |source: u8, destination: u8| Endpoints {
        source: Ipv4Addr::new(203, 0, 113, source),
        source_port: ports.0,
        destination: Ipv4Addr::new(192, 0, 2, destination),
        destination_port: ports.1,
    };
    Flow {
        tenant: tenant.to_owned(),
        direction,
        protocol,
        state,
        original: ends(5, 10),
        translated: ends(105, 20),
        age_secs: 100_000,
        idle_secs: 3,
        expires_in_secs: 7_437,
        owner: 1,
    }
}

pub(crate) fn drops() -> Drops {
    let counts = BTreeMap::from([(DropReason::NoFlow, 12_u64), (DropReason::PortsExhausted, 3_400)]);
    let reasons = DropReason::ALL.iter().map(|reason| DropCount {
        reason: reason.name().to_owned(),
        explanation: reason.explanation().trim().to_owned(),
        packets: counts.get(reason).copied().unwrap_or(0),
    });
    let tenant = |name: &str, packets| TenantDrops { tenant: name.to_owned(), packets };
    Drops {
        total: counts.values().sum(),
        reasons: reasons.collect(),
        tenants: vec![tenant("bank-a", 0), tenant("bank-b", 1)],
    }
}

/// A drop of bank-a, one of nobody, a flow of bank-a, an end of bank-b, and what was missed.
pub(crate) fn happenings() -> Vec<Happening> {
    let at_unix_ms = LOADED_AT_UNIX_SECS * 1_000 + 250;
    let [tcp, _, icmp]: [Flow; 3] = flows().try_into().expect("three flows");
    let dropped = |tenant: Option<&str>, reason: DropReason, packet: Option<&Flow>| {
        Happening::Dropped(DroppedPacket {
            at_unix_ms,
            tenant: tenant.map(str::to_owned),
            interface: "ext0".to_owned(),
            side: Side::External,
            reason: reason.name().to_owned(),
            answered: reason == DropReason::RefusedDraining,
            protocol_number: packet.map(|_| 6),
            packet: packet.map(|flow| flow.original),
            bytes: 60,
        })
    };
    let news = |flow: &Flow| FlowNews {
        at_unix_ms,
        tenant: flow.tenant.clone(),
        direction: flow.direction,
        protocol: flow.protocol,
        original: flow.original,
        translated: flow.translated,
    };
    vec![
        dropped(Some("bank-a"), DropReason::RefusedDraining, Some(&tcp)),
        dropped(None, DropReason::Truncated, None),
        Happening::Opened(news(&tcp)),
        Happening::Ended(FlowEnded { flow: news(&icmp), why: EndOfFlow::Expired }),
        Happening::Missed(Missed { drops: 1_234, flows: 0, lost: 5 }),
    ]
}

/// The pieces of a file with one packet before and after translation.
pub(crate) fn capture_file() -> Vec<Vec<u8>> {
    let mut writer = pcapng::Writer::default();
    let mut frame = |interface, way| {
        let (at_unix_ns, bytes, len) = (LOADED_AT_UNIX_SECS * 1_000_000_000, &[2; 54][..], 60);
        writer.frame(&pcapng::Frame { interface, at_unix_ns, way, bytes, len, comment: "sent" })
    };
    let frames = [frame("ext0 (before)", pcapng::Way::In), frame("int0 (after)", pcapng::Way::Out)];
    let start = pcapng::Writer::default().start("of a fake");
    vec![start, frames.concat(), writer.end(LOADED_AT_UNIX_SECS * 1_000_000_000, 1, 0)]
}

/// Requests are judged as the daemon does it; what passes is one and the same packet.
fn explain(request: &ExplainRequest) -> Result<Explanation, SourceError> {
    let Given { ends, .. } = frame(&request.packet)?;
    match &request.interface {
        None => _ = ends_of(ends)?,
        Some(name) if status().interfaces.iter().all(|interface| interface.name != *name) => {
            return Err(no_such_interface(name));
        }
        Some(_) => {}
    }
    Ok(explanation())
}

/// The way of a packet that opens the first of [`flows`].
pub(crate) fn explanation() -> Explanation {
    let flow = flows().remove(0);
    let step = |action, table: &str, key: &str, found: Option<&str>| ExplainStep {
        action,
        table: table.to_owned(),
        key: key.to_owned(),
        found: found.map(ToOwned::to_owned),
    };
    Explanation {
        fate: Fate::Translated,
        reason: None,
        interface: "ext0".to_owned(),
        side: Side::External,
        hook: Hook::Xdp,
        tenant: Some(flow.tenant),
        protocol: Some(flow.protocol),
        original: Some(flow.original),
        translated: Some(flow.translated),
        leaves_by: Some("int0".to_owned()),
        steps: vec![
            step(StepAction::Look, "flows", "external tcp 203.0.113.5:40000 -> 192.0.2.10:443", None),
            step(StepAction::Look, "listeners", "192.0.2.10:443 tcp", Some("of bank-a: pool 3")),
            step(StepAction::Count, "counters", "translated", Some("+1")),
        ],
    }
}
