//! A gateway with tenants, as tables.

use super::frame::{End, Received, addr};
use crate::{
    abi::{
        Addr, AddressKind, Backend, Counter, DestinationKey, Interface, LinkAddresses, Listener,
        ListenerFlags, ListenerKey, Mac, OwnedAddress, Pool, PoolFlags, Port, Protocol, Settings, Side,
        TenantId, TenantSettings, TenantSource, Timeouts,
    },
    forward::process,
    maglev::{self, Candidate},
    memory::{BytesPacket, MemoryTables},
    port_slice::{PortShare, PortSlices},
    tables::Route,
    verdict::Verdict,
};
use bytemuck::Zeroable as _;
use std::{vec, vec::Vec};

/// A moment long after the start of the machine.
pub const NOW: u64 = 1_000_000_000_000;
pub const SECOND: u64 = 1_000_000_000;

pub const EXTERNAL_IF: u32 = 1;
pub const INTERNAL_IF: u32 = 2;
/// Added to a VLAN device's index: its parent.
const PARENT: u32 = 100;

pub const EXTERNAL_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
pub const INTERNAL_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];
pub const NEXT_HOP_MAC: [u8; 6] = [2, 0, 0, 0, 2, 1];

pub const INGRESS_VIP: Addr = Addr::new([192, 0, 2, 10]);
pub const EGRESS_VIP: Addr = Addr::new([192, 0, 2, 20]);
/// NPCI's network.
pub const NPCI: Addr = Addr::new([203, 0, 113, 0]);

/// A tenant to be configured. Everything else about it follows from its number.
#[derive(Clone, Debug)]
pub struct Tenant {
    pub number: u8,
    pub backends: u8,
    pub preserve: bool,
    /// May it call NPCI on any port, or on 443 alone?
    pub any_port: bool,
}

impl Tenant {
    pub const fn new(number: u8) -> Self {
        Self { number, backends: 2, preserve: false, any_port: false }
    }

    pub const fn id(&self) -> TenantId {
        TenantId(self.number as u16)
    }

    pub const fn nat(&self) -> Addr {
        Addr::new([198, 51, 100, self.number])
    }

    /// One of its own addresses; the first ones are its backends.
    pub const fn host(&self, host: u8) -> Addr {
        Addr::new([198, 18, self.number, host])
    }

    pub const fn backend(&self, backend: u8) -> End {
        (self.host(backend), Port::new(8080 + backend as u16))
    }

    /// Its port of the ingress VIP, TCP and UDP.
    pub const fn listener(&self) -> Port {
        Port::new(8440 + self.number as u16)
    }

    /// Its port of its own NAT IP that leads to [`npci`] number 1, TCP and UDP.
    pub const fn mapping(&self) -> Port {
        Port::new(9000 + self.number as u16)
    }
}

/// NPCI's n-th address.
pub const fn npci(host: u8) -> Addr {
    Addr::new([203, 0, 113, host])
}

/// A configuration.
#[derive(Clone, Debug)]
pub struct Plan {
    pub tenants: Vec<Tenant>,
    pub slices: u64,
    /// VLAN identifier by side; 0 is untagged.
    pub vlans: [u16; 2],
}

impl Plan {
    pub fn three_tenants() -> Self {
        Self {
            tenants: vec![Tenant::new(1), Tenant::new(2), Tenant::new(3)],
            slices: u64::MAX,
            vlans: [0; 2],
        }
    }

    /// The interface that packets of a side come in by.
    pub const fn ifindex(&self, side: Side) -> u32 {
        let device = match side {
            Side::External => EXTERNAL_IF,
            Side::Internal => INTERNAL_IF,
        };
        if self.vlans[side as usize] == 0 { device } else { device + PARENT }
    }

    pub fn tables(&self) -> MemoryTables {
        let mut tables = MemoryTables { settings: Some(self.settings()), ..MemoryTables::default() };
        tables.addresses.insert(INGRESS_VIP, OwnedAddress::shared(AddressKind::IngressVip));
        tables.addresses.insert(EGRESS_VIP, OwnedAddress::shared(AddressKind::EgressVip));
        tables.addresses.insert(addr("192.0.2.2"), OwnedAddress::shared(AddressKind::Host));
        for (side, mac) in [(Side::External, EXTERNAL_MAC), (Side::Internal, INTERNAL_MAC)] {
            self.interface(&mut tables, side, mac);
        }
        for tenant in &self.tenants {
            add_tenant(&mut tables, tenant);
        }
        for host in 0..=u8::MAX {
            route(&mut tables, npci(host), EXTERNAL_IF);
        }
        tables
    }

    fn settings(&self) -> Settings {
        Settings {
            lease_until_ns: u64::MAX,
            hash_seed: 7,
            slices: PortSlices::from_mask(self.slices),
            // Without quarantine: what has expired is gone, which most tests look at.
            timeouts: Timeouts { quarantine_secs: 0, ..Timeouts::DEFAULT },
            ingress_vip: INGRESS_VIP,
            egress_vip: EGRESS_VIP,
            epoch: 3,
            generation: 5,
            node: 1,
            ..Settings::zeroed()
        }
    }

    fn interface(&self, tables: &mut MemoryTables, side: Side, mac: [u8; 6]) {
        let (device, vlan) = (side as u32 + 1, self.vlans[side as usize]);
        let transmit = if vlan == 0 { device } else { device + PARENT };
        tables.interfaces.insert(device, Interface::new(side, transmit, vlan, Mac::new(mac)));
        let parent = device + PARENT;
        tables.interfaces.insert(parent, Interface::new(side, parent, 0, Mac::new(mac)));
    }
}

