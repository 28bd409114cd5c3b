//! Addresses and ports of conversations, beside those of the lab itself.
//!
//! Scripted ends use addresses that no kernel owns: nobody but the script answers there. Every conversation has client
//! ports of its own, so that conversations of one run never meet in a gateway's tables.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::topology::{AddressPlan, TenantPlan};

/// Client ports of a conversation.
pub const PORTS_EACH: u16 = 4;
/// Conversations with the same server port; beyond, the next server port is taken.
pub const CONVERSATIONS_A_GROUP: u64 = 10_000;
/// Server ports.
pub const GROUPS: u16 = 10;
/// Most conversations of a run.
pub const MOST_CONVERSATIONS: u64 = CONVERSATIONS_A_GROUP * GROUPS as u64;

const FIRST_CLIENT_PORT: u16 = 20_000;
const FIRST_LISTENER: u16 = 9000;
const FIRST_BACKEND_PORT: u16 = 8200;
const FIRST_NPCI_PORT: u16 = 7000;
const FIRST_MAPPED: u16 = 6000;
/// Of system ports (RFC 6335), so that a gateway that never takes those has to choose another.
const FIRST_SYSTEM_PORT: u16 = 512;
const SYSTEM_PORTS: u64 = 512;

/// First listener of the ingress VIP that leads to servers with real stacks.
pub const STREAM_LISTENER: u16 = 8441;
/// First port of the tenant's NAT IP that leads to NPCI's servers with real stacks.
pub const STREAM_MAPPED: u16 = 6441;
/// First port of servers with real stacks, at either side.
pub const STREAM_PORT: u16 = 8080;
/// Listener that leads to a port where nobody listens.
pub const CLOSED_LISTENER: u16 = 8449;
/// Port of the tenant's NAT IP that does.
pub const CLOSED_MAPPED: u16 = 6449;
/// Where nobody listens, at either side.
pub const CLOSED_PORT: u16 = 8089;
/// Listener of the second tenant.
pub const OTHER_LISTENER: u16 = 8450;

/// NPCI's scripted hosts; the first two are clients and the first is the server, too.
pub const NPCI_HOSTS: [Ipv4Addr; 2] = [external(150), external(151)];
/// Reports errors on NPCI's side.
pub const NPCI_ROUTER: Ipv4Addr = external(170);
/// In no allow-list.
pub const NPCI_STRANGER: Ipv4Addr = external(160);
/// In no peer group.
pub const NPCI_NO_PEER: Ipv4Addr = external(161);
/// Clients that call from system ports: as many as the ports of a group need.
const SYSTEM_CLIENTS: u8 = 20;
const FIRST_SYSTEM_CLIENT: u8 = 224;
/// What listeners allow: NPCI's hosts of the lab, and those of conversations.
pub const ALLOWED: [&str; 3] = ["192.0.2.100/30", "192.0.2.150/31", "192.0.2.224/27"];

const fn external(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, host)
}

/// A tenant's scripted hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inside {
    /// The first two are clients, and the first is the server, too.
    pub hosts: [Ipv4Addr; 2],
    /// Reports errors on the tenant's side.
    pub router: Ipv4Addr,
}

impl Inside {
    /// Behind the real backends of the tenant's subnet.
    pub fn of(tenant: &TenantPlan) -> Self {
        let [a, b, c, base] = tenant.subnet.network().octets();
        let host = |offset: u8| Ipv4Addr::new(a, b, c, base + offset);
        Self { hosts: [host(4), host(5)], router: host(9) }
    }

    /// Every address.
    pub fn addresses(self) -> [Ipv4Addr; 3] {
        [self.hosts[0], self.hosts[1], self.router]
    }
}

/// Every scripted address on NPCI's side.
pub fn npci_addresses() -> Vec<Ipv4Addr> {
    let system = (FIRST_SYSTEM_CLIENT..FIRST_SYSTEM_CLIENT + SYSTEM_CLIENTS).map(external);
    NPCI_HOSTS.into_iter().chain([NPCI_ROUTER, NPCI_STRANGER, NPCI_NO_PEER]).chain(system).collect()
}

