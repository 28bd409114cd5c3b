//! Two labs that are equal in everything but the gateway.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddrV4},
    panic::resume_unwind,
    sync::Mutex,
    thread,
};

use super::{
    conversation::{Conversation, Talk},
    ends::{Ends, scripts},
    frame::Map,
    nftables,
    places::{self, Inside, Service},
    sight::Sight,
    stream::{self, LANES, StreamService},
};
use crate::{
    gateway::{Endpoint, Gateway, GatewayConfig, Limits, PeerGroup},
    lab::Lab,
    topology::{Link, Mode, Topology},
};

/// What was seen of each conversation, in their order.
pub type Records = Vec<Vec<Sight>>;

/// The labs.
#[derive(Debug)]
pub struct Twins {
    map: Map,
    ours: Lab,
    theirs: Lab,
}

impl Twins {
    /// Builds both, without gateways.
    pub fn build(mode: Mode) -> Self {
        let lab = || Lab::with(Topology::builder().mode(mode).tenants(2));
        let twins = Self { map: Map::usual(), ours: lab(), theirs: lab() };
        for lab in [&twins.ours, &twins.theirs] {
            lend_addresses(lab, &twins.map);
        }
        twins
    }

    /// Starts both gateways.
    pub fn start(&self) -> Pair<'_> {
        nftables::install(&self.theirs, &self.map);
        let gateway = Gateway::start(&self.ours, |config| configure(config, &self.map));
        for lab in [&self.ours, &self.theirs] {
            lab.warm_neighbours();
        }
        let sides = [Side::of(&self.ours, &self.map), Side::of(&self.theirs, &self.map)];
        Pair { gateway, sides }
    }
}

/// Both gateways at work.
#[derive(Debug)]
pub struct Pair<'lab> {
    /// Ours.
    pub gateway: Gateway<'lab>,
    sides: [Side<'lab>; 2],
}

impl Pair<'_> {
    /// The lab with the other gateway, for tests that break it.
    pub fn theirs(&self) -> &Lab {
        self.sides[1].lab
    }

    /// Holds the conversations of a batch in both labs at once; our records come first.
    pub fn converse(&self, conversations: &[Conversation]) -> (Records, Records) {
        let [ours, theirs] = &self.sides;
        thread::scope(|scope| {
            let theirs = scope.spawn(|| theirs.converse(conversations));
            let ours = ours.converse(conversations);
            (ours, theirs.join().unwrap_or_else(|panic| resume_unwind(panic)))
        })
    }
}

/// One lab with its ends.
#[derive(Debug)]
struct Side<'lab> {
    map: &'lab Map,
    lab: &'lab Lab,
    ends: Ends<'lab>,
}

impl<'lab> Side<'lab> {
    fn of(lab: &'lab Lab, map: &'lab Map) -> Self {
        Self { map, lab, ends: Ends::open(lab) }
    }

    fn converse(&self, conversations: &[Conversation]) -> Records {
        let mut scripted = self.ends.converse(self.map, &scripts(conversations)).into_iter();
        let mut streams = self.stream(conversations).into_iter();
        let records = conversations.iter().map(|conversation| match conversation.talk {
            Talk::Script(_) => scripted.next(),
            Talk::Stream(_) => streams.next(),
        });
        records.map(|record| record.expect("one for each")).collect()
    }

    /// The conversations of real stacks, some at once; those of one lane one after the other.
    fn stream(&self, conversations: &[Conversation]) -> Records {
        let streams = conversations.iter().filter(|told| matches!(told.talk, Talk::Stream(_)));
        let records: Vec<Mutex<Vec<Sight>>> = streams.clone().map(|_| Mutex::default()).collect();
        let mut lanes: Vec<VecDeque<_>> = (0..LANES).map(|_| VecDeque::new()).collect();
        for (record, told) in records.iter().zip(streams) {
            let lane = usize::try_from(told.index % u64::from(LANES)).expect("few lanes");
            lanes[lane].push_back((record, told));
        }
        thread::scope(|scope| {
            for lane in lanes {
                scope.spawn(|| lane.into_iter().for_each(|(record, told)| self.hold(record, told)));
            }
        });
        records.into_iter().map(|record| record.into_inner().expect("no panic while it is written")).collect()
    }

