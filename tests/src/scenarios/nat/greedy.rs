//! A tenant that opens flows at many times its limit, and what the others notice of it.

use std::{net::Ipv4Addr, ops::RangeInclusive, time::Duration};

use super::{aim, pass};
use crate::{
    clients::{
        flood::Flood,
        open_loop::{End, Exchanges, OpenLoop},
    },
    lab::Lab,
    packet::Packet,
    topology::{Mode, Topology},
    world::World,
};

/// Whose flood it is.
const GREEDY: usize = 1;
/// Who must not notice.
const OTHERS: [usize; 2] = [2, 3];
/// New flows that the greedy one may open a second, and at once after a pause.
pub const LIMIT: u32 = 100;
/// How many times that it tries.
pub const TIMES: u32 = 20;
/// Requests a second to the others.
const RATE: u32 = 400;
/// `new_flows_per_second` is said to be exact to this.
const ERROR: f64 = 0.001;
/// Each source port opens one flow, which lasts for longer than a run.
const PORTS: RangeInclusive<u16> = 1024..=65_535;

/// How large it is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Pairs of stretches, one without and one with the flood: what else the machine does then hits both alike.
    pub pairs: u32,
    /// Of each stretch.
    pub stretch: Duration,
}

/// What was seen.
#[derive(Debug)]
pub struct Greedy {
    /// Requests to the others without the flood.
    pub quiet: Vec<Exchanges>,
    /// The same with it.
    pub flooded: Vec<Exchanges>,
    /// Flows that the greedy tenant tried to open.
    pub tried: u64,
    /// Flows that it opened.
    pub opened: u64,
    /// Flows that it may open in that time.
    pub allowed: f64,
}

/// Requests to two tenants, with and without the flood of a third in turn.
#[track_caller]
pub fn run(size: Size) -> Greedy {
    let lab = Lab::with(Topology::builder().mode(Mode::Tc).tenants(3));
    let world = World::start_with(&lab, |config| {
        config.tenant(GREEDY).limits.new_flows_per_second = Some(LIMIT);
    });
    lab.warm_neighbours();
    let mut seen = Greedy { quiet: Vec::new(), flooded: Vec::new(), tried: 0, opened: 0, allowed: 0.0 };
    let before = opened(&world);
    // Whatever is slow the first time is over then.
    load(&lab, &world, size.stretch / 4);
    let mut calls = calls(&lab);
    for _ in 0..size.pairs {
        seen.quiet.push(load(&lab, &world, size.stretch));
        let flood = flood(&lab, calls.clone());
        seen.flooded.push(load(&lab, &world, size.stretch));
        let sent = flood.stop();
        // The next flood goes on where this one has stopped, with ports that were not used yet.
        calls.rotate_left(usize::try_from(sent.frames).expect("it fits") % PORTS.len());
        seen.tried += sent.frames;
        seen.allowed += sent.lasted.as_secs_f64() * f64::from(LIMIT) * (1.0 + ERROR) + f64::from(LIMIT);
    }
    lab.settle();
    seen.opened = opened(&world) - before;
    seen
}

fn load(lab: &Lab, world: &World<'_>, lasting: Duration) -> Exchanges {
    let aims = OTHERS.map(|tenant| aim(lab, world, tenant)).to_vec();
    let load = OpenLoop::new(RATE, aims).start(&lab.npci);
    pass(lasting);
    load.stop()
}

/// Calls of the tenant by UDP, each from another port.
fn calls(lab: &Lab) -> Vec<Vec<u8>> {
    let tenant = lab.tenant(GREEDY);
    let from: Ipv4Addr = tenant.plan.backend();
    let call = |port| {
        let packet = Packet::udp((from, port), lab.plan.npci_endpoint());
        packet.payload(b"hello").macs(tenant.link.far_mac, tenant.link.near_mac).build()
    };
    PORTS.map(call).collect()
}

fn flood(lab: &Lab, calls: Vec<Vec<u8>>) -> Flood {
    let tenant = lab.tenant(GREEDY);
    Flood::start(&tenant.namespace, &tenant.link.far, calls, u64::from(LIMIT * TIMES))
}

fn opened(world: &World<'_>) -> u64 {
    let status = world.gateway.cli(&["status"]);
    status["tenants"][GREEDY - 1]["flows_opened"].as_u64().expect("a number")
}

impl Greedy {
    /// Flows that were opened beyond what is allowed; the last one may have been due in part.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    pub fn excess(&self) -> f64 {
        (self.opened as f64 - self.allowed - 1.0).ceil().max(0.0)
    }

    /// Of the flows that are allowed, in per cent: a limit must not refuse what it allows.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    pub fn granted_percent(&self) -> f64 {
        self.opened as f64 / self.allowed * 100.0
    }

    /// The others' requests that failed or were answered wrongly, with and without the flood.
    pub fn failures(&self) -> Vec<String> {
        let all = self.quiet.iter().chain(&self.flooded);
        all.flat_map(|load| load.failed(|_| true).into_iter().chain(load.wrong())).collect()
    }

    /// How much longer the slowest hundredth of the others' requests takes with the flood, in per cent; and both times.
    pub fn slowdown(&self) -> (f64, [Duration; 2]) {
        let [quiet, flooded] = [&self.quiet, &self.flooded].map(|loads| p99(loads));
        ((flooded.as_secs_f64() / quiet.as_secs_f64() - 1.0) * 100.0, [quiet, flooded])
    }
}

fn p99(loads: &[Exchanges]) -> Duration {
    let answered = loads.iter().flat_map(|load| &load.all);
    let answered = answered.filter(|exchange| matches!(exchange.end, End::Answered(_)));
    let mut took: Vec<Duration> = answered.map(|exchange| exchange.took).collect();
    super::percentile(&mut took, 99)
}
