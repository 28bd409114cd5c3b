use super::{
    answers::{draining_listeners, end_flows, without_backends},
    frame::{ACK, Frame, Kind, RST, SYN, SYN_ACK, UDP, addr, end, seal},
    world::{EXTERNAL_IF, INTERNAL_IF, NOW, Plan, Tenant, npci, send},
};
use crate::{
    abi::{Event, Port, Side, TenantId},
    drop_reason::DropReason,
    forward::process,
    limits::HELD_FRAME_MAX,
    memory::{BytesPacket, BytesWindow, MemoryTables},
    packet::{Packet, Refused},
    tables::Route,
    verdict::Verdict,
};
use std::{vec, vec::Vec};

const CLIENT: &str = "203.0.113.7:40000";
const VIP: &str = "192.0.2.10:8441";
const TENANT: &str = "198.18.1.9:50000";

/// A packet, the tables that it meets, and what comes of it.
struct Case {
    tables: MemoryTables,
    bytes: Vec<u8>,
    side: Side,
    /// Whose drop it is, as far as that is known by then.
    tenant: u16,
}

impl Case {
    fn of(frame: &Frame, side: Side, tenant: u16) -> Self {
        Self { tables: Plan::three_tenants().tables(), bytes: frame.build(), side, tenant }
    }

    fn ingress(flags: u8) -> Self {
        Self::of(&Frame::tcp(flags, CLIENT, VIP), Side::External, 1)
    }

    fn egress(src: &str, dst: &str, tenant: u16) -> Self {
        Self::of(&Frame::tcp(SYN, src, dst), Side::Internal, tenant)
    }

    /// A segment to whom tenant 1 may not call, with IP options: without any, its sender is told, but of a reset.
    fn prohibited(dst: &str, flags: u8, option_words: u8) -> Self {
        Self::of(&Frame { option_words, ..Frame::tcp(flags, TENANT, dst) }, Side::Internal, 1)
    }

    fn tables(mut self, change: impl FnOnce(&mut MemoryTables)) -> Self {
        change(&mut self.tables);
        self
    }

    fn bytes(mut self, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        change(&mut self.bytes);
        self
    }

    fn plan(mut self, plan: &Plan) -> Self {
        self.tables = plan.tables();
        self
    }

    fn routed(self, route: Route) -> Self {
        self.tables(|tables| tables.routes.values_mut().for_each(|known| *known = route))
    }

    fn nobodys(mut self) -> Self {
        self.tenant = 0;
        self
    }

    fn run(&self) -> Verdict {
        let ingress_ifindex = if self.side == Side::External { EXTERNAL_IF } else { INTERNAL_IF };
        let mut packet = BytesPacket { bytes: self.bytes.clone(), ingress_ifindex };
        send(&self.tables, &mut packet, self.side, NOW)
    }
}

/// Changes an octet of the IPv4 header, and its checksum.
fn ip(at: usize, value: u8) -> impl FnOnce(&mut Vec<u8>) {
    move |bytes| {
        bytes[14 + at] = value;
        seal(bytes);
    }
}

/// One backend and the clients' own addresses: the second listener of two meets the tuple of the first.
fn tuple_in_use() -> Case {
    let plan = Plan {
        tenants: vec![Tenant { backends: 1, preserve: true, ..Tenant::new(1) }],
        ..Plan::three_tenants()
    };
    let case = Case::ingress(SYN).plan(&plan).tables(|tables| {
        let (key, listener) = tables.listeners.iter().find(|(key, _)| key.port == Port::new(8441)).unwrap();
        let (mut key, listener) = (*key, *listener);
        for protocol in [crate::abi::Protocol::Tcp, crate::abi::Protocol::Udp] {
            key = crate::abi::ListenerKey::new(key.address, protocol, Port::new(8500));
            tables.listeners.insert(key, listener);
        }
    });
    let mut first = Frame::tcp(SYN, CLIENT, "192.0.2.10:8500").packet(EXTERNAL_IF);
    assert!(matches!(send(&case.tables, &mut first, Side::External, NOW), Verdict::Redirect { .. }));
    Case { bytes: Case::ingress(SYN).bytes, ..case }
}

