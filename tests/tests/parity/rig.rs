//! Three engines side by side, and the comparison after each packet.

use std::net::Ipv4Addr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use gateway_daemon::datapath::contents::Contents;
use gateway_daemon::datapath::programs::TableSizes;
use gateway_tests::Lab;
use gateway_tests::bpffs::BpfFs;
use gateway_tests::packet::{Frame, IcmpBody, Packet};

use crate::counts::Counts;
use crate::diff;
use crate::engine::{Action, Engine, Kind, Ran};
use crate::engine_kernel::KernelEngine;
use crate::engine_memory::MemoryEngine;
use crate::expect::{Chosen, Expect, Outcome};
use crate::flows::{self, Flows};
use crate::places::Wire;
use crate::world::World;

/// A named scenario: a sequence of packets over tables that begin empty.
pub struct Case {
    /// Printed when it fails.
    pub name: &'static str,
    /// What differs from `gateway.toml`.
    pub change: fn(&mut Contents),
    /// The packets.
    pub run: fn(&mut Rig),
}

impl Case {
    /// With the configuration as it is.
    pub const fn new(name: &'static str, run: fn(&mut Rig)) -> Self {
        Self { name, change: |_| {}, run }
    }

    /// With another configuration.
    pub const fn with(name: &'static str, change: fn(&mut Contents), run: fn(&mut Rig)) -> Self {
        Self { name, change, run }
    }
}

/// One engine and what it said last.
struct Counted {
    engine: Box<dyn Engine>,
    counts: Counts,
    flows: Flows,
}

/// What one engine did with one packet.
pub struct Observed {
    /// Who.
    pub kind: Kind,
    /// The packet's fate. `None` when this engine could not run it.
    pub ran: Option<Ran>,
    /// What was counted.
    pub counts: Counts,
    before: Flows,
    /// The flow tables afterwards.
    pub flows: Flows,
}

/// The three engines in one gateway namespace.
pub struct Rig {
    /// Interfaces and routes.
    pub world: World,
    engines: [Counted; 3],
    packets: usize,
}

impl Rig {
    /// Loads everything. The calling thread is in the gateway's namespace.
    pub fn new(lab: &Lab, sizes: TableSizes) -> Self {
        Self::with(lab, sizes, |kernel| kernel)
    }

    /// As [`Self::new`], while somebody watches.
    pub fn watched(lab: &Lab, sizes: TableSizes) -> Self {
        Self::with(lab, sizes, KernelEngine::watched)
    }

    fn with(lab: &Lab, sizes: TableSizes, prepare: fn(KernelEngine) -> KernelEngine) -> Self {
        let world = World::prepare(lab);
        let bpffs = |name| BpfFs::mount(lab.session(), name);
        let memory = MemoryEngine::new(world.routes(), sizes);
        let mut xdp = KernelEngine::load(Kind::Xdp, bpffs("xdp"), sizes);
        xdp.register_queues(&world);
        let tc = KernelEngine::load(Kind::Tc, bpffs("tc"), sizes);
        let engines = [counted(memory), counted(prepare(xdp)), counted(prepare(tc))];
        Self { world, engines, packets: 0 }
    }

    /// Packets run so far, each through three engines.
    pub fn packets(&self) -> usize {
        self.packets
    }

