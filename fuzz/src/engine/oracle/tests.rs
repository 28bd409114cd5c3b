//! Can the oracles fail? What the engine did is damaged afterwards, and each damage has to be seen. For errors and
//! fragments the right answer is made by hand.

mod rights;

use std::panic::{AssertUnwindSafe, catch_unwind};

use gateway_common::{
    abi::{FlowKey, Side},
    forward::process,
    memory::BytesPacket,
    verdict::Verdict,
};

use super::{Passage, books::Books, check, errors, fragments, translation};
use crate::engine::{
    act::packet_of,
    frame::{self, Packet, icmp_error},
    plan::{Plan, npci},
    program::Op,
    read::Ip,
    world::{Flow, World},
};

/// A world with one flow from NPCI to tenant 1, whose SYN has passed.
fn world_with_a_flow(who: u8, protocol: u8) -> (World, Flow) {
    let mut world = World::of(Plan::roomy());
    crate::engine::act::act(&mut world, Op::Open, [who, protocol, 1, 1, 0, 9, 0]);
    let flow = world.flows[0];
    (world, flow)
}

fn is_seen(judge: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(judge)).is_err()
}

#[test]
fn no_byte_of_a_translated_packet_can_change_unseen() {
    for (who, protocol) in [(0, 0), (0, 2), (2, 0), (4, 2), (6, 0)] {
        let (mut world, flow) = world_with_a_flow(who, protocol);
        let packet = packet_of(&flow.original, 2);
        let before = frame::frame(None, &packet.build());
        let books = Books::of(&world.tables);
        let side = flow.original.side();
        let mut sent = BytesPacket { bytes: before.clone(), ingress_ifindex: world.plan.ifindex(side) };
        let verdict = process(&mut sent, &world.tables, side, world.now_ns);
        let passage = |after: &[u8], world: &mut World| {
            check(world, &Passage { side, elsewhere: false, before: &before, after, verdict, books: &books });
        };
        passage(&sent.bytes, &mut world);
        for at in 0..sent.bytes.len() {
            let mut damaged = sent.bytes.clone();
            damaged[at] ^= 1;
            assert!(is_seen(|| passage(&damaged, &mut world)), "byte {at} of {:02x?}", sent.bytes);
        }
    }
}

#[test]
fn a_dropped_packet_that_was_touched_is_seen() {
    let mut world = World::of(Plan::roomy());
    let mut after = frame::frame(
        None,
        &Packet::new(
            frame::Kind::Tcp(0x10),
            (npci(1), gateway_common::abi::Port::new(1)),
            (npci(2), gateway_common::abi::Port::new(2)),
        )
        .build(),
    );
    let before = after.clone();
    let books = Books::of(&world.tables);
    let verdict = Verdict::Drop(gateway_common::drop_reason::DropReason::NoFlow);
    world.tables.drops.borrow_mut().insert(gateway_common::drop_reason::DropReason::NoFlow, 1);
    let mut judge = |after: &[u8]| {
        check(
            &mut world,
            &Passage {
                side: Side::External,
                elsewhere: false,
                before: &before,
                after,
                verdict,
                books: &books,
            },
        );
    };
    judge(&after);
    after[20] ^= 1;
    assert!(is_seen(|| judge(&after)));
}

/// What one end sees of a packet that the other end sent: the packet that the error quotes.
fn as_seen_by(receiver: &FlowKey, kept: usize) -> Vec<u8> {
    let answer = packet_of(receiver, 2);
    let back = FlowKey::v4(receiver.side(), receiver.protocol().unwrap(), answer.dst, answer.src);
    let mut whole = packet_of(&back, 2).build();
    whole.truncate(kept);
    whole
}

/// An error about a flow from one of its ends, and the same as it has to leave.
fn error_and_its_translation(flow: Flow, from_original: bool, kept: usize) -> [Vec<u8>; 2] {
    let (here, there) = if from_original { (flow.original, flow.reply) } else { (flow.reply, flow.original) };
    let came = icmp_error((3, 3), [0; 4], (here.src, here.dst), &as_seen_by(&here, kept));
    // The sender of the quoted packet sent it from its own end to the gateway's.
    let (src, dst) = ((there.src, there.src_port), (there.dst, there.dst_port));
    let original = FlowKey::v4(there.side(), there.protocol().unwrap(), src, dst);
    let mut quote = packet_of(&original, 2).build();
    quote.truncate(kept);
    let mut sent = icmp_error((3, 3), [0; 4], (there.dst, there.src), &quote);
    sent[8] -= 1;
    let sum = u16::from_be_bytes([sent[10], sent[11]]);
    // RFC 1624: one less in the high byte of a word is that much more in the checksum.
    let (sum, carry) = sum.overflowing_add(0x0100);
    sent[10..12].copy_from_slice(&(sum + u16::from(carry)).to_be_bytes());
    [came, sent]
}

