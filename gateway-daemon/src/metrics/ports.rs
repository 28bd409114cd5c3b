//! How many ports of the egress VIP are in use. A port serves one flow *to one destination*, so what runs out is the
//! ports to one destination: the figures here are those of the destination where most are held.

use std::collections::{BTreeMap, HashMap};

use gateway_common::abi::{Addr, CtEntry, EntryFlags, Port, Protocol, TenantId};

use super::labels::{Label as _, PortLevel};

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
    /// Ports of its NAT IP, held to the server where most are.
    pub inside: u64,
    /// How many may be held there.
    pub inside_quota: u64,
}

impl TenantPorts {
    /// How much is in use where it is most, of what may be: 1 is all.
    #[expect(clippy::cast_precision_loss, reason = "there are 64,512 ports")]
    pub fn used_ratio(&self) -> f64 {
        let ratio = |held: u64, quota: u64| if quota == 0 { 0.0 } else { held as f64 / quota as f64 };
        ratio(self.busiest, self.quota).max(ratio(self.inside, self.inside_quota))
    }
}

/// A tenant's use of ports has risen to another level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// The tenant's name.
    pub tenant: String,
    /// The level.
    pub level: PortLevel,
}

/// A destination: protocol, address, port.
type Destination = (Protocol, Addr, Port);

/// Counts while somebody reads the flow tables.
#[derive(Debug, Default)]
pub struct PortCount {
    held: HashMap<Destination, HashMap<TenantId, u64>>,
    /// Ports of tenants' NAT IPs.
    inside: HashMap<(TenantId, Destination), u64>,
}

impl PortCount {
    /// Notes one entry of a flow table, of a tenant with this NAT IP. Flows that a tenant opened hold a port of the egress
    /// VIP; those that it got hold one of its NAT IP, unless its servers see the client's own address.
    pub fn note(&mut self, entry: &CtEntry, nat: Option<Addr>) {
        let (flags, reply) = (entry.flags, &entry.pair);
        let Some(protocol) = reply.protocol().filter(|_| flags.contains(EntryFlags::ORIGINAL)) else {
            return;
        };
        let destination = (protocol, reply.src, reply.src_port);
        if !flags.contains(EntryFlags::INGRESS) {
            let tenants = self.held.entry(destination).or_default();
            *tenants.entry(entry.tenant).or_default() += 1;
        } else if nat == Some(reply.dst) {
            *self.inside.entry((entry.tenant, destination)).or_default() += 1;
        }
    }

    /// What was counted. `capacity` is what this node may hold to one destination, `quota` a tenant's part of it.
    pub fn finish(
        &self,
        capacity: u64,
        name: impl Fn(TenantId) -> Option<String>,
        quota: impl Fn(TenantId) -> u64,
    ) -> PortUse {
        let busiest = self.held.values().map(|tenants| tenants.values().sum()).max().unwrap_or(0);
        let mut most: HashMap<TenantId, [u64; 2]> = HashMap::new();
        for (tenant, held) in self.held.values().flatten() {
            let [most, _] = most.entry(*tenant).or_default();
            *most = (*most).max(*held);
        }
        for ((tenant, _), held) in &self.inside {
            let [_, most] = most.entry(*tenant).or_default();
            *most = (*most).max(*held);
        }
        let tenants = most.into_iter().filter_map(|(tenant, [busiest, inside])| {
            let ports = TenantPorts { busiest, quota: quota(tenant), inside, inside_quota: capacity };
            Some((name(tenant)?, ports))
        });
        PortUse { busiest, capacity, tenants: tenants.collect() }
    }
}

/// How far use has to fall below a level until rising to it is news again, in percent.
const HYSTERESIS: f64 = 5.0;

/// The level that a tenant is at, after it was at another one.
fn level_of(before: Option<PortLevel>, used_ratio: f64) -> Option<PortLevel> {
    let percent = used_ratio * 100.0;
    let is_reached = |level: &&PortLevel| {
        let slack = if before >= Some(**level) { HYSTERESIS } else { 0.0 };
        percent >= f64::from(level.percent()) - slack
    };
    PortLevel::ALL.iter().rev().find(is_reached).copied()
}

