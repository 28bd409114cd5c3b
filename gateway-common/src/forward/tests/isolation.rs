use super::{
    frame::{ACK, End, Frame, Kind, Received, SYN, SYN_ACK, addr},
    world::{EGRESS_VIP, INGRESS_VIP, NEXT_HOP_MAC, NOW, NPCI, Plan, Tenant, forward, npci, send},
};
use crate::{
    abi::{Addr, CtEntry, EntryFlags, Port, Side, TenantId},
    memory::MemoryTables,
    port_slice::PortSlices,
    tables::Tables as _,
    verdict::Verdict,
};
use proptest::prelude::*;
use std::{collections::HashSet, vec::Vec};

fn plans() -> impl Strategy<Value = Plan> {
    let tenant = (1_u8..=4, any::<bool>(), any::<bool>());
    let vlan = || prop_oneof![Just(0_u16), 1_u16..4095];
    (prop::array::uniform3(tenant), 1_u64..(1 << 63), vlan(), vlan()).prop_map(
        |(tenants, slices, external, internal)| Plan {
            tenants: (1..)
                .zip(tenants)
                .map(|(number, (backends, preserve, any_port))| Tenant {
                    number,
                    backends,
                    preserve,
                    any_port,
                })
                .collect(),
            slices,
            vlans: [external, internal],
        },
    )
}

/// How a tenant's flow is opened.
#[derive(Clone, Copy, Debug)]
enum Way {
    Ingress,
    Egress,
    Addressed,
    Echo,
}

#[derive(Clone, Debug)]
struct Opening {
    tenant: usize,
    way: Way,
    udp: Option<bool>,
    port: u16,
    host: u8,
    option_words: u8,
    payload: Vec<u8>,
    priority: u16,
}

fn openings() -> impl Strategy<Value = Opening> {
    let way = prop_oneof![Just(Way::Ingress), Just(Way::Egress), Just(Way::Addressed), Just(Way::Echo)];
    let place = (0_usize..3, way, 1_u16.., 0_u8..32);
    let bytes = (0_u8..=10, prop::collection::vec(any::<u8>(), 0..40), 0_u16..16);
    (place, any::<Option<bool>>(), bytes).prop_map(
        |((tenant, way, port, host), udp, (option_words, payload, priority))| Opening {
            tenant,
            way,
            udp,
            port,
            host,
            option_words,
            payload,
            priority: priority << 12,
        },
    )
}

impl Opening {
    const fn side(&self) -> Side {
        match self.way {
            Way::Ingress => Side::External,
            Way::Egress | Way::Addressed | Way::Echo => Side::Internal,
        }
    }

    /// The frame of this direction: what it says is about the flow's first packet or an answer.
    fn kind(&self, answer: bool) -> Kind {
        match (self.way, self.udp) {
            (Way::Echo, _) => Kind::Icmp(if answer { 0 } else { 8 }),
            (_, Some(checksum)) => Kind::Udp { checksum },
            (_, None) => Kind::Tcp(if answer { SYN_ACK } else { SYN }),
        }
    }

    fn ends(&self, tenant: &Tenant) -> (End, End) {
        let port = Port::new(self.port);
        let inside = (tenant.host(self.host), port);
        match self.way {
            Way::Ingress => ((npci(self.host), port), (INGRESS_VIP, tenant.listener())),
            Way::Egress => (inside, (npci(self.host + 1), Port::new(443))),
            Way::Addressed => (inside, (tenant.nat(), tenant.mapping())),
            Way::Echo => (inside, (npci(self.host + 1), Port::NONE)),
        }
    }

    fn frame(&self, plan: &Plan, side: Side, kind: Kind, (src, dst): (End, End)) -> Frame {
        let vlan = plan.vlans[side as usize];
        let (option_words, payload) = (self.option_words, self.payload.clone());
        let tag = (vlan != 0).then_some(vlan | self.priority);
        Frame { tag, option_words, payload, ..Frame::new(kind, src, dst) }
    }

