//! What an instruction does.

use gateway_common::{
    abi::{
        Addr, EntryFlags, FlowKey, ListenerFlags, ListenerKey, PoolFlags, Port, Protocol, Side, TenantSource,
    },
    tables::Route,
};

use super::{
    errors, expiry, floods,
    frame::{self, Damage, End, Kind, Packet},
    plan::{self, EGRESS_VIP, HOST, INGRESS_VIP},
    program::Op,
    trains,
    world::{Flow, World},
};

pub const SECOND_NS: u64 = 1_000_000_000;

/// Seconds that may pass at once: about every timeout there is, up to a day.
const WAITS: [u64; 12] = [0, 1, 2, 5, 30, 31, 61, 121, 241, 301, 7_441, 86_400];

/// TCP flags that mean something: SYN, SYN-ACK, ACK, FIN-ACK, RST-ACK, PSH-ACK, RST, none, all.
const FLAGS: [u8; 9] = [0x02, 0x12, 0x10, 0x11, 0x14, 0x18, 0x04, 0x00, 0x3f];

/// The number of a bare reset in [`FLAGS`].
const RST: u8 = 6;

/// Carries an instruction out.
pub fn act(world: &mut World, op: Op, arguments: [u8; 7]) {
    let [first, second, third, ..] = arguments;
    match op {
        Op::Open => open(world, arguments),
        Op::Follow => follow(world, arguments),
        Op::Stray => stray(world, arguments),
        Op::Damage => world.damage(Damage::new([first, second, third])),
        Op::Wait => {
            world.now_ns +=
                WAITS[usize::from(first) % WAITS.len()] * SECOND_NS + u64::from(second) * 1_000_000;
        }
        Op::Expire => expiry::act(world, first, second),
        Op::End => end(world, first),
        Op::Policy => policy(world, [first, second, third]),
        Op::Arp => {
            let side = side(first);
            let request = frame::arp_request(world.tag(side), address(second, third));
            let _verdict = world.send_frame(side, request);
        }
        Op::IcmpError => errors::act(world, arguments),
        Op::Train => trains::act(world, arguments),
        Op::Answer => answer(world, arguments),
        Op::Flood => floods::act(world, arguments),
    }
}

pub const fn side(bit: u8) -> Side {
    if bit & 1 == 0 { Side::External } else { Side::Internal }
}

/// A flow's first packet, as policy allows it: from NPCI to a listener, or from a tenant to NPCI, straight or by its own
/// NAT IP, as an echo, or to a listener.
fn open(world: &mut World, [who, protocol, host, port, shape, payload, way]: [u8; 7]) {
    let (side, packet) = opening(who, protocol, host, Port::new(40_000 + u16::from(port)));
    let packet = shaped(packet, shape, payload);
    world.elsewhere = way & 1 != 0;
    let _verdict = world.send(side, &packet.build());
}

/// A packet, and the side that it comes from.
pub type Sent = (Side, Packet);

/// Such a packet.
pub fn opening(who: u8, protocol: u8, host: u8, port: Port) -> Sent {
    let tenant = 1 + (who & 1);
    let called = 1 + (host >> 6 & 1);
    let inside = (plan::host(tenant, host % 32), port);
    let npci = plan::npci(128 * (tenant - 1) + host % 128);
    let kind = match protocol % 4 {
        0 | 1 => Kind::Tcp(FLAGS[0]),
        bits => Kind::Udp { checksum: bits == 2 },
    };
    let (side, kind, src, dst) = match who >> 1 & 7 {
        0 => (Side::External, kind, (npci, port), (INGRESS_VIP, plan::listener(tenant))),
        1 => (Side::Internal, kind, inside, (npci, Port::new(443))),
        2 => (Side::Internal, kind, inside, (plan::nat(tenant), plan::mapping(tenant))),
        3 => (Side::Internal, Kind::Echo(8), inside, (npci, Port::NONE)),
        _ => (Side::Internal, kind, inside, (INGRESS_VIP, plan::listener(called))),
    };
    (side, Packet::new(kind, src, dst))
}

