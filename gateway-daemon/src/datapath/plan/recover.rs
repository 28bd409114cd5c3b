//! The state that an earlier daemon left, sorted by tenant.

use std::collections::{BTreeMap, HashMap};

use gateway_common::abi::{
    ALLOW_KEY_BITS, Addr, AddressKind, AllowKey, Listener, ListenerKey, OwnedAddress, Pool, TenantId,
    TenantSource,
};
use ipnet::Ipv4Net;

use super::{
    Mirror,
    numbers::Runs,
    placed::{Placed, PlacedPool, PoolKey},
    ports::Reserved,
};
use crate::datapath::contents::{Contents, Prefix};

impl Mirror {
    /// Takes what stands in the tables for granted. `slots_of` tells the hash of a pool's slots.
    ///
    /// What refers to nothing, or is referred to by nothing, is removed by the next plan.
    pub fn recover<E>(
        actual: Contents,
        mut slots_of: impl FnMut(&Pool) -> Result<u64, E>,
    ) -> Result<Self, E> {
        let mut mirror = Self { settings: Some(actual.settings), ..Self::default() };
        mirror.interfaces = actual.interfaces;
        mirror.sort_addresses(actual.addresses);
        for row in actual.sources {
            mirror.tenant(TenantSource::from_raw(row.1).tenant()).sources.push(row);
        }
        let shares = actual.tenants.iter().map(|(id, row)| (tenant_id(*id), row.ports));
        mirror.reserved = Reserved::found(shares);
        for row in actual.hairpins {
            mirror.tenant(row.0.from).hairpins.push(row);
        }
        for row in actual.tenants {
            mirror.tenant(tenant_id(row.0)).tenants.push(row);
        }
        for row in actual.destinations {
            mirror.tenant(row.0.key.tenant()).destinations.push(row);
        }
        for (id, backend) in actual.backends {
            mirror.numbers.backends.claim(id);
            let place = (backend.address.into(), backend.port.number());
            // Two numbers for one backend: the later row wins, pools that use the other one are made anew.
            let other = mirror.tenant(backend.tenant).backends.insert(place, id);
            mirror.strays.backends.remove.extend(other);
        }
        let owners = mirror.sort_listeners(actual.listeners);
        mirror.sort_lists(actual.allow_lists.iter().map(|(key, _)| prefix_of(key)), &owners.lists);
        for (id, pool) in actual.pools {
            mirror.numbers.pools.claim(id);
            let Some(tenant) = owners.pools.get(&id) else {
                mirror.strays.pools.remove.push(id);
                continue;
            };
            let placed = PlacedPool { id, value: pool, members: None, slots: slots_of(&pool)? };
            mirror.tenant(*tenant).pools.insert(PoolKey::Found(id), placed);
        }
        mirror.numbers.runs = Runs::without(mirror.pools().map(PlacedPool::run).collect::<Vec<_>>());
        Ok(mirror)
    }

    fn tenant(&mut self, id: TenantId) -> &mut Placed {
        self.tenants.entry(id).or_default()
    }

    fn sort_addresses(&mut self, addresses: Vec<(Addr, OwnedAddress)>) {
        for row in addresses {
            match row.1.kind() {
                Some(AddressKind::TenantNatIp) => self.tenant(row.1.tenant).addresses.push(row),
                _ => self.shared.push(row),
            }
        }
    }

    fn sort_listeners(&mut self, listeners: Vec<(ListenerKey, Listener)>) -> Owners {
        let mut owners = Owners::default();
        for row in listeners {
            owners.pools.insert(row.1.pool, row.1.tenant);
            owners.lists.insert(row.1.allow_list, row.1.tenant);
            self.tenant(row.1.tenant).listeners.push(row);
        }
        owners
    }

    fn sort_lists(&mut self, rows: impl Iterator<Item = (u32, Ipv4Net)>, owners: &HashMap<u32, TenantId>) {
        let mut lists: BTreeMap<u32, Vec<Ipv4Net>> = BTreeMap::new();
        for (list, prefix) in rows {
            lists.entry(list).or_default().push(prefix);
        }
        for (id, mut prefixes) in lists {
            self.numbers.lists.claim(id);
            prefixes.sort();
            if let Some(tenant) = owners.get(&id) {
                self.tenant(*tenant).lists.push((id, prefixes));
            } else {
                let rows = super::placed::allow_rows(id, &prefixes).map(|(key, _)| key);
                self.strays.allow_lists.remove.extend(rows);
            }
        }
    }
}

fn tenant_id(row: u32) -> TenantId {
    TenantId(u16::try_from(row).unwrap_or(0))
}

/// Whom numbers belong to, as the listeners say.
#[derive(Default)]
struct Owners {
    pools: HashMap<u32, TenantId>,
    lists: HashMap<u32, TenantId>,
}

/// The number of the list, and the prefix.
fn prefix_of(row: &Prefix<AllowKey>) -> (u32, Ipv4Net) {
    let bits = u8::try_from(row.bits.saturating_sub(ALLOW_KEY_BITS)).unwrap_or(u8::MAX).min(32);
    let prefix = Ipv4Net::new(row.key.address.into(), bits).unwrap_or_default();
    (row.key.list(), prefix)
}
