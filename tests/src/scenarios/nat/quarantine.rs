//! The ports of flows that idled out are nobody's for a while.

use std::time::{Duration, Instant};

use super::exhaustion::{AT_ONCE, PORTS, take_all};
use crate::{
    gateway::{TenantTimeouts, Timeouts},
    lab::Lab,
    poll::{poll_result, try_poll},
    topology::{Mode, Topology},
    world::World,
};

/// Who has as many ports as connections.
const TENANT: usize = 1;
/// Ports that a client takes by itself.
const LOCAL_PORTS: &str = "net/ipv4/ip_local_port_range";
/// Beyond every timeout, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long everything takes.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Timeout of idle connections, in seconds.
    pub idle: u64,
    /// `timeouts.quarantine_secs`
    pub quarantine: u64,
}

/// What was seen.
#[derive(Debug)]
pub struct Quarantine {
    /// Connections that held all ports.
    pub open: usize,
    /// From the first flow's expiry until a port could be taken again; the problem if it never could.
    pub reused_after: Result<Duration, String>,
    /// Connections that were tried in that time.
    pub tries: usize,
}

/// Takes all ports of a tenant to one destination, lets the connections idle out, and goes on asking for a port.
#[track_caller]
pub fn run(size: Size) -> Quarantine {
    let lab = Lab::with(Topology::builder().mode(Mode::Tc).tenants(TENANT));
    let world = World::start_with(&lab, |config| {
        let quarantine_secs = Some(size.quarantine);
        config.timeouts =
            Some(Timeouts { quarantine_secs, reset_on_expiry: Some(true), ..Timeouts::default() });
        let limits = &mut config.tenant(TENANT).limits;
        limits.reserved_ports = Some(PORTS);
        limits.timeouts = Some(TenantTimeouts::short(size.idle, 0));
    });
    lab.warm_neighbours();
    let tenant = lab.tenant(TENANT);
    tenant.namespace.sysctl(LOCAL_PORTS, "20000 29999");
    let open = take_all(&tenant.namespace, lab.plan.npci_endpoint());
    let expired = first_expiry(&world, &tenant.plan.name, Duration::from_secs(size.idle) + PATIENCE);
    // A SYN from where a connection of before came from opens that anew, with its port: no other flow gets it.
    tenant.namespace.sysctl(LOCAL_PORTS, "40000 49999");
    let (mut tries, limit) = (0, Duration::from_secs(size.quarantine) + PATIENCE);
    let reused = try_poll(limit, "a port that is free again", || {
        tries += 1;
        let called = tenant.namespace.connect(None, lab.plan.npci_endpoint(), AT_ONCE);
        called.map(|_| expired.elapsed()).map_err(Some)
    });
    let reused_after = reused.map_err(|timed_out| timed_out.to_string());
    Quarantine { open: open.len(), reused_after, tries }
}

/// The moment before the first look that saw one.
fn first_expiry(world: &World<'_>, tenant: &str, limit: Duration) -> Instant {
    let mut api = world.gateway.api();
    poll_result(limit, "a flow to expire", || {
        let asked = Instant::now();
        let flows = api.flows(tenant)?;
        let any = flows.iter().any(|flow| flow["state"] == "expired");
        any.then_some(asked).ok_or_else(|| format!("{} flows", flows.len()))
    })
}
