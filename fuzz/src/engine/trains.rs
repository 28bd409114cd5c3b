//! Datagrams of a flow in fragments: in any order, twice, over one another, tiny, with one missing.

use super::{
    act::{key_from, packet_of},
    frame::Packet,
    world::World,
};

/// The pieces of a datagram, as (offset, length) in its segment.
type Cuts = Vec<(usize, usize)>;

/// Sends a train of one of the flow's ends.
pub fn act(world: &mut World, [index, how, size, shuffle, id, ..]: [u8; 7]) {
    let Some(flow) = world.flow(index) else { return };
    let key = key_from(flow, how & 1 == 0);
    let payload = vec![0x77; 8 * usize::from(size)];
    let packet = Packet { payload, id: u16::from(id), ..packet_of(&key, how >> 5) };
    let cuts = cuts(packet.segment().len(), how >> 1 & 15, shuffle);
    for fragment in packet.fragments(&cuts) {
        let _verdict = world.send(key.side(), &fragment);
    }
}

/// Where a segment of this length is cut, and in which order the pieces are sent.
fn cuts(len: usize, how: u8, shuffle: u8) -> Cuts {
    let piece = [8, 16, 64, 512][usize::from(shuffle & 3)];
    let mut cuts: Cuts = (0..len).step_by(piece).take(12).map(|offset| (offset, piece)).collect();
    match how {
        0..=3 => {}
        4 => cuts.reverse(),
        5 => {
            let first = cuts.len().min(1);
            cuts.rotate_left(first);
        }
        // Each piece reaches into the next one.
        6 => cuts.iter_mut().for_each(|(_, len)| *len += 8),
        7 => cuts = cuts.iter().flat_map(|cut| [*cut, *cut]).collect(),
        // The first one has another go, with other bytes behind its header: over the second.
        8 => cuts.push((0, 2 * piece)),
        9 => cuts.push((8, piece)),
        // Without the first, the second, the last.
        10 => drop(cuts.drain(..1)),
        11 if cuts.len() > 1 => drop(cuts.remove(1)),
        12 => drop(cuts.pop()),
        // Beyond the largest datagram.
        13 => cuts.push((65_528, piece)),
        _ => {
            let by = usize::from(shuffle >> 2) % cuts.len().max(1);
            cuts.rotate_left(by);
        }
    }
    cuts
}
