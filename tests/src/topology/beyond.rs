//! What lies behind an end of the lab: one more router, and a host behind it.
//!
//! ```text
//!   npci or tenant<i>           <name>-router               <name>-host
//!   beyond0  .1        <---->   near0 .2     far0 .9   <---->   eth0 .10, default route via .9
//! ```
//!
//! The end itself becomes a router as well. So a host's packets meet two routers before the gateway, and the link between
//! these two can be smaller than those that the hosts know of.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::netns::Namespace;

/// Where the end meets the router.
const END_DEVICE: &str = "beyond0";
/// The router's way back to the end.
const NEAR_DEVICE: &str = "near0";
/// The router's way to the host.
const FAR_DEVICE: &str = "far0";
/// The host's only interface.
const HOST_DEVICE: &str = "eth0";

/// Addresses behind one end, all in one /28: a /29 for each link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BeyondPlan {
    /// All of them.
    pub range: Ipv4Net,
}

impl BeyondPlan {
    /// The end's own, towards the router.
    pub fn end(self) -> Ipv4Addr {
        self.host_number(1)
    }

    /// The router's, towards the end.
    pub fn near(self) -> Ipv4Addr {
        self.host_number(2)
    }

    /// The router's, towards the host.
    pub fn far(self) -> Ipv4Addr {
        self.host_number(9)
    }

    /// The host's.
    pub fn host(self) -> Ipv4Addr {
        self.host_number(10)
    }

    fn host_number(self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.range.network()) + number)
    }
}

/// A router and a host behind one end of the lab.
#[derive(Debug)]
pub struct Beyond {
    /// Addresses.
    pub plan: BeyondPlan,
    /// Between the end and the host.
    pub router: Namespace,
    /// The last one.
    pub host: Namespace,
}

impl Beyond {
    /// Makes both behind `end`, whose kernel forwards from now on. `range` is a /28. Whoever else shall reach it needs a route.
    #[track_caller]
    pub fn connect(end: &Namespace, range: Ipv4Net) -> Self {
        assert_eq!(range.prefix_len(), 28, "room for two links");
        let plan = BeyondPlan { range };
        let namespace = |what: &str| Namespace::create(end.session(), &format!("{}-{what}", end.role()));
        let beyond = Self { plan, router: namespace("router"), host: namespace("host") };
        join((end, END_DEVICE, plan.end()), (&beyond.router, NEAR_DEVICE, plan.near()));
        join((&beyond.router, FAR_DEVICE, plan.far()), (&beyond.host, HOST_DEVICE, plan.host()));
        end.ip(&["route", "add", &range.to_string(), "via", &plan.near().to_string()]);
        beyond.router.ip(&["route", "add", "default", "via", &plan.end().to_string()]);
        beyond.host.ip(&["route", "add", "default", "via", &plan.far().to_string()]);
        [end, &beyond.router, &beyond.host].into_iter().for_each(forward_and_complain);
        beyond
    }

    /// Both ends of the link between `end`, which it was made behind, and the router.
    pub fn first_link<'a>(&'a self, end: &'a Namespace) -> [(&'a Namespace, &'static str); 2] {
        [(end, END_DEVICE), (&self.router, NEAR_DEVICE)]
    }
}

/// A veth of which each end has one address, on a /29.
fn join(one: (&Namespace, &str, Ipv4Addr), other: (&Namespace, &str, Ipv4Addr)) {
    one.0.ip_batch(&format!("link add {} type veth peer name {} netns {}\n", one.1, other.1, other.0.name()));
    for (namespace, device, address) in [one, other] {
        namespace.ip_batch(&format!("addr add {address}/29 dev {device}\nlink set {device} up\n"));
    }
}

/// Each probe gets its answer: how often Linux complains to one address within a second is not the gateway's affair.
fn forward_and_complain(namespace: &Namespace) {
    namespace.sysctl("net/ipv4/ip_forward", "1");
    namespace.sysctl("net/ipv4/icmp_ratelimit", "0");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_links_have_a_subnet_of_their_own() {
        let plan = BeyondPlan { range: Ipv4Net::new_assert(Ipv4Addr::new(203, 0, 113, 16), 28) };
        let subnet = |address| Ipv4Net::new_assert(address, 29).trunc();
        assert_eq!(subnet(plan.end()), subnet(plan.near()));
        assert_eq!(subnet(plan.far()), subnet(plan.host()));
        assert_ne!(subnet(plan.near()), subnet(plan.far()));
        assert!([plan.end(), plan.host()].iter().all(|address| plan.range.contains(address)));
    }
}
