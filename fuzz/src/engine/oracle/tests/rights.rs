//! What the engine did was right; then the world is told that it was not allowed, or the books that something else came of
//! it. Each has to be seen.

use gateway_common::{
    abi::{Addr, EntryFlags, Port, Side, TenantId},
    drop_reason::DropReason,
    forward::process,
    memory::BytesPacket,
    tables::{FlowTable, Tables as _},
    verdict::Verdict,
};

use super::is_seen;
use crate::engine::{
    act::{opening, packet_of},
    frame::{self, Packet},
    oracle::{Passage, books::Books, check},
    plan::{Plan, Rights},
    world::World,
};

/// A packet that went through the engine, and what there was before.
struct Sent {
    side: Side,
    elsewhere: bool,
    before: Vec<u8>,
    after: Vec<u8>,
    verdict: Verdict,
    books: Books,
}

impl Sent {
    fn through(world: &World, side: Side, packet: &Packet) -> Self {
        let before = frame::frame(None, &packet.build());
        let books = Books::of(&world.tables);
        let mut sent = BytesPacket { bytes: before.clone(), ingress_ifindex: world.plan.ifindex(side) };
        let verdict = process(&mut sent, &world.tables, side, world.now_ns);
        Self { side, elsewhere: false, before, after: sent.bytes, verdict, books }
    }

    fn judge(&self, world: &mut World) {
        let Self { side, elsewhere, verdict, .. } = *self;
        let (before, after) = (&self.before, &self.after);
        check(world, &Passage { side, elsewhere, before, after, verdict, books: &self.books });
    }
}

fn world(rights: [u8; 3]) -> World {
    World::of(Plan { rights: Rights::new(rights), ..Plan::roomy() })
}

/// A first packet of this kind (see [`opening`]) after it was sent.
fn opened(rights: [u8; 3], who: u8, host: u8) -> (World, Sent) {
    let world = world(rights);
    let (side, packet) = opening(who, 0, host, Port::new(40_001));
    let packet = Packet { mss: Some(1_460), ..packet };
    let sent = Sent::through(&world, side, &packet);
    assert!(matches!(sent.verdict, Verdict::Redirect { .. }), "{:?}", sent.verdict);
    (world, sent)
}

/// Fails unless the oracles accept what was done, and not if `change` had been so.
fn assert_seen(rights: [u8; 3], who: u8, host: u8, change: impl Fn(&mut World, &mut Sent)) {
    let (mut world, sent) = opened(rights, who, host);
    sent.judge(&mut world);
    let (mut world, mut sent) = opened(rights, who, host);
    change(&mut world, &mut sent);
    assert!(is_seen(|| sent.judge(&mut world)));
}

const CALL: u8 = 2;
const HAIRPIN: u8 = 8;
/// A host of the caller's; the bit for tenant 2's listener is set.
const TO_TENANT_2: u8 = 65;

#[test]
fn a_flow_from_where_its_tenant_is_not() {
    assert_seen([0; 3], CALL, 1, |_, sent| sent.elsewhere = true);
    assert_seen([0; 3], CALL, 1, |world, sent| {
        let source = Addr::new(sent.before[26..30].try_into().unwrap());
        world.tables.routes.remove(&source);
    });
}

#[test]
fn a_port_of_another_tenants_share() {
    assert_seen([0b0100, 0, 0], CALL, 1, |world, _| world.plan.rights = Rights::new([0b1100, 0, 0]));
}

#[test]
fn a_hairpin_without_a_rule() {
    assert_seen([0, 15, 0], HAIRPIN, TO_TENANT_2, |world, _| world.plan.rights = Rights::new([0, 13, 0]));
}

#[test]
fn a_size_above_the_clamp() {
    assert_seen([0, 0x30, 0], CALL, 1, |world, _| world.plan.rights = Rights::new([0, 0x20, 0]));
    assert_seen([0; 3], CALL, 1, |world, _| world.plan.rights = Rights::new([0, 0x30, 0]));
}

#[test]
fn a_flow_above_a_limit() {
    let two_before = |world: &mut World| {
        for host in [2, 3] {
            let (side, packet) = opening(CALL, 0, host, Port::new(40_001));
            let sent = Sent::through(world, side, &packet);
            sent.judge(world);
        }
    };
    for rights in [[1, 0, 0], [0b01_0000, 0, 0]] {
        let mut world = world([0; 3]);
        world.plan.rights = Rights::new(rights);
        assert!(is_seen(|| two_before(&mut world)), "{rights:?}");
    }
}

