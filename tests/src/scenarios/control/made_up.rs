//! Tenants that nobody calls: they exist in the store and in the kernel's tables only.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::gateway::{Tenant, TenantLimits};

/// Port of the first one's listener: above those of the lab's own tenants.
const FIRST_PORT: u16 = 10_000;
/// Their sources are cut from 10.0.0.0/9, a /24 each, their NAT IPs are above.
const NAT_IPS: u32 = 0x0a80_0000;

/// The tenant of this number, from 0, with so many backends.
pub fn tenant(number: u16, backends: u8) -> Tenant {
    let mut tenant = Tenant {
        name: name(number),
        nat_ip: Ipv4Addr::from(NAT_IPS + u32::from(number)),
        sources: vec![format!("{}/24", source(number, 0))],
        peer_groups: vec!["npci".to_owned()],
        limits: TenantLimits::default(),
        pool: Vec::new(),
        listener: Vec::new(),
        egress: Vec::new(),
    };
    let backends: Vec<SocketAddrV4> =
        (1..=backends).map(|host| SocketAddrV4::new(source(number, host), 8080)).collect();
    tenant.add_pool("web", &backends).add_listener("tcp", port(number), "web");
    tenant
}

/// What it is called.
pub fn name(number: u16) -> String {
    format!("made-up-{number}")
}

/// Its port of the ingress VIP.
pub fn port(number: u16) -> u16 {
    FIRST_PORT + number
}

fn source(number: u16, host: u8) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, high, low, host)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_share_anything() {
        let tenants: Vec<Tenant> = (0..10_000).map(|number| tenant(number, 2)).collect();
        let unique = |key: &dyn Fn(&Tenant) -> String| tenants.iter().map(key).collect::<BTreeSet<_>>().len();
        assert_eq!(unique(&|tenant| tenant.nat_ip.to_string()), 10_000);
        assert_eq!(unique(&|tenant| tenant.sources[0].clone()), 10_000);
        assert_eq!(unique(&|tenant| tenant.listener[0].port.to_string()), 10_000);
        assert_eq!(tenants[9_999].sources, ["10.39.15.0/24"]);
        assert_eq!(tenants[9_999].pool[0].backend[1].address, Ipv4Addr::new(10, 39, 15, 2));
    }
}
