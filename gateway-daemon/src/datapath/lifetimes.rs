//! How long flows may be idle, by tenant.

use std::collections::HashMap;

use gateway_common::{
    abi::{CtEntry, EntryFlags, EntryView, TenantId, TenantSettings, Timeouts},
    conntrack,
    tables::FlowTable,
};

/// The timeouts of the node, and of the tenants that have their own.
#[derive(Clone, Debug)]
pub struct Lifetimes {
    node: Timeouts,
    own: HashMap<TenantId, Timeouts>,
}

impl Lifetimes {
    /// Of these tenants.
    pub fn new(node: Timeouts, tenants: impl Iterator<Item = (TenantId, TenantSettings)>) -> Self {
        let mut lifetimes = Self { node, own: HashMap::new() };
        for (id, settings) in tenants {
            lifetimes.add(id, &settings);
        }
        lifetimes
    }

    /// And of this one.
    pub fn add(&mut self, tenant: TenantId, settings: &TenantSettings) {
        let own = self.node.of_tenant(settings);
        if own != self.node {
            self.own.insert(tenant, own);
        }
    }

    fn of(&self, tenant: TenantId) -> &Timeouts {
        self.own.get(&tenant).unwrap_or(&self.node)
    }

    /// Has the flow been idle for too long by this entry's own time? Whether its other direction keeps it alive is for the
    /// kernel to see.
    pub fn is_idle(&self, table: FlowTable, entry: &CtEntry, now_ns: u64) -> bool {
        entry.protocol().is_some_and(|protocol| {
            let timeouts = self.of(entry.tenant);
            conntrack::is_expired(table, protocol, &EntryView::from(entry), None, timeouts, now_ns)
        })
    }

    /// How long the flow may be idle as it is now; in quarantine, how long that lasts.
    pub fn lifetime_ns(&self, table: FlowTable, entry: &CtEntry) -> u64 {
        let timeouts = self.of(entry.tenant);
        if entry.flags.contains(EntryFlags::EXPIRED) {
            return u64::from(timeouts.quarantine_secs) * 1_000_000_000;
        }
        entry
            .protocol()
            .map_or(0, |protocol| conntrack::lifetime_ns(table, protocol, entry.state(), timeouts))
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable as _;
    use gateway_common::abi::{Addr, FlowKey, Port, Protocol, Side, State};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn entry(tenant: u16, protocol: Protocol, flags: EntryFlags) -> CtEntry {
        let end = (Addr::new([192, 0, 2, 1]), Port::new(443));
        let key = FlowKey::v4(Side::External, protocol, end, end);
        let mut entry = CtEntry::open(key, key, TenantId(tenant), flags, 0);
        entry.set_state(State::Established);
        entry
    }

    fn lifetimes() -> Lifetimes {
        let own = TenantSettings { tcp_established_secs: 600, ..TenantSettings::zeroed() };
        let rows = [(TenantId(1), own), (TenantId(2), TenantSettings::zeroed())];
        Lifetimes::new(Timeouts::DEFAULT, rows.into_iter())
    }

    #[test]
    fn a_tenants_own_timeouts_hold_for_it_alone() {
        let idle_after = |tenant, protocol| {
            let entry = entry(tenant, protocol, EntryFlags::ORIGINAL);
            let is_idle = |secs: &u64| lifetimes().is_idle(FlowTable::Established, &entry, secs * SECOND);
            (1..10_000).find(is_idle).unwrap()
        };
        assert_eq!(idle_after(1, Protocol::Tcp), 601);
        assert_eq!(idle_after(2, Protocol::Tcp), 7_441);
        assert_eq!(idle_after(9, Protocol::Tcp), 7_441, "nobody knows it any more");
        assert_eq!(idle_after(1, Protocol::Udp), 301);
    }

    #[test]
    fn a_flow_in_quarantine_is_idle_when_that_is_over() {
        let expired = entry(1, Protocol::Tcp, EntryFlags::ORIGINAL.with(EntryFlags::EXPIRED));
        let is_idle = |secs: u64| lifetimes().is_idle(FlowTable::Established, &expired, secs * SECOND);
        assert_eq!([120, 121].map(is_idle), [false, true]);
        assert_eq!(lifetimes().lifetime_ns(FlowTable::Established, &expired), 120 * SECOND);
    }

    #[test]
    fn only_tenants_that_differ_take_memory() {
        assert_eq!(lifetimes().own.len(), 1);
    }
}