    fn hold(&self, record: &Mutex<Vec<Sight>>, told: &Conversation) {
        if let Talk::Stream(script) = &told.talk {
            let sights = stream::converse(self.lab, self.map, told, script);
            *record.lock().expect("no panic while it is written") = sights;
        }
    }
}

/// Lends the scripted addresses to the kernels of the far ends, which answer ARP for them and hear nothing else, and tells
/// the gateway where they are, so that no first packet waits.
fn lend_addresses(topology: &Topology, map: &Map) {
    let inside = [&map.tenant, &map.other].map(|tenant| Inside::of(tenant).addresses().to_vec());
    let scripted = [places::npci_addresses()].into_iter().chain(inside);
    for ((far, link), addresses) in topology.links().zip(scripted) {
        let lines = |line: &dyn Fn(&Ipv4Addr) -> String| addresses.iter().map(line).collect::<String>();
        far.ip_batch(&lines(&|address| format!("addr add {address}/32 dev {}\n", link.far)));
        nftables::deafen(far, &addresses);
        let Link { near, far_mac, .. } = link;
        topology.gateway.ip_batch(&lines(&|address| {
            format!("neigh replace {address} lladdr {far_mac} dev {near} nud stale\n")
        }));
    }
}

/// The services of our gateway.
fn configure(config: &mut GatewayConfig, map: &Map) {
    config.peer_group = vec![peers(map)];
    // Scripts do not answer challenges, and leave many handshakes unfinished.
    config.limits = Some(Limits { challenge_above: Some(0), ..Limits::default() });
    for service in Service::all(&map.plan, &map.tenant) {
        for protocol in ["tcp", "udp"] {
            serve(config, protocol, service.listener.port(), service.backend);
            config.tenant(1).add_egress(protocol, service.mapped.port(), service.npci);
        }
    }
    for service in StreamService::all() {
        let at = |address| SocketAddrV4::new(address, service.server);
        serve(config, "tcp", service.listener, at(map.tenant.backend()));
        config.tenant(1).add_egress("tcp", service.mapped, at(map.plan.npci()));
    }
    let other = SocketAddrV4::new(Inside::of(&map.other).hosts[0], 8080);
    config.tenant(2).add_pool("web", &[other]).add_listener("tcp", places::OTHER_LISTENER, "web");
    let listeners = config.tenant.iter_mut().flat_map(|tenant| &mut tenant.listener);
    listeners.for_each(|listener| listener.allow = places::ALLOWED.map(str::to_owned).to_vec());
}

fn serve(config: &mut GatewayConfig, protocol: &'static str, port: u16, backend: SocketAddrV4) {
    let pool = format!("{protocol}-{port}");
    config.tenant(1).add_pool(&pool, &[backend]).add_listener(protocol, port, &pool);
}

/// NPCI's endpoints that tenants may call.
fn peers(map: &Map) -> PeerGroup {
    let endpoint = |at: SocketAddrV4, protocol| Endpoint {
        address: format!("{}/32", at.ip()),
        protocol,
        port: Some(at.port()),
    };
    let scripted = Service::all(&map.plan, &map.tenant);
    let scripted =
        scripted.iter().flat_map(|service| ["tcp", "udp"].map(|protocol| endpoint(service.npci, protocol)));
    let streams = StreamService::all()
        .map(|service| endpoint(SocketAddrV4::new(map.plan.npci(), service.server), "tcp"));
    let ping = Endpoint { address: format!("{}/32", places::NPCI_HOSTS[0]), protocol: "icmp", port: None };
    PeerGroup { name: "npci".to_owned(), endpoint: scripted.chain(streams).chain([ping]).collect() }
}
