//! The health of pools, in numbers: a series for each pool and state, never one for each backend.

use crate::config::{Config, Pool, PoolName, Tenant, TenantName};
use crate::health::{BackendId, Standing, Standings};

/// Backends of one pool by health. Their sum is the size of the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolHealth {
    /// Its tenant.
    pub tenant: TenantName,
    /// Its name.
    pub pool: PoolName,
    /// Checked and up.
    pub up: u32,
    /// In slow start.
    pub rising: u32,
    /// Checked and down.
    pub down: u32,
    /// Not checked; they count as up.
    pub unchecked: u32,
}

impl PoolHealth {
    /// The words of the label `state`, and their counts.
    pub(super) fn states(&self) -> [(&'static str, u64); 4] {
        let counts =
            [("up", self.up), ("rising", self.rising), ("down", self.down), ("unchecked", self.unchecked)];
        counts.map(|(state, count)| (state, count.into()))
    }

    fn count(&mut self, standing: Option<Standing>) {
        let state = match standing {
            Some(Standing::Up) => &mut self.up,
            Some(Standing::Rising(_)) => &mut self.rising,
            Some(Standing::Down) => &mut self.down,
            None => &mut self.unchecked,
        };
        *state += 1;
    }
}

/// Counts the backends of every pool.
pub fn pool_health(config: &Config, standings: &Standings) -> Vec<PoolHealth> {
    let pools = config.tenants.iter().flat_map(|tenant| tenant.pools.iter().map(move |pool| (tenant, pool)));
    pools.map(|(tenant, pool)| health_of(tenant, pool, standings)).collect()
}

fn health_of(tenant: &Tenant, pool: &Pool, standings: &Standings) -> PoolHealth {
    let mut health = PoolHealth {
        tenant: tenant.name.clone(),
        pool: pool.name.clone(),
        up: 0,
        rising: 0,
        down: 0,
        unchecked: 0,
    };
    for backend in &pool.backends {
        health.count(standings.get(&BackendId::new(tenant, pool, backend)).copied());
    }
    health
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use super::*;
    use crate::config::{Interfaces, example};

    #[test]
    fn a_pool_counts_its_backends_by_health() {
        let config = Config::parse("example", &example(), &Interfaces::Unchecked).unwrap();
        let tenant = &config.tenants[0];
        let pool = &tenant.pools[0];
        let first = BackendId {
            tenant: tenant.name.as_str().into(),
            pool: pool.name.as_str().into(),
            address: pool.backends[0].address.get(),
            port: pool.backends[0].port.get(),
        };
        let size = pool.backends.len() as u64;
        let cases = [
            (None, [0, 0, 0, size]),
            (Some(Standing::Up), [1, 0, 0, size - 1]),
            (Some(Standing::Rising(40)), [0, 1, 0, size - 1]),
            (Some(Standing::Down), [0, 0, 1, size - 1]),
        ];
        for (standing, expected) in cases {
            let standings = standing.map(|standing| (first.clone(), standing));
            let standings: Standings = Arc::new(standings.into_iter().collect::<HashMap<_, _>>());
            let health = pool_health(&config, &standings).remove(0);
            assert_eq!((health.tenant.as_str(), health.pool.as_str()), (&*first.tenant, &*first.pool));
            assert_eq!(health.states().map(|(_, count)| count), expected, "{standing:?}");
        }
    }
}