fn add_tenant(tables: &mut MemoryTables, tenant: &Tenant) {
    let (id, number) = (tenant.id(), u32::from(tenant.number));
    tables.addresses.insert(tenant.nat(), OwnedAddress::nat_ip(id));
    let settings = TenantSettings { nat: tenant.nat(), ports: PortShare::ALL, ..TenantSettings::zeroed() };
    tables.tenant_settings.insert(id, settings);
    tables.sources.push((tenant.host(0), 24, TenantSource::new(id)));
    for host in 0..32 {
        route(tables, tenant.host(host), INTERNAL_IF);
    }
    let inside = (1..=tenant.backends).map(|backend| tenant.backend(backend)).collect();
    add_pool(tables, number, id, inside);
    add_pool(tables, number + 100, id, vec![(npci(1), Port::new(443))]);
    tables.allow_lists.insert(number, vec![(NPCI, 24)]);
    let source = if tenant.preserve { ListenerFlags::PRESERVE_SOURCE } else { ListenerFlags::default() };
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Icmp] {
        let port = match protocol {
            Protocol::Tcp | Protocol::Udp if !tenant.any_port => Port::new(443),
            _ => Port::NONE,
        };
        tables.destinations.push((DestinationKey::new(id, protocol, port, NPCI), 24));
        let listener =
            Listener { tenant: id, flags: source, pool: number, allow_list: number, nat: tenant.nat() };
        tables.listeners.insert(ListenerKey::new(INGRESS_VIP, protocol, tenant.listener()), listener);
        let flags = ListenerFlags::default();
        let mapping = Listener { tenant: id, flags, pool: number + 100, allow_list: 0, nat: EGRESS_VIP };
        tables.listeners.insert(ListenerKey::new(tenant.nat(), protocol, tenant.mapping()), mapping);
    }
}

fn add_pool(tables: &mut MemoryTables, pool: u32, tenant: TenantId, members: Vec<End>) {
    let mut candidates = Vec::new();
    for (index, (address, port)) in (0..).zip(members) {
        let id = pool * 1000 + index;
        tables.backends.insert(id, Backend { address, port, tenant });
        candidates.push(Candidate { id, identity: u64::from(id), weight: 1 });
    }
    let table = maglev::build(&candidates, maglev::table_size(candidates.len()));
    let number = |len: usize| u32::try_from(len).unwrap();
    let place = Pool {
        maglev_offset: number(tables.maglev.len()),
        maglev_len: number(table.len()),
        flags: PoolFlags::default(),
    };
    tables.pools.insert(pool, place);
    tables.maglev.extend(table);
}

pub fn link_addresses(ifindex: u32) -> LinkAddresses {
    let own = if ifindex == EXTERNAL_IF { EXTERNAL_MAC } else { INTERNAL_MAC };
    LinkAddresses::new(Mac::new(NEXT_HOP_MAC), Mac::new(own))
}

fn route(tables: &mut MemoryTables, destination: Addr, ifindex: u32) {
    tables.routes.insert(destination, Route::Forward { ifindex, link: link_addresses(ifindex) });
}

/// Sends a packet through; checks what holds of every packet whatever its verdict.
pub fn send(tables: &MemoryTables, packet: &mut BytesPacket, side: Side, now_ns: u64) -> Verdict {
    let before = packet.clone();
    let [passed, answered, translated, held] = outcomes(tables);
    let dropped: u64 = tables.drops.borrow().values().sum();
    let refusals = refused_aloud(tables);
    let verdict = process(packet, tables, side, now_ns);
    let drops: u64 = tables.drops.borrow().values().sum();
    let refused_aloud = refused_aloud(tables) - refusals;
    let now = outcomes(tables);
    let counted = [now[0] - passed, now[1] - answered, now[2] - translated, now[3] - held, drops - dropped];
    let expected = match verdict {
        Verdict::Pass => [1, 0, 0, 0, 0],
        Verdict::Reply => [0, 1, 0, 0, refused_aloud],
        Verdict::Redirect { .. } | Verdict::RedirectNeighbour { .. } => [0, 0, 1, 0, 0],
        Verdict::Held => [0, 0, 0, 1, 0],
        Verdict::Drop(_) => [0, 0, 0, 0, 1],
    };
    assert_eq!(counted, expected, "counters of {verdict:?}: passed, answered, translated, held, dropped");
    if matches!(verdict, Verdict::Pass | Verdict::Held | Verdict::Drop(_)) {
        assert_eq!(*packet, before, "{verdict:?} must leave the packet alone");
    }
    verdict
}

/// The interface of a side.
pub const fn interface_of(side: Side) -> u32 {
    match side {
        Side::External => EXTERNAL_IF,
        Side::Internal => INTERNAL_IF,
    }
}

/// Packets that count as dropped, and were turned round.
fn refused_aloud(tables: &MemoryTables) -> u64 {
    tables.counter(Counter::RefusalsSent) + tables.counter(Counter::ChallengesSent)
}

fn outcomes(tables: &MemoryTables) -> [u64; 4] {
    let answers = [Counter::ArpAnswered, Counter::EchoAnswered];
    let answered =
        answers.into_iter().map(|counter| tables.counter(counter)).sum::<u64>() + refused_aloud(tables);
    [
        tables.counter(Counter::Passed),
        answered,
        tables.counter(Counter::Translated),
        tables.counter(Counter::FragmentsHeld),
    ]
}

/// Sends a packet that must be translated, and reads what leaves.
pub fn forward(tables: &MemoryTables, mut packet: BytesPacket, side: Side, now_ns: u64) -> (u32, Received) {
    match send(tables, &mut packet, side, now_ns) {
        Verdict::Redirect { ifindex } => (ifindex, Received::read(&packet.bytes)),
        verdict => panic!("{verdict:?}"),
    }
}