fn side_of(flow: Flow, from_original: bool) -> Side {
    if from_original { flow.original.side() } else { flow.reply.side() }
}

fn judge_error(world: &World, flow: Flow, from_original: bool, [came, sent]: [&[u8]; 2], elsewhere: bool) {
    let books = Books::of(&world.tables);
    let side = side_of(flow, from_original);
    let [before, mut after] = [came, sent].map(|packet| frame::frame(None, packet));
    after[..12].rotate_left(6);
    let passage = Passage {
        side,
        elsewhere,
        before: &before,
        after: &after,
        verdict: Verdict::Redirect { ifindex: 0 },
        books: &books,
    };
    let [came, sent] = [&before, &after].map(|frame| Ip::of_frame(frame).expect("a sound packet"));
    translation::check_headers(world, &passage, &came, &sent);
    errors::check(world, &passage, &books, (&came, came.quote().expect("an error")), &sent);
}

#[test]
fn an_error_that_is_translated_rightly_passes_and_no_other() {
    for ((who, protocol), kept) in
        [(0, 0), (0, 2), (2, 0), (4, 2)].into_iter().flat_map(|way| [(way, 28), (way, 99)])
    {
        for from_original in [true, false] {
            let (world, flow) = world_with_a_flow(who, protocol);
            let [came, sent] = error_and_its_translation(flow, from_original, kept);
            judge_error(&world, flow, from_original, [&came, &sent], false);
            let seen = is_seen(|| judge_error(&world, flow, from_original, [&came, &sent], true));
            let is_inside = side_of(flow, from_original) == Side::Internal;
            assert_eq!(seen, is_inside, "from where nobody is reached");
            for at in 0..sent.len() {
                let mut damaged = sent.clone();
                damaged[at] ^= 1;
                let seen = is_seen(|| judge_error(&world, flow, from_original, [&came, &damaged], false));
                assert!(seen, "byte {at} of {sent:02x?}, which came as {came:02x?}");
            }
        }
    }
}

#[test]
fn fragments_follow_their_first_one_and_lie_beside_each_other() {
    let (world, flow) = world_with_a_flow(0, 2);
    let [here, there] = [flow.original, flow.reply].map(|key| packet_of(&key, 0));
    let long = |packet: Packet| Packet { payload: vec![7; 40], ..packet };
    let came = long(here).fragments(&[(0, 16), (16, 16), (24, 16)]);
    let out = Packet { src: there.dst, dst: there.src, ..long(there) };
    let sent = out.fragments(&[(0, 16), (16, 16), (24, 16)]);
    let books = Books::of(&world.tables);
    let frames =
        |packets: &[Vec<u8>]| packets.iter().map(|packet| frame::frame(None, packet)).collect::<Vec<_>>();
    let (came, sent) = (frames(&came), frames(&sent));
    let judge = |world: &mut World, at: usize, first: bool| {
        let verdict = Verdict::Redirect { ifindex: 0 };
        let passage = Passage {
            side: Side::External,
            elsewhere: false,
            before: &came[at],
            after: &sent[at],
            verdict,
            books: &books,
        };
        let [came, sent] = [&came[at], &sent[at]].map(|frame| Ip::of_frame(frame).expect("a sound packet"));
        if first {
            fragments::note_first(world, &passage, &came, &sent);
        } else {
            fragments::check_later(world, &passage, &came, &sent);
        }
    };
    let mut world = world;
    assert!(is_seen(|| judge(&mut world, 1, false)), "before the first one");
    judge(&mut world, 0, true);
    judge(&mut world, 1, false);
    judge(&mut world, 1, false);
    assert!(is_seen(|| judge(&mut world, 2, false)), "over another one");
}
