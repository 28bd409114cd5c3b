//! Who has which address, as in `gateway.toml`.

use std::net::Ipv4Addr;

use gateway_common::abi::Side;
use gateway_tests::packet::Mac;

/// What NPCI calls.
pub const INGRESS_VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// Where NPCI sees calls come from.
pub const EGRESS_VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 20);
/// NPCI's main endpoint, which is also a client.
pub const NPCI: Ipv4Addr = client(100);
/// A host of NPCI's behind a router of its own.
pub const ROUTED: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 5);
/// The gateway host's own address on the external side.
pub const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// An address that is nobody's.
pub const STRANGER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

/// A host of NPCI's. Up to 63 no listener allows it.
pub const fn client(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, number)
}

/// A tenant's first backend.
pub const fn backend(tenant: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, 16 * tenant + 2)
}

/// Another address of a tenant's.
pub const fn second_backend(tenant: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, 16 * tenant + 3)
}

/// A tenant's NAT IP.
pub const fn nat_ip(tenant: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, 16 * tenant + 14)
}

/// One of the gateway's interfaces, and who is at its other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// The gateway's interface.
    pub ifindex: u32,
    /// The side that it is on.
    pub side: Side,
    /// The gateway's link address.
    pub near: Mac,
    /// The neighbour's link address.
    pub far: Mac,
    /// Largest IP packet that it takes.
    pub mtu: usize,
    /// Does the kernel forward what comes in here?
    pub forwards: bool,
}
