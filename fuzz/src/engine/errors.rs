//! ICMP errors that quote a flow: whole, cut to eight bytes, with options, or with something else in the quote.

use gateway_common::abi::FlowKey;

use super::{
    act::{address, key_from, packet_of},
    frame::{Packet, icmp_error},
    world::World,
};

/// Type and code: unreachable (net, host, protocol, port, fragmentation needed, prohibited), time exceeded (both),
/// parameter problem, source quench, redirect, and two that are no errors.
const KINDS: [(u8, u8); 13] = [
    (3, 0),
    (3, 1),
    (3, 2),
    (3, 3),
    (3, 4),
    (3, 13),
    (11, 0),
    (11, 1),
    (12, 0),
    (4, 0),
    (5, 1),
    (13, 0),
    (255, 255),
];

/// Sends an error about a packet that the gateway sent to one of the flow's ends.
pub fn act(world: &mut World, [index, kind, shape, len, router, number, to]: [u8; 7]) {
    let Some(flow) = world.flow(index) else { return };
    let key = key_from(flow, kind & 128 == 0);
    let quote = quote(&key, shape, len);
    let src = if router & 128 == 0 { key.src } else { address(router, number) };
    let dst = if to < 224 { key.dst } else { address(to, number) };
    let mtu = [0, 0, 5, number];
    let what = KINDS[usize::from(kind & 127) % KINDS.len()];
    let _verdict = world.send(key.side(), &icmp_error(what, mtu, (src, dst), &quote));
}

/// What the sender of the error got, up to where it cut it off.
fn quote(key: &FlowKey, shape: u8, len: u8) -> Vec<u8> {
    let packet = received(key, shape);
    let header = 20 + 4 * usize::from(packet.option_words);
    let whole = match shape >> 6 {
        // A later fragment of it.
        3 => packet.fragments(&[(8, 64)]).remove(0),
        // Within an error of its own: quotes must not be followed inwards.
        2 => icmp_error((3, 1), [0; 4], (packet.dst.0, packet.src.0), &packet.build()),
        _ => packet.build(),
    };
    let kept = match len {
        0..=63 => whole.len(),
        64..=191 => header + 8,
        _ => usize::from(len - 192),
    };
    whole[..kept.min(whole.len())].to_vec()
}

/// The packet that the gateway sent to the end from which `key` comes: the reverse of the key.
fn received(key: &FlowKey, shape: u8) -> Packet {
    let forward = packet_of(key, shape >> 3);
    let (src, dst) = (forward.dst, forward.src);
    let back = packet_of(&FlowKey::v4(key.side(), protocol(key), src, dst), shape >> 3);
    Packet { option_words: (shape & 7) * 2 % 11, payload: vec![0x3c; 40], ttl: 7, ..back }
}

fn protocol(key: &FlowKey) -> gateway_common::abi::Protocol {
    key.protocol().expect("a flow that is tracked")
}