/// A client's stack resets what it was challenged with; or somebody guesses.
fn answer(world: &mut World, [index, off, ..]: [u8; 7]) {
    let challenges = &world.clients.challenges;
    let Some(index) = usize::from(index).checked_rem(challenges.len()) else { return };
    let challenge = challenges[challenges.len() - 1 - index];
    let wrong = if off < 224 { 0 } else { u32::from(off) };
    let reset = Packet {
        sequence_number: challenge.cookie.wrapping_add(wrong),
        payload: Vec::new(),
        ..packet_of(&challenge.key, RST)
    };
    let _verdict = world.send(challenge.key.side(), &reset.build());
}

/// Options, time to live and payload of a packet.
fn shaped(mut packet: Packet, shape: u8, payload: u8) -> Packet {
    packet.option_words = (shape & 15).min(10);
    packet.ttl = [64, 1, 2, 255][usize::from(shape >> 4 & 3)];
    packet.mss = [None, Some(1460), Some(1250), Some(536)][usize::from(shape >> 6)];
    packet.is_padded = payload & 1 != 0;
    packet.payload.resize(payload.into(), 0x5a);
    packet
}

/// The key by which a flow's packets come in from one of its ends.
pub fn key_from(flow: Flow, from_original: bool) -> FlowKey {
    if from_original { flow.original } else { flow.reply }
}

/// A packet with this key, of a kind that the key's protocol has.
pub fn packet_of(key: &FlowKey, flags: u8) -> Packet {
    let kind = match key.protocol() {
        Some(Protocol::Tcp) => Kind::Tcp(FLAGS[usize::from(flags) % FLAGS.len()]),
        Some(Protocol::Udp) => Kind::Udp { checksum: flags & 1 == 0 },
        Some(Protocol::Icmp) if key.src_port == Port::NONE => Kind::Echo(0),
        Some(Protocol::Icmp) | None => Kind::Echo(8),
    };
    Packet::new(kind, (key.src, key.src_port), (key.dst, key.dst_port))
}

/// Sequence and acknowledgment numbers at the edges of a window that begins at 1, and far from it.
const NUMBERS: [u32; 8] = [1, 0, 2, 0x1_0000, 0x1_0001, 0x10_0001, 0x8000_0000, u32::MAX];

fn follow(world: &mut World, [index, from, flags, shape, payload, way, numbers]: [u8; 7]) {
    let Some(flow) = world.flow(index) else { return };
    let key = key_from(flow, from & 1 == 0);
    let mut packet = shaped(packet_of(&key, flags), shape, payload);
    packet.sequence_number = NUMBERS[usize::from(numbers & 7)];
    packet.acknowledgment = NUMBERS[usize::from(numbers >> 4 & 7)];
    world.elsewhere = way & 1 != 0;
    let _verdict = world.send(key.side(), &packet.build());
}

/// An address that means something to somebody.
pub fn address(which: u8, number: u8) -> Addr {
    match which % 10 {
        0 => INGRESS_VIP,
        1 => EGRESS_VIP,
        2 => HOST,
        3 => plan::nat(1 + (number & 1)),
        4 | 5 => plan::host(1 + (number & 1), number >> 1 & 31),
        6 | 7 => plan::npci(number),
        8 => Addr::new([8, 8, 8, number]),
        _ => Addr::new([[224, 0, 0, 1], [255; 4], [0; 4], [127, 0, 0, 1]][usize::from(number & 3)]),
    }
}

fn port(which: u8) -> Port {
    const PORTS: [u16; 10] = [443, 8441, 8442, 9001, 9002, 8081, 8082, 0, 53, 65_535];
    Port::new(PORTS.get(usize::from(which)).copied().unwrap_or(40_000 + u16::from(which)))
}

