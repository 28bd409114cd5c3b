use super::{
    frame::{ACK, FROM_NEIGHBOUR, Frame, Kind, Received, SYN, TO_GATEWAY, addr, end, seal},
    world::{EGRESS_VIP, EXTERNAL_IF, INGRESS_VIP, INTERNAL_IF, NOW, Plan, Tenant, forward, npci, send},
};
use crate::{
    abi::{Addr, Counter, HairpinKey, Port, Side, TenantId},
    drop_reason::DropReason,
    memory::{BytesPacket, MemoryTables},
    verdict::Verdict,
    wire::checksum::compute,
};
use std::{vec, vec::Vec};

/// A flow with a packet in each direction: as it came in, and as it went on.
struct Talk {
    tables: MemoryTables,
    /// The side that opened it.
    side: Side,
    first: Vec<u8>,
    first_out: Vec<u8>,
    answer: Vec<u8>,
    answer_out: Vec<u8>,
}

fn run(tables: &MemoryTables, frame: Vec<u8>, side: Side) -> Vec<u8> {
    let mut packet = BytesPacket { bytes: frame, ingress_ifindex: side as u32 + 1 };
    let verdict = send(tables, &mut packet, side, NOW);
    assert!(matches!(verdict, Verdict::Redirect { .. }), "{verdict:?}");
    packet.bytes
}

impl Talk {
    fn open(plan: &Plan, frame: &Frame, side: Side) -> Self {
        let tables = plan.tables();
        let first = frame.build();
        let first_out = run(&tables, first.clone(), side);
        let out = Received::read(&first_out);
        let kind = match frame.kind {
            Kind::Tcp(_) => Kind::Tcp(super::frame::SYN_ACK),
            Kind::Icmp(_) => Kind::Icmp(0),
            udp @ Kind::Udp { .. } => udp,
        };
        let back = Frame { kind, ..Frame::new(kind, out.dst, out.src) };
        let back = if matches!(kind, Kind::Icmp(_)) {
            Frame { src: (out.dst.0, Port::NONE), dst: (out.src.0, out.src.1), ..back }
        } else {
            back
        };
        let answer = back.build();
        let answer_out = run(&tables, answer.clone(), side.opposite());
        Self { tables, side, first, first_out, answer, answer_out }
    }
}

/// An error from `src` to `dst` of this type and code that quotes the first bytes of an IP packet.
pub fn error(kind: [u8; 2], src: Addr, dst: Addr, quoted: &[u8]) -> Vec<u8> {
    let mut icmp = [&kind[..], &[0, 0, 0, 0, 5, 0x14], quoted].concat();
    let checksum = compute(&icmp, 0).to_ne_bytes();
    icmp[2..4].copy_from_slice(&checksum);
    let total = u16::try_from(20 + icmp.len()).unwrap().to_be_bytes();
    let mut ip = vec![0x45, 0xc0, total[0], total[1], 0, 7, 0, 0, 61, 1, 0, 0];
    ip.extend(src.octets());
    ip.extend(dst.octets());
    let checksum = compute(&ip, 0).to_ne_bytes();
    ip[10..12].copy_from_slice(&checksum);
    [&TO_GATEWAY[..], &FROM_NEIGHBOUR, &[8, 0], &ip, &icmp].concat()
}

/// Quoted packet without what routers change on the way: TTL and header checksum.
fn essence(ip: &[u8]) -> Vec<u8> {
    let mut essence = ip.to_vec();
    essence[8] = 0;
    essence[10..12].fill(0);
    essence
}

