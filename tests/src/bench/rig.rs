//! The gateway's programs, loaded in the gateway's namespace, with filled tables; nothing but the empty program is
//! attached.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData};
use aya::programs::{ProgramInfo, SchedClassifier, TestRun as _, TestRunOptions, Xdp, XdpMode};
use gateway_common::abi::{CtEntry, FlowKey, Mac, Side, TenantId};
use gateway_common::{limits, names};
use gateway_daemon::config::{Config, Interfaces};
use gateway_daemon::datapath::changes::Changes;
use gateway_daemon::datapath::contents::Contents;
use gateway_daemon::datapath::host::{Host, HostLink};
use gateway_daemon::datapath::pins::Pins;
use gateway_daemon::datapath::plan::{self, TenantIds};
use gateway_daemon::datapath::programs::{self, TableSizes};
use gateway_daemon::datapath::tables::Tables;
use nix::net::if_::if_nametoindex;
use serde::Serialize;

use super::meter::Account;
use crate::bpffs::BpfFs;
use crate::gateway::GatewayConfig;
use crate::packet::{Frame, Packet};
use crate::topology::{Link, Topology};
use crate::world;

/// `struct xdp_md` and `struct __sk_buff` of `linux/bpf.h`: their sizes, and where the fields are that we fill.
const XDP_CONTEXT: usize = 24;
const XDP_DATA_END: usize = 4;
const XDP_INGRESS_IFINDEX: usize = 12;
const TC_CONTEXT: usize = 192;
const TC_IFINDEX: usize = 40;
/// Longer than any frame that is measured.
const FRAME_MAX: usize = 512;

/// Where a program is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// As XDP.
    Xdp,
    /// As TC.
    Tc,
}

impl Hook {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Xdp, Self::Tc];

    /// As in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xdp => "XDP",
            Self::Tc => "TC",
        }
    }
}

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The empty one.
    Empty,
    /// Parses, looks up the route, redirects.
    NullForwarder,
    /// The gateway on a side.
    Gateway(Side),
}

impl Role {
    /// All programs of a hook.
    pub const ALL: [Self; 4] =
        [Self::Empty, Self::NullForwarder, Self::Gateway(Side::External), Self::Gateway(Side::Internal)];

    /// The name of the program in the object.
    pub fn program(self, hook: Hook) -> &'static str {
        match (hook, self) {
            (Hook::Xdp, Self::Empty) => names::BENCH_EMPTY_XDP,
            (Hook::Tc, Self::Empty) => names::BENCH_EMPTY_TC,
            (Hook::Xdp, Self::NullForwarder) => names::BENCH_FORWARD_XDP,
            (Hook::Tc, Self::NullForwarder) => names::BENCH_FORWARD_TC,
            (Hook::Xdp, Self::Gateway(Side::External)) => names::XDP_EXTERNAL,
            (Hook::Tc, Self::Gateway(Side::External)) => names::TC_EXTERNAL,
            (Hook::Xdp, Self::Gateway(Side::Internal)) => names::XDP_INTERNAL,
            (Hook::Tc, Self::Gateway(Side::Internal)) => names::TC_INTERNAL,
        }
    }

    /// Where its packets come from.
    fn side(self) -> Side {
        match self {
            Self::Gateway(side) => side,
            Self::Empty | Self::NullForwarder => Side::External,
        }
    }
}

/// What a program said about a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Left to the kernel.
    Pass,
    /// Dropped.
    Drop,
    /// Sent out.
    Redirect,
}

impl Fate {
    /// From `enum xdp_action`, or from `TC_ACT_*` (`linux/pkt_cls.h`).
    #[track_caller]
    fn of(hook: Hook, code: u32) -> Self {
        match (hook, code) {
            (Hook::Xdp, 2) | (Hook::Tc, 0 | u32::MAX) => Self::Pass,
            (Hook::Xdp, 1) | (Hook::Tc, 2) => Self::Drop,
            (Hook::Xdp, 4) | (Hook::Tc, 7) => Self::Redirect,
            _ => panic!("{hook:?} returned {code}"),
        }
    }
}

/// One of the gateway's interfaces.
#[derive(Debug, Clone)]
struct Wire {
    ifindex: u32,
    link: Link,
}

impl Wire {
    fn of(link: &Link) -> Self {
        let ifindex = if_nametoindex(link.near.as_str())
            .unwrap_or_else(|error| panic!("index of {}: {error}", link.near));
        Self { ifindex, link: link.clone() }
    }
}

/// Addresses that the packets are made of. The first tenant has them all.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    /// NPCI's main endpoint.
    pub npci: SocketAddrV4,
    /// Another host of NPCI's.
    pub second_npci: Ipv4Addr,
    /// What NPCI calls for the tenant's HTTP.
    pub web: SocketAddrV4,
    /// What NPCI calls for the tenant's UDP.
    pub echo: SocketAddrV4,
    /// The tenant's servers.
    pub backends: [Ipv4Addr; 2],
}