    /// Runs every case, then reports all that failed.
    pub fn run_all<'a>(&mut self, cases: impl Iterator<Item = &'a Case>) {
        let failed: Vec<&str> = cases.filter(|case| !self.holds(case)).map(|case| case.name).collect();
        assert!(failed.is_empty(), "{} cases failed: {failed:#?}", failed.len());
    }

    fn holds(&mut self, case: &Case) -> bool {
        let mut desired = self.world.desired();
        (case.change)(&mut desired);
        self.reset(&desired);
        let outcome = catch_unwind(AssertUnwindSafe(|| (case.run)(self)));
        if outcome.is_err() {
            eprintln!("parity: case failed: {}\n", case.name);
        }
        outcome.is_ok()
    }

    /// Tables as desired, and no flows.
    pub fn reset(&mut self, desired: &Contents) {
        for counted in &mut self.engines {
            counted.engine.reset(desired);
            counted.counts = counted.engine.counts();
            counted.flows = Flows::default();
        }
    }

    /// Another configuration in mid-scenario; flows stay.
    pub fn reconfigure(&mut self, change: impl Fn(&mut Contents)) {
        let mut desired = self.world.desired();
        change(&mut desired);
        self.engines.iter_mut().for_each(|counted| counted.engine.configure(&desired));
    }

    /// Ends every flow in mid-scenario, as the daemon does.
    pub fn end_flows(&mut self) {
        self.engines.iter_mut().for_each(|counted| {
            counted.engine.end_flows();
            counted.flows = counted.engine.flows();
        });
    }

    /// Runs a packet that comes in by a wire and checks everything. Returns the frame that left.
    #[track_caller]
    pub fn step(&mut self, label: &str, wire: Wire, packet: &Packet, expect: &Expect<'_>) -> Vec<u8> {
        self.step_bytes(label, wire, &packet.clone().macs(wire.far, wire.near).build(), expect)
    }

    /// The same for a whole frame.
    #[track_caller]
    pub fn step_bytes(&mut self, label: &str, wire: Wire, frame: &[u8], expect: &Expect<'_>) -> Vec<u8> {
        let observed = self.observe(wire, frame);
        let mut complaints = Vec::new();
        for observed in &observed {
            let expect = match &expect.in_tc {
                Some(other) if observed.kind == Kind::Tc => other,
                _ => expect,
            };
            let found = judge(expect, wire, frame, observed);
            complaints.extend(found.into_iter().map(|found| format!("{:?}: {found}", observed.kind)));
        }
        let [memory, xdp, tc] = &observed;
        complaints.extend(differences(memory, xdp));
        if expect.in_tc.is_none() {
            complaints.extend(differences(memory, tc));
        }
        assert!(
            complaints.is_empty(),
            "{label}\n  in  {}\n  {}",
            diff::decoded(frame),
            complaints.join("\n  ")
        );
        memory.ran.as_ref().expect("memory runs everything").frame.clone()
    }

    /// Runs a frame about whose fate the caller says nothing yet: the engines must agree. Returns what memory saw.
    #[track_caller]
    pub fn agree(&mut self, label: &str, wire: Wire, frame: &[u8]) -> Observed {
        let [memory, xdp, tc] = self.observe(wire, frame);
        let mut complaints = differences(&memory, &xdp);
        // What XDP has to drop, TC leaves to the kernel to resolve.
        if !memory.counted("drop no_neighbour") {
            complaints.extend(differences(&memory, &tc));
        }
        assert!(
            complaints.is_empty(),
            "{label}\n  in  {}\n  {}",
            diff::decoded(frame),
            complaints.join("\n  ")
        );
        memory
    }

    /// Runs a frame through all three.
    fn observe(&mut self, wire: Wire, frame: &[u8]) -> [Observed; 3] {
        self.packets += 1;
        self.engines.each_mut().map(|counted| counted.observe(&wire, frame))
    }

    /// How many entries both flow tables hold.
    pub fn entries(&self) -> usize {
        self.engines[0].flows.len()
    }

    /// Nobody but the tenants of the configuration has been counted for.
    pub fn assert_no_other_tenant_was_counted(&self) {
        for counted in &self.engines {
            assert_eq!(counted.engine.other_tenants(), Vec::<u16>::new(), "{:?}", counted.engine.kind());
        }
    }
}

fn counted(engine: impl Engine + 'static) -> Counted {
    Counted { engine: Box::new(engine), counts: Counts::default(), flows: Flows::default() }
}

impl Counted {
    fn observe(&mut self, wire: &Wire, frame: &[u8]) -> Observed {
        let ran = self.engine.run(wire, frame);
        let (counts, flows) = (self.engine.counts(), self.engine.flows());
        let delta = counts.since(&self.counts);
        self.counts = counts;
        let before = std::mem::replace(&mut self.flows, flows.clone());
        Observed { kind: self.engine.kind(), ran, counts: delta, before, flows }
    }
}

impl Observed {
    /// Was this counted?
    pub fn counted(&self, name: &str) -> bool {
        self.counts.contains(name)
    }
}

