//! The flow tables and the counters at one moment, and what must be right about them.

use std::collections::{BTreeMap, HashMap};

use gateway_common::{
    abi::{Counter, CtEntry, EntryFlags, FlowKey, Port, Side, TenantId, TenantStats, TenantUse},
    drop_reason::DropReason,
    limits::HALF_OPEN_PLACES,
    memory::MemoryTables,
    verdict::Verdict,
};

use super::Passage;

/// A copy of all that a packet may change besides itself.
#[derive(Clone, Debug)]
pub struct Books {
    established: HashMap<FlowKey, CtEntry>,
    half_open: HashMap<FlowKey, CtEntry>,
    counters: BTreeMap<u32, u64>,
    drops: BTreeMap<DropReason, u64>,
    tenants: BTreeMap<TenantId, TenantStats>,
    uses: HashMap<TenantId, TenantUse>,
    capacities: [usize; 2],
}

/// Does one tenant call another one's listener, or its own?
fn is_hairpin(entry: &CtEntry) -> bool {
    entry.key.side() == Side::Internal && entry.pair.side() == Side::Internal
}

impl Books {
    pub fn of(tables: &MemoryTables) -> Self {
        let by_key = |entries: Vec<CtEntry>| entries.into_iter().map(|entry| (entry.key, entry)).collect();
        Self {
            established: by_key(tables.established.entries()),
            half_open: by_key(tables.half_open.entries()),
            counters: tables.counters.borrow().clone(),
            drops: tables.drops.borrow().clone(),
            tenants: tables.tenants.borrow().clone(),
            uses: tables.tenant_use.borrow().clone(),
            capacities: [tables.established.capacity, tables.half_open.capacity],
        }
    }

    pub fn entry(&self, key: &FlowKey) -> Option<&CtEntry> {
        self.established.get(key).or_else(|| self.half_open.get(key))
    }

    pub fn established(&self, key: &FlowKey) -> Option<&CtEntry> {
        self.established.get(key)
    }

    pub fn entries(&self) -> impl Iterator<Item = &CtEntry> {
        self.established.values().chain(self.half_open.values())
    }

    fn originals(&self) -> impl Iterator<Item = &CtEntry> {
        self.entries().filter(|entry| entry.flags.contains(EntryFlags::ORIGINAL))
    }

    /// Both keys of a flow in one table, or none; no key twice; no table and no ring above its bound; every tenant's flows
    /// counted.
    pub fn assert_whole(&self) {
        assert!(self.established.len() <= self.capacities[0], "the established table is over its bound");
        assert!(self.half_open.len() <= self.capacities[1], "the half-open table is over its bound");
        for (table, other) in [(&self.established, &self.half_open), (&self.half_open, &self.established)] {
            for (key, entry) in table {
                assert!(!other.contains_key(key), "{key:?} is in both tables");
                let pair = table.get(&entry.pair).unwrap_or_else(|| panic!("{key:?} has no other half"));
                assert_eq!(pair.pair, *key, "the pair of its pair is another");
                assert_eq!(pair.tenant, entry.tenant, "{key:?}: two tenants in one flow");
                let original = |entry: &CtEntry| entry.flags.contains(EntryFlags::ORIGINAL);
                assert_ne!(original(entry), original(pair), "{key:?} is like its pair");
                assert!(
                    key.side() != entry.pair.side() || is_hairpin(entry),
                    "{key:?}: both halves on one side"
                );
            }
        }
        self.assert_uses();
        self.assert_rings();
    }

    /// What is counted against a tenant's limit is what it has.
    fn assert_uses(&self) {
        let mut flows: HashMap<TenantId, i64> = HashMap::new();
        for entry in self.originals() {
            *flows.entry(entry.tenant).or_default() += 1;
        }
        for (tenant, counted) in &self.uses {
            let flows = flows.remove(tenant).unwrap_or_default();
            assert_eq!(counted.flows, flows, "flows of {tenant:?} as counted, and as they are");
        }
        assert!(flows.is_empty(), "flows that nobody counted: {flows:?}");
    }