/// Everything that a test run needs.
#[derive(Debug)]
pub struct Rig {
    /// Who is where.
    pub places: Places,
    ebpf: Ebpf,
    established: MapData,
    half_open: HashMap<MapData, FlowKey, CtEntry>,
    external: Wire,
    internal: Wire,
    /// Unmounted last.
    _bpffs: BpfFs,
}

impl Rig {
    /// Loads the programs and fills the tables, for the so many-th time in this lab. The calling thread is in the
    /// gateway's namespace.
    #[track_caller]
    pub fn build(topology: &Topology, number: usize) -> Self {
        let bpffs = BpfFs::mount(topology.session(), &format!("bench-{number}"));
        let pins = Pins::new(bpffs.path());
        pins.prepare().expect("a fresh bpffs");
        let sizes = TableSizes {
            established: limits::FLOW_ENTRIES_DEFAULT,
            half_open: limits::HALF_OPEN_ENTRIES_DEFAULT,
        };
        let mut ebpf = programs::load(Some(&pins), sizes).expect("the object loads");
        for (hook, role) in Hook::ALL.iter().flat_map(|hook| Role::ALL.map(|role| (*hook, role))) {
            load(&mut ebpf, hook, role);
        }
        let mut tables = Tables::open(&pins).expect("every map is pinned");
        let empty = tables.contents().expect("readable");
        let changes = Changes::between(&empty, &contents(topology, &bpffs));
        tables.apply(&changes).expect("the tables take the configuration");
        fix_neighbours(topology);
        let mut rig = Self {
            places: places(topology),
            ebpf,
            established: MapData::from_pin(pins.map(names::FLOWS)).expect("it is pinned"),
            half_open: open_half_open(&pins),
            external: Wire::of(&topology.external),
            internal: Wire::of(&topology.tenant(1).link),
            _bpffs: bpffs,
        };
        rig.register_queues();
        rig
    }

    /// Attaches the empty program to both interfaces: the kernel takes a packet's word for where it came from only when
    /// the interface's receive queue is known to XDP, and veth makes it known while it has a program.
    fn register_queues(&mut self) {
        let program = self.ebpf.program_mut(Role::Empty.program(Hook::Xdp)).expect("the object has it");
        let program: &mut Xdp = program.try_into().expect("an XDP program");
        for wire in [&self.external, &self.internal] {
            program.attach_to_if_index(wire.ifindex, XdpMode::Driver).expect("veth takes XDP");
        }
    }

    /// Link addresses for a packet that this program will see.
    pub fn frame(&self, role: Role, packet: Packet) -> Vec<u8> {
        let link = &self.wire(role).link;
        packet.macs(link.far_mac, link.near_mac).build()
    }

    /// Runs a program once on a frame, which stays as it is.
    #[track_caller]
    pub fn run(&self, hook: Hook, role: Role, frame: &[u8]) -> Fate {
        self.run_into(hook, role, frame, None).0
    }

    /// Runs the gateway once on a packet and returns the packet that it sent out.
    #[track_caller]
    pub fn translate(&self, role: Role, packet: Packet) -> Frame {
        let frame = self.frame(role, packet);
        let mut out = [0; FRAME_MAX];
        let (fate, length) = self.run_into(Hook::Xdp, role, &frame, Some(&mut out));
        assert_eq!(fate, Fate::Redirect, "fate of {frame:02x?}");
        Frame::parse(&out[..length]).expect("what the gateway sends is sound")
    }

    fn run_into(&self, hook: Hook, role: Role, frame: &[u8], out: Option<&mut [u8]>) -> (Fate, usize) {
        let context = context(hook, self.wire(role).ifindex, frame.len());
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: out,
            ctx_in: Some(&context),
            repeat: 1,
            ..TestRunOptions::default()
        };
        let program = self.program(hook, role);
        let result = match hook {
            Hook::Xdp => <&Xdp>::try_from(program).and_then(|program| program.test_run(options)),
            Hook::Tc => <&SchedClassifier>::try_from(program).and_then(|program| program.test_run(options)),
        };
        let result = result.unwrap_or_else(|error| panic!("test run of {}: {error:?}", role.program(hook)));
        (Fate::of(hook, result.return_value), result.data_size_out as usize)
    }

    /// What the kernel knows of a program.
    pub fn info(&self, hook: Hook, role: Role) -> ProgramInfo {
        let program = self.program(hook, role);
        program.info().unwrap_or_else(|error| panic!("information on {}: {error}", role.program(hook)))
    }

    /// The runs of a program so far.
    pub fn account(&self, hook: Hook, role: Role) -> Account {
        Account::of(&self.info(hook, role))
    }

    /// Entries in the tables of established and of half-open flows.
    pub fn entries(&self) -> (usize, usize) {
        let established = count_entries(&self.established);
        (established, self.half_open.keys().count())
    }

    /// Empties the table of half-open flows and returns how many entries it held.
    pub fn forget_half_open(&mut self) -> usize {
        let keys: Vec<FlowKey> = self.half_open.keys().collect::<Result<_, _>>().expect("readable");
        for key in &keys {
            self.half_open.remove(key).expect("it was there");
        }
        keys.len()
    }

    fn program(&self, hook: Hook, role: Role) -> &aya::programs::Program {
        self.ebpf.program(role.program(hook)).expect("all are loaded")
    }

    fn wire(&self, role: Role) -> &Wire {
        match role.side() {
            Side::External => &self.external,
            Side::Internal => &self.internal,
        }
    }
}

