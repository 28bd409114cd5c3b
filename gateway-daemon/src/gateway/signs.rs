//! What half-open flows say about backends.

use anyhow::{Context as _, Result};
use gateway_common::abi::{CtEntry, EntryFlags, FlowKey, Protocol, Seen, State as FlowState};

use super::Gateway;
use crate::{
    datapath::batch,
    health::passive::{BackendAddr, Observation, Progress},
};

impl Gateway {
    /// Every TCP flow from NPCI in the half-open table.
    pub fn half_open_flows(&self) -> Result<Vec<Observation>> {
        let state = self.state();
        let [_, half_open] = state.tables.flow_maps();
        let mut flows = Vec::new();
        batch::for_each::<FlowKey, CtEntry>(half_open, |_, entry| flows.extend(observation(entry)))
            .context("cannot read the half-open flows")?;
        Ok(flows)
    }

    /// The name of the tenant with this number.
    pub fn tenant_name(&self, number: u16) -> Option<String> {
        let state = self.state();
        state.tenants.iter().find(|(_, id)| id.0 == number).map(|(name, _)| name.clone())
    }
}

fn observation(entry: &CtEntry) -> Option<Observation> {
    let ours = EntryFlags(EntryFlags::ORIGINAL.0 | EntryFlags::INGRESS.0);
    if !entry.flags.contains(ours) || entry.protocol() != Some(Protocol::Tcp) {
        return None;
    }
    let progress = match entry.state() {
        FlowState::HalfOpen => Progress::HalfOpen,
        // This entry records what the client has sent.
        FlowState::Reset if entry.seen.contains(Seen::RST) => Progress::Abandoned,
        FlowState::Reset => Progress::Refused,
        _ => Progress::Answered,
    };
    let backend = BackendAddr {
        tenant: entry.tenant.0,
        address: entry.pair.src.into(),
        port: entry.pair.src_port.number(),
    };
    Some(Observation { backend, progress, born_ns: entry.birth_ns })
}
