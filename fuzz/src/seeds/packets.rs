//! Programs in the language of the packet targets.

use std::iter;

use crate::engine::program::{FRAGMENTS, ICMP_QUOTE, Op, Record};

/// A header with room for 31 flows in each table, all ports and no VLAN; one with VLANs on both sides, preserved
/// sources, a single slice and few places; one in which all tenants may call all listeners, with limited segment sizes.
const HEADERS: [[u8; 8]; 3] =
    [[0, 0xff, 0, 31, 31, 0, 0, 0], [7, 1, 3, 3, 2, 0, 0, 0], [0, 0xff, 0, 31, 31, 0, 0x3f, 0]];

/// Room for floods, and whatever a program is about in the last three bytes.
const fn header(rights: [u8; 3]) -> [u8; 8] {
    [0, 0xff, 0, 31, 128 | 31, rights[0], rights[1], rights[2]]
}

/// A program about limits, pairs of tenants or challenges.
fn special(palette: &[Op], rights: [u8; 3], instructions: &[(Op, &[u8])]) -> Vec<u8> {
    let records = instructions.iter().map(|(op, arguments)| Record::new(palette, *op, arguments).0);
    iter::once(header(rights)).chain(records).flatten().collect()
}

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
    [talk_and(&Op::ALL, &close), talk_and(&Op::ALL, &turmoil), rights()].concat()
}

/// One program for each of the rights that a header gives.
fn rights() -> Vec<Vec<u8>> {
    let all = |rights: [u8; 3], instructions: &[(Op, &[u8])]| special(&Op::ALL, rights, instructions);
    vec![
        all(NO_RIGHTS, &QUARANTINE),
        all(NO_RIGHTS, &FLOODS),
        all(EVERY_HAIRPIN, &HAIRPINS),
        all(EVERY_HAIRPIN, &MIXED_FLOODS),
        all(CHALLENGE_ABOVE_2, &CHALLENGE),
        all(FOUR_FLOWS_IN_64_PORTS, &CALLS),
        all(SEGMENT_SIZES, &SIZES),
        all(NO_RIGHTS, &SPOOFED),
    ]
}

const NO_RIGHTS: [u8; 3] = [0; 3];
const EVERY_HAIRPIN: [u8; 3] = [0, 15, 0];
const CHALLENGE_ABOVE_2: [u8; 3] = [0, 0, 2];
const FOUR_FLOWS_IN_64_PORTS: [u8; 3] = [0b0010_0110, 0, 0];
const SEGMENT_SIZES: [u8; 3] = [0, 0x3f, 0];

/// A connection idles out; a packet of it comes, another client calls, its own opens it anew.
const QUARANTINE: [(Op, &[u8]); 10] = [
    (Op::Open, &[2, 0, 1, 1]),
    (Op::Follow, &[0, 1, 1]),
    (Op::Follow, &[0, 0, 2]),
    (Op::Wait, &[10]),
    (Op::Expire, &[0, 0]),
    (Op::Follow, &[0, 1, 2]),
    (Op::Open, &[2, 0, 2, 1]),
    (Op::Open, &[2, 0, 1, 1]),
    (Op::Wait, &[7]),
    (Op::Expire, &[0, 0]),
];

/// More than a listener has places; then one client, always from the same port.
const FLOODS: [(Op, &[u8]); 5] = [
    (Op::Flood, &[0, 0, 1, 255]),
    (Op::Flood, &[0, 0, 2, 255]),
    (Op::Open, &[0, 0, 3, 3]),
    (Op::Flood, &[2, 2, 4, 255, 0, 3]),
    (Op::Flood, &[2, 2, 4, 255, 0, 3]),
];

/// Tenant 1 calls NPCI, then tenant 2, then NPCI: both kinds fill their places.
const MIXED_FLOODS: [(Op, &[u8]); 4] = [
    (Op::Flood, &[2, 2, 1, 255]),
    (Op::Flood, &[8, 2, 65, 255]),
    (Op::Flood, &[2, 2, 2, 255]),
    (Op::Open, &[8, 2, 66, 1]),
];

/// Each tenant calls each listener, is answered, and goes on; then an error and a train of each end.
const HAIRPINS: [(Op, &[u8]); 12] = [
    (Op::Open, &[8, 0, 65, 1]),
    (Op::Follow, &[0, 1, 1]),
    (Op::Follow, &[0, 0, 2]),
    (Op::Open, &[8, 2, 1, 1]),
    (Op::Follow, &[1, 1, 0]),
    (Op::Open, &[9, 0, 1, 1]),
    (Op::Open, &[9, 2, 65, 1]),
    (Op::Follow, &[3, 1, 0]),
    (Op::IcmpError, &[0, 3]),
    (Op::IcmpError, &[0, 131]),
    (Op::Train, &[1, 0, 20]),
    (Op::Train, &[1, 1, 20]),
];

/// Three clients, of which one shows where it is.
const CHALLENGE: [(Op, &[u8]); 8] = [
    (Op::Open, &[0, 0, 1, 1]),
    (Op::Open, &[0, 0, 2, 2]),
    (Op::Open, &[0, 0, 3, 3]),
    (Op::Answer, &[0, 255]),
    (Op::Answer, &[0, 0]),
    (Op::Wait, &[1]),
    (Op::Open, &[0, 0, 3, 3]),
    (Op::Open, &[0, 0, 4, 4]),
];

/// Calls and a connection of tenant 1, one more than it may have, and of tenant 2.
const CALLS: [(Op, &[u8]); 8] = [
    (Op::Open, &[2, 0, 1, 1]),
    (Op::Open, &[2, 0, 2, 2]),
    (Op::Open, &[0, 0, 3, 3]),
    (Op::Open, &[4, 2, 4, 4]),
    (Op::Wait, &[3]),
    (Op::Open, &[6, 0, 5, 5]),
    (Op::Open, &[3, 0, 1, 1]),
    (Op::Wait, &[5]),
];

/// SYNs and an answer to one that offer sizes, at even and at odd places.
const SIZES: [(Op, &[u8]); 6] = [
    (Op::Open, &[0, 0, 1, 1, 64, 0]),
    (Op::Follow, &[0, 1, 1, 128, 1]),
    (Op::Open, &[2, 0, 1, 1, 64, 1]),
    (Op::Open, &[3, 0, 1, 1, 192, 1]),
    (Op::Open, &[8, 0, 65, 2, 64, 1]),
    (Op::Follow, &[3, 1, 1, 64, 0]),
];

/// A tenant's address, from where it is not.
const SPOOFED: [(Op, &[u8]); 4] = [
    (Op::Open, &[2, 0, 1, 1, 0, 0, 1]),
    (Op::Open, &[2, 0, 1, 1]),
    (Op::Follow, &[0, 1, 1]),
    (Op::Follow, &[0, 0, 2, 0, 0, 1]),
];

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
