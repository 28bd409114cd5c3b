use super::{
    frame::{ACK, Frame, Received, SYN, end},
    world::{EXTERNAL_IF, INTERNAL_IF, NOW, Plan, SECOND, Tenant, npci, send},
};
use crate::{
    abi::{Addr, Counter, Port, Side, TenantId},
    drop_reason::DropReason,
    memory::BytesPacket,
    tables::Route,
    verdict::Verdict,
    wire::checksum::compute,
};
use std::vec::Vec;

const CLIENT: &str = "203.0.113.7:40000";
const VIP: &str = "192.0.2.10:8441";
const TENANT: &str = "198.18.1.9:50000";

/// Type and code, the second word, source, destination and quote of an answer whose checksums are right.
fn read(frame: &[u8]) -> ([u8; 2], u32, Addr, Addr, Vec<u8>) {
    let ip = &frame[14..];
    assert_eq!((compute(&ip[..20], 0), compute(&ip[20..], 0)), (0, 0), "checksums");
    assert_eq!((ip[8], ip[9], frame.len()), (64, 1, 14 + 20 + 8 + 28));
    let word = u32::from_be_bytes(ip[24..28].try_into().unwrap());
    let address = |at: usize| Addr::new(ip[at..at + 4].try_into().unwrap());
    ([ip[20], ip[21]], word, address(12), address(16), ip[28..].to_vec())
}

/// Packets that would go on, with the address that their sender knows the gateway by.
fn packets() -> [(Frame, Side, Addr); 5] {
    let nat = Tenant::new(1).nat();
    let echo = Frame { dst: (npci(1), Port::NONE), ..Frame::echo_request("198.18.1.9:5", "203.0.113.1:1") };
    [
        (Frame::tcp(SYN, CLIENT, VIP), Side::External, end(VIP).0),
        (Frame::udp(CLIENT, VIP), Side::External, end(VIP).0),
        (Frame::tcp(SYN, TENANT, "203.0.113.1:443"), Side::Internal, nat),
        (Frame::udp(TENANT, "198.51.100.1:9001"), Side::Internal, nat),
        (echo, Side::Internal, nat),
    ]
}

fn tell(
    frame: &Frame,
    side: Side,
    route: Option<Route>,
) -> (Verdict, BytesPacket, crate::memory::MemoryTables) {
    let mut tables = Plan::three_tenants().tables();
    if let Some(route) = route {
        // Of the way out: the sender is reached as ever.
        let leads_back =
            |known: &Route| matches!(known, Route::Forward { ifindex, .. } if *ifindex == side as u32 + 1);
        tables.routes.values_mut().filter(|known| !leads_back(known)).for_each(|known| *known = route);
    }
    let mut packet = frame.packet(side as u32 + 1);
    let verdict = send(&tables, &mut packet, side, NOW);
    (verdict, packet, tables)
}

#[test]
fn who_sends_what_has_come_to_its_end_is_told() {
    for (frame, side, own) in packets() {
        for ttl in [0, 1] {
            let frame = frame.clone().ttl(ttl);
            let (verdict, packet, tables) = tell(&frame, side, None);
            assert_eq!(verdict, Verdict::Reply, "{frame:?}");
            let (kind, word, src, dst, quote) = read(&packet.bytes);
            assert_eq!((kind, word, src, dst), ([11, 0], 0, own, frame.src.0));
            assert_eq!(quote, frame.build()[14..42]);
            assert_eq!(tables.drops.borrow()[&DropReason::TtlExceeded], 1);
            assert_eq!(tables.tenants.borrow()[&TenantId(1)].dropped_packets, 1);
            assert!(tables.half_open.entries().is_empty(), "no flow is opened");
        }
    }
}

#[test]
fn who_sends_what_is_too_large_is_told_what_fits() {
    for (frame, side, own) in packets() {
        let ifindex = if side == Side::External { INTERNAL_IF } else { EXTERNAL_IF };
        let (verdict, packet, tables) = tell(&frame, side, Some(Route::TooLarge { ifindex, mtu: 1300 }));
        assert_eq!(verdict, Verdict::Reply, "{frame:?}");
        let (kind, word, src, dst, _) = read(&packet.bytes);
        assert_eq!((kind, word, src, dst), ([3, 4], 1300, own, frame.src.0));
        assert_eq!(tables.drops.borrow()[&DropReason::MtuExceeded], 1);
    }
}

