//! Random openings and expiries of flows from one address against a set of ports in use.

use super::{
    frame::{End, Frame, Kind, Received},
    world::{EGRESS_VIP, EXTERNAL_IF, INTERNAL_IF, NOW, Plan, SECOND, forward, npci, send},
};
use crate::{
    abi::{CtEntry, EntryFlags, FlowKey, Port, Protocol, Side},
    drop_reason::DropReason,
    forward::{Expiry, expire},
    limits::{HALF_OPEN_PLACES, PORT_TRIES_MAX},
    memory::MemoryTables,
    port_slice::PORTS_PER_SLICE,
    tables::FlowTable,
    verdict::Verdict,
};
use proptest::prelude::*;
use std::{
    collections::{BTreeSet, HashMap},
    vec::Vec,
};

/// A slice of 1,024 ports for each bit.
const ONE_SLICE: u64 = 1 << 5;
/// The ports of [`ONE_SLICE`].
const FIRST: u16 = 1024 + 5 * PORTS_PER_SLICE;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A host of tenant 1 calls one of two destinations from this port.
    Open { host: u8, port: u16, destination: u8 },
    /// The n-th flow that is there is idle for too long.
    Expire { index: usize },
}

fn steps() -> impl Strategy<Value = Step> {
    // Ports of the slice itself are kept where they are free; others are mapped into it.
    let port = prop_oneof![FIRST..FIRST + PORTS_PER_SLICE, 40_000_u16..60_000];
    // Most go to one destination, so that its ports run out.
    let destination = prop_oneof![30 => Just(1_u8), 1 => Just(2)];
    prop_oneof![
        12 => (1_u8..32, port, destination).prop_map(|(host, port, destination)| Step::Open { host, port, destination }),
        1 => any::<prop::sample::Index>().prop_map(|index| Step::Expire { index: index.index(1 << 16) }),
    ]
}

struct Run {
    plan: Plan,
    tables: MemoryTables,
    /// The outside port of each flow that is there, by its opener and destination.
    flows: HashMap<(End, End), Port>,
    /// The same, in order.
    order: Vec<(End, End)>,
    refused: usize,
}