/// What leaves, checked: outer checksums, type and code, the rest of the ICMP header; then source, destination, quote.
fn read(frame: &[u8], kind: [u8; 2]) -> (Addr, Addr, Vec<u8>) {
    let ip = &frame[14..];
    assert_eq!(compute(&ip[..20], 0), 0, "outer IP checksum");
    let icmp = &ip[20..usize::from(u16::from_be_bytes([ip[2], ip[3]]))];
    assert_eq!(compute(icmp, 0), 0, "ICMP checksum");
    assert_eq!(icmp[..2], kind);
    assert_eq!(icmp[4..8], [0, 0, 5, 0x14], "what the error says stays");
    assert_eq!(ip[8], 60, "time to live");
    let quoted = &icmp[8..];
    let header = usize::from(quoted[0] & 15) * 4;
    assert_eq!(compute(&quoted[..header], 0), 0, "quoted IP checksum");
    let address = |at: usize| Addr::new(ip[at..at + 4].try_into().unwrap());
    (address(12), address(16), quoted.to_vec())
}

const KINDS: [[u8; 2]; 9] = [[3, 0], [3, 1], [3, 2], [3, 3], [3, 4], [3, 13], [11, 0], [11, 1], [12, 0]];

fn openings() -> Vec<(Frame, Side)> {
    let mut openings = Vec::new();
    for kind in [Kind::Tcp(SYN), Kind::Udp { checksum: true }, Kind::Udp { checksum: false }] {
        let listener = end("192.0.2.10:8441");
        openings.push((Frame::new(kind, end("203.0.113.7:40000"), listener), Side::External));
        openings.push((Frame::new(kind, end("198.18.1.9:50000"), end("203.0.113.1:443")), Side::Internal));
        openings.push((Frame::new(kind, end("198.18.1.9:50000"), end("198.51.100.1:9001")), Side::Internal));
    }
    let echo = Frame::echo_request("198.18.1.9:77", "203.0.113.1:443");
    openings.push((Frame { dst: (npci(1), Port::NONE), ..echo }, Side::Internal));
    openings.clone().into_iter().for_each(|(frame, side)| {
        openings.push((Frame { option_words: 3, payload: vec![7; 33], ..frame }, side));
    });
    openings
}

/// Both directions of every kind of flow, every type, every length of quote: what the sender of the quoted packet gets
/// quotes what it has sent.
#[test]
fn errors_reach_the_sender_of_what_they_quote() {
    let router = [addr("203.0.113.99"), addr("198.18.200.1")];
    for (frame, side) in openings() {
        let talk = Talk::open(&Plan::three_tenants(), &frame, side);
        let directions = [
            (talk.side.opposite(), &talk.first, &talk.first_out),
            (talk.side, &talk.answer, &talk.answer_out),
        ];
        for (from, sent, seen) in directions {
            let header = usize::from(seen[14] & 15) * 4;
            for kind in KINDS {
                for len in [header + 8, header + 12, header + 16, header + 18, header + 20, seen.len() - 14] {
                    let quoted = &seen[14..14 + len.min(seen.len() - 14)];
                    let dst = Addr::new(quoted[12..16].try_into().unwrap());
                    let out = run(&talk.tables, error(kind, router[from as usize], dst, quoted), from);
                    let (_, to, quote) = read(&out, kind);
                    assert_eq!(to.octets(), sent[26..30], "{frame:?}");
                    let wanted = essence(&sent[14..14 + quoted.len()]);
                    assert_eq!(essence(&quote), wanted, "{frame:?} from {from:?}, {len} bytes quoted");
                }
            }
        }
        assert!(talk.tables.counter(Counter::IcmpErrorsTranslated) > 0);
    }
}

/// NPCI sees the VIPs alone. A tenant sees what it called, and the routers on the way only if it called the endpoint
/// itself.
#[test]
fn errors_show_no_address_of_the_other_side() {
    let inside = [addr("198.18.200.1"), Tenant::new(1).backend(1).0, addr("198.18.1.9")];
    for (frame, side) in openings() {
        let talk = Talk::open(&Plan::three_tenants(), &frame, side);
        let (towards_npci, towards_tenant) = match side {
            Side::External => (&talk.first_out, &talk.answer_out),
            Side::Internal => (&talk.answer_out, &talk.first_out),
        };
        let vip = if side == Side::External { INGRESS_VIP } else { EGRESS_VIP };
        for router in inside {
            let dst = Addr::new(towards_npci[26..30].try_into().unwrap());
            let out = run(&talk.tables, error([11, 0], router, dst, &towards_npci[14..]), Side::Internal);
            assert_eq!(read(&out, [11, 0]).0, vip, "{frame:?}");
        }
        let (router, dst) = (npci(99), Addr::new(towards_tenant[26..30].try_into().unwrap()));
        let out = run(&talk.tables, error([11, 0], router, dst, &towards_tenant[14..]), Side::External);
        let called_itself = side == Side::Internal && frame.dst.0 == npci(1);
        let shown = if called_itself { router } else { Tenant::new(1).nat() };
        assert_eq!(read(&out, [11, 0]).0, shown, "{frame:?}");
    }
}

