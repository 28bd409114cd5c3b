//! Rare events for the daemon. Never one a packet of an established flow.

use super::Addr;
use bytemuck::{Pod, Zeroable};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum EventKind {
    /// A next hop could not be resolved: the daemon asks the kernel to.
    NoNeighbour = 1,
}

/// A record of the events ring buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Event {
    kind: u32,
    /// Interface index towards the next hop.
    pub ifindex: u32,
    /// The next hop.
    pub address: Addr,
    pad: u32,
}

impl Event {
    /// A next hop without a link address.
    pub const fn no_neighbour(ifindex: u32, address: Addr) -> Self {
        Self { kind: EventKind::NoNeighbour as u32, ifindex, address, pad: 0 }
    }

    /// What happened; `None` for a number that this version does not know.
    pub const fn kind(&self) -> Option<EventKind> {
        match self.kind {
            1 => Some(EventKind::NoNeighbour),
            _ => None,
        }
    }
}