    /// Sends one direction's packet and checks everything but its addresses.
    fn pass_through(
        &self,
        plan: &Plan,
        tables: &MemoryTables,
        side: Side,
        kind: Kind,
        ends: (End, End),
    ) -> Received {
        let frame = self.frame(plan, side, kind, ends);
        let before = Received::read(&frame.build());
        let (ifindex, after) = forward(tables, frame.packet(plan.ifindex(side)), side, NOW);
        let out = side.opposite();
        assert_eq!(ifindex, plan.ifindex(out), "it leaves on the other side");
        assert_eq!(after.link[..6], NEXT_HOP_MAC);
        let vlan = plan.vlans[out as usize];
        let priority = before.tag.map_or(0, |tag| tag & 0xf000);
        assert_eq!(after.tag, (vlan != 0).then_some(vlan | priority));
        assert_eq!((after.ttl, after.protocol), (before.ttl - 1, before.protocol));
        assert_eq!(after.rest, before.rest, "nothing but addresses and ports is the gateway's to change");
        after
    }

    /// Whether the flow leaves as its tenant's and as nobody else's.
    fn check_shown(&self, plan: &Plan, tenant: &Tenant, sent: &Received) {
        let slices = PortSlices::from_mask(plan.slices);
        let (src, dst) = self.ends(tenant);
        match self.way {
            Way::Ingress => {
                assert!((1..=tenant.backends).any(|backend| tenant.backend(backend) == sent.dst), "{sent:?}");
                if tenant.preserve {
                    assert_eq!(sent.src, src);
                } else {
                    assert_eq!(sent.src.0, tenant.nat());
                    assert!(slices.owns(sent.src.1));
                }
            }
            Way::Egress | Way::Addressed | Way::Echo => {
                let target = if matches!(self.way, Way::Addressed) { (npci(1), Port::new(443)) } else { dst };
                assert_eq!((sent.src.0, sent.dst), (EGRESS_VIP, target));
                assert!(slices.owns(sent.src.1));
            }
        }
    }
}

fn originals(tables: &MemoryTables) -> Vec<CtEntry> {
    let mut entries = tables.half_open.entries();
    entries.extend(tables.established.entries());
    entries.retain(|entry| entry.flags.contains(EntryFlags::ORIGINAL));
    entries
}

/// As `machine::Shared::fault`, for tables in memory.
fn assert_whole(tables: &MemoryTables) {
    for entry in originals(tables) {
        let [established, half_open] =
            [&tables.established, &tables.half_open].map(|table| table.entry(&entry.pair));
        let pair = established.or(half_open).expect("every original has its reply");
        assert_eq!((pair.pair, pair.tenant), (entry.key, entry.tenant));
    }
    let entries = tables.half_open.entries().len() + tables.established.entries().len();
    assert_eq!(entries, 2 * originals(tables).len());
}

proptest! {
    /// There and back: each flow is its tenant's own, and its answer comes back from where the first packet went.
    #[test]
    fn a_round_trip_restores_both_ends(plan in plans(), openings in prop::collection::vec(openings(), 1..12)) {
        let tables = plan.tables();
        for opening in &openings {
            let tenant = &plan.tenants[opening.tenant];
            let (src, dst) = opening.ends(tenant);
            // With its own address a client can meet itself on another listener: a tuple that is in use is refused.
            let (side, kind) = (opening.side(), opening.kind(false));
            let sent = opening.pass_through(&plan, &tables, side, kind, (src, dst));
            opening.check_shown(&plan, tenant, &sent);
            let answered = opening.pass_through(&plan, &tables, side.opposite(), opening.kind(true), (sent.dst, sent.src));
            prop_assert_eq!((answered.src, answered.dst), (dst, src));
            if opening.udp.is_none() && !matches!(opening.way, Way::Echo) {
                let third = opening.pass_through(&plan, &tables, side, Kind::Tcp(ACK), (src, dst));
                prop_assert_eq!((third.src, third.dst), (sent.src, sent.dst));
            }
            assert_whole(&tables);
        }
        let replies: HashSet<_> = originals(&tables).iter().map(|entry| entry.pair).collect();
        prop_assert_eq!(replies.len(), originals(&tables).len(), "no two flows share a reply key");
    }

    /// Whatever anybody sends: what leaves towards NPCI shows a VIP, what reaches a backend is its tenant's.
    #[test]
    fn no_packet_crosses_tenants_or_shows_an_inside_address(
        plan in plans(),
        packets in prop::collection::vec((any::<bool>(), kinds(), anyone(), anyone()), 1..60),
    ) {
        let tables = plan.tables();
        for (external, kind, src, dst) in packets {
            let side = if external { Side::External } else { Side::Internal };
            let frame = Frame::new(kind, src, dst).tag(plan.vlans[side as usize]);
            let mut packet = frame.packet(plan.ifindex(side));
            let Verdict::Redirect { ifindex } = send(&tables, &mut packet, side, NOW) else { continue };
            prop_assert_eq!(ifindex, plan.ifindex(side.opposite()));
            let sent = Received::read(&packet.bytes);
            match side {
                Side::External => check_inwards(&plan, &tables, &frame, &sent),
                Side::Internal => check_outwards(&plan, &tables, &frame, &sent),
            }
        }
        assert_whole(&tables);
    }
}