impl Run {
    fn new(capacity: usize) -> Self {
        let plan = Plan { slices: ONE_SLICE, ..Plan::three_tenants() };
        let mut tables = plan.tables();
        tables.half_open.capacity = capacity;
        tables.established.capacity = 1 << 16;
        Self { plan, tables, flows: HashMap::new(), order: Vec::new(), refused: 0 }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Open { host, port, destination } => {
                let src = (self.plan.tenants[0].host(host), Port::new(port));
                self.open(src, (npci(destination), Port::new(443)));
            }
            Step::Expire { index } => self.expire(index),
        }
        assert_eq!(self.entries().len(), 2 * self.flows.len(), "both keys of each flow, no others");
    }

    /// Ports in use towards a destination.
    fn taken(&self, destination: End) -> BTreeSet<Port> {
        let flows = self.flows.iter().filter(|((_, dst), _)| *dst == destination);
        flows.map(|(_, port)| *port).collect()
    }

    fn open(&mut self, src: End, dst: End) {
        let (taken, before) = (self.taken(dst), self.keys());
        let mut packet = Frame::new(Kind::Udp { checksum: true }, src, dst).packet(INTERNAL_IF);
        match send(&self.tables, &mut packet, Side::Internal, NOW) {
            Verdict::Redirect { .. } => self.opened((src, dst), &Received::read(&packet.bytes), &taken),
            refusal @ (Verdict::Drop(_) | Verdict::Reply) => {
                // Who is told that there are no ports is dropped aloud.
                let reason =
                    if let Verdict::Drop(reason) = refusal { reason } else { DropReason::PortsExhausted };
                self.refused += 1;
                self.check_refusal((src, dst), reason, &taken);
                assert_eq!(self.keys(), before, "a refusal changes nothing");
            }
            verdict => panic!("{verdict:?}"),
        }
    }

    fn opened(&mut self, ends: (End, End), sent: &Received, taken: &BTreeSet<Port>) {
        assert_eq!((sent.src.0, sent.dst), (EGRESS_VIP, ends.1));
        let port = sent.src.1;
        if let Some(known) = self.flows.get(&ends) {
            assert_eq!(port, *known, "a known flow keeps its port");
            return;
        }
        assert!((FIRST..FIRST + PORTS_PER_SLICE).contains(&port.number()), "{port} is not this node's");
        assert!(!taken.contains(&port), "{port} is another flow's");
        let own = ends.0.1;
        let could_keep = (FIRST..FIRST + PORTS_PER_SLICE).contains(&own.number()) && !taken.contains(&own);
        assert!(!could_keep || port == own, "its own port {own} was free");
        self.flows.insert(ends, port);
        self.order.push(ends);
        // Answered, or it would make way for those that come after it; unless there is room for few anyway.
        if !self.is_answered() {
            return;
        }
        let answer = Frame::new(Kind::Udp { checksum: true }, sent.dst, sent.src);
        forward(&self.tables, answer.packet(EXTERNAL_IF), Side::External, NOW);
    }

    fn check_refusal(&self, ends: (End, End), reason: DropReason, taken: &BTreeSet<Port>) {
        assert!(!self.flows.contains_key(&ends), "a known flow was refused: {reason:?}");
        match reason {
            // All ports that were tried are taken, and they are different ones.
            DropReason::PortsExhausted => {
                assert!(taken.len() + 1 >= PORT_TRIES_MAX as usize, "{}", taken.len());
            }
            DropReason::HalfOpenTableFull => {
                assert!(
                    2 * self.flows.len() + 2 > self.tables.half_open.capacity,
                    "{} flows",
                    self.flows.len()
                );
            }
            reason => panic!("{reason:?}"),
        }
    }

    const fn is_answered(&self) -> bool {
        self.tables.half_open.capacity >= 2 * HALF_OPEN_PLACES as usize
    }

    fn entries(&self) -> Vec<CtEntry> {
        let mut entries = self.tables.established.entries();
        entries.extend(self.tables.half_open.entries());
        entries
    }

    fn expire(&mut self, index: usize) {
        let Some(index) = index.checked_rem(self.order.len()) else { return };
        let (src, dst) = self.order.swap_remove(index);
        self.flows.remove(&(src, dst));
        let key = FlowKey::v4(Side::Internal, Protocol::Udp, src, dst);
        let table = if self.is_answered() { FlowTable::Established } else { FlowTable::HalfOpen };
        let expiry = expire(&self.tables, table, &key, NOW + 301 * SECOND);
        assert_eq!(expiry, Expiry::Expired);
    }

    fn keys(&self) -> BTreeSet<[u8; 16]> {
        self.entries().iter().map(|entry| bytemuck::cast(entry.key)).collect()
    }

    /// No two flows show the same 5-tuple outside.
    fn check_outside(&self) {
        let replies = self.entries();
        let replies = replies.iter().filter(|entry| !entry.flags.contains(EntryFlags::ORIGINAL));
        let outside: BTreeSet<_> =
            replies.map(|entry| (entry.key.src, entry.key.src_port, entry.key.dst_port)).collect();
        assert_eq!(outside.len(), self.flows.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn ports_are_as_the_model_has_them(steps in prop::collection::vec(steps(), 1..400), full in 0_usize..600) {
        // Half the runs have a table that is too small.
        let mut run = Run::new(if full < 300 { full } else { 1 << 16 });
        for step in steps {
            run.take(step);
        }
        run.check_outside();
    }
}

/// One host takes every port towards a destination that it can get.
#[test]
fn a_destination_whose_ports_are_gone_is_refused_and_others_are_not() {
    let mut run = Run::new(1 << 16);
    for port in 0..PORTS_PER_SLICE {
        run.take(Step::Open { host: 1, port: FIRST + port, destination: 1 });
    }
    assert_eq!((run.flows.len(), run.refused), (PORTS_PER_SLICE.into(), 0), "each keeps its own port");
    for host in 2..12 {
        run.take(Step::Open { host, port: FIRST + 7, destination: 1 });
    }
    assert_eq!(run.refused, 10, "no port is left");
    run.take(Step::Open { host: 2, port: FIRST + 7, destination: 2 });
    assert_eq!(run.refused, 10, "the same port serves another destination");
    run.take(Step::Expire { index: 7 });
    run.take(Step::Open { host: 3, port: FIRST + 7, destination: 1 });
    assert_eq!(run.refused, 10, "what is given back is taken again");
    run.check_outside();
}
