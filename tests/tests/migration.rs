//! Flows are copied from a kernel table of an earlier shape, entry by entry.
//!
//! That shape is made up. It has narrower keys, seconds where today has nanoseconds, and says a protocol by its number.

use std::collections::HashMap;

use aya::maps::{MapData, MapType};
use aya_obj::Map;
use gateway_common::abi::{Addr, CtEntry, EntryFlags, FlowKey, Port, Protocol, Side, State, TenantId};
use gateway_daemon::datapath::{
    batch, element,
    migrate::copy::{Copied, EarlierEntry, copy},
};

const NS_PER_S: u64 = 1_000_000_000;
/// Of IANA's registry; today's layout does not know it.
const SCTP: u8 = 132;
/// More than the kernel gives in one batch.
const MANY: u32 = 3000;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
struct EarlierKey {
    src: [u8; 4],
    dst: [u8; 4],
    src_port: [u8; 2],
    dst_port: [u8; 2],
    protocol: u8,
    side: u8,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Earlier {
    key: EarlierKey,
    pair: EarlierKey,
    born_s: u32,
    seen_s: u32,
    tenant: u16,
    is_original: u8,
    pad: u8,
}

// SAFETY: plain bytes without padding: 14 of them.
unsafe impl aya::Pod for EarlierKey {}
// SAFETY: plain integers without padding: 28 + 8 + 4 bytes.
unsafe impl aya::Pod for Earlier {}
const _: () = assert!(size_of::<EarlierKey>() == 14 && size_of::<Earlier>() == 40);

impl EarlierKey {
    fn reverse(self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            src_port: self.dst_port,
            dst_port: self.src_port,
            side: u8::from(self.side == 0),
            ..self
        }
    }

    fn convert(self) -> Option<FlowKey> {
        let protocol = Protocol::from_number(self.protocol)?;
        let side = if self.side == 0 { Side::External } else { Side::Internal };
        let end = |address: [u8; 4], port: [u8; 2]| {
            (Addr::from(std::net::Ipv4Addr::from(address)), Port::new(u16::from_be_bytes(port)))
        };
        Some(FlowKey::v4(side, protocol, end(self.src, self.src_port), end(self.dst, self.dst_port)))
    }
}

impl EarlierEntry for Earlier {
    type Key = EarlierKey;

    fn pair(&self) -> EarlierKey {
        self.pair
    }

    fn convert(&self) -> Option<CtEntry> {
        let flags = if self.is_original == 1 { EntryFlags::ORIGINAL } else { EntryFlags::default() };
        let born = u64::from(self.born_s) * NS_PER_S;
        let mut entry =
            CtEntry::open(self.key.convert()?, self.pair.convert()?, TenantId(self.tenant), flags, born);
        entry.last_seen_ns = u64::from(self.seen_s) * NS_PER_S;
        entry.set_state(State::Established);
        Some(entry)
    }
}

/// Both directions of a flow.
fn flow(number: u32) -> [Earlier; 2] {
    let port = |number: u32| u16::try_from(number).unwrap().to_be_bytes();
    let key = EarlierKey {
        src: [198, 51, 100, 1],
        dst: [192, 0, 2, 1],
        src_port: port(10_000 + number),
        dst_port: port(443),
        protocol: Protocol::Tcp as u8,
        side: 0,
    };
    let original = Earlier {
        key,
        pair: key.reverse(),
        born_s: 60,
        seen_s: 61 + number,
        tenant: 7,
        is_original: 1,
        pad: 0,
    };
    [original, Earlier { key: original.pair, pair: key, is_original: 0, ..original }]
}

fn hash<K, V>(entries: u32) -> MapData {
    let bytes = |size: usize| u32::try_from(size).unwrap();
    let map =
        Map::new_from_params(MapType::Hash as u32, bytes(size_of::<K>()), bytes(size_of::<V>()), entries, 0);
    MapData::create(map, "MIGRATION_TEST", None).expect("make a map (as root)")
}

/// A kernel table with these entries.
fn earlier(entries: &[Earlier]) -> MapData {
    let map = hash::<EarlierKey, Earlier>(2 * MANY);
    let keys: Vec<EarlierKey> = entries.iter().map(|entry| entry.key).collect();
    batch::update(&map, &keys, entries).expect("fill the earlier table");
    map
}

fn present(entries: u32) -> MapData {
    hash::<FlowKey, CtEntry>(entries)
}

