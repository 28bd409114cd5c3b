//! The gateway that packets meet: two tenants with different rights, and what an oracle may say about them.
//!
//! Everything that the oracles ask is answered from here, by arithmetic, and not from the tables.

mod rights;

use std::net::Ipv4Addr;

use gateway_common::{
    abi::{
        Addr, AddressKind, Backend, DestinationKey, HairpinKey, Interface, LinkAddresses, Listener,
        ListenerFlags, ListenerKey, Mac, OwnedAddress, Pool, PoolFlags, Port, Protocol, Settings,
        SettingsFlags, Side, TenantId, TenantSource, Timeouts,
    },
    memory::MemoryTables,
    port_slice::PortSlices,
    tables::Route,
};

pub use rights::Rights;

/// The address that NPCI calls.
pub const INGRESS_VIP: Addr = Addr::new([192, 0, 2, 10]);
/// The address that NPCI is called from.
pub const EGRESS_VIP: Addr = Addr::new([192, 0, 2, 20]);
/// The host's own.
pub const HOST: Addr = Addr::new([192, 0, 2, 2]);

/// Numbers of the tenants, from 1.
pub const TENANTS: [u8; 2] = [1, 2];

/// The gateway's Ethernet address on every interface.
pub const GATEWAY_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// That of every next hop.
pub const NEXT_HOP_MAC: [u8; 6] = [2, 0, 0, 0, 2, 1];

/// Backends of each tenant's listeners.
const BACKENDS: u8 = 2;
/// Slots of each pool: few, so that a slot can be bent to another tenant's backend.
const SLOTS: u32 = 7;
/// Added to the number of a tenant: the pool of its addressed egress.
const EGRESS_POOL: u32 = 100;
/// Entries of a half-open table that floods do not fill: more than all rings together hold.
const ROOM_FOR_FLOODS: usize = 8_192;

/// Added to a device's number: another one on its side.
const ELSEWHERE: u32 = 50;

/// What differs from run to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Bit 1 << tenant: its backends see the client's own address.
    pub preserve: u8,
    /// Bit 1 << tenant: it may call its part of NPCI on any port.
    pub any_port: u8,
    /// Owned port slices.
    pub slices: u64,
    /// VLAN identifier by side; 0 is untagged.
    pub vlans: [u16; 2],
    /// Entries of the established and of the half-open table.
    pub capacities: [usize; 2],
    /// What the tenants may, and how they are treated.
    pub rights: Rights,
}

impl Plan {
    /// From the header of an input.
    pub fn new([flags, slices, vlans, established, half_open, limits, pairs, challenge]: [u8; 8]) -> Self {
        let vlan = |bit: u8, id: u16| if vlans & bit == 0 { 0 } else { id };
        let entries = |places: u8| 2 * usize::from(places % 32);
        let half_open = if half_open & 128 == 0 { entries(half_open) } else { ROOM_FOR_FLOODS };
        Self {
            preserve: (flags & 3) << 1,
            any_port: (flags >> 2 & 3) << 1,
            slices: if slices == 0 { 0 } else { 1 << (slices % 63) | u64::from(slices >> 6) },
            vlans: [vlan(1, 7), vlan(2, 4094)],
            capacities: [entries(established), half_open],
            rights: Rights::new([limits, pairs, challenge]),
        }
    }

    /// A place for every flow, all ports, no VLAN, every hairpin.
    #[cfg(test)]
    pub fn roomy() -> Self {
        let rights = Rights::new([0, 15, 0]);
        Self { preserve: 0, any_port: 0, slices: u64::MAX, vlans: [0; 2], capacities: [64; 2], rights }
    }

    /// Does this tenant's listener show the client's own address?
    pub const fn preserves(&self, tenant: u8) -> bool {
        self.preserve & 1 << tenant != 0
    }

    /// May the tenant open a flow to this end of NPCI's?
    pub fn may_call(&self, tenant: u8, protocol: Protocol, (address, port): (Addr, Port)) -> bool {
        let half = address.octets()[3] >> 7;
        let any_port = matches!(protocol, Protocol::Icmp) || self.any_port & 1 << tenant != 0;
        is_npci(address) && half + 1 == tenant && (any_port || port.number() == 443)
    }

    /// May the tenant's own calls be shown with this port of the egress VIP?
    pub fn may_be_shown(&self, tenant: u8, port: Port) -> bool {
        self.owns(port) && self.rights.share(tenant).contains(&(port.number() % 1024))
    }

    /// Does this node own the port?
    pub fn owns(&self, port: Port) -> bool {
        let slice = port.number().checked_sub(1024).map(|offset| offset / 1024);
        slice.is_some_and(|slice| self.slices & 1 << slice != 0)
    }

    /// The interface that packets of a side come in by.
    pub const fn ifindex(&self, side: Side) -> u32 {
        if self.vlans[side as usize] == 0 { device(side) } else { device(side) + 100 }
    }

