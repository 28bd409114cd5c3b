//! The VIPs and tenant NAT IPs are answered for and configured nowhere; a client never seen before gets through.

use std::{net::Ipv4Addr, time::Duration};

use crate::{
    lab::Lab,
    netns::Namespace,
    topology::{Link, Mode},
    world::World,
};

/// The first answer may be lost while its next hop is resolved: TCP sends it again after 1, 3 and 7 s.
const LIMIT: Duration = Duration::from_secs(10);
/// In NPCI's network, and nobody's so far.
const NEW_CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 150);

/// What was seen.
#[derive(Debug)]
pub struct Addresses {
    /// Of VIPs and NAT IPs: those that are on an interface of the gateway, or that ARP did not lead to it.
    pub problems: Vec<String>,
    /// How many addresses were looked at.
    pub looked_at: usize,
    /// How long the first request of a client took that the gateway had never seen; the problem if it failed.
    pub new_client: Result<Duration, String>,
}

/// Looks at all of them.
#[track_caller]
pub fn run(mode: Mode) -> Addresses {
    let lab = Lab::new(mode);
    let world = World::start(&lab);
    let mut seen = Addresses { problems: Vec::new(), looked_at: 0, new_client: Ok(Duration::ZERO) };
    let plan = &lab.plan;
    for vip in [plan.ingress_vip, plan.egress_vip] {
        lab.npci.ping(vip, 1);
        seen.look(&lab, (&lab.npci, &lab.external), vip);
    }
    for tenant in &lab.tenants {
        let mapped = world.mapped(tenant.plan.number);
        let reply = tenant.namespace.curl(&format!("http://{mapped}/whoami")).run();
        seen.look(&lab, (&tenant.namespace, &tenant.link), tenant.plan.nat_ip);
        if !reply.is_success() {
            seen.problems.push(format!("{mapped}: {reply:?}"));
        }
    }
    seen.new_client = ask_as_a_new_client(&lab, &world);
    seen
}

impl Addresses {
    fn look(&mut self, lab: &Lab, (neighbour, link): (&Namespace, &Link), address: Ipv4Addr) {
        self.looked_at += 1;
        if lab.gateway.ip(&["addr", "show"]).contains(&format!("inet {address}/")) {
            self.problems.push(format!("{address} is on an interface of the gateway"));
        }
        let known = neighbour.ip(&["neigh", "show", "to", &address.to_string(), "dev", &link.far]);
        if !known.contains(&link.near_mac.to_string()) {
            self.problems.push(format!("{} knows {address} as {known:?}", neighbour.role()));
        }
    }
}

fn ask_as_a_new_client(lab: &Lab, world: &World<'_>) -> Result<Duration, String> {
    let address = format!("{NEW_CLIENT}/{}", lab.plan.external_subnet.prefix_len());
    lab.npci.ip(&["addr", "add", &address, "dev", &lab.external.far]);
    if lab.gateway.knows_neighbour(&lab.external.near, NEW_CLIENT) {
        return Err(format!("{NEW_CLIENT} is known already"));
    }
    let url = format!("http://{}/whoami", world.web(1));
    let reply = lab.npci.curl(&url).from(NEW_CLIENT).limit(LIMIT).run();
    if reply.is_success() { Ok(reply.time) } else { Err(format!("{reply:?}")) }
}