    /// No listener, and no tenant's calls, have more half-open flows than they have places.
    fn assert_rings(&self) {
        let mut rings: HashMap<_, u32> = HashMap::new();
        for entry in self.half_open.values().filter(|entry| entry.flags.contains(EntryFlags::ORIGINAL)) {
            let is_ingress = entry.flags.contains(EntryFlags::INGRESS);
            let port = if is_ingress { entry.key.dst_port } else { Port::NONE };
            let ring = (entry.tenant, entry.protocol(), is_ingress, port, is_hairpin(entry));
            *rings.entry(ring).or_default() += 1;
        }
        let over = rings.iter().find(|(_, flows)| **flows > HALF_OPEN_PLACES);
        assert!(over.is_none(), "more half-open flows than places: {over:?}");
    }

    /// Passed, translated, dropped or answered: one of them, once.
    pub fn assert_counted_once(&self, passage: &Passage<'_>) {
        let Passage { books, verdict, .. } = passage;
        let more = |counter: Counter| self.since(books, counter);
        let drops = self.dropped() - books.dropped();
        let answers = more(Counter::ArpAnswered) + more(Counter::EchoAnswered);
        let held = more(Counter::FragmentsHeld);
        let counted = [more(Counter::Passed), more(Counter::Translated), drops + answers, held];
        let expected = match verdict {
            Verdict::Pass => [1, 0, 0, 0],
            Verdict::Redirect { .. } | Verdict::RedirectNeighbour { .. } => [0, 1, 0, 0],
            // What is refused aloud is dropped, too; an answer of another kind is not.
            Verdict::Drop(_) | Verdict::Reply => [0, 0, 1, 0],
            Verdict::Held => [0, 0, 0, 1],
        };
        assert_eq!(counted, expected, "{verdict:?}: passed, translated, dropped or answered, held");
        if let Verdict::Drop(reason) = verdict {
            let count = |books: &Self| books.drops.get(reason).copied().unwrap_or_default();
            assert_eq!(count(self) - count(books), 1, "counted under another reason than {reason:?}");
        }
    }

    /// How often something was counted since.
    pub fn since(&self, before: &Self, counter: Counter) -> u64 {
        self.counter(counter) - before.counter(counter)
    }

    fn counter(&self, counter: Counter) -> u64 {
        self.counters.get(&(counter as u32)).copied().unwrap_or_default()
    }

    fn dropped(&self) -> u64 {
        self.drops.values().sum()
    }

    /// No flow has come. (One may have gone: its tuple was used again, and the new flow found no place.)
    pub fn assert_nothing_entered(&self, before: &Self) {
        for entry in self.entries() {
            assert!(
                before.entry(&entry.key).is_some(),
                "{:?} was entered and the packet not sent",
                entry.key
            );
        }
    }

    /// Every entry is as it was, to the byte.
    pub fn assert_same_flows(&self, before: &Self) {
        assert_eq!(self.established, before.established, "established flows");
        assert_eq!(self.half_open, before.half_open, "half-open flows");
    }

    /// The same, but for the entries under these keys.
    pub fn assert_same_flows_but(&self, before: &Self, keys: &[FlowKey]) {
        let without = |books: &Self| {
            let mut books = books.clone();
            for key in keys {
                books.established.remove(key);
                books.half_open.remove(key);
            }
            books
        };
        without(self).assert_same_flows(&without(before));
    }

    /// The packet was counted for this tenant and for no other.
    pub fn assert_tenant_counted(&self, passage: &Passage<'_>, tenant: u8) {
        for (id, now) in &self.tenants {
            let before = passage.books.tenants.get(id).copied().unwrap_or_default();
            let packets = |stats: &TenantStats| stats.from_external_packets + stats.to_external_packets;
            let bytes = |stats: &TenantStats| stats.from_external_bytes + stats.to_external_bytes;
            let more = (packets(now) - packets(&before), bytes(now) - bytes(&before));
            let expected =
                if *id == TenantId(tenant.into()) { (1, passage.before.len() as u64) } else { (0, 0) };
            assert_eq!(more, expected, "packets and bytes of {id:?}");
            assert_eq!(now.dropped_packets, before.dropped_packets, "a drop of {id:?}");
        }
    }
}
