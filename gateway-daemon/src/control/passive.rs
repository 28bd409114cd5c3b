//! What real traffic says about backends, handed to health once a second.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::sleep;
use tracing::warn;

use super::{Control, change::blocking};
use crate::{
    config::Config,
    datapath::monotonic_ns,
    drain::Shutdown,
    gateway::Gateway,
    health::{
        BackendId,
        passive::{BackendAddr, Cursor, Signs},
    },
};

/// A SYN counts as unanswered after a second, so looking more often would gain little.
const INTERVAL: Duration = Duration::from_secs(1);

impl Control {
    /// Reads the half-open flows while any pool wants it.
    pub(super) async fn follow_traffic(self: Arc<Self>, shutdown: Shutdown) {
        let mut cursor = Cursor::starting_at(monotonic_ns());
        let mut asked = None;
        loop {
            tokio::select! {
                () = shutdown.requested() => return,
                () = sleep(INTERVAL) => {}
            }
            let config = self.gateway.config();
            let wanted = is_wanted(&config, asked.take());
            asked = Some((config.clone(), wanted));
            if !wanted {
                cursor = Cursor::starting_at(monotonic_ns());
                continue;
            }
            let gateway = self.gateway.clone();
            match blocking(move || gateway.half_open_flows()).await {
                Ok(flows) => {
                    let signs = cursor.signs(flows, monotonic_ns());
                    self.hand_over(&config, &signs);
                }
                Err(error) => warn!("cannot read what traffic says about backends: {error:#}"),
            }
        }
    }

    fn hand_over(&self, config: &Config, signs: &HashMap<BackendAddr, Signs>) {
        let known: Vec<(BackendId, Signs)> =
            signs.iter().flat_map(|(backend, signs)| ids(&self.gateway, config, *backend, *signs)).collect();
        self.health.passive(known.iter().map(|(id, signs)| (id, *signs)));
    }
}

/// Does any pool want it? As a moment ago, if the configuration is the same: there may be thousands of pools.
fn is_wanted(config: &Arc<Config>, before: Option<(Arc<Config>, bool)>) -> bool {
    if let Some((_, wanted)) = before.filter(|(before, _)| Arc::ptr_eq(before, config)) {
        return wanted;
    }
    let mut pools = config.tenants.iter().flat_map(|tenant| &tenant.pools);
    pools.any(|pool| pool.health.as_ref().is_some_and(|health| health.passive))
}

/// One backend may be in several pools of its tenant.
fn ids(gateway: &Gateway, config: &Config, backend: BackendAddr, signs: Signs) -> Vec<(BackendId, Signs)> {
    let Some(name) = gateway.tenant_name(backend.tenant) else { return Vec::new() };
    let tenant = config.tenants.iter().find(|tenant| tenant.name.as_str() == name);
    let members = tenant.into_iter().flat_map(|tenant| {
        tenant
            .pools
            .iter()
            .flat_map(move |pool| pool.backends.iter().map(move |member| (tenant, pool, member)))
    });
    members
        .filter(|(_, _, member)| (member.address.get(), member.port.get()) == (backend.address, backend.port))
        .map(|(tenant, pool, member)| (BackendId::new(tenant, pool, member), signs))
        .collect()
}
