//! The loaded programs, run by `BPF_PROG_TEST_RUN` with maps of their own.
//!
//! Once each (`repeat` 1): the kernel feeds a program its own output otherwise.

use std::mem::size_of;

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData, RingBuf};
use aya::programs::{ProgramError, SchedClassifier, TestRun, TestRunOptions, Xdp, XdpMode};
use bytemuck::Zeroable as _;
use gateway_common::abi::{
    CtEntry, Datagram, DatagramKey, Event, FlowKey, HeldFrame, Side, TenantId, TenantStats,
};
use gateway_common::tables::FlowTable;
use gateway_common::{limits, names};
use gateway_daemon::datapath::batch;
use gateway_daemon::datapath::changes::Changes;
use gateway_daemon::datapath::contents::Contents;
use gateway_daemon::datapath::pins::Pins;
use gateway_daemon::datapath::programs::stages::{self, Stages};
use gateway_daemon::datapath::programs::{self, TableSizes};
use gateway_daemon::datapath::reset;
use gateway_daemon::datapath::tables::Tables;
use gateway_daemon::datapath::tap;
use gateway_tests::bpffs::BpfFs;
use nix::errno::Errno;

use crate::counts::Counts;
use crate::engine::{Action, Engine, Kind, LAST_TENANT, Ran};
use crate::engine_watched::Watcher;
use crate::flows::Flows;
use crate::places::Wire;
use crate::world::World;

/// Longer than any frame that comes out.
const FRAME_MAX: usize = 4096;
/// `struct xdp_md` of `linux/bpf.h`.
const XDP_CONTEXT: usize = 24;
/// Offset of `data_end` in it, the only address that has to be given.
const XDP_DATA_END: usize = 4;
/// Offset of `ingress_ifindex` in it.
const XDP_IFINDEX: usize = 12;
/// `struct __sk_buff` of `linux/bpf.h`.
const TC_CONTEXT: usize = 192;
/// Offset of `ifindex` in it.
const TC_IFINDEX: usize = 40;

/// The engine.
pub struct KernelEngine {
    kind: Kind,
    ebpf: Ebpf,
    tables: Tables,
    flows: [(FlowTable, HashMap<MapData, FlowKey, CtEntry>); 2],
    datagrams: HashMap<MapData, DatagramKey, Datagram>,
    events: RingBuf<MapData>,
    held: RingBuf<MapData>,
    /// The frame that was kept last.
    last_held: HeldFrame,
    /// Events read so far: reading takes them out of the ring.
    reported: Counts,
    /// Whoever watches, if anybody does.
    watcher: Option<Watcher>,
    /// Unmounted last.
    _bpffs: BpfFs,
}

impl KernelEngine {
    /// Loads the programs of a hook with tables pinned in `bpffs`. The calling thread is in the gateway's namespace.
    pub fn load(kind: Kind, bpffs: BpfFs, sizes: TableSizes) -> Self {
        let pins = Pins::new(bpffs.path());
        pins.prepare().expect("a fresh bpffs");
        let mut ebpf = programs::load(Some(&pins), sizes).expect("the object loads");
        for side in [Side::External, Side::Internal] {
            load_program(&mut ebpf, kind, side);
        }
        let stages = if kind == Kind::Tc { Stages::Tc } else { Stages::Xdp };
        stages::load(&mut ebpf, stages).expect("the kernel accepts every stage");
        let tables = Tables::open(&pins).expect("every map is pinned");
        let flows = [(FlowTable::Established, names::FLOWS), (FlowTable::HalfOpen, names::HALF_OPEN)]
            .map(|(table, name)| (table, open_flows(&pins, name)));
        let events = ebpf.take_map(names::EVENTS).expect("the object has it");
        let events = RingBuf::try_from(events).expect("a ring buffer");
        let held = ebpf.take_map(names::HELD).expect("the object has it");
        let held = RingBuf::try_from(held).expect("a ring buffer");
        let datagrams = ebpf.take_map(names::DATAGRAMS).expect("the object has it");
        let datagrams = HashMap::try_from(datagrams).expect("a hash map");
        Self {
            kind,
            ebpf,
            tables,
            flows,
            datagrams,
            events,
            held,
            last_held: HeldFrame::zeroed(),
            reported: Counts::default(),
            watcher: None,
            _bpffs: bpffs,
        }
    }

