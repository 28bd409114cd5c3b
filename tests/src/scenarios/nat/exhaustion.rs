//! All ports towards one destination are taken: what becomes of the next connection, and of everybody else.

use std::{
    net::{SocketAddrV4, TcpStream},
    time::{Duration, Instant},
};

use super::{aim, dropped, try_connect};
use crate::{
    capture::{Keep, Recording},
    clients::open_loop::OpenLoop,
    lab::Lab,
    netns::Namespace,
    raw::Direction,
    topology::{Mode, Topology},
    world::World,
};

/// Whose ports run out.
const FULL: usize = 1;
/// Whose do not.
const OTHER: usize = 2;
/// Ports that the tenant has: the fewest, one of each slice.
pub const PORTS: u32 = 63;
/// Connections beyond them.
pub const FURTHER: usize = 20;
/// Beyond this nobody would call it "at once". Less than a second, so that a SYN is sent once.
pub const AT_ONCE: Duration = Duration::from_millis(200);
/// Longer than any handshake takes here.
const HANDSHAKE: Duration = Duration::from_millis(300);
/// The search for a free port is bounded: the last ones may take some connections.
const TRIES: u32 = 40 * PORTS;
/// For what must succeed.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was seen.
#[derive(Debug)]
pub struct Exhaustion {
    /// Connections to the destination that were open at last.
    pub open: usize,
    /// Further ones that were opened nevertheless.
    pub beyond: usize,
    /// SYNs of theirs that were sent, and drops that were counted as `ports_exhausted` meanwhile.
    pub counted: (u64, u64),
    /// Of the further ones, those whose client was not told at once, in words.
    pub untold: Vec<String>,
    /// Calls to other destinations, of other tenants and from NPCI that failed.
    pub others: Vec<String>,
    /// Packets on NPCI's wire from somebody else than NPCI and the VIPs, in words.
    pub wrong_sources: Vec<String>,
}

/// Opens connections until there are no ports left, and some more.
#[track_caller]
pub fn run() -> Exhaustion {
    let lab = Lab::with(Topology::builder().mode(Mode::Tc).tenants(2));
    let world = World::start_with(&lab, |config| {
        config.tenant(FULL).limits.reserved_ports = Some(PORTS);
    });
    lab.warm_neighbours();
    let capture = lab.capture_far_end(&lab.npci, &lab.external, Keep::Headers);
    let client = &lab.tenant(FULL).namespace;
    let open = take_all(client, lab.plan.npci_endpoint());
    let before = dropped(&world, "ports_exhausted");
    let (beyond, untold) = call_on(client, lab.plan.npci_endpoint());
    let others = call_others(&lab, &world);
    lab.settle();
    let counted = (FURTHER as u64, dropped(&world, "ports_exhausted") - before);
    let wrong_sources = wrong_sources(&lab, &capture.stop());
    Exhaustion { open: open.len(), beyond, counted, untold, others, wrong_sources }
}

/// Connects until no port is left, and keeps the connections.
pub(super) fn take_all(client: &Namespace, target: SocketAddrV4) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for _ in 0..TRIES {
        if open.len() >= PORTS as usize {
            break;
        }
        open.extend(client.connect(None, target, AT_ONCE).ok());
    }
    open
}

/// How many connections were opened, and what was wrong with the ends of the others.
fn call_on(client: &Namespace, target: SocketAddrV4) -> (usize, Vec<String>) {
    let (mut beyond, mut untold) = (0, Vec::new());
    for _ in 0..FURTHER {
        let begin = Instant::now();
        match try_connect(client, target, HANDSHAKE) {
            Ok(()) => beyond += 1,
            Err(error) if begin.elapsed() > AT_ONCE => {
                untold.push(format!("{error} after {:?}", begin.elapsed()));
            }
            Err(_) => {}
        }
    }
    (beyond, untold)
}

/// The same tenant to somebody else, another tenant to the same destination, and NPCI to both.
fn call_others(lab: &Lab, world: &World<'_>) -> Vec<String> {
    let elsewhere = SocketAddrV4::new(lab.plan.npci_endpoints[1], lab.plan.npci_port);
    let _listener = lab.npci.listen(elsewhere);
    let calls = [
        (FULL, "to another destination", elsewhere),
        (OTHER, "to the same destination", lab.plan.npci_endpoint()),
        (OTHER, "to another destination", elsewhere),
    ];
    let call = |(tenant, what, target): (usize, &str, SocketAddrV4)| {
        let tenant = lab.tenant(tenant);
        let called = try_connect(&tenant.namespace, target, PATIENCE);
        called.err().map(|error| format!("{} {what}: {error}", tenant.plan.name))
    };
    let mut failed: Vec<String> = calls.into_iter().filter_map(call).collect();
    let load = OpenLoop::new(100, [FULL, OTHER].map(|tenant| aim(lab, world, tenant)).to_vec());
    let load = load.start(&lab.npci);
    load.wait_for(100);
    let seen = load.stop();
    failed.extend(seen.failed(|_| true));
    failed.extend(seen.wrong());
    failed
}

/// Packets that came to NPCI from somebody who is no VIP.
pub(super) fn wrong_sources(lab: &Lab, recording: &Recording) -> Vec<String> {
    let pairs = recording.going(Direction::In).pair_counts();
    assert!(!pairs.is_empty(), "nothing was captured on NPCI's wire");
    // The gateway host's own address warms neighbour tables and is translated for nobody.
    let ours = |address| lab.plan.is_vip(address) || address == lab.plan.gateway_external;
    let wrong = pairs.into_iter().filter(|((source, _), _)| !ours(*source));
    wrong.map(|((source, to), count)| format!("{count} packets from {source} to {to}")).collect()
}
