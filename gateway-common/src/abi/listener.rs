//! Listeners on the ingress VIP and addressed egress mappings on tenant NAT IPs.

use super::{Addr, Port, Protocol, TenantId};
use bytemuck::{Pod, Zeroable};

/// Key of the listener table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct ListenerKey {
    /// The ingress VIP, or a tenant NAT IP.
    pub address: Addr,
    /// Destination port.
    pub port: Port,
    protocol: u8,
    pad: u8,
}

impl ListenerKey {
    /// A listener's key.
    #[inline(always)]
    pub const fn new(address: Addr, protocol: Protocol, port: Port) -> Self {
        Self { address, port, protocol: protocol as u8, pad: 0 }
    }

    /// The protocol; `None` only for bytes that are no key of ours.
    pub const fn protocol(&self) -> Option<Protocol> {
        Protocol::from_number(self.protocol)
    }
}

/// How a listener forwards, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct ListenerFlags(pub u16);

impl ListenerFlags {
    /// The backend sees the client's own address instead of the tenant NAT IP.
    pub const PRESERVE_SOURCE: Self = Self(1);
    /// It takes no new flows; known ones go on. For listeners on the ingress VIP alone: a tenant's own calls stop by
    /// [`super::TenantSource`].
    pub const DRAINING: Self = Self(2);

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Does it contain the flag?
    pub const fn contains(self, flag: Self) -> bool {
        self.0 & flag.0 == flag.0
    }
}

/// Value of the listener table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Listener {
    /// The tenant that it belongs to.
    pub tenant: TenantId,
    /// How it forwards.
    pub flags: ListenerFlags,
    /// The pool that new flows go to.
    pub pool: u32,
    /// The allow-list that the source must be in (ingress only).
    pub allow_list: u32,
    /// The address that the flow leaves from: the tenant NAT IP for ingress, the egress VIP for egress.
    pub nat: Addr,
}