/// A handshake but for its third packet, in tables without room for established flows.
fn flow_table_full() -> Case {
    let case = Case::ingress(ACK).tables(|tables| tables.established.capacity = 0);
    let mut syn = Frame::tcp(SYN, CLIENT, VIP).packet(EXTERNAL_IF);
    assert!(matches!(send(&case.tables, &mut syn, Side::External, NOW), Verdict::Redirect { .. }));
    let sent = super::frame::Received::read(&syn.bytes);
    let answer = Frame { src: sent.dst, dst: sent.src, ..Frame::tcp(SYN_ACK, CLIENT, VIP) };
    let mut answer = answer.packet(INTERNAL_IF);
    assert!(matches!(send(&case.tables, &mut answer, Side::Internal, NOW), Verdict::Redirect { .. }));
    case
}

/// With IP options a refused packet gets no answer.
fn with_options(flags: u8, change: impl FnOnce(&mut MemoryTables)) -> Case {
    let frame = Frame { option_words: 1, ..Frame::tcp(flags, CLIENT, VIP) };
    Case::of(&frame, Side::External, 1).tables(change)
}

/// A packet of a flow that the daemon has ended.
fn ended() -> Case {
    let case = with_options(ACK, |_| ());
    let mut syn = Frame::tcp(SYN, CLIENT, VIP).packet(EXTERNAL_IF);
    assert!(matches!(send(&case.tables, &mut syn, Side::External, NOW), Verdict::Redirect { .. }));
    end_flows(&case.tables);
    case
}

fn malformed() -> Vec<(DropReason, Case)> {
    let icmp = |kind: u8| {
        let frame = Frame::new(Kind::Icmp(kind), end("203.0.113.7:1"), end("192.0.2.10:0"));
        Case::of(&frame, Side::External, 0)
    };
    let udp =
        |len: u8| Case::of(&Frame::udp(CLIENT, VIP), Side::External, 0).bytes(move |bytes| bytes[39] = len);
    vec![
        (DropReason::Truncated, Case::ingress(SYN).nobodys().bytes(|bytes| bytes.truncate(13))),
        (DropReason::Truncated, Case::ingress(SYN).nobodys().bytes(|bytes| bytes.truncate(33))),
        (DropReason::Truncated, Case::ingress(SYN).nobodys().bytes(|bytes| bytes.truncate(60))),
        (DropReason::BadIpHeader, Case::ingress(SYN).nobodys().bytes(ip(0, 0x65))),
        (DropReason::BadIpHeader, Case::ingress(SYN).nobodys().bytes(ip(0, 0x44))),
        (DropReason::BadIpHeader, Case::ingress(SYN).nobodys().bytes(ip(3, 19))),
        (DropReason::BadIpChecksum, Case::ingress(SYN).nobodys().bytes(|bytes| bytes[24] ^= 1)),
        (DropReason::BadIpChecksum, Case::ingress(SYN).nobodys().bytes(|bytes| bytes[29] ^= 1)),
        (DropReason::BadTransportHeader, Case::ingress(SYN).nobodys().bytes(ip(3, 39))),
        (DropReason::BadTransportHeader, Case::ingress(SYN).nobodys().bytes(|bytes| bytes[46] = 0x40)),
        (DropReason::BadTransportHeader, Case::ingress(SYN).nobodys().bytes(|bytes| bytes[46] = 0xf0)),
        (DropReason::BadTransportHeader, udp(7)),
        (DropReason::BadTransportHeader, udp(200)),
        (DropReason::FragmentUnmatched, unkept_part(Side::External, 0)),
        (DropReason::FragmentUnmatched, unkept_part(Side::Internal, 1)),
        (DropReason::BadFragment, Case::ingress(SYN).nobodys().bytes(ip(6, 0x20))),
        (DropReason::BadTransportHeader, icmp(3)),
        (DropReason::BadTransportHeader, icmp(11)),
        (DropReason::IcmpErrorUnmatched, error_about_nothing()),
        (DropReason::IcmpTypeNotSupported, icmp(4)),
        (DropReason::IcmpTypeNotSupported, icmp(5)),
        (DropReason::IcmpTypeNotSupported, icmp(13)),
        (DropReason::ProtocolNotSupported, Case::ingress(SYN).nobodys().bytes(ip(9, 47))),
    ]
}

