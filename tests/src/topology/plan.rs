//! Which address is whose. Documentation ranges only (RFC 5737).

use std::net::{Ipv4Addr, SocketAddrV4};

use ipnet::Ipv4Net;

/// The ranges that the tenants' subnets are cut from, in their order.
const TENANT_RANGES: [[u8; 3]; 2] = [[198, 51, 100], [203, 0, 113]];
/// Such a range (a /24) holds sixteen subnets of /28; the first is left unused, so that tenant i begins at 16 i.
const TENANTS_A_RANGE: usize = 15;
/// All ranges are used up by so many.
pub const MOST_TENANTS: usize = TENANTS_A_RANGE * TENANT_RANGES.len();

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
        let (range, place) = ((number - 1) / TENANTS_A_RANGE, (number - 1) % TENANTS_A_RANGE + 1);
        let ([a, b, c], base) = (TENANT_RANGES[range], u8::try_from(place * 16).expect("checked above"));
        let host = |offset: u8| Ipv4Addr::new(a, b, c, base + offset);
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
    use std::collections::BTreeSet;

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
    fn no_two_tenants_share_a_subnet() {
        let subnets: BTreeSet<Ipv4Net> =
            (1..=MOST_TENANTS).map(|number| TenantPlan::numbered(number).subnet).collect();
        assert_eq!(subnets.len(), MOST_TENANTS);
        assert_eq!(TenantPlan::numbered(15).nat_ip, Ipv4Addr::new(198, 51, 100, 254));
        assert_eq!(TenantPlan::numbered(16).nat_ip, Ipv4Addr::new(203, 0, 113, 30));
    }

    #[test]
    #[should_panic(expected = "numbered 1 to 30")]
    fn too_many_tenants_are_refused() {
        TenantPlan::numbered(31);
    }
}