/// The server port's number of a conversation.
pub fn group(index: u64) -> u16 {
    let group = index / CONVERSATIONS_A_GROUP;
    u16::try_from(group).ok().filter(|group| *group < GROUPS).expect("runs have at most MOST_CONVERSATIONS")
}

/// A client port that no other conversation of its group has.
pub fn client_port(index: u64, number: u16) -> u16 {
    let place = u16::try_from(index % CONVERSATIONS_A_GROUP).expect("less than a group");
    FIRST_CLIENT_PORT + place * PORTS_EACH + number % PORTS_EACH
}

/// A client on NPCI's side that calls from a system port; no other conversation of the group has it.
pub fn system_client(index: u64) -> SocketAddrV4 {
    let place = index % CONVERSATIONS_A_GROUP;
    let host = u8::try_from(place / SYSTEM_PORTS).expect("fewer than SYSTEM_CLIENTS");
    let port = u16::try_from(place % SYSTEM_PORTS).expect("a system port");
    SocketAddrV4::new(external(FIRST_SYSTEM_CLIENT + host), FIRST_SYSTEM_PORT + port)
}

/// The scripted services of one group, as configured in both gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// On the ingress VIP.
    pub listener: SocketAddrV4,
    /// Where it leads.
    pub backend: SocketAddrV4,
    /// On the tenant's NAT IP.
    pub mapped: SocketAddrV4,
    /// Where that leads; tenants may also call it directly.
    pub npci: SocketAddrV4,
}

impl Service {
    /// Of one group.
    pub fn of(plan: &AddressPlan, tenant: &TenantPlan, group: u16) -> Self {
        let inside = Inside::of(tenant);
        Self {
            listener: plan.ingress(FIRST_LISTENER + group),
            backend: SocketAddrV4::new(inside.hosts[0], FIRST_BACKEND_PORT + group),
            mapped: tenant.nat(FIRST_MAPPED + group),
            npci: SocketAddrV4::new(NPCI_HOSTS[0], FIRST_NPCI_PORT + group),
        }
    }

    /// Of every group.
    pub fn all(plan: &AddressPlan, tenant: &TenantPlan) -> Vec<Self> {
        (0..GROUPS).map(|group| Self::of(plan, tenant, group)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_conversations_of_a_group_share_a_client() {
        let ports: BTreeSet<u16> = (0..CONVERSATIONS_A_GROUP)
            .flat_map(|index| (0..PORTS_EACH).map(move |number| client_port(index, number)))
            .collect();
        assert_eq!(ports.len() as u64, CONVERSATIONS_A_GROUP * u64::from(PORTS_EACH));
        let clients: BTreeSet<SocketAddrV4> = (0..CONVERSATIONS_A_GROUP).map(system_client).collect();
        assert_eq!(clients.len() as u64, CONVERSATIONS_A_GROUP);
        assert!(clients.iter().all(|client| npci_addresses().contains(client.ip())));
    }

    #[test]
    fn groups_follow_one_another() {
        assert_eq!((group(0), group(CONVERSATIONS_A_GROUP - 1), group(CONVERSATIONS_A_GROUP)), (0, 0, 1));
        assert_eq!(group(MOST_CONVERSATIONS - 1), GROUPS - 1);
    }

    #[test]
    fn scripted_hosts_are_not_the_labs() {
        let (plan, tenant) = (AddressPlan::default(), TenantPlan::numbered(1));
        let inside = Inside::of(&tenant).addresses();
        assert!(inside.iter().all(|address| tenant.subnet.contains(address)));
        assert!(!inside.iter().any(|address| tenant.backends.contains(address) || *address == tenant.nat_ip));
        assert!(!npci_addresses().iter().any(|address| plan.npci_endpoints.contains(address)));
    }
}
