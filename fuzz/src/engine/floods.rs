//! Many first packets at once: so many that every place of a ring is taken, which single instructions never reach. The
//! oracles look when it is over, and meanwhile only at what was opened.

use gateway_common::{abi::Port, forward::expire, memory::BytesPacket, tables::FlowTable, verdict::Verdict};

use super::{
    act::{SECOND_NS, opening},
    frame,
    oracle::{books::Books, openings, read_key},
    world::World,
};

/// From so many ports by turns.
const CYCLES: [u16; 4] = [512, 1, 7, 96];

/// Longer than a flow that nobody answers is kept.
const PAUSE_NS: u64 = 301 * SECOND_NS;

/// Up to 511 packets from a client, or from a tenant's host. With the last bit each flow is gone before the next one comes.
pub fn act(world: &mut World, [who, protocol, host, count, first, how, _]: [u8; 7]) {
    let cycle = CYCLES[usize::from(how >> 1 & 3)];
    for turn in 0..=2 * u16::from(count) {
        let port = Port::new(20_000 + 8 * u16::from(first) + turn % cycle);
        send(world, opening(who, protocol, host, port), how & 1 != 0);
    }
    Books::of(&world.tables).assert_whole();
}

fn send(world: &mut World, (side, packet): super::act::Sent, is_alone: bool) {
    let bytes = frame::frame(world.tag(side), &packet.build());
    let key = read_key(side, &bytes);
    let opened = world.flows_opened();
    let mut packet = BytesPacket { bytes, ingress_ifindex: world.plan.ifindex(side) };
    let verdict = gateway_common::forward::process(&mut packet, &world.tables, side, world.now_ns);
    if let Verdict::Redirect { .. } = verdict {
        world.last_sent.insert(key, world.now_ns);
        let tables = [&world.tables.half_open, &world.tables.established];
        let entry = tables.into_iter().find_map(|table| table.entry(&key));
        let entry = entry.unwrap_or_else(|| panic!("{key:?} was translated without an entry"));
        if world.flows_opened() != opened {
            openings::note(world, &entry);
        }
    }
    if is_alone {
        world.now_ns += PAUSE_NS;
        let _gone = expire(&world.tables, FlowTable::HalfOpen, &key, world.now_ns);
    }
}