/// A later part that is too long to be kept.
fn unkept_part(side: Side, tenant: u16) -> Case {
    let (src, dst) = match side {
        Side::External => (CLIENT, VIP),
        Side::Internal => (TENANT, "203.0.113.1:443"),
    };
    let frame = Frame { payload: vec![0; HELD_FRAME_MAX], ..Frame::udp(src, dst) };
    Case::of(&frame, side, tenant).bytes(ip(7, 1))
}

fn error_about_nothing() -> Case {
    let quoted = Frame::tcp(SYN, VIP, CLIENT).build()[14..].to_vec();
    let error = Frame { payload: quoted, ..Frame::new(Kind::Icmp(3), end(CLIENT), end(VIP)) };
    Case::of(&error, Side::External, 0)
}

fn refused_by_policy() -> Vec<(DropReason, Case)> {
    let external = |flags, src, dst, tenant| Case::of(&Frame::tcp(flags, src, dst), Side::External, tenant);
    vec![
        (DropReason::NoListener, external(SYN, CLIENT, "192.0.2.10:1", 0)),
        (DropReason::NoListener, Case::egress(TENANT, "198.51.100.1:1", 1)),
        (DropReason::SourceNotAllowed, external(SYN, "192.0.2.99:1", VIP, 1)),
        (DropReason::NoBackend, Case::ingress(SYN).tables(|t| t.pools.get_mut(&1).unwrap().maglev_len = 0)),
        (DropReason::RefusedNoBackend, with_options(SYN, without_backends)),
        (DropReason::RefusedDraining, with_options(SYN, draining_listeners)),
        (DropReason::FlowReset, ended()),
        (DropReason::SourceNotTenant, Case::egress(TENANT, "198.51.100.2:9002", 1)),
        (DropReason::SourceNotTenant, Case::egress("192.0.2.77:1", "198.51.100.2:9002", 0)),
        (DropReason::DestinationNotAllowed, Case::prohibited("203.0.113.1:80", SYN, 1)),
        (DropReason::DestinationNotAllowed, Case::prohibited("198.18.2.1:8081", RST, 0)),
        (DropReason::DirectToTenant, external(SYN, CLIENT, "198.18.2.1:8081", 2)),
        (DropReason::WrongSide, external(SYN, CLIENT, "198.51.100.2:9002", 2)),
        (DropReason::WrongSide, Case::egress(TENANT, VIP, 1)),
        (DropReason::CrossesSides, Case::egress("192.0.2.77:1", "203.0.113.1:443", 0)),
        (DropReason::CrossesSides, Case::egress("192.0.2.77:1", "203.0.113.1:443", 0).bytes(ip(9, 47))),
        (DropReason::NoFlow, Case::ingress(ACK)),
        (DropReason::NoFlow, external(SYN, CLIENT, "192.0.2.20:5000", 0)),
        (DropReason::NoFlow, Case::of(&Frame::tcp(ACK, TENANT, "203.0.113.1:443"), Side::Internal, 1)),
        (
            DropReason::NoLease,
            Case::ingress(SYN).tables(|t| t.settings.as_mut().unwrap().lease_until_ns = NOW),
        ),
        (DropReason::NotConfigured, Case::ingress(SYN).tables(|t| t.settings = None)),
        (DropReason::NotConfigured, Case::ingress(SYN).tables(|t| t.settings.as_mut().unwrap().node = 0)),
        (DropReason::NotConfigured, Case::ingress(SYN).tables(|t| t.pools.clear())),
        (DropReason::NotConfigured, Case::ingress(SYN).tables(|t| t.maglev.clear())),
        (DropReason::NotConfigured, Case::ingress(SYN).tables(|t| t.backends.clear())),
    ]
}

