//! Which address is whose. Documentation ranges only (RFC 5737).

use std::net::{Ipv4Addr, SocketAddrV4};

use ipnet::Ipv4Net;

/// 198.51.100.0/24 holds sixteen subnets of /28; the first is left unused, so that tenant i has number 16 i.
pub const MOST_TENANTS: usize = 15;

/// Port on which NPCI's endpoints serve, as in the peer group of the default configuration.
const NPCI_PORT: u16 = 443;

/// All addresses of a topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressPlan {
    /// Between NPCI and the gateway.
    pub external_subnet: Ipv4Net,
    /// The gateway host's own address there.
    pub gateway_external: Ipv4Addr,
    /// NPCI's addresses; the first is the main one.
    pub npci_endpoints: Vec<Ipv4Addr>,
    /// Port of NPCI's endpoints.
    pub npci_port: u16,
    /// Where NPCI connects to. Configured on no interface.
    pub ingress_vip: Ipv4Addr,
    /// Where connections to NPCI come from. Configured on no interface.
    pub egress_vip: Ipv4Addr,
}

impl Default for AddressPlan {
    fn default() -> Self {
        let external = |host| Ipv4Addr::new(192, 0, 2, host);
        Self {
            external_subnet: Ipv4Net::new_assert(external(0), 24),
            gateway_external: external(1),
            npci_endpoints: vec![external(100), external(101), external(102)],
            npci_port: NPCI_PORT,
            ingress_vip: external(10),
            egress_vip: external(20),
        }
    }
}

impl AddressPlan {
    /// NPCI's main address.
    pub fn npci(&self) -> Ipv4Addr {
        self.npci_endpoints[0]
    }

    /// NPCI's main endpoint.
    pub fn npci_endpoint(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.npci(), self.npci_port)
    }

    /// A port on the ingress VIP.
    pub fn ingress(&self, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.ingress_vip, port)
    }

    /// True for either VIP.
    pub fn is_vip(&self, address: Ipv4Addr) -> bool {
        [self.ingress_vip, self.egress_vip].contains(&address)
    }
}

/// A tenant's addresses, all in one /28.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantPlan {
    /// From 1.
    pub number: usize,
    /// Name in configurations: `bank-1`.
    pub name: String,
    /// Between tenant and gateway.
    pub subnet: Ipv4Net,
    /// The gateway's address, the tenant's default route.
    pub gateway: Ipv4Addr,
    /// Two addresses of the tenant's namespace.
    pub backends: [Ipv4Addr; 2],
    /// The tenant NAT IP. Configured on no interface.
    pub nat_ip: Ipv4Addr,
}

impl TenantPlan {
    /// Panics beyond [`MOST_TENANTS`].
    pub fn numbered(number: usize) -> Self {
        assert!(
            (1..=MOST_TENANTS).contains(&number),
            "tenants are numbered 1 to {MOST_TENANTS}, not {number}"
        );
        let base = u8::try_from(number * 16).expect("checked above");
        let host = |offset: u8| Ipv4Addr::new(198, 51, 100, base + offset);
        Self {
            number,
            name: format!("bank-{number}"),
            subnet: Ipv4Net::new_assert(host(0), 28),
            gateway: host(1),
            backends: [host(2), host(3)],
            nat_ip: host(14),
        }
    }

    /// The tenant's main address.
    pub fn backend(&self) -> Ipv4Addr {
        self.backends[0]
    }

    /// A port on the tenant NAT IP.
    pub fn nat(&self, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.nat_ip, port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenant_addresses_are_usable_and_distinct() {
        for number in 1..=MOST_TENANTS {
            let plan = TenantPlan::numbered(number);
            let all = [plan.gateway, plan.backends[0], plan.backends[1], plan.nat_ip];
            let hosts: Vec<Ipv4Addr> = plan.subnet.hosts().collect();
            assert!(all.iter().all(|address| hosts.contains(address)), "{plan:?}");
            assert_eq!(Some(&plan.nat_ip), hosts.last(), "the NAT IP is the last usable address");
            assert_eq!(Some(&plan.gateway), hosts.first());
        }
    }

    #[test]
    #[should_panic(expected = "numbered 1 to 15")]
    fn too_many_tenants_are_refused() {
        TenantPlan::numbered(16);
    }
}
