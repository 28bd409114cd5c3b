//! HTTP, UDP and ping, both ways, for every tenant, with a capture on every wire.

use std::{net::Ipv4Addr, time::Duration};

use super::wires::{NpciWire, TenantWire};
use crate::{
    capture::Capture,
    clients::HttpReply,
    lab::Lab,
    servers::{WhoAmI, ask_udp},
    topology::{Mode, Tenant},
    world::{NPCI, World},
};

const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Echo requests of one ping.
const PINGS: u32 = 3;

/// What was seen.
#[derive(Debug)]
pub struct Traffic {
    /// Questions that were asked.
    pub exchanges: usize,
    /// Those without the right answer, in words.
    pub failures: Vec<String>,
    /// NPCI's wire.
    pub npci: NpciWire,
    /// The tenants' wires, by number - 1.
    pub tenants: Vec<TenantWire>,
    /// Packets that the gateway dropped.
    pub dropped: u64,
}

impl Traffic {
    /// Addresses on tenants' wires that do not belong there.
    pub fn foreign_addresses(&self) -> usize {
        self.tenants.iter().map(|wire| wire.foreign.len()).sum()
    }

    /// Wrong checksums on all wires.
    pub fn bad_checksums(&self) -> Vec<String> {
        let tenants = self.tenants.iter().flat_map(|wire| &wire.bad_checksums);
        self.npci.bad_checksums.iter().chain(tenants).cloned().collect()
    }
}

/// Runs it with three tenants.
#[track_caller]
pub fn run(mode: Mode) -> Traffic {
    let lab = Lab::new(mode);
    let world = World::start(&lab);
    let npci = lab.capture_npci();
    let tenants: Vec<Capture> =
        lab.tenants.iter().map(|tenant| lab.capture_tenant(tenant.plan.number)).collect();
    let mut exchanges = Exchanges::default();
    exchanges.everything(&lab, &world);
    let npci = NpciWire::read(&npci.stop(), &lab.plan);
    let wires = tenants.into_iter().zip(&lab.tenants);
    let tenants =
        wires.map(|(wire, tenant)| TenantWire::read(&wire.stop(), &tenant.plan, &lab.plan)).collect();
    // Not part of what NPCI does: its traffic goes to the ingress VIP.
    exchanges.ping(&lab, lab.plan.egress_vip);
    let dropped = world.gateway.cli(&["drops"])["total"].as_u64().expect("a number");
    Traffic { exchanges: exchanges.count, failures: exchanges.failures, npci, tenants, dropped }
}

#[derive(Debug, Default)]
struct Exchanges {
    count: usize,
    failures: Vec<String>,
}

impl Exchanges {
    fn everything(&mut self, lab: &Lab, world: &World<'_>) {
        for tenant in &lab.tenants {
            self.ingress(lab, world, tenant);
            for target in [lab.plan.npci_endpoint(), world.mapped(tenant.plan.number)] {
                let reply = tenant.namespace.curl(&format!("http://{target}/whoami")).run();
                self.http(&format!("{} to {target}", tenant.plan.name), &reply, NPCI, lab.plan.egress_vip);
                let answer = ask_udp(&tenant.namespace, target, "hello", ANSWER_LIMIT);
                self.note(answer == Some(format!("{NPCI} hello")), || {
                    format!("{}, UDP to {target}: {answer:?}", tenant.plan.name)
                });
            }
            let ping = tenant.namespace.ping(lab.plan.npci(), PINGS);
            self.note(ping.all_answered(), || format!("{}, ping of NPCI: {ping:?}", tenant.plan.name));
        }
        self.ping(lab, lab.plan.ingress_vip);
    }

    fn ingress(&mut self, lab: &Lab, world: &World<'_>, tenant: &Tenant) {
        let plan = &tenant.plan;
        let reply = lab.npci.curl(&format!("http://{}/whoami", world.web(plan.number))).run();
        self.http(&format!("NPCI to {}", plan.name), &reply, &plan.name, plan.nat_ip);
        let answer = ask_udp(&lab.npci, world.echo(plan.number), "hello", ANSWER_LIMIT);
        self.note(answer == Some(format!("{} hello", plan.name)), || {
            format!("NPCI, UDP to {}: {answer:?}", plan.name)
        });
    }

    fn ping(&mut self, lab: &Lab, vip: Ipv4Addr) {
        let ping = lab.npci.ping(vip, PINGS);
        self.note(ping.all_answered(), || format!("NPCI, ping of {vip}: {ping:?}"));
    }

    /// The right server answered, and saw the right client.
    fn http(&mut self, what: &str, reply: &HttpReply, name: &str, client: Ipv4Addr) {
        let who = reply.is_success().then(|| WhoAmI::parse(&reply.body)).flatten();
        let is_right = who.is_some_and(|who| who.name == name && who.remote_addr == client);
        self.note(is_right, || format!("{what}: {reply:?}"));
    }

    fn note(&mut self, is_right: bool, problem: impl FnOnce() -> String) {
        self.count += 1;
        if !is_right {
            self.failures.push(problem());
        }
    }
}
