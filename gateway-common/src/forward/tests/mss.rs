use super::{
    frame::{Frame, Received, SYN, SYN_ACK, seal},
    world::{EXTERNAL_IF, INTERNAL_IF, NOW, Plan, send},
};
use crate::{
    abi::{SettingsFlags, Side, TenantId},
    memory::{BytesPacket, MemoryTables},
    verdict::Verdict,
    wire::checksum::compute,
};
use proptest::prelude::*;
use std::{format, vec::Vec};

const CLIENT: &str = "203.0.113.7:40000";
const VIP: &str = "192.0.2.10:8441";

/// Sizes of the external and the internal interface, and of the tenant.
fn tables([external, internal, tenant]: [u16; 3]) -> MemoryTables {
    let mut tables = Plan::three_tenants().tables();
    tables.settings.as_mut().unwrap().flags = SettingsFlags::CLAMPS_MSS;
    tables.interfaces.get_mut(&EXTERNAL_IF).unwrap().mss = external;
    tables.interfaces.get_mut(&INTERNAL_IF).unwrap().mss = internal;
    tables.tenant_settings.get_mut(&TenantId(1)).unwrap().mss = tenant;
    tables
}

/// A segment with these options, whose checksums are right.
fn segment(flags: u8, src: &str, dst: &str, options: &[u8]) -> Vec<u8> {
    let mut frame = Frame { payload: options.to_vec(), ..Frame::tcp(flags, src, dst) }.build();
    frame[46] = u8::try_from(5 + options.len() / 4).unwrap() << 4;
    frame[50..52].fill(0);
    let checksum = compute(&covered(&frame), 0);
    frame[50..52].copy_from_slice(&checksum.to_ne_bytes());
    seal(&mut frame);
    frame
}

/// What the TCP checksum is over.
fn covered(frame: &[u8]) -> Vec<u8> {
    let len = u16::try_from(frame.len() - 34).unwrap().to_be_bytes();
    [&frame[26..34], &[0, 6], &len, &frame[34..]].concat()
}

fn through(tables: &MemoryTables, bytes: Vec<u8>, side: Side) -> Vec<u8> {
    let mut packet = BytesPacket { bytes, ingress_ifindex: side as u32 + 1 };
    let verdict = send(tables, &mut packet, side, NOW);
    assert!(matches!(verdict, Verdict::Redirect { .. }), "{verdict:?}");
    assert_eq!(compute(&covered(&packet.bytes), 0), 0, "TCP checksum");
    packet.bytes
}

fn mss_option(mss: u16) -> [u8; 4] {
    let [high, low] = mss.to_be_bytes();
    [2, 4, high, low]
}

/// The size that a SYN with this one is sent on with.
fn told(sizes: [u16; 3], mss: u16) -> u16 {
    let sent = through(&tables(sizes), segment(SYN, CLIENT, VIP, &mss_option(mss)), Side::External);
    u16::from_be_bytes(sent[56..58].try_into().unwrap())
}

#[test]
fn the_smallest_size_counts_and_none_grows() {
    assert_eq!(told([0, 0, 0], 1460), 1460);
    assert_eq!(told([1260, 0, 0], 1460), 1260);
    assert_eq!(told([0, 1300, 0], 1460), 1300);
    assert_eq!(told([1400, 1300, 1200], 1460), 1200);
    assert_eq!(told([1400, 1300, 1200], 600), 600);
    assert_eq!(told([1400, 1300, 1200], 1200), 1200);
}

#[test]
fn the_answer_is_clamped_too() {
    let tables = tables([1260, 0, 0]);
    let sent = through(&tables, segment(SYN, CLIENT, VIP, &mss_option(1460)), Side::External);
    let sent = Received::read(&sent);
    let [src, dst] = [sent.dst, sent.src].map(|(address, port)| format!("{address}:{port}"));
    let answer = through(&tables, segment(SYN_ACK, &src, &dst, &mss_option(1460)), Side::Internal);
    assert_eq!(answer[56..58], 1260_u16.to_be_bytes());
}

#[test]
fn whatever_else_stands_there_stays() {
    let sack_and_scale = [&[4, 2, 1][..], &mss_option(1460), &[3, 3, 7, 0, 0]].concat();
    let with_timestamps = [&[1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8][..], &mss_option(1460)].concat();
    for options in [sack_and_scale, with_timestamps] {
        let before = segment(SYN, CLIENT, VIP, &options);
        let after = through(&tables([1260, 0, 0]), before.clone(), Side::External);
        let at = 54 + options.windows(2).position(|pair| pair == [2, 4]).unwrap() + 2;
        assert_eq!(after[at..at + 2], 1260_u16.to_be_bytes());
        let rest = |frame: &[u8]| [&frame[54..at], &frame[at + 2..]].concat();
        assert_eq!(rest(&after), rest(&before));
    }
}

proptest! {
    /// Options of any kind, also broken ones: the checksum is right, and at most two bytes of them differ.
    #[test]
    fn any_options_are_survived(words in 0_usize..=10, noise in prop::collection::vec(0_u8..9, 40), mss in 536_u16..) {
        let options = &noise[..4 * words];
        let before = segment(SYN, CLIENT, VIP, options);
        let after = through(&tables([mss, 0, 0]), before.clone(), Side::External);
        let changed = before[54..].iter().zip(&after[54..]).filter(|(one, other)| one != other).count();
        prop_assert!(changed <= 2);
    }
}

#[test]
fn a_segment_without_the_option_is_left_alone() {
    let before = segment(SYN, CLIENT, VIP, &[1, 1, 1, 0]);
    let after = through(&tables([1260, 1260, 1260]), before.clone(), Side::External);
    assert_eq!(after[54..], before[54..]);
}