    /// From now on somebody watches.
    #[must_use]
    pub fn watched(mut self) -> Self {
        let kind = if self.kind == Kind::Tc { tap::Kind::Tc } else { tap::Kind::Xdp };
        self.watcher = Some(Watcher::new(&mut self.ebpf, kind));
        self
    }

    /// Attaches the empty program to every interface. A packet can only claim to come from an interface whose receive
    /// queue is registered with XDP, and veth does that while it has a program.
    pub fn register_queues(&mut self, world: &World) {
        let program = self.ebpf.program_mut(names::BENCH_EMPTY_XDP).expect("the object has it");
        let program: &mut Xdp = program.try_into().expect("an XDP program");
        program.load().expect("the kernel accepts an empty program");
        for wire in world.wires() {
            program.attach_to_if_index(wire.ifindex, XdpMode::Driver).expect("veth takes XDP");
        }
    }

    fn run_program(&self, wire: &Wire, frame: &[u8], out: &mut [u8]) -> Result<(u32, usize), ProgramError> {
        let program = self.ebpf.program(program_name(self.kind, wire.side)).expect("loaded");
        let context = context(self.kind, wire, frame);
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(out),
            ctx_in: Some(&context),
            repeat: 1,
            ..TestRunOptions::default()
        };
        let result = match self.kind {
            Kind::Tc => <&SchedClassifier>::try_from(program)?.test_run(options)?,
            _ => <&Xdp>::try_from(program)?.test_run(options)?,
        };
        Ok((result.return_value, result.data_size_out as usize))
    }

    /// What was kept is the frame as it came in, and says where.
    fn check_held(&self, wire: &Wire, frame: &[u8]) {
        let held = &self.last_held;
        if held.len == 0 {
            return;
        }
        assert_eq!(held.bytes[..usize::from(held.len)], *frame);
        assert_eq!((held.ifindex, held.side), (wire.ifindex, wire.side as u8));
    }

    fn read_events(&mut self) {
        while let Some(record) = self.events.next() {
            assert_eq!(record.len(), size_of::<Event>(), "an event of another size");
            self.reported.add_event(&bytemuck::pod_read_unaligned(&record));
        }
        while let Some(record) = self.held.next() {
            assert_eq!(record.len(), size_of::<HeldFrame>(), "a kept frame of another size");
            self.last_held = bytemuck::pod_read_unaligned(&record);
        }
    }
}

impl Engine for KernelEngine {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn reset(&mut self, desired: &Contents) {
        for (_, map) in &mut self.flows {
            let keys: Vec<FlowKey> = map.keys().collect::<Result<_, _>>().expect("readable");
            for key in keys {
                map.remove(&key).expect("it was there");
            }
        }
        let keys: Vec<DatagramKey> = self.datagrams.keys().collect::<Result<_, _>>().expect("readable");
        for key in keys {
            self.datagrams.remove(&key).expect("it was there");
        }
        self.configure(desired);
    }

    fn configure(&mut self, desired: &Contents) {
        let actual = self.tables.contents().expect("readable");
        self.tables.apply(&Changes::between(&actual, desired)).expect("the tables take the configuration");
    }

    fn end_flows(&mut self) {
        reset::mark(&self.tables, |_| true).expect("the flows can be marked");
    }