fn entries_of(map: &MapData) -> HashMap<FlowKey, CtEntry> {
    let mut entries = HashMap::new();
    batch::for_each(map, |key, entry| _ = entries.insert(*key, *entry)).expect("read the table");
    entries
}

#[track_caller]
fn assert_whole_flows(entries: &HashMap<FlowKey, CtEntry>) {
    for entry in entries.values() {
        let pair = entries.get(&entry.pair).unwrap_or_else(|| panic!("half a flow: {:?}", entry.key));
        assert_eq!(pair.pair, entry.key);
    }
}

#[test]
fn every_flow_is_converted() {
    let flows: Vec<Earlier> = (0..MANY).flat_map(flow).collect();
    let (from, to) = (earlier(&flows), present(2 * MANY));
    let copied = copy::<Earlier>(&from, &to).unwrap();
    assert_eq!(copied, Copied { flows: u64::from(MANY), ..Copied::default() });
    let found = entries_of(&to);
    assert_eq!(found.len(), flows.len());
    for entry in flows.iter().map(|entry| entry.convert().unwrap()) {
        assert_eq!(found.get(&entry.key), Some(&entry));
    }
}

#[test]
fn what_the_present_layout_cannot_say_is_counted_and_left_out_with_both_directions() {
    let mut flows: Vec<Earlier> = (0..10).flat_map(flow).collect();
    // Flow 0: both directions. Flow 1: what it is translated to. Flow 2: only its reply.
    for entry in [0, 1, 2] {
        flows[entry].key.protocol = SCTP;
    }
    for entry in [0, 1, 3] {
        flows[entry].pair.protocol = SCTP;
    }
    flows[5].pair.protocol = SCTP;
    let (from, to) = (earlier(&flows), present(100));
    let copied = copy::<Earlier>(&from, &to).unwrap();
    assert_eq!(copied, Copied { flows: 7, inconvertible: 5, no_room: 0 });
    let found = entries_of(&to);
    assert_eq!(found.len(), 14);
    assert_whole_flows(&found);
    copied.require_room("limits.flows").expect("this is no reason to refuse");
}

#[test]
fn half_a_flow_is_left_out() {
    let flows: Vec<Earlier> = (0..4).flat_map(flow).collect();
    let (from, to) = (earlier(&flows[1..]), present(100));
    element::remove::<EarlierKey, Earlier>(&from, &flows[3].key).unwrap();
    assert_eq!(copy::<Earlier>(&from, &to).unwrap(), Copied { flows: 2, ..Copied::default() });
    assert_whole_flows(&entries_of(&to));
}

#[test]
fn a_full_table_takes_whole_flows_and_the_rest_is_a_reason_to_refuse() {
    let flows: Vec<Earlier> = (0..4).flat_map(flow).collect();
    // An odd number: one flow's first entry fits and its second one does not.
    let (from, to) = (earlier(&flows), present(5));
    let copied = copy::<Earlier>(&from, &to).unwrap();
    assert_eq!(copied, Copied { flows: 2, inconvertible: 0, no_room: 2 });
    let found = entries_of(&to);
    assert_eq!(found.len(), 4);
    assert_whole_flows(&found);
    let refusal = copied.require_room("limits.flows").unwrap_err().to_string();
    assert_eq!(
        refusal,
        "2 flows of the earlier version have no room: raise limits.flows; the earlier version goes on"
    );
}

#[test]
fn what_is_there_already_stays_as_it_is() {
    let flows: Vec<Earlier> = (0..2).flat_map(flow).collect();
    let (from, to) = (earlier(&flows), present(100));
    copy::<Earlier>(&from, &to).unwrap();
    let mut newer = flows[0].convert().unwrap();
    newer.last_seen_ns += NS_PER_S;
    assert!(element::replace(&to, &newer.key, &newer).unwrap());
    // Another flow got the port of this one meanwhile.
    let mut other = flows[3].convert().unwrap();
    other.birth_ns += NS_PER_S;
    assert!(element::replace(&to, &other.key, &other).unwrap());
    element::remove::<_, CtEntry>(&to, &other.pair).unwrap();
    assert_eq!(copy::<Earlier>(&from, &to).unwrap(), Copied::default());
    let found = entries_of(&to);
    assert_eq!((found.get(&newer.key), found.get(&other.key)), (Some(&newer), Some(&other)));
    assert_eq!(found.len(), 3, "nothing is added to the flow that has the port now");
}