/// The last count, and the most that was ever counted for a tenant.
#[derive(Clone, Debug, Default)]
pub(super) struct PortMarks {
    pub(super) current: PortUse,
    high_water: BTreeMap<String, u64>,
    levels: BTreeMap<String, PortLevel>,
}

impl PortMarks {
    /// Takes another count; returns whose use has risen to another level.
    pub(super) fn set(&mut self, ports: PortUse) -> Vec<Crossing> {
        let mut crossings = Vec::new();
        let before = std::mem::take(&mut self.levels);
        for (tenant, held) in &ports.tenants {
            let mark = self.high_water.entry(tenant.clone()).or_default();
            *mark = (*mark).max(held.busiest);
            let earlier = before.get(tenant).copied();
            let Some(level) = level_of(earlier, held.used_ratio()) else { continue };
            if Some(level) > earlier {
                crossings.push(Crossing { tenant: tenant.clone(), level });
            }
            self.levels.insert(tenant.clone(), level);
        }
        self.current = ports;
        crossings
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
            count.note(&entry(1, 1, 100, port), None);
        }
        for port in 2_003..2_005 {
            count.note(&entry(1, 2, 100, port), None);
        }
        for port in 2_000..2_004 {
            count.note(&entry(1, 2, 101, port), None);
        }
        count.note(&entry(0, 1, 100, 3_000), None); // a reply entry: its flow is counted already
        count.note(&entry(3, 1, 100, 3_001), None); // NPCI opened it, and its servers see the client
        count.note(&entry(1, 9, 102, 3_002), None); // of a tenant that is gone
        let ports = count.finish(64_512, name, |_| 1_024);
        assert_eq!((ports.busiest, ports.capacity), (5, 64_512));
        let held = |busiest| TenantPorts { busiest, quota: 1_024, inside: 0, inside_quota: 64_512 };
        let expected = BTreeMap::from([("bank-1".to_owned(), held(3)), ("bank-2".to_owned(), held(4))]);
        assert_eq!(ports.tenants, expected);
    }

    #[test]
    fn the_high_water_mark_stays_until_the_tenant_goes() {
        let one = |busiest| PortUse {
            tenants: BTreeMap::from([(
                "bank-1".to_owned(),
                TenantPorts { busiest, quota: 9, ..TenantPorts::default() },
            )]),
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

    #[test]
    fn ports_of_the_nat_ip_are_counted_by_server() {
        let mut count = PortCount::default();
        let vip = Some(Ipv4Addr::new(192, 0, 2, 20).into());
        for port in 2_000..2_003 {
            count.note(&entry(3, 1, 100, port), vip);
        }
        count.note(&entry(3, 1, 101, 2_000), vip);
        let ports = count.finish(6, name, |_| 1_024);
        let found = ports.tenants["bank-1"];
        assert_eq!((found.inside, found.inside_quota, found.busiest), (3, 6, 0));
        assert!((found.used_ratio() - 0.5).abs() < 1e-9);
        assert_eq!(ports.busiest, 0, "no port of the egress VIP");
    }

    #[test]
    fn rising_to_a_level_is_told_once() {
        let mut marks = PortMarks::default();
        let mut told = |busiest| -> Vec<u8> {
            let ports = TenantPorts { busiest, quota: 100, ..TenantPorts::default() };
            let tenants = BTreeMap::from([("bank-1".to_owned(), ports)]);
            let crossings = marks.set(PortUse { tenants, ..PortUse::default() });
            crossings.iter().map(|crossing| crossing.level.percent()).collect()
        };
        assert_eq!(told(69), [0; 0]);
        assert_eq!(told(70), [70]);
        assert_eq!(told(84), [0; 0]);
        assert_eq!(told(66), [0; 0], "it wavers");
        assert_eq!(told(71), [0; 0]);
        assert_eq!(told(100), [100], "only the highest");
        assert_eq!(told(90), [0; 0]);
        assert_eq!(told(86), [0; 0]);
        assert_eq!(told(100), [100], "it was below for long enough");
        assert_eq!(told(10), [0; 0]);
        assert_eq!(told(86), [85]);
    }
}
