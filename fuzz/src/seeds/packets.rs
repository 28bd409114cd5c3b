//! Programs in the language of the packet targets.

use crate::engine::program::{FRAGMENTS, ICMP_QUOTE, Op, Record};

/// A header with room for 31 flows in each table, all ports and no VLAN; one with VLANs on both sides, preserved
/// sources, a single slice and few places.
const HEADERS: [[u8; 8]; 2] = [[0, 0xff, 0, 31, 31, 0, 0, 0], [7, 1, 3, 3, 2, 0, 0, 0]];

fn program(palette: &[Op], instructions: &[(Op, &[u8])]) -> Vec<Vec<u8>> {
    let records = instructions.iter().map(|(op, arguments)| Record::new(palette, *op, arguments).0);
    let records: Vec<[u8; 8]> = records.collect();
    HEADERS.iter().map(|header| [&[*header][..], &records].concat().concat()).collect()
}

/// A handshake of each tenant from either side, and a datagram that is answered.
const TALK: [(Op, &[u8]); 9] = [
    (Op::Open, &[0, 0, 1, 1]),
    (Op::Follow, &[0, 1, 1]),
    (Op::Follow, &[0, 0, 2]),
    (Op::Open, &[3, 0, 2, 2]),
    (Op::Follow, &[1, 1, 1]),
    (Op::Follow, &[1, 0, 2]),
    (Op::Open, &[0, 2, 3, 3]),
    (Op::Follow, &[2, 1, 0]),
    (Op::Open, &[6, 0, 4, 4]),
];

fn talk_and(palette: &[Op], more: &[(Op, &[u8])]) -> Vec<Vec<u8>> {
    program(palette, &[&TALK[..], more].concat())
}

/// Programs for [`crate::engine::process`].
pub fn process() -> Vec<Vec<u8>> {
    let close: [(Op, &[u8]); 8] = [
        (Op::Follow, &[0, 0, 3]),
        (Op::Follow, &[0, 1, 3]),
        (Op::Wait, &[8]),
        (Op::Expire, &[0, 0]),
        (Op::Open, &[0, 0, 1, 1]),
        (Op::End, &[1]),
        (Op::Follow, &[1, 0, 2]),
        (Op::Arp, &[0, 0, 0]),
    ];
    let turmoil: [(Op, &[u8]); 9] = [
        (Op::Policy, &[3, 0, 2]),
        (Op::Open, &[0, 0, 9, 9]),
        (Op::Policy, &[3, 0, 1]),
        (Op::Policy, &[4, 0, 1]),
        (Op::Open, &[0, 0, 8, 8]),
        (Op::Policy, &[5, 0, 0]),
        (Op::Damage, &[0, 0, 0x46]),
        (Op::Stray, &[1, 0x46, 3, 5, 0, 0, 0]),
        (Op::Stray, &[0, 0x60, 3, 5, 0, 5, 0]),
    ];
    [talk_and(&Op::ALL, &close), talk_and(&Op::ALL, &turmoil)].concat()
}

/// Programs for [`crate::engine::icmp_quote`]: every kind of error about every flow, whole and cut.
pub fn icmp_quote() -> Vec<Vec<u8>> {
    let kinds: Vec<[u8; 4]> =
        (0..13).flat_map(|kind| [[kind % 4, kind, 0, 0], [kind % 4, 128 + kind, 2, 100]]).collect();
    let errors: Vec<(Op, &[u8])> = kinds.iter().map(|error| (Op::IcmpError, &error[..])).collect();
    talk_and(&ICMP_QUOTE, &errors)
}

/// Programs for [`crate::engine::fragments`]: a train of each shape.
pub fn fragments() -> Vec<Vec<u8>> {
    let shapes: Vec<[u8; 5]> = (0..15).map(|how| [2, how << 1 | how & 1, 20, how, how]).collect();
    let trains: Vec<(Op, &[u8])> = shapes.iter().map(|train| (Op::Train, &train[..])).collect();
    talk_and(&FRAGMENTS, &trains)
}
