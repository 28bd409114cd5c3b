//! How many ports of the egress VIP are in use: counted in the flow tables.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use gateway_common::{
    abi::{CtEntry, FlowKey},
    port_slice::PORTS_PER_SLICE,
};

use super::Gateway;
use crate::{
    datapath::batch,
    metrics::ports::{PortCount, PortUse},
};

impl Gateway {
    /// Reads the flow tables once. A node's tenants share all ports of its slices, so each may hold all of them.
    pub fn port_use(&self) -> Result<PortUse> {
        let state = self.state();
        let mut count = PortCount::default();
        for map in state.tables.flow_maps() {
            batch::for_each::<FlowKey, CtEntry>(map, |_, entry| count.note(entry))
                .context("cannot read the flows")?;
        }
        let names: HashMap<_, _> = state.tenants.iter().map(|(name, id)| (*id, name.clone())).collect();
        let capacity = u64::from(self.config().node.port_slices.count()) * u64::from(PORTS_PER_SLICE);
        Ok(count.finish(capacity, |tenant| names.get(&tenant).cloned(), |_| capacity))
    }

    /// Is there a tenant of this name?
    pub fn is_tenant(&self, name: &str) -> bool {
        self.state().tenants.contains_key(name)
    }
}