/// How two engines differ on one packet.
fn differences(memory: &Observed, kernel: &Observed) -> Vec<String> {
    let (Some(wanted), Some(found)) = (&memory.ran, &kernel.ran) else {
        return Vec::new();
    };
    let mut complaints = Vec::new();
    let kind = kernel.kind;
    let action = kind.shown(wanted.action);
    if action != found.action {
        complaints.push(format!("{kind:?} says {:?}, memory {action:?}", found.action));
    }
    if wanted.frame != found.frame {
        complaints.push(format!("{kind:?} against memory: {}", diff::frames(&wanted.frame, &found.frame)));
    }
    if memory.counts != kernel.counts {
        complaints.push(format!("{kind:?} counts {:?}, memory {:?}", kernel.counts, memory.counts));
    }
    if memory.flows != kernel.flows {
        complaints
            .push(format!("{kind:?} against memory, flows:\n{}", diff::flows(&memory.flows, &kernel.flows)));
    }
    complaints
}

/// How one engine differs from what the case says.
fn judge(expect: &Expect<'_>, wire: Wire, input: &[u8], observed: &Observed) -> Vec<String> {
    let Some(ran) = &observed.ran else {
        return Vec::new();
    };
    let mut complaints = Vec::new();
    let action = observed.kind.shown(expect.action());
    if ran.action != action {
        complaints.push(format!("said {:?}, wanted {action:?}", ran.action));
    }
    let wanted = wanted_frame(expect, wire, input, &ran.frame);
    if ran.frame != wanted {
        complaints.push(diff::frames(&wanted, &ran.frame));
    }
    let counts = expect.counts(wire.side, input.len());
    if observed.counts != counts {
        complaints.push(format!("counted {:?}, wanted {counts:?}", observed.counts));
    }
    complaints.extend(judge_flows(expect, wire, input, &ran.frame, observed).err());
    complaints.extend(judge_checksums(expect, &ran.frame).err());
    complaints
}

/// The frame that a case wants, built from scratch with all its checksums.
fn wanted_frame(expect: &Expect<'_>, wire: Wire, input: &[u8], found: &[u8]) -> Vec<u8> {
    match &expect.outcome {
        Outcome::Pass | Outcome::Held | Outcome::Drop(_) => input.to_vec(),
        Outcome::Translated(out, packet) => packet(chosen(found)).macs(out.near, out.far).build(),
        Outcome::Unresolved(packet) => packet(chosen(found)).macs(wire.far, wire.near).build(),
        Outcome::Answer(frame) => frame.clone(),
    }
}

fn judge_flows(
    expect: &Expect<'_>,
    wire: Wire,
    input: &[u8],
    output: &[u8],
    observed: &Observed,
) -> Result<(), String> {
    let may_change = expect.changes_flows || expect.action() == Action::Redirect;
    if !may_change && observed.before != observed.flows {
        return Err(format!("flows changed:\n{}", diff::flows(&observed.before, &observed.flows)));
    }
    let Some(tracked) = expect.tracked else {
        return Ok(());
    };
    let (input, output) = (parsed(input)?, parsed(output)?);
    let tenant = expect.tenant.unwrap_or(0);
    flows::check(&observed.flows, tracked, tenant, wire.side, (&input, &output))
}

/// Recomputes every checksum of a frame that was changed.
fn judge_checksums(expect: &Expect<'_>, output: &[u8]) -> Result<(), String> {
    if expect.is_defective || matches!(expect.outcome, Outcome::Pass | Outcome::Held | Outcome::Drop(_)) {
        return Ok(());
    }
    let frame = parsed(output)?;
    match &frame.bad_checksums[..] {
        [] => Ok(()),
        bad => Err(format!("{bad:?}")),
    }
}

fn parsed(frame: &[u8]) -> Result<Frame, String> {
    Frame::parse(frame).map_err(|error| error.to_string())
}

/// What the gateway chose for a frame that left; nothing for one that cannot be read.
pub fn chosen(frame: &[u8]) -> Chosen {
    let nothing = Chosen { port: 0, destination: Ipv4Addr::UNSPECIFIED };
    let Ok(frame) = Frame::parse(frame) else { return nothing };
    let Some(ip) = frame.ipv4() else { return nothing };
    let port = match (frame.endpoints(), frame.icmp().map(|icmp| &icmp.body)) {
        (Some((src, _)), _) => src.port(),
        (None, Some(IcmpBody::Echo { id, .. })) => *id,
        (None, _) => 0,
    };
    Chosen { port, destination: ip.dst }
}
