//! Who can be asked, by whom, and who must answer.

use std::net::SocketAddrV4;

use crate::{
    lab::Lab,
    netns::Namespace,
    world::{NPCI, World},
};

/// One server as one client reaches it.
#[derive(Debug)]
pub struct Target<'lab> {
    /// The client.
    pub from: &'lab Namespace,
    /// The address that it uses.
    pub address: SocketAddrV4,
    /// Who must answer.
    pub server: &'lab str,
}

/// NPCI's way to each of these tenants, and the first one's way to NPCI, by HTTP.
pub fn web<'lab>(lab: &'lab Lab, world: &World<'_>, tenants: &[usize]) -> Vec<Target<'lab>> {
    let ingress = tenants.iter().map(|number| Target {
        from: &lab.npci,
        address: world.web(*number),
        server: &lab.tenant(*number).plan.name,
    });
    ingress.chain([egress(lab, tenants[0])]).collect()
}

/// The same for the first tenant, by UDP.
pub fn echo<'lab>(lab: &'lab Lab, world: &World<'_>, tenants: &[usize]) -> Vec<Target<'lab>> {
    let first = lab.tenant(tenants[0]);
    let ingress =
        Target { from: &lab.npci, address: world.echo(first.plan.number), server: &first.plan.name };
    vec![ingress, egress(lab, tenants[0])]
}

fn egress(lab: &Lab, tenant: usize) -> Target<'_> {
    Target { from: &lab.tenant(tenant).namespace, address: lab.plan.npci_endpoint(), server: NPCI }
}