    /// The interface that packets of a side come in by, or another one of that side that nobody is reached by. (With a
    /// VLAN it is the same one, and the tag differs.)
    pub const fn arrival(&self, side: Side, elsewhere: bool) -> u32 {
        let is_other = elsewhere && self.vlans[side as usize] == 0;
        if is_other { self.ifindex(side) + ELSEWHERE } else { self.ifindex(side) }
    }

    /// The tables of this gateway.
    pub fn tables(&self) -> MemoryTables {
        let mut tables = MemoryTables { settings: Some(self.settings()), ..MemoryTables::default() };
        (tables.established.capacity, tables.half_open.capacity) = (self.capacities[0], self.capacities[1]);
        tables.addresses.insert(INGRESS_VIP, OwnedAddress::shared(AddressKind::IngressVip));
        tables.addresses.insert(EGRESS_VIP, OwnedAddress::shared(AddressKind::EgressVip));
        tables.addresses.insert(HOST, OwnedAddress::shared(AddressKind::Host));
        for side in [Side::External, Side::Internal] {
            self.add_interface(&mut tables, side);
        }
        for host in 0..=u8::MAX {
            tables.routes.insert(npci(host), route(Side::External));
        }
        for tenant in TENANTS {
            self.add_tenant(&mut tables, tenant);
        }
        for (from, to) in TENANTS.into_iter().flat_map(|from| TENANTS.map(|to| (from, to))) {
            if self.rights.may_hairpin(from, to) {
                let [from, to] = [from, to].map(|tenant| TenantId(tenant.into()));
                tables.hairpins.insert(HairpinKey { from, to });
            }
        }
        tables
    }

    fn settings(&self) -> Settings {
        let mut settings: Settings = bytemuck::Zeroable::zeroed();
        settings.lease_until_ns = u64::MAX;
        settings.hash_seed = 7;
        settings.slices = PortSlices::from_mask(self.slices);
        settings.timeouts = Timeouts { quarantine_secs: self.rights.quarantine_secs, ..Timeouts::DEFAULT };
        (settings.ingress_vip, settings.egress_vip) = (INGRESS_VIP, EGRESS_VIP);
        settings.node = 1;
        settings.challenge_above = self.rights.challenge_above;
        settings.cookie_key = [0x5eed, 0xc001];
        if self.rights.resets_expired {
            settings.flags = settings.flags.with(SettingsFlags::RESET_EXPIRED);
        }
        if self.rights.clamps() {
            settings.flags = settings.flags.with(SettingsFlags::CLAMPS_MSS);
        }
        settings
    }

    fn add_interface(&self, tables: &mut MemoryTables, side: Side) {
        let (parent, other) = (device(side) + 100, device(side) + ELSEWHERE);
        let transmit = self.ifindex(side);
        let interface = |transmit: u32, vlan: u16| {
            let mut interface = Interface::new(side, transmit, vlan, Mac::new(GATEWAY_MAC));
            interface.mss = self.rights.interface_mss(side);
            interface
        };
        tables.interfaces.insert(device(side), interface(transmit, self.vlans[side as usize]));
        tables.interfaces.insert(parent, interface(parent, 0));
        tables.interfaces.insert(other, interface(other, 0));
    }

    fn add_tenant(&self, tables: &mut MemoryTables, tenant: u8) {
        let id = TenantId(tenant.into());
        tables.addresses.insert(nat(tenant), OwnedAddress::nat_ip(id));
        tables.tenant_settings.insert(id, self.rights.settings(tenant));
        tables.sources.push((host(tenant, 0), 24, TenantSource::new(id)));
        for number in 0..32 {
            tables.routes.insert(host(tenant, number), route(Side::Internal));
        }
        add_pool(tables, tenant.into(), id, (1..=BACKENDS).map(|number| backend(tenant, number)));
        add_pool(tables, egress_pool(tenant), id, [mapped(tenant)]);
        tables.allow_lists.insert(tenant.into(), vec![allowed(tenant)]);
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Icmp] {
            self.add_rights(tables, tenant, protocol);
        }
    }

    fn add_rights(&self, tables: &mut MemoryTables, tenant: u8, protocol: Protocol) {
        let id = TenantId(tenant.into());
        let any_port = matches!(protocol, Protocol::Icmp) || self.any_port & 1 << tenant != 0;
        let port = if any_port { Port::NONE } else { Port::new(443) };
        tables.destinations.push((DestinationKey::new(id, protocol, port, npci(128 * (tenant - 1))), 25));
        let flags =
            if self.preserves(tenant) { ListenerFlags::PRESERVE_SOURCE } else { ListenerFlags::default() };
        let (pool, allow_list) = (u32::from(tenant), u32::from(tenant));
        let inwards = Listener { tenant: id, flags, pool, allow_list, nat: nat(tenant) };
        tables.listeners.insert(ListenerKey::new(INGRESS_VIP, protocol, listener(tenant)), inwards);
        let (pool, flags) = (egress_pool(tenant), ListenerFlags::default());
        let outwards = Listener { tenant: id, flags, pool, allow_list: 0, nat: EGRESS_VIP };
        tables.listeners.insert(ListenerKey::new(nat(tenant), protocol, mapping(tenant)), outwards);
    }
}

