//! Contents of the flow tables, without the times.

use std::collections::BTreeMap;

use gateway_common::abi::{Addr, CtEntry, EntryFlags, FlowKey, Port, Protocol, Side, State, TenantId};
use gateway_common::tables::FlowTable;
use gateway_tests::packet::{Frame, IcmpBody, Transport};

use crate::world::NODE;

/// One entry, without its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    table: FlowTable,
    entry: CtEntry,
}

/// All entries of both tables, by table and key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flows(BTreeMap<(bool, Vec<u8>), Row>);

impl Flows {
    /// Adds an entry that was found under a key.
    pub fn add(&mut self, table: FlowTable, key: &FlowKey, entry: &CtEntry) {
        assert_eq!(*key, entry.key, "an entry stands under another key than its own");
        let mut entry = *entry;
        (entry.last_seen_ns, entry.birth_ns) = (0, 0);
        self.0.insert(place(table, key), Row { table, entry });
    }

    /// Every entry, one a line.
    pub fn lines(&self) -> Vec<String> {
        self.0.values().map(|row| format!("{row:?}")).collect()
    }

    /// How many entries both tables hold together.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// One entry.
    pub fn find(&self, table: FlowTable, key: &FlowKey) -> Option<&CtEntry> {
        self.0.get(&place(table, key)).map(|row| &row.entry)
    }
}

fn place(table: FlowTable, key: &FlowKey) -> (bool, Vec<u8>) {
    (matches!(table, FlowTable::HalfOpen), bytemuck::bytes_of(key).to_vec())
}

/// What a translated packet must leave behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// The table that holds both entries; the other holds neither.
    pub table: FlowTable,
    /// The flow's state.
    pub state: State,
}

/// Checks both entries of the flow that a packet belongs to, from the packet as it came in and as it left.
pub fn check(
    flows: &Flows,
    tracked: Tracked,
    tenant: u16,
    side: Side,
    frames: (&Frame, &Frame),
) -> Result<(), String> {
    let key = key_of(frames.0, side).ok_or("the packet has no key")?;
    let pair = reversed(frames.1, side.opposite()).ok_or("the translated packet has no key")?;
    let other = match tracked.table {
        FlowTable::Established => FlowTable::HalfOpen,
        FlowTable::HalfOpen => FlowTable::Established,
    };
    let mut originals = 0;
    for (key, pair) in [(key, pair), (pair, key)] {
        if flows.find(other, &key).is_some() {
            return Err(format!("{key:?} is in the table {other:?}"));
        }
        let entry = flows.find(tracked.table, &key).ok_or(format!("no {key:?} in {:?}", tracked.table))?;
        let facts = (entry.pair, entry.tenant, entry.owner, entry.state());
        let wanted = (pair, TenantId(tenant), NODE, tracked.state);
        if facts != wanted {
            return Err(format!("entry {entry:?} should say {wanted:?}"));
        }
        originals += u8::from(entry.flags.contains(EntryFlags::ORIGINAL));
    }
    (originals == 1).then_some(()).ok_or_else(|| "not exactly one direction is the original".to_owned())
}

/// The key of a packet as it was seen on a side.
pub fn key_of(frame: &Frame, side: Side) -> Option<FlowKey> {
    let (protocol, src, dst) = tuple(frame)?;
    Some(FlowKey::v4(side, protocol, src, dst))
}

fn reversed(frame: &Frame, side: Side) -> Option<FlowKey> {
    let (protocol, src, dst) = tuple(frame)?;
    Some(FlowKey::v4(side, protocol, dst, src))
}

type End = (Addr, Port);

fn tuple(frame: &Frame) -> Option<(Protocol, End, End)> {
    let ip = frame.ipv4()?;
    let (protocol, src_port, dst_port) = match &ip.transport {
        Transport::Tcp(tcp) => (Protocol::Tcp, tcp.src_port, tcp.dst_port),
        Transport::Udp(udp) => (Protocol::Udp, udp.src_port, udp.dst_port),
        Transport::Icmp(icmp) => match (icmp.kind, &icmp.body) {
            (8, IcmpBody::Echo { id, .. }) => (Protocol::Icmp, *id, 0),
            (0, IcmpBody::Echo { id, .. }) => (Protocol::Icmp, 0, *id),
            _ => return None,
        },
        Transport::Fragment(_) | Transport::Other(_) => return None,
    };
    Some((protocol, (ip.src.into(), Port::new(src_port)), (ip.dst.into(), Port::new(dst_port))))
}
