//! The interfaces that packets come from and leave by.

use super::{Mac, Side};
use bytemuck::{Pod, Zeroable};

/// Value of the interface table. A VLAN device has an entry of its own, which names its parent and its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Interface {
    /// Where a frame with the tag already in it is transmitted: the parent of a VLAN device, else the device itself.
    pub transmit_ifindex: u32,
    /// 802.1Q VLAN identifier, 0 for an untagged interface.
    pub vlan_id: u16,
    /// Its Ethernet address.
    pub mac: Mac,
    side: u8,
    flags: u8,
    /// Largest TCP segment that connections through here may agree on, in bytes (the MSS option); 0 leaves them alone.
    pub mss: u16,
}

/// The mark of where a packet came in: an interface, and the VLAN of the frame's tag, if it has one. Packets that came in at
/// the same place have the same mark. Two places share one by chance: of `n` places with a chance of `n * n / 65,536`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct Arrival(u16);

impl Arrival {
    /// Nowhere yet.
    pub const UNKNOWN: Self = Self(0);

    /// By this interface, with this VLAN identifier in the frame (0: none).
    #[inline(always)]
    pub const fn new(ifindex: u32, vlan_id: u16) -> Self {
        // Knuth's multiplicative hash, of which the upper half is spread best; never the mark of no place.
        let place = ifindex ^ ((vlan_id as u32) << 20);
        Self((place.wrapping_mul(0x9e37_79b1) >> 16) as u16 | 1)
    }
}

impl Interface {
    /// An interface on one side of the gateway.
    pub const fn new(side: Side, transmit_ifindex: u32, vlan_id: u16, mac: Mac) -> Self {
        Self { transmit_ifindex, vlan_id, mac, side: side as u8, flags: 0, mss: 0 }
    }

    /// The same, and the daemon switched IPv4 forwarding on here: `unload` switches it off again.
    #[must_use]
    pub const fn with_forwarding_switched_on(mut self, switched_on: bool) -> Self {
        self.flags = switched_on as u8;
        self
    }

    /// Did the daemon switch IPv4 forwarding on here?
    pub const fn forwarding_switched_on(&self) -> bool {
        self.flags != 0
    }

    /// The side it is on.
    pub const fn side(&self) -> Side {
        if self.side == Side::External as u8 { Side::External } else { Side::Internal }
    }
}