fn add_pool(
    tables: &mut MemoryTables,
    pool: u32,
    tenant: TenantId,
    members: impl IntoIterator<Item = (Addr, Port)>,
) {
    let mut ids = Vec::new();
    for (index, (address, port)) in (0..).zip(members) {
        let id = pool * 1000 + index;
        tables.backends.insert(id, Backend { address, port, tenant });
        ids.push(id);
    }
    let maglev_offset = u32::try_from(tables.maglev.len()).expect("a few slots");
    tables.pools.insert(pool, Pool { maglev_offset, maglev_len: SLOTS, flags: PoolFlags::default() });
    tables.maglev.extend(ids.iter().cycle().take(SLOTS as usize));
}

/// The device of a side; its VLAN parent has a number 100 above.
pub const fn device(side: Side) -> u32 {
    side as u32 + 1
}

/// The pool of a tenant's addressed egress.
pub const fn egress_pool(tenant: u8) -> u32 {
    EGRESS_POOL + tenant as u32
}

/// The way out on a side.
pub fn route(side: Side) -> Route {
    let link = LinkAddresses::new(Mac::new(NEXT_HOP_MAC), Mac::new(GATEWAY_MAC));
    Route::Forward { ifindex: device(side), link }
}

/// NPCI's n-th address.
pub const fn npci(number: u8) -> Addr {
    Addr::new([203, 0, 113, number])
}

/// Is it one of NPCI's addresses?
pub fn is_npci(address: Addr) -> bool {
    address.octets()[..3] == [203, 0, 113]
}

/// A tenant's NAT IP.
pub const fn nat(tenant: u8) -> Addr {
    Addr::new([198, 51, 100, tenant])
}

/// One of a tenant's own addresses; the first ones are its backends.
pub const fn host(tenant: u8, number: u8) -> Addr {
    Addr::new([198, 18, tenant, number])
}

/// Whose own address it is.
pub fn owner(address: Addr) -> Option<u8> {
    let [a, b, tenant, _] = address.octets();
    (a == 198 && b == 18 && TENANTS.contains(&tenant)).then_some(tenant)
}

/// A server behind a tenant's listeners.
pub fn backend(tenant: u8, number: u8) -> (Addr, Port) {
    (host(tenant, number), Port::new(8080 + u16::from(number)))
}

/// Is it a server behind this tenant's listeners?
pub fn is_backend(tenant: u8, end: (Addr, Port)) -> bool {
    (1..=BACKENDS).any(|number| backend(tenant, number) == end)
}

/// A tenant's port of the ingress VIP, for each protocol.
pub const fn listener(tenant: u8) -> Port {
    Port::new(8440 + tenant as u16)
}

/// The tenant whose listener this end is.
pub fn listens_at((address, port): (Addr, Port)) -> Option<u8> {
    TENANTS.into_iter().find(|tenant| (address, port) == (INGRESS_VIP, listener(*tenant)))
}

/// A tenant's port of its own NAT IP, for each protocol.
pub const fn mapping(tenant: u8) -> Port {
    Port::new(9000 + tenant as u16)
}

/// The end of NPCI's that a tenant's [`mapping`] leads to.
pub const fn mapped(tenant: u8) -> (Addr, Port) {
    (npci(128 * (tenant - 1) + 1), Port::new(443))
}

/// Who may call a tenant's listeners: everybody at NPCI, or its upper half.
const fn allowed(tenant: u8) -> (Addr, u8) {
    if tenant == 1 { (npci(0), 24) } else { (npci(128), 25) }
}

/// May this client call the tenant's listeners?
pub fn may_be_called_by(tenant: u8, client: Addr) -> bool {
    is_npci(client) && (tenant == 1 || client.octets()[3] >= 128)
}

/// Is it an address that only the gateway may use?
pub fn is_gateways(address: Addr) -> bool {
    address == INGRESS_VIP || address == EGRESS_VIP || TENANTS.iter().any(|tenant| nat(*tenant) == address)
}

/// Must a packet with these ends never be left to the kernel?
pub fn is_ours(side: Side, src: Addr, dst: Addr) -> bool {
    let to_group = Ipv4Addr::from(dst).is_multicast() || Ipv4Addr::from(dst).is_broadcast();
    is_gateways(dst)
        || match side {
            Side::External => owner(dst).is_some(),
            Side::Internal => owner(src).is_some() && !to_group && dst != HOST,
        }
}