fn refused_for_want_of_something() -> Vec<(DropReason, Case)> {
    let none_owned = Plan { slices: 0, ..Plan::three_tenants() };
    // With IP options: else the sender would be told.
    let with_options = Frame { option_words: 1, ..Frame::tcp(SYN, CLIENT, VIP) };
    let too_large = Route::TooLarge { ifindex: INTERNAL_IF, mtu: 1300 };
    let ttl = Case::of(&with_options.clone().ttl(1), Side::External, 1);
    let unresolved = Route::Unresolved { ifindex: INTERNAL_IF, next_hop: addr("198.51.100.254") };
    let back = Route::Forward { ifindex: EXTERNAL_IF, link: super::world::link_addresses(EXTERNAL_IF) };
    let nowhere = Route::Forward { ifindex: 77, link: super::world::link_addresses(EXTERNAL_IF) };
    vec![
        (DropReason::PortsExhausted, Case::of(&with_options, Side::External, 1).plan(&none_owned)),
        (DropReason::HalfOpenTableFull, Case::ingress(SYN).tables(|tables| tables.half_open.capacity = 0)),
        (DropReason::HalfOpenTableFull, Case::ingress(SYN).tables(|tables| tables.half_open.capacity = 1)),
        (DropReason::FlowTableFull, flow_table_full()),
        (DropReason::TupleInUse, tuple_in_use()),
        (DropReason::TtlExceeded, ttl),
        (DropReason::MtuExceeded, Case::of(&with_options, Side::External, 1).routed(too_large)),
        (DropReason::NoRoute, Case::ingress(SYN).routed(Route::None)),
        (DropReason::NoNeighbour, Case::ingress(SYN).routed(unresolved)),
        (DropReason::ForwardingDisabled, Case::ingress(SYN).routed(Route::Disabled)),
        (DropReason::WrongInterface, Case::ingress(SYN).routed(back)),
        (DropReason::WrongInterface, Case::ingress(SYN).routed(nowhere)),
    ]
}

fn cases() -> Vec<(DropReason, Case)> {
    let mut cases = malformed();
    cases.extend(refused_by_policy());
    cases.extend(refused_for_want_of_something());
    cases
}

#[test]
fn each_is_dropped_for_its_reason_and_counted_for_its_tenant() {
    for (index, (reason, case)) in cases().into_iter().enumerate() {
        let flows = [&case.tables.established, &case.tables.half_open].map(|table| table.entries().len());
        assert_eq!(case.run(), Verdict::Drop(reason), "case {index}");
        let left = [&case.tables.established, &case.tables.half_open].map(|table| table.entries().len());
        assert_eq!(left, flows, "{reason:?} of case {index} leaves no entry");
        assert_eq!(case.tables.drops.borrow()[&reason], 1);
        let tenants = case.tables.tenants.borrow();
        let dropped = |tenant| tenants.get(&TenantId(tenant)).map_or(0, |stats| stats.dropped_packets);
        let expected = [1, 2, 3].map(|tenant| u64::from(tenant == case.tenant));
        assert_eq!([1, 2, 3].map(dropped), expected, "{reason:?} of case {index}");
    }
}

#[test]
fn every_reason_is_met() {
    let mut met: Vec<_> = cases().into_iter().map(|(reason, _)| reason).collect();
    met.push(DropReason::RewriteFailed); // `a_packet_that_cannot_grow_is_dropped`
    met.push(DropReason::TenantFlowsExceeded); // `limits::a_tenant_has_no_more_flows_than_it_may`
    met.push(DropReason::TenantRateExceeded); // `limits::a_tenant_opens_flows_no_faster_than_it_may`
    met.push(DropReason::ClientChallenged); // `challenges`
    met.push(DropReason::ChallengeAnswered); // `challenges`
    met.push(DropReason::SourceSpoofed); // `sources::a_flow_is_opened_only_from_where_the_tenant_is`
    met.push(DropReason::FlowExpired); // `quarantine::nothing_of_it_gets_through_and_its_port_is_not_used_again`
    met.push(DropReason::Martian); // `quoted::errors_from_senders_that_cannot_be_are_dropped`
    met.push(DropReason::NotLinear); // TC's entry point, before the engine
    met.sort_unstable();
    met.dedup();
    assert_eq!(met, DropReason::ALL);
}

#[test]
fn the_daemon_is_told_which_next_hop_to_resolve() {
    let next_hop = addr("198.51.100.254");
    let case = Case::ingress(SYN).routed(Route::Unresolved { ifindex: INTERNAL_IF, next_hop });
    assert_eq!(case.run(), Verdict::Drop(DropReason::NoNeighbour));
    assert_eq!(*case.tables.events.borrow(), [Event::no_neighbour(INTERNAL_IF, next_hop)]);
}

#[test]
fn a_node_without_the_lease_goes_on_with_what_it_knows() {
    let mut case = Case::ingress(SYN);
    assert!(matches!(case.run(), Verdict::Redirect { .. }));
    case.tables.settings.as_mut().unwrap().lease_until_ns = 0;
    assert!(matches!(case.run(), Verdict::Redirect { .. }));
}