#[test]
fn a_packet_of_a_known_flow_is_told_about_like_the_first() {
    let tables = Plan::three_tenants().tables();
    let mut first = Frame::tcp(SYN, CLIENT, VIP).packet(EXTERNAL_IF);
    assert!(matches!(send(&tables, &mut first, Side::External, NOW), Verdict::Redirect { .. }));
    let out = Received::read(&first.bytes);
    let mut answer =
        Frame { ttl: 1, ..Frame::new(super::frame::Kind::Tcp(ACK), out.dst, out.src) }.packet(INTERNAL_IF);
    assert_eq!(send(&tables, &mut answer, Side::Internal, NOW), Verdict::Reply);
    let (kind, _, src, dst, _) = read(&answer.bytes);
    assert_eq!((kind, src, dst), ([11, 0], Tenant::new(1).nat(), out.dst.0));
}

#[test]
fn a_tenant_is_told_whom_it_may_not_call_and_nobody_else_is() {
    let echo = Frame { dst: (npci(1), Port::NONE), ..Frame::echo_request("198.18.2.9:5", "203.0.113.1:1") };
    let calls = [
        (Frame::tcp(SYN, TENANT, "203.0.113.1:80"), 1),
        (Frame::tcp(ACK, TENANT, "198.18.2.1:8081"), 1),
        (Frame::udp(TENANT, "203.0.113.1:80"), 1),
        (Frame { src: end("198.18.3.9:5"), dst: (end("8.8.8.8:0").0, Port::NONE), ..echo }, 3),
    ];
    for (frame, tenant) in calls {
        let (verdict, packet, tables) = tell(&frame, Side::Internal, None);
        assert_eq!(verdict, Verdict::Reply, "{frame:?}");
        let (kind, word, src, dst, quote) = read(&packet.bytes);
        assert_eq!((kind, word, src, dst), ([3, 13], 0, Tenant::new(tenant).nat(), frame.src.0));
        assert_eq!(quote, frame.build()[14..42]);
        assert_eq!(tables.drops.borrow()[&DropReason::DestinationNotAllowed], 1);
        // The same, by somebody who only uses its address.
        let mut tables = Plan::three_tenants().tables();
        tables.routes.insert(frame.src.0, Route::None);
        let mut packet = frame.packet(INTERNAL_IF);
        let verdict = send(&tables, &mut packet, Side::Internal, NOW);
        assert_eq!(verdict, Verdict::Drop(DropReason::SourceSpoofed), "{frame:?}");
    }
}

#[test]
fn no_host_gets_more_errors_than_it_can_use() {
    let tables = Plan::three_tenants().tables();
    let errors = |host: u8, now_ns: u64| {
        let src = (Addr::new([198, 18, 1, host]), Port::new(50_000));
        let frame = Frame { src, ttl: 1, ..Frame::udp(TENANT, "198.51.100.1:9001") };
        let verdicts =
            (0..3_000).map(|_| send(&tables, &mut frame.packet(INTERNAL_IF), Side::Internal, now_ns));
        let verdicts: Vec<_> = verdicts.collect();
        let silent = Verdict::Drop(DropReason::TtlExceeded);
        assert!(verdicts.iter().all(|verdict| [Verdict::Reply, silent].contains(verdict)), "{verdicts:?}");
        verdicts.iter().filter(|verdict| **verdict == Verdict::Reply).count()
    };
    assert_eq!(errors(9, NOW), 1_000, "at once");
    assert_eq!(errors(9, NOW + SECOND / 4), 250, "a quarter of a second later");
    assert_eq!(errors(10, NOW + SECOND / 4), 1_000, "another host");
    assert_eq!(errors(9, NOW + 5 * SECOND), 1_000, "after a rest");
    assert_eq!(tables.counters.borrow()[&(Counter::ErrorsLimited as u32)], 2_000 + 2_750 + 2_000 + 2_000);
    assert_eq!(tables.drops.borrow()[&DropReason::TtlExceeded], 12_000, "all are dropped");
}

#[test]
fn what_policy_refuses_is_told_nothing() {
    let refused = [
        (Frame::tcp(SYN, "192.0.2.99:1", VIP), DropReason::SourceNotAllowed),
        (Frame::tcp(SYN, CLIENT, "192.0.2.10:1"), DropReason::NoListener),
        (Frame::tcp(ACK, CLIENT, VIP), DropReason::NoFlow),
    ];
    for (frame, reason) in refused {
        let (verdict, _, _) = tell(&frame.ttl(1), Side::External, None);
        assert_eq!(verdict, Verdict::Drop(reason));
    }
}
