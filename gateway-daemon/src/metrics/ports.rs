//! How many ports of the egress VIP are in use. A port serves one flow *to one destination*, so what runs out is the
//! ports to one destination: the figures here are those of the destination where most are held.

use std::collections::{BTreeMap, HashMap};

use gateway_common::abi::{Addr, CtEntry, EntryFlags, Port, Protocol, TenantId};

/// Ports of the egress VIP in use at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortUse {
    /// Ports held to the destination where all tenants together hold most.
    pub busiest: u64,
    /// Ports that this node may hold to one destination.
    pub capacity: u64,
    /// The tenants that hold any, by name.
    pub tenants: BTreeMap<String, TenantPorts>,
}

/// Ports of one tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantPorts {
    /// Held to the destination where the tenant holds most.
    pub busiest: u64,
    /// How many it may hold there.
    pub quota: u64,
}

/// A destination: protocol, address, port.
type Destination = (Protocol, Addr, Port);

/// Counts while somebody reads the flow tables.
#[derive(Debug, Default)]
pub struct PortCount {
    held: HashMap<Destination, HashMap<TenantId, u64>>,
}

impl PortCount {
    /// Notes one entry of a flow table. Only flows that a tenant opened hold a port of the egress VIP.
    pub fn note(&mut self, entry: &CtEntry) {
        let flags = entry.flags;
        if !flags.contains(EntryFlags::ORIGINAL) || flags.contains(EntryFlags::INGRESS) {
            return;
        }
        let reply = &entry.pair;
        let Some(protocol) = reply.protocol() else { return };
        let tenants = self.held.entry((protocol, reply.src, reply.src_port)).or_default();
        *tenants.entry(entry.tenant).or_default() += 1;
    }

    /// What was counted. `capacity` is what this node may hold to one destination, `quota` a tenant's part of it.
    pub fn finish(
        &self,
        capacity: u64,
        name: impl Fn(TenantId) -> Option<String>,
        quota: impl Fn(TenantId) -> u64,
    ) -> PortUse {
        let busiest = self.held.values().map(|tenants| tenants.values().sum()).max().unwrap_or(0);
        let mut most: HashMap<TenantId, u64> = HashMap::new();
        for (tenant, held) in self.held.values().flatten() {
            let most = most.entry(*tenant).or_default();
            *most = (*most).max(*held);
        }
        let tenants = most.into_iter().filter_map(|(tenant, busiest)| {
            Some((name(tenant)?, TenantPorts { busiest, quota: quota(tenant) }))
        });
        PortUse { busiest, capacity, tenants: tenants.collect() }
    }
}

/// The last count, and the most that was ever counted for a tenant.
#[derive(Clone, Debug, Default)]
pub(super) struct PortMarks {
    pub(super) current: PortUse,
    high_water: BTreeMap<String, u64>,
}

impl PortMarks {
    pub(super) fn set(&mut self, ports: PortUse) {
        for (tenant, held) in &ports.tenants {
            let mark = self.high_water.entry(tenant.clone()).or_default();
            *mark = (*mark).max(held.busiest);
        }
        self.current = ports;
    }

    /// Drops what is kept of tenants that are no more, so that the list can't grow for ever.
    pub(super) fn keep_only(&mut self, is_known: impl Fn(&str) -> bool) {
        self.high_water.retain(|tenant, _| is_known(tenant));
    }

    /// The most that was counted since the daemon started.
    pub(super) fn high_water(&self) -> impl Iterator<Item = (&str, u64)> {
        self.high_water.iter().map(|(tenant, mark)| (tenant.as_str(), *mark))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use gateway_common::abi::{FlowKey, Side};

    use super::*;

    fn tenant(number: u16) -> TenantId {
        TenantId(number)
    }

    /// The reply entry's key of a flow to one of NPCI's addresses.
    fn entry(flags: u8, owner: u16, destination: u8, egress_port: u16) -> CtEntry {
        let npci = (Ipv4Addr::new(192, 0, 2, destination).into(), Port::new(443));
        let vip = (Ipv4Addr::new(192, 0, 2, 20).into(), Port::new(egress_port));
        let pair = FlowKey::v4(Side::External, Protocol::Tcp, npci, vip);
        CtEntry::open(pair, pair, tenant(owner), EntryFlags(flags), 0)
    }

    fn name(tenant: TenantId) -> Option<String> {
        (tenant.0 != 9).then(|| format!("bank-{}", tenant.0))
    }

    #[test]
    fn ports_are_counted_by_the_busiest_destination() {
        let mut count = PortCount::default();
        for port in 2_000..2_003 {
            count.note(&entry(1, 1, 100, port));
        }
        for port in 2_003..2_005 {
            count.note(&entry(1, 2, 100, port));
        }
        for port in 2_000..2_004 {
            count.note(&entry(1, 2, 101, port));
        }
        count.note(&entry(0, 1, 100, 3_000)); // a reply entry: its flow is counted already
        count.note(&entry(3, 1, 100, 3_001)); // NPCI opened it: no port of the egress VIP
        count.note(&entry(1, 9, 102, 3_002)); // of a tenant that is gone
        let ports = count.finish(64_512, name, |_| 1_024);
        assert_eq!((ports.busiest, ports.capacity), (5, 64_512));
        let held = |busiest| TenantPorts { busiest, quota: 1_024 };
        let expected = BTreeMap::from([("bank-1".to_owned(), held(3)), ("bank-2".to_owned(), held(4))]);
        assert_eq!(ports.tenants, expected);
    }

    #[test]
    fn the_high_water_mark_stays_until_the_tenant_goes() {
        let one = |busiest| PortUse {
            tenants: BTreeMap::from([("bank-1".to_owned(), TenantPorts { busiest, quota: 9 })]),
            ..PortUse::default()
        };
        let mut marks = PortMarks::default();
        marks.set(one(7));
        marks.set(one(3));
        marks.set(PortUse::default());
        assert_eq!(marks.high_water().collect::<Vec<_>>(), [("bank-1", 7)]);
        marks.keep_only(|tenant| tenant == "bank-1");
        assert_eq!(marks.high_water().count(), 1);
        marks.keep_only(|_| false);
        assert_eq!(marks.high_water().count(), 0);
    }
}