/// The context of a frame of this length that came in by an interface.
fn context(hook: Hook, ifindex: u32, length: usize) -> Vec<u8> {
    let mut context = vec![0; if hook == Hook::Xdp { XDP_CONTEXT } else { TC_CONTEXT }];
    let mut set = |at: usize, value: u32| context[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    match hook {
        Hook::Xdp => {
            set(XDP_DATA_END, u32::try_from(length).expect("a short frame"));
            set(XDP_INGRESS_IFINDEX, ifindex);
        }
        Hook::Tc => set(TC_IFINDEX, ifindex),
    }
    context
}

fn load(ebpf: &mut Ebpf, hook: Hook, role: Role) {
    let name = role.program(hook);
    let program = ebpf.program_mut(name).unwrap_or_else(|| panic!("the object has no {name}"));
    let loaded = match hook {
        Hook::Xdp => <&mut Xdp>::try_from(program).and_then(Xdp::load),
        Hook::Tc => <&mut SchedClassifier>::try_from(program).and_then(SchedClassifier::load),
    };
    loaded.unwrap_or_else(|error| panic!("{name}: {error:?}"));
}

fn open_half_open(pins: &Pins) -> HashMap<MapData, FlowKey, CtEntry> {
    let map = MapData::from_pin(pins.map(names::HALF_OPEN)).expect("it is pinned");
    HashMap::try_from(Map::HashMap(map)).expect("a hash map of flows")
}

fn count_entries(map: &MapData) -> usize {
    let mut entries = 0;
    gateway_daemon::datapath::batch::for_each::<FlowKey, CtEntry>(map, |_, _| entries += 1)
        .expect("the table is readable");
    entries
}

fn places(topology: &Topology) -> Places {
    let plan = &topology.plan;
    Places {
        npci: plan.npci_endpoint(),
        second_npci: plan.npci_endpoints[1],
        web: plan.ingress(world::web_listener(1)),
        echo: plan.ingress(world::echo_listener(1)),
        backends: topology.tenant(1).plan.backends,
    }
}

/// The tables of the lab's usual configuration.
fn contents(topology: &Topology, bpffs: &BpfFs) -> Contents {
    let mut config = GatewayConfig::for_topology(topology, topology.session().dir(), bpffs.path());
    world::configure(&mut config, topology);
    let config = Config::parse("bench", &config.render(), &Interfaces::Unchecked)
        .unwrap_or_else(|error| panic!("{error}"));
    let names = config.tenants.iter().map(|tenant| tenant.name.as_str().to_owned());
    let ids: TenantIds = names.zip((1..).map(TenantId)).collect();
    plan::contents(&config, &host(topology), &ids, 1).expect("the configuration fits")
}

/// What the daemon would read from the kernel.
fn host(topology: &Topology) -> Host {
    let links = topology.links().map(|(_, link)| HostLink {
        index: Wire::of(link).ifindex,
        name: link.near.clone(),
        mac: Mac::new(link.near_mac.0),
        kind: Some("veth".to_owned()),
        vlan: None,
    });
    let inside = topology.tenants.iter().map(|tenant| tenant.plan.gateway);
    Host { links: links.collect(), addresses: inside.chain([topology.plan.gateway_external]).collect() }
}

/// Neighbours that never expire: the daemon, which keeps them warm, does not run.
fn fix_neighbours(topology: &Topology) {
    let mut lines = String::new();
    let mut fix = |addresses: &[Ipv4Addr], link: &Link| {
        for address in addresses {
            let Link { near, far_mac, .. } = link;
            writeln!(lines, "neigh replace {address} lladdr {far_mac} dev {near} nud permanent")
                .expect("writes to memory");
        }
    };
    fix(&topology.plan.npci_endpoints, &topology.external);
    topology.tenants.iter().for_each(|tenant| fix(&tenant.plan.backends, &tenant.link));
    topology.gateway.ip_batch(&lines);
}