    fn run(&mut self, wire: &Wire, frame: &[u8]) -> Option<Ran> {
        let mut out = vec![0; FRAME_MAX];
        self.last_held = HeldFrame::zeroed();
        match self.run_program(wire, frame, &mut out) {
            Ok((code, length)) => {
                out.truncate(length);
                self.read_events();
                self.check_held(wire, frame);
                if let Some(watcher) = &mut self.watcher {
                    watcher.check(frame, &out, self.tables.drops().expect("readable"));
                }
                Some(Ran { action: action(self.kind, code), frame: out })
            }
            Err(ProgramError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(Errno::EINVAL as i32)
                    && cannot_run(self.kind, frame) =>
            {
                None
            }
            Err(error) => panic!("{:?} cannot run on {} bytes: {error:?}", self.kind, frame.len()),
        }
    }

    fn counts(&mut self) -> Counts {
        self.read_events();
        let mut counts = self.reported.clone();
        for (counter, value) in self.tables.counters().expect("readable") {
            counts.add(counter.name(), value);
        }
        for (reason, packets) in self.tables.drops().expect("readable") {
            counts.add_drop(reason.name(), packets);
        }
        for tenant in 0..=LAST_TENANT {
            counts.add_tenant(tenant, &self.tables.tenant_stats(TenantId(tenant)).expect("readable"));
        }
        counts
    }

    fn flows(&self) -> Flows {
        let mut flows = Flows::default();
        let [established, half_open] = self.tables.flow_maps();
        for (table, map) in [(FlowTable::Established, established), (FlowTable::HalfOpen, half_open)] {
            batch::for_each::<FlowKey, CtEntry>(map, |key, entry| flows.add(table, key, entry))
                .expect("readable");
        }
        flows
    }

    fn other_tenants(&self) -> Vec<u16> {
        let last = u16::try_from(limits::TENANTS_MAX - 1).expect("16-bit numbers");
        let is_counted = |tenant: &u16| {
            let stats = self.tables.tenant_stats(TenantId(*tenant)).expect("readable");
            stats != TenantStats::default()
        };
        (LAST_TENANT + 1..=last).filter(is_counted).collect()
    }
}

/// The context that says which interface the frame came in by. XDP also wants to hear how long it is.
fn context(kind: Kind, wire: &Wire, frame: &[u8]) -> Vec<u8> {
    let (length, ifindex_at) =
        if kind == Kind::Tc { (TC_CONTEXT, TC_IFINDEX) } else { (XDP_CONTEXT, XDP_IFINDEX) };
    let mut context = vec![0; length];
    context[ifindex_at..ifindex_at + 4].copy_from_slice(&wire.ifindex.to_ne_bytes());
    if kind == Kind::Xdp {
        let end = u32::try_from(frame.len()).expect("a short frame");
        context[XDP_DATA_END..XDP_DATA_END + 4].copy_from_slice(&end.to_ne_bytes());
    }
    context
}

/// Frames that the kernel refuses to run a program on (`net/bpf/test_run.c`): without a whole Ethernet header, and for
/// TC without the whole IP header that the `EtherType` announces.
fn cannot_run(kind: Kind, frame: &[u8]) -> bool {
    let needed = match (kind, frame.get(12..14)) {
        (Kind::Tc, Some([0x08, 0x00])) => 14 + 20,
        (Kind::Tc, Some([0x86, 0xdd])) => 14 + 40,
        _ => 14,
    };
    frame.len() < needed
}

fn action(kind: Kind, code: u32) -> Action {
    match (kind, code) {
        // XDP_PASS; TC_ACT_UNSPEC.
        (Kind::Xdp, 2) | (Kind::Tc, u32::MAX) => Action::Pass,
        // XDP_DROP; TC_ACT_SHOT.
        (Kind::Xdp, 1) | (Kind::Tc, 2) => Action::Drop,
        // XDP_REDIRECT; TC_ACT_REDIRECT.
        (Kind::Xdp, 4) | (Kind::Tc, 7) => Action::Redirect,
        _ => panic!("{kind:?} returned {code}"),
    }
}

fn program_name(kind: Kind, side: Side) -> &'static str {
    match (kind, side) {
        (Kind::Tc, Side::External) => names::TC_EXTERNAL,
        (Kind::Tc, Side::Internal) => names::TC_INTERNAL,
        (_, Side::External) => names::XDP_EXTERNAL,
        (_, Side::Internal) => names::XDP_INTERNAL,
    }
}

fn load_program(ebpf: &mut Ebpf, kind: Kind, side: Side) {
    let name = program_name(kind, side);
    let program = ebpf.program_mut(name).unwrap_or_else(|| panic!("the object has no {name}"));
    let loaded = match kind {
        Kind::Tc => <&mut SchedClassifier>::try_from(program).and_then(SchedClassifier::load),
        _ => <&mut Xdp>::try_from(program).and_then(Xdp::load),
    };
    loaded.unwrap_or_else(|error| panic!("{name}: {error:?}"));
}

fn open_flows(pins: &Pins, name: &str) -> HashMap<MapData, FlowKey, CtEntry> {
    let map = MapData::from_pin(pins.map(name)).expect("it is pinned");
    HashMap::try_from(Map::HashMap(map)).expect("a hash map of flows")
}