#[test]
fn errors_from_senders_that_cannot_be_are_dropped() {
    let talk = Talk::open(&Plan::three_tenants(), &openings()[1].0, Side::Internal);
    let (inward, outward) = (&talk.first_out[14..], &talk.answer_out[14..]);
    let drop = |src: Addr, quoted: &[u8], side: Side| {
        let dst = Addr::new(quoted[12..16].try_into().unwrap());
        let bytes = error([3, 1], src, dst, quoted);
        let mut packet = BytesPacket { bytes, ingress_ifindex: side as u32 + 1 };
        send(&talk.tables, &mut packet, side, NOW)
    };
    for src in [addr("198.18.2.9"), addr("198.18.1.9"), EGRESS_VIP, addr("127.0.0.1"), addr("224.0.0.1")] {
        assert_eq!(drop(src, inward, Side::External), Verdict::Drop(DropReason::Martian), "{src}");
    }
    for src in [addr("198.18.2.9"), INGRESS_VIP, Tenant::new(1).nat(), addr("0.0.0.0")] {
        assert_eq!(drop(src, outward, Side::Internal), Verdict::Drop(DropReason::SourceNotTenant), "{src}");
    }
    assert!(matches!(drop(addr("198.18.1.77"), outward, Side::Internal), Verdict::Redirect { .. }));
}

#[test]
fn errors_that_quote_no_flow_are_dropped() {
    let talk = Talk::open(&Plan::three_tenants(), &openings()[0].0, Side::External);
    let seen = talk.answer_out[14..].to_vec();
    let change = |change: fn(&mut Vec<u8>)| {
        let mut quoted = seen.clone();
        change(&mut quoted);
        quoted
    };
    let unmatched = DropReason::IcmpErrorUnmatched;
    let cases: [(&str, Vec<u8>, DropReason); 8] = [
        ("another port", change(|q| q[20] ^= 1), unmatched),
        ("another client", change(|q| q[19] ^= 1), unmatched),
        ("another protocol", change(|q| q[9] = 17), unmatched),
        ("no transport", change(|q| q[9] = 47), unmatched),
        ("a later part", change(|q| q[7] = 1), unmatched),
        ("seven bytes", change(|q| q.truncate(27)), DropReason::BadTransportHeader),
        ("IPv6", change(|q| q[0] = 0x60), DropReason::BadTransportHeader),
        ("a short header", change(|q| q[0] = 0x44), DropReason::BadTransportHeader),
    ];
    for (what, quoted, reason) in cases {
        let bytes = error([3, 3], npci(7), INGRESS_VIP, &quoted);
        let mut packet = BytesPacket { bytes, ingress_ifindex: EXTERNAL_IF };
        assert_eq!(send(&talk.tables, &mut packet, Side::External, NOW), Verdict::Drop(reason), "{what}");
    }
    // Sent to another address of the gateway's than the quoted packet came from.
    let mut packet =
        BytesPacket { bytes: error([3, 3], npci(7), EGRESS_VIP, &seen), ingress_ifindex: EXTERNAL_IF };
    assert_eq!(send(&talk.tables, &mut packet, Side::External, NOW), Verdict::Drop(unmatched));
    // Not ours at all.
    let mut packet =
        BytesPacket { bytes: error([3, 3], npci(7), addr("192.0.2.2"), &seen), ingress_ifindex: EXTERNAL_IF };
    assert_eq!(send(&talk.tables, &mut packet, Side::External, NOW), Verdict::Pass);
}