fn inside(address: Addr) -> Option<u8> {
    let [a, b, tenant, _] = address.octets();
    (a == 198 && b == 18).then_some(tenant)
}

fn is_npci(address: Addr) -> bool {
    address.octets()[..3] == NPCI.octets()[..3]
}

/// From NPCI: it asked for a VIP, and reaches the tenant whose listener or whose flow that was.
fn check_inwards(plan: &Plan, tables: &MemoryTables, asked: &Frame, sent: &Received) {
    assert!(asked.dst.0 == INGRESS_VIP || asked.dst.0 == EGRESS_VIP, "{asked:?}");
    let number = inside(sent.dst.0).expect("an inside address");
    let tenant = &plan.tenants[usize::from(number) - 1];
    if asked.dst.0 == INGRESS_VIP {
        assert_eq!(asked.dst.1, tenant.listener());
        assert!(is_npci(asked.src.0), "the allow-list");
        assert!((1..=tenant.backends).any(|backend| tenant.backend(backend) == sent.dst), "{sent:?}");
        assert_eq!(sent.src.0, if tenant.preserve { asked.src.0 } else { tenant.nat() });
    } else {
        assert_eq!(tables.tenant_of(sent.dst.0), Some(TenantId(u16::from(number))));
    }
}

/// From the tenants' side: to NPCI alone, and from a VIP alone.
fn check_outwards(plan: &Plan, tables: &MemoryTables, asked: &Frame, sent: &Received) {
    assert!(is_npci(sent.dst.0), "{sent:?}");
    let tenant = tables.tenant_of(asked.src.0).expect("a tenant's own address");
    let tenant = &plan.tenants[usize::from(tenant.0) - 1];
    if sent.src.0 == INGRESS_VIP {
        assert_eq!(sent.src.1, tenant.listener());
    } else {
        assert_eq!(sent.src.0, EGRESS_VIP);
        assert!(PortSlices::from_mask(plan.slices).owns(sent.src.1));
    }
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => prop::sample::select(&[0x02_u8, 0x12, 0x10, 0x11, 0x14, 0x18, 0x00, 0x3f][..]).prop_map(Kind::Tcp),
        2 => any::<bool>().prop_map(|checksum| Kind::Udp { checksum }),
        1 => prop::sample::select(&[0_u8, 8][..]).prop_map(Kind::Icmp),
    ]
}

/// Addresses and ports that mean something to somebody, so that hostile packets meet live flows.
fn anyone() -> impl Strategy<Value = End> {
    let tenant = || (1_u8..=3).prop_map(Tenant::new);
    let address = prop_oneof![
        3 => (1_u8..4).prop_map(npci),
        3 => Just(INGRESS_VIP),
        1 => Just(EGRESS_VIP),
        1 => tenant().prop_map(|tenant| tenant.nat()),
        3 => (tenant(), 1_u8..5).prop_map(|(tenant, host)| tenant.host(host)),
        1 => prop::sample::select(&["192.0.2.2", "8.8.8.8", "224.0.0.1", "255.255.255.255", "0.0.0.0"][..]).prop_map(addr),
    ];
    let port = prop_oneof![
        prop::sample::select(&[443_u16, 8441, 8442, 8443, 9001, 9002, 8081, 8082, 0][..]),
        40_000_u16..40_004,
    ];
    (address, port.prop_map(Port::new))
}
