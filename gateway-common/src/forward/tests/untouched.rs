use super::{
    answers,
    frame::{ACK, FIN, Frame, Kind, RST, Received, SYN, SYN_ACK, end},
    world::{EXTERNAL_IF, INTERNAL_IF, NOW, Plan, link_addresses, npci, send},
};
use crate::{
    abi::Side,
    memory::{BytesPacket, MemoryTables},
    port_slice::PortSlices,
    tables::Route,
    verdict::Verdict,
};
use proptest::prelude::*;
use std::{vec, vec::Vec};

/// One way in which tables can fail.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Settings,
    Lease,
    Slices,
    Pools,
    Maglev,
    Backends,
    Interfaces,
    Listeners,
    NoBackends,
    Draining,
    Ended,
    HalfOpen(usize),
    Established(usize),
    Route(Route),
}

fn faults() -> impl Strategy<Value = Fault> {
    let unresolved = |ifindex| Route::Unresolved { ifindex, next_hop: npci(254) };
    let forward = |ifindex| Route::Forward { ifindex, link: link_addresses(EXTERNAL_IF) };
    let route = prop_oneof![
        Just(Route::None),
        (0_u32..4).prop_map(|ifindex| Route::TooLarge { ifindex, mtu: 1300 }),
        Just(Route::Disabled),
        (0_u32..4).prop_map(unresolved),
        (0_u32..4).prop_map(forward),
    ];
    prop_oneof![
        Just(Fault::Settings),
        Just(Fault::Lease),
        Just(Fault::Slices),
        Just(Fault::Pools),
        Just(Fault::Maglev),
        Just(Fault::Backends),
        Just(Fault::Interfaces),
        Just(Fault::Listeners),
        Just(Fault::NoBackends),
        Just(Fault::Draining),
        Just(Fault::Ended),
        (0_usize..6).prop_map(Fault::HalfOpen),
        (0_usize..6).prop_map(Fault::Established),
        route.prop_map(Fault::Route),
    ]
}

impl Fault {
    fn apply(self, tables: &mut MemoryTables) {
        match self {
            Self::Settings => tables.settings = None,
            Self::Lease => tables.settings.iter_mut().for_each(|settings| settings.lease_until_ns = 0),
            Self::Slices => {
                tables.settings.iter_mut().for_each(|settings| settings.slices = PortSlices::from_mask(0));
            }
            Self::Pools => tables.pools.clear(),
            Self::Maglev => tables.maglev.clear(),
            Self::Backends => tables.backends.clear(),
            Self::Interfaces => tables.interfaces.clear(),
            Self::Listeners => tables.listeners.clear(),
            Self::NoBackends => answers::without_backends(tables),
            Self::Draining => {
                answers::draining_listeners(tables);
                answers::draining_sources(tables);
            }
            Self::Ended => answers::end_flows(tables),
            Self::HalfOpen(capacity) => tables.half_open.capacity = capacity,
            Self::Established(capacity) => tables.established.capacity = capacity,
            Self::Route(route) => tables.routes.values_mut().for_each(|known| *known = route),
        }
    }
}

/// Frames of both ways, with and without a flow to belong to.
fn frames() -> impl Strategy<Value = (Frame, Side)> {
    let kind = prop_oneof![
        4 => prop::sample::select(&[SYN, SYN_ACK, ACK, FIN, RST][..]).prop_map(Kind::Tcp),
        1 => any::<bool>().prop_map(|checksum| Kind::Udp { checksum }),
        1 => any::<u8>().prop_map(Kind::Icmp),
    ];
    let ends = prop::sample::select(
        &[
            ("203.0.113.7:40000", "192.0.2.10:8441", Side::External),
            ("203.0.113.8:40000", "192.0.2.10:8442", Side::External),
            ("203.0.113.1:443", "192.0.2.20:50000", Side::External),
            ("203.0.113.1:443", "198.51.100.1:50000", Side::External),
            ("198.18.1.1:8081", "198.51.100.1:40000", Side::Internal),
            ("198.18.1.2:8082", "198.51.100.1:40000", Side::Internal),
            ("198.18.2.9:50000", "203.0.113.1:443", Side::Internal),
            ("198.18.2.9:50000", "198.51.100.2:9002", Side::Internal),
            ("198.18.2.9:50000", "198.51.100.3:9003", Side::Internal),
        ][..],
    );
    let shape = (0_u8..=10, prop_oneof![4 => Just(64_u8), 1 => 0_u8..3], prop::option::of(any::<u16>()));
    (kind, ends, shape, prop::collection::vec(any::<u8>(), 0..40)).prop_map(
        |(kind, (src, dst, side), (option_words, ttl, tag), payload)| {
            let frame = Frame { ttl, tag, option_words, payload, ..Frame::new(kind, end(src), end(dst)) };
            (frame, side)
        },
    )
}

/// What happens to a frame on its way here.
#[derive(Clone, Debug)]
enum Damage {
    None,
    Byte(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Padding(usize),
}

fn damages() -> impl Strategy<Value = Damage> {
    prop_oneof![
        3 => Just(Damage::None),
        3 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, value)| Damage::Byte(at, value)),
        1 => any::<prop::sample::Index>().prop_map(Damage::Cut),
        1 => (1_usize..40).prop_map(Damage::Padding),
    ]
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::None => {}
            // The headers are what is looked at: most bytes that matter are among the first.
            Self::Byte(at, value) => {
                let at = at.index(bytes.len().min(60));
                bytes[at] = *value;
            }
            Self::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Self::Padding(len) => bytes.resize(bytes.len() + len, 0),
        }
    }
}

type Sending = ((Frame, Side), Damage);

fn sendings() -> impl Strategy<Value = Vec<Sending>> {
    prop::collection::vec((frames(), damages()), 1..10)
}

/// `send` compares the bytes; here it is checked that what leaves is whole.
fn deliver(tables: &MemoryTables, ((frame, side), damage): &Sending) {
    let mut bytes = frame.build();
    damage.apply(&mut bytes);
    let whole = matches!(damage, Damage::None | Damage::Padding(_));
    let ingress_ifindex = if *side == Side::External { EXTERNAL_IF } else { INTERNAL_IF };
    let mut packet = BytesPacket { bytes, ingress_ifindex };
    match send(tables, &mut packet, *side, NOW) {
        Verdict::Redirect { .. } | Verdict::Reply if whole => drop(Received::read(&packet.bytes)),
        Verdict::RedirectNeighbour { .. } => panic!("plain bytes know no neighbours"),
        _ => {}
    }
}

proptest! {
    #[test]
    fn what_is_passed_or_dropped_has_not_been_changed(
        before in sendings(),
        faults in prop::collection::vec(faults(), 0..3),
        after in sendings(),
    ) {
        let mut tables = Plan::three_tenants().tables();
        for sending in &before {
            deliver(&tables, sending);
        }
        for fault in &faults {
            fault.apply(&mut tables);
        }
        for sending in &after {
            deliver(&tables, sending);
        }
    }

    #[test]
    fn any_bytes_at_all_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..120), external: bool, ipv4: bool) {
        let mut bytes = bytes;
        if ipv4 && bytes.len() > 15 {
            bytes[12..15].copy_from_slice(&[8, 0, 0x45]);
        }
        let side = if external { Side::External } else { Side::Internal };
        let mut packet = BytesPacket { bytes, ingress_ifindex: 1 };
        let _verdict = send(&Plan::three_tenants().tables(), &mut packet, side, NOW);
    }
}