/// RFC 5382 REQ-9, RFC 5508 REQ-2: an error ends nothing, and does not keep a flow alive either.
#[test]
fn errors_change_nothing_about_their_flow() {
    let talk = Talk::open(&Plan::three_tenants(), &openings()[0].0, Side::External);
    let (_, received) = forward(
        &talk.tables,
        Frame::new(Kind::Tcp(ACK), end("203.0.113.7:40000"), end("192.0.2.10:8441")).packet(EXTERNAL_IF),
        Side::External,
        NOW,
    );
    assert_eq!(received.src.0, Tenant::new(1).nat());
    let mut before = talk.tables.established.entries();
    for kind in KINDS {
        run(&talk.tables, error(kind, npci(9), INGRESS_VIP, &talk.answer_out[14..]), Side::External);
    }
    let mut after = talk.tables.established.entries();
    before.sort_by_key(|entry| entry.key.src.octets());
    after.sort_by_key(|entry| entry.key.src.octets());
    assert_eq!(before, after);
    assert_eq!(before.len(), 2);
}

#[test]
fn an_error_out_of_time_to_live_is_not_answered() {
    let talk = Talk::open(&Plan::three_tenants(), &openings()[0].0, Side::External);
    let mut bytes = error([3, 3], addr("198.18.1.1"), Tenant::new(1).nat(), &talk.first_out[14..]);
    bytes[22] = 1;
    seal(&mut bytes);
    let mut packet = BytesPacket { bytes, ingress_ifindex: INTERNAL_IF };
    let verdict = send(&talk.tables, &mut packet, Side::Internal, NOW);
    assert_eq!(verdict, Verdict::Drop(DropReason::TtlExceeded));
}

/// A call from tenant 1 to a listener of tenant 2: the tables, the call as it was sent, and as it was delivered.
fn hairpin() -> (MemoryTables, Frame, Vec<u8>) {
    let mut tables = Plan::three_tenants().tables();
    tables.hairpins.insert(HairpinKey { from: TenantId(1), to: TenantId(2) });
    let call = Frame::udp("198.18.1.9:50000", "192.0.2.10:8442");
    let called = run(&tables, call.build(), Side::Internal);
    (tables, call, called)
}

/// RFC 5508 REQ-7: whom a hairpin leads to may complain about it, and so may every other host of the same tenant.
#[test]
fn an_error_about_a_call_from_inside_reaches_the_caller() {
    let (tables, call, called) = hairpin();
    for sender in [Received::read(&called).dst.0, addr("198.18.2.77")] {
        let refusal = error([3, 3], sender, EGRESS_VIP, &called[14..]);
        let (src, dst, quote) = read(&run(&tables, refusal, Side::Internal), [3, 3]);
        assert_eq!((src, dst), (INGRESS_VIP, call.src.0));
        assert_eq!(essence(&quote), essence(&call.build()[14..]));
    }
    for (sender, side) in [("198.18.3.9", Side::Internal), ("198.18.2.77", Side::External)] {
        let bytes = error([3, 3], addr(sender), EGRESS_VIP, &called[14..]);
        let mut packet = BytesPacket { bytes, ingress_ifindex: side as u32 + 1 };
        assert!(matches!(send(&tables, &mut packet, side, NOW), Verdict::Drop(_)), "{sender} {side:?}");
    }
}

#[test]
fn an_error_about_the_answer_to_a_call_from_inside_reaches_who_answered() {
    let (tables, call, called) = hairpin();
    let called = Received::read(&called);
    let answer = Frame { src: called.dst, dst: called.src, ..call };
    let answered = run(&tables, answer.build(), Side::Internal);
    let refusal = error([3, 3], addr("198.18.1.9"), INGRESS_VIP, &answered[14..]);
    let (src, dst, quote) = read(&run(&tables, refusal, Side::Internal), [3, 3]);
    assert_eq!((src, dst), (EGRESS_VIP, called.dst.0));
    assert_eq!(essence(&quote), essence(&answer.build()[14..]));
}
