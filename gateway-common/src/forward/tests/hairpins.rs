use super::{
    frame::{Frame, SYN, SYN_ACK, end},
    world::{EGRESS_VIP, INTERNAL_IF, NOW, Plan, forward, send},
};
use crate::{
    abi::{HairpinKey, Side, TenantId},
    drop_reason::DropReason,
    limits::HALF_OPEN_PLACES,
    memory::MemoryTables,
    verdict::Verdict,
};

const CALLER: &str = "198.18.1.9:50000";
const LISTENER_2: &str = "192.0.2.10:8442";

fn call(tables: &MemoryTables, src: &str, dst: &str) -> Verdict {
    send(tables, &mut Frame::tcp(SYN, src, dst).packet(INTERNAL_IF), Side::Internal, NOW)
}

fn with_rule(from: u16, to: u16) -> MemoryTables {
    let mut tables = Plan::three_tenants().tables();
    tables.hairpins.insert(HairpinKey { from: TenantId(from), to: TenantId(to) });
    tables
}

#[test]
fn without_a_rule_for_this_very_pair_nobody_gets_through() {
    for (from, to) in [(2, 1), (1, 3), (3, 2), (1, 1), (2, 2)] {
        let verdict = call(&with_rule(from, to), CALLER, LISTENER_2);
        assert_eq!(verdict, Verdict::Drop(DropReason::WrongSide), "{from} to {to}");
    }
}

#[test]
fn with_a_rule_the_caller_is_seen_as_the_egress_vip_and_gets_answers() {
    let tables = with_rule(1, 2);
    let frame = Frame::tcp(SYN, CALLER, LISTENER_2);
    let (ifindex, sent) = forward(&tables, frame.packet(INTERNAL_IF), Side::Internal, NOW);
    assert_eq!((ifindex, sent.src.0), (INTERNAL_IF, EGRESS_VIP));
    assert_eq!(sent.dst.0.octets()[..3], [198, 18, 2], "a backend of tenant 2");
    let answer = Frame { src: sent.dst, dst: sent.src, ..Frame::tcp(SYN_ACK, CALLER, CALLER) };
    let (ifindex, sent) = forward(&tables, answer.packet(INTERNAL_IF), Side::Internal, NOW);
    assert_eq!((ifindex, sent.src, sent.dst), (INTERNAL_IF, end(LISTENER_2), end(CALLER)));
    assert_eq!(
        call(&tables, "198.18.3.9:50000", LISTENER_2),
        Verdict::Drop(DropReason::WrongSide),
        "tenant 3"
    );
}

#[test]
fn calls_to_listeners_are_bounded_also_between_calls_to_npci() {
    let mut tables = with_rule(1, 2);
    tables.half_open.capacity = 8 * HALF_OPEN_PLACES as usize;
    for (turn, target) in ["203.0.113.1:443", LISTENER_2, "203.0.113.1:443", LISTENER_2].iter().enumerate() {
        for number in 0..HALF_OPEN_PLACES {
            let caller = std::format!("198.18.1.{}:{}", 9 + turn, 2000 + number);
            forward(&tables, Frame::udp(&caller, target).packet(INTERNAL_IF), Side::Internal, NOW);
        }
    }
    assert_eq!(tables.half_open.entries().len(), 2 * 2 * HALF_OPEN_PLACES as usize);
}
