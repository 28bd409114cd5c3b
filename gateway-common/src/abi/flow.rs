//! The key of a flow.

use super::{Addr, Port};
use bytemuck::{Pod, Zeroable};
use core::fmt;

/// Which side of the gateway an interface, and so a packet, is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Side {
    /// NPCI's.
    External = 0,
    /// The tenants'.
    Internal = 1,
}

impl Side {
    /// The other one.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::External => Self::Internal,
            Self::Internal => Self::External,
        }
    }

    /// The word used in configuration and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::External => "external",
            Self::Internal => "internal",
        }
    }
}

/// Transport protocols that are tracked; numbers of IANA's protocol registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// ICMP echo.
    Icmp = 1,
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
}

impl Protocol {
    /// From the number in an IP header.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Icmp),
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            _ => None,
        }
    }

    /// The word used in configuration and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Icmp => "icmp",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Address family of a key. Only IPv4 exists today; the field keeps the place for IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Family {
    /// IPv4.
    V4 = 4,
}

/// A 5-tuple as seen on the wire of one side.
///
/// The side is part of the key, so a packet that arrives from NPCI with a tenant's source address can never meet
/// the entry of that tenant's own flow. For ICMP echo a request has its identifier as source port and a reply has
/// it as destination port; the other port is zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct FlowKey {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Source port.
    pub src_port: Port,
    /// Destination port.
    pub dst_port: Port,
    protocol: u8,
    side: u8,
    family: u8,
    pad: u8,
}

impl FlowKey {
    /// A key of an IPv4 flow.
    #[inline(always)]
    pub const fn v4(side: Side, protocol: Protocol, src: (Addr, Port), dst: (Addr, Port)) -> Self {
        Self {
            src: src.0,
            dst: dst.0,
            src_port: src.1,
            dst_port: dst.1,
            protocol: protocol as u8,
            side: side as u8,
            family: Family::V4 as u8,
            pad: 0,
        }
    }

    /// The transport protocol; `None` only for bytes that are no key of ours.
    pub const fn protocol(&self) -> Option<Protocol> {
        Protocol::from_number(self.protocol)
    }

    /// The transport protocol's number.
    #[inline(always)]
    pub const fn protocol_number(&self) -> u8 {
        self.protocol
    }

    /// The side on whose wire this tuple is seen.
    pub const fn side(&self) -> Side {
        if self.side == Side::External as u8 { Side::External } else { Side::Internal }
    }
}

impl fmt::Debug for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = self.protocol().map_or("?", Protocol::name);
        let side = self.side().name();
        write!(f, "{side} {protocol} {}:{} > {}:{}", self.src, self.src_port, self.dst, self.dst_port)
    }
}