#[test]
fn what_is_not_the_gateways_is_passed() {
    let frames = [
        (Frame::tcp(SYN, CLIENT, "192.0.2.2:22"), Side::External),
        (Frame::tcp(SYN, "198.18.1.9:1", "192.0.2.2:22"), Side::Internal),
        (Frame::tcp(SYN, CLIENT, "8.8.8.8:53"), Side::External),
        (Frame::tcp(SYN, "192.0.2.77:1", "8.8.8.8:53"), Side::Internal),
        (Frame::udp("198.18.1.9:1", "224.0.0.251:5353"), Side::Internal),
        (Frame::udp("198.18.1.9:68", "255.255.255.255:67"), Side::Internal),
    ];
    for (frame, side) in frames {
        assert_eq!(Case::of(&frame, side, 0).run(), Verdict::Pass, "{frame:?}");
        // A fragment, or another protocol, of somebody else's is none of the gateway's business either.
        assert_eq!(Case::of(&frame, side, 0).bytes(ip(7, 1)).run(), Verdict::Pass, "{frame:?}");
        assert_eq!(Case::of(&frame, side, 0).bytes(ip(6, 0x20)).run(), Verdict::Pass, "{frame:?}");
        assert_eq!(Case::of(&frame, side, 0).bytes(ip(9, 47)).run(), Verdict::Pass, "{frame:?}");
    }
    let mut ipv6 = Case::ingress(SYN);
    ipv6.bytes[12..14].copy_from_slice(&[0x86, 0xdd]);
    assert_eq!(ipv6.run(), Verdict::Pass);
}

#[test]
fn a_full_half_open_table_refuses_the_second_entry_and_takes_the_first_back() {
    let case = Case::ingress(SYN).tables(|tables| tables.half_open.capacity = 1);
    assert_eq!(case.run(), Verdict::Drop(DropReason::HalfOpenTableFull));
    assert_eq!(case.tables.half_open.entries(), []);
}

#[test]
fn an_ordinary_udp_answer_needs_no_listener() {
    let frame = Frame::udp(TENANT, "203.0.113.1:443");
    assert_eq!(frame.protocol(), UDP);
    let case = Case::of(&frame, Side::Internal, 1);
    assert!(matches!(case.run(), Verdict::Redirect { .. }));
    let [original] = case
        .tables
        .half_open
        .entries()
        .into_iter()
        .filter(|entry| entry.key.src == addr("198.18.1.9"))
        .collect::<Vec<_>>()[..]
    else {
        panic!("one flow")
    };
    let (src, dst) = ((npci(1), Port::new(443)), (original.pair.dst, original.pair.dst_port));
    let mut answer = Frame { src, dst, ..frame }.packet(EXTERNAL_IF);
    assert!(matches!(send(&case.tables, &mut answer, Side::External, NOW), Verdict::Redirect { .. }));
}

/// A frame without headroom: nothing can be put in front.
struct Cramped(BytesPacket);

impl Packet for Cramped {
    type Window<'a, const N: usize> = BytesWindow<&'a [u8]>;
    type WindowMut<'a, const N: usize> = BytesWindow<&'a mut [u8]>;

    const TAGS_IN_FRAME: bool = true;
    const RESOLVES_NEIGHBOURS: bool = false;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn ingress_ifindex(&self) -> u32 {
        self.0.ingress_ifindex()
    }

    fn hold(&self, side: Side) -> bool {
        self.0.hold(side)
    }

    fn window<const N: usize>(&self, offset: usize) -> Option<BytesWindow<&[u8]>> {
        self.0.window::<N>(offset)
    }

    fn window_mut<const N: usize>(&mut self, offset: usize) -> Result<BytesWindow<&mut [u8]>, Refused> {
        self.0.window_mut::<N>(offset)
    }
}

#[test]
fn a_packet_that_cannot_grow_is_dropped() {
    let tables = Plan { vlans: [0, 100], ..Plan::three_tenants() }.tables();
    let packet = Frame::tcp(SYN, CLIENT, VIP).packet(EXTERNAL_IF);
    let mut cramped = Cramped(packet.clone());
    assert_eq!(process(&mut cramped, &tables, Side::External, NOW), Verdict::Drop(DropReason::RewriteFailed));
    assert_eq!(cramped.0, packet);
    assert_eq!(tables.drops.borrow()[&DropReason::RewriteFailed], 1);
}