#[test]
fn a_flow_that_is_not_counted_or_counted_twice() {
    assert_seen([0; 3], CALL, 1, |world, _| world.tables.remove_flow(TenantId(1)));
    assert_seen([0; 3], CALL, 1, |world, _| {
        let _flows = world.tables.add_flow(TenantId(2));
    });
}

/// A connection of tenant 1, and the next packet of its caller.
fn going_on() -> (World, Packet) {
    let (mut world, first) = opened([0; 3], CALL, 1);
    first.judge(&mut world);
    let original =
        world.tables.half_open.entries().into_iter().find(|entry| entry.key.side() == Side::Internal);
    (world, packet_of(&original.unwrap().key, 2))
}

#[test]
fn a_packet_of_a_flow_in_quarantine() {
    let (mut world, packet) = going_on();
    let sent = Sent::through(&world, Side::Internal, &packet);
    for entry in world.tables.half_open.entries() {
        let mut over = entry;
        over.flags = over.flags.with(EntryFlags::EXPIRED);
        world.tables.half_open.replace(&over);
    }
    assert!(is_seen(|| sent.judge(&mut world)), "its entries say that it is over");
    let (mut world, packet) = going_on();
    let mut sent = Sent::through(&world, Side::Internal, &packet);
    sent.judge(&mut world);
    for entry in world.tables.half_open.entries() {
        let mut over = entry;
        over.flags = over.flags.with(EntryFlags::EXPIRED);
        world.tables.half_open.replace(&over);
    }
    sent.books = Books::of(&world.tables);
    assert!(is_seen(|| sent.judge(&mut world)), "they said so before");
}

#[test]
fn a_flow_that_another_ones_packet_ended() {
    let (mut world, _) = going_on();
    let (side, packet) = opening(CALL, 0, 9, Port::new(40_002));
    let sent = Sent::through(&world, side, &packet);
    for entry in world.tables.half_open.entries() {
        if sent.books.entry(&entry.key).is_some() {
            world.tables.remove(FlowTable::HalfOpen, &entry.key);
        }
    }
    world.tables.remove_flow(TenantId(1));
    assert!(is_seen(|| sent.judge(&mut world)));
}

#[test]
fn an_answer_to_no_challenge() {
    let mut world = world([0, 0, 1]);
    let (side, packet) = opening(0, 0, 1, Port::new(40_001));
    let mut sent = Sent::through(&world, side, &Packet { kind: frame::Kind::Tcp(4), ..packet });
    assert_eq!(sent.verdict, Verdict::Drop(DropReason::NoFlow));
    sent.judge(&mut world);
    sent.verdict = Verdict::Drop(DropReason::ChallengeAnswered);
    world.tables.drops.borrow_mut().clear();
    world.tables.drops.borrow_mut().insert(DropReason::ChallengeAnswered, 1);
    assert!(is_seen(|| sent.judge(&mut world)));
}

#[test]
fn a_client_that_is_let_in_unasked() {
    let mut world = world([0; 3]);
    world.plan.rights = Rights::new([0, 0, 1]);
    let connect = |world: &mut World, host: u8| {
        let (side, packet) = opening(0, 0, host, Port::new(40_001));
        let sent = Sent::through(world, side, &packet);
        sent.judge(world);
    };
    connect(&mut world, 1);
    assert!(is_seen(|| connect(&mut world, 2)));
}

#[test]
fn a_challenge_that_says_more_than_its_cookie() {
    let mut world = world([0, 0, 1]);
    let (side, packet) = opening(0, 0, 1, Port::new(40_001));
    Sent::through(&world, side, &packet).judge(&mut world);
    let (side, packet) = opening(0, 0, 2, Port::new(40_001));
    let packet = Packet { payload: vec![0; 30], ..packet };
    let mut sent = Sent::through(&world, side, &packet);
    assert_eq!(sent.verdict, Verdict::Reply);
    sent.judge(&mut world);
    sent.after.extend([0; 31]);
    assert!(is_seen(|| sent.judge(&mut world)), "longer than what it answers");
}

#[test]
fn a_packet_whose_header_was_damaged() {
    let (mut world, packet) = going_on();
    let mut sent = Sent::through(&world, Side::Internal, &packet);
    sent.judge(&mut world);
    // The checksum, as it came and as it left.
    for frame in [&mut sent.before, &mut sent.after] {
        frame[24] ^= 1;
    }
    assert!(is_seen(|| sent.judge(&mut world)));
}