/// Anybody to anybody.
fn stray(world: &mut World, [way, ends, src, dst, ports, kind, flags]: [u8; 7]) {
    let ends: [End; 2] =
        [(address(ends >> 4, src), port(ports >> 4)), (address(ends & 15, dst), port(ports & 15))];
    let kind = match kind % 8 {
        0..=2 => Kind::Tcp(FLAGS[usize::from(flags) % FLAGS.len()]),
        3 | 4 => Kind::Udp { checksum: flags & 1 == 0 },
        5 => Kind::Echo(8),
        6 => Kind::Echo(0),
        _ => Kind::Other(flags),
    };
    let _verdict = world.send(side(way), &Packet::new(kind, ends[0], ends[1]).build());
}

/// The daemon ends a flow: both entries are marked.
fn end(world: &World, index: u8) {
    let Some(flow) = world.flow(index) else { return };
    for key in [flow.original, flow.reply] {
        for table in [&world.tables.established, &world.tables.half_open] {
            if let Some(entry) = table.entry(&key).filter(|entry| !entry.flags.contains(EntryFlags::RESET)) {
                table.replace(&entry.ended(world.now_ns));
            }
        }
    }
}

/// The configuration, the lease or the routing table changes under the packets.
fn policy(world: &mut World, [what, tenant, value]: [u8; 3]) {
    let tenant = 1 + (tenant & 1);
    let tables = &mut world.tables;
    match what % 9 {
        0 => tables.settings.iter_mut().for_each(|settings| {
            settings.lease_until_ns = if value & 1 == 0 { 0 } else { u64::MAX };
        }),
        1 => tables.sources.iter_mut().for_each(|(_, _, source)| {
            *source = TenantSource::new(source.tenant()).with_draining(value & 1 == 0);
        }),
        2 => drain_listener(world, tenant, value & 1 == 0),
        3 => tables.pools.values_mut().for_each(|pool| {
            pool.maglev_len = if value & 1 == 0 { 0 } else { 7 };
            pool.flags = PoolFlags(u32::from(value >> 1 & 1));
        }),
        // A slot that names another tenant's backend: tables that contradict each other.
        4 => bend_slots(world, tenant, value),
        5 => reroute(world, value),
        6 => tables.established.capacity = tables.established.entries().len().max(usize::from(value % 64)),
        7 => tables.half_open.capacity = tables.half_open.entries().len().max(usize::from(value % 64)),
        _ => tables.settings.iter_mut().for_each(|settings| settings.node = value % 3),
    }
}

fn drain_listener(world: &mut World, tenant: u8, draining: bool) {
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Icmp] {
        let key = ListenerKey::new(INGRESS_VIP, protocol, plan::listener(tenant));
        if let Some(listener) = world.tables.listeners.get_mut(&key) {
            let keep = ListenerFlags(listener.flags.0 & !ListenerFlags::DRAINING.0);
            listener.flags = if draining { keep.with(ListenerFlags::DRAINING) } else { keep };
        }
    }
}

fn bend_slots(world: &mut World, tenant: u8, value: u8) {
    let others = u32::from(3 - tenant) * 1000;
    let Some(pool) = world.tables.pools.get(&u32::from(tenant)) else { return };
    let slot = pool.maglev_offset as usize + usize::from(value % 7);
    world.tables.maglev[slot] = if value & 128 == 0 { others } else { u32::from(tenant) * 1000 };
}

/// One address is reached in another way from now on.
fn reroute(world: &mut World, value: u8) {
    let target = address(4 + (value & 3), value >> 4);
    let (ifindex, next_hop) = (1, target);
    let route = match value >> 2 & 7 {
        0 => Route::None,
        1 => Route::Disabled,
        2 => Route::TooLarge { ifindex, mtu: 1300 },
        3 => Route::Unresolved { ifindex: 2, next_hop },
        4 => plan::route(Side::External),
        _ => plan::route(Side::Internal),
    };
    world.tables.routes.insert(target, route);
}
