//! What the oracles remember of flows that were opened: against the limits of tenants, and for challenges.

use std::collections::HashMap;

use gateway_common::abi::{CtEntry, EntryFlags, FlowKey, Protocol};

use super::clients;
use crate::engine::world::World;

/// Flows by who may open them, in order.
#[derive(Clone, Debug, Default)]
pub struct Openings {
    /// When a tenant's flows were opened.
    at_ns: HashMap<u8, Vec<u64>>,
    /// The connections to a tenant's listener.
    connections: HashMap<u8, Vec<FlowKey>>,
}

impl Openings {
    /// The connection to this tenant's listener that was opened so many ago; 1 is the last one.
    pub fn recent(&self, tenant: u8, back: usize) -> Option<FlowKey> {
        let connections = self.connections.get(&tenant)?;
        connections.get(connections.len().checked_sub(back)?).copied()
    }
}

/// A flow was opened, whose original half is this: was it within its tenant's limits, and its client not to be asked first?
pub fn note(world: &mut World, entry: &CtEntry) {
    let tenant = u8::try_from(entry.tenant.0).expect("two tenants");
    assert_limits(world, tenant);
    let is_ingress = entry.flags.contains(EntryFlags::INGRESS);
    if is_ingress && entry.protocol() == Some(Protocol::Tcp) {
        clients::assert_answered(world, tenant, &entry.key);
        world.openings.connections.entry(tenant).or_default().push(entry.key);
    }
}

fn assert_limits(world: &mut World, tenant: u8) {
    let rights = world.plan.rights;
    if let Some(most) = rights.flows_max(tenant) {
        let uses = world.tables.tenant_use.borrow();
        let flows = uses[&gateway_common::abi::TenantId(tenant.into())].flows;
        assert!(flows <= i64::from(most), "tenant {tenant} has {flows} flows, of {most}");
    }
    let Some((interval_ns, burst)) = rights.pace(tenant) else { return };
    let at_ns = world.openings.at_ns.entry(tenant).or_default();
    at_ns.push(world.now_ns);
    for (index, start_ns) in at_ns.iter().enumerate() {
        let flows = (at_ns.len() - index) as u64;
        let most = burst + (world.now_ns - start_ns) / interval_ns;
        assert!(flows <= most, "tenant {tenant} opened {flows} flows where it may {most}");
    }
}
