//! Ports of the egress VIP and of the tenant NAT IPs, cut into slices that nodes own.
//!
//! Ports 1024-65535 are 63 slices of 1,024. A slice belongs to one node at a time, so no two nodes can emit the same
//! 5-tuple, and the owner of a reply follows from its destination port by arithmetic.

use crate::abi::Port;
use bytemuck::{Pod, Zeroable};

/// Ports in a slice.
pub const PORTS_PER_SLICE: u16 = 1024;

/// First port of slice 0: RFC 6335's system ports are never taken.
pub const FIRST_PORT: u16 = 1024;

/// Number of slices: 1024..=65535.
pub const SLICES: u8 = 63;

/// Step between tries: a prime above 1,024, so it is coprime to every product of a number of slices and a number of ports
/// of each, and the walk meets each of them before it repeats one.
const STRIDE: u32 = 40_507;

/// The slices that a node owns.
///
/// `index` lists them densely, so that the n-th owned port is two shifts and one load away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct PortSlices {
    mask: u64,
    count: u32,
    pad: u32,
    index: [u8; 64],
}

impl PortSlices {
    /// Every slice.
    pub const ALL: Self = Self::from_mask((1 << SLICES) - 1);

    /// From a bit set; bit `i` is slice `i`. Bits beyond the last slice are ignored.
    pub const fn from_mask(mask: u64) -> Self {
        let mask = mask & ((1 << SLICES) - 1);
        let mut slices = Self { mask, count: 0, pad: 0, index: [0; 64] };
        let mut slice = 0;
        while slice < SLICES {
            if mask & (1 << slice) != 0 {
                slices.index[slices.count as usize] = slice;
                slices.count += 1;
            }
            slice += 1;
        }
        slices
    }

    /// The bit set.
    pub const fn mask(&self) -> u64 {
        self.mask
    }

    /// How many ports are owned.
    #[inline(always)]
    pub const fn ports(&self) -> u32 {
        self.count * PORTS_PER_SLICE as u32
    }

    /// Is the port in an owned slice?
    #[inline(always)]
    pub const fn owns(&self, port: Port) -> bool {
        let number = port.number();
        number >= FIRST_PORT && self.mask & (1 << ((number - FIRST_PORT) >> 10)) != 0
    }

    /// How many ports of a share are owned.
    #[inline(always)]
    pub const fn ports_of(&self, share: PortShare) -> u32 {
        self.count * share.len as u32
    }

    /// The `attempt`-th candidate of a walk over all owned ports of a share that starts at `start`; `None` when it has
    /// none.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a place in a slice is below 1,024")]
    pub const fn candidate(&self, share: PortShare, start: u32, attempt: u32) -> Option<Port> {
        // Both are asked, not their product: the compiler then knows that no division is by zero.
        if share.len == 0 || self.ports_of(share) == 0 {
            return None;
        }
        let position = start.wrapping_add(attempt.wrapping_mul(STRIDE)) % self.ports_of(share);
        let slice = self.index[(position / share.len as u32) as usize & 63] as u16;
        let place = share.first + (position % share.len as u32) as u16;
        Some(Port::new(FIRST_PORT + (slice << 10) + (place & (PORTS_PER_SLICE - 1))))
    }
}

/// The part of every slice that a tenant's flows may take: the ports at `first..first + len` of each.
///
/// Cutting every slice alike keeps a tenant's ports the same on every node, whoever owns which slices: which tenant a
/// reserved port belongs to follows from the port alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct PortShare {
    /// Where it begins in a slice.
    pub first: u16,
    /// Ports of it in a slice; 0 means that the tenant has none.
    pub len: u16,
}

impl PortShare {
    /// All ports.
    pub const ALL: Self = Self { first: 0, len: PORTS_PER_SLICE };

    /// Does the port lie in it?
    #[inline(always)]
    pub const fn contains(&self, port: Port) -> bool {
        let place = (port.number().wrapping_sub(FIRST_PORT) & (PORTS_PER_SLICE - 1)).wrapping_sub(self.first);
        place < self.len
    }
}

/// The slice that a port belongs to; `None` for system ports.
pub const fn slice_of(port: Port) -> Option<u8> {
    match port.number().checked_sub(FIRST_PORT) {
        Some(offset) => Some((offset >> 10).to_le_bytes()[0]),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{PORTS_PER_SLICE, PortShare, PortSlices, SLICES, slice_of};
    use crate::abi::Port;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn all_slices_cover_1024_to_65535() {
        assert_eq!(PortSlices::ALL.ports(), 64_512);
        assert!(!PortSlices::ALL.owns(Port::new(1023)));
        assert!(PortSlices::ALL.owns(Port::new(1024)));
        assert!(PortSlices::ALL.owns(Port::new(65_535)));
        assert_eq!(slice_of(Port::new(80)), None);
        assert_eq!(slice_of(Port::new(1024)), Some(0));
        assert_eq!(slice_of(Port::new(65_535)), Some(62));
    }

    #[test]
    fn none_owned_gives_no_candidate() {
        assert_eq!(PortSlices::from_mask(0).candidate(PortShare::ALL, 1, 0), None);
    }

    fn shares() -> impl Strategy<Value = PortShare> {
        (0..PORTS_PER_SLICE)
            .prop_flat_map(|first| (Just(first), 1..=PORTS_PER_SLICE - first))
            .prop_map(|(first, len)| PortShare { first, len })
    }

    proptest! {
        #[test]
        fn a_walk_meets_every_owned_port_of_a_share_once(
            mask in 1_u64..(1 << SLICES),
            share in shares(),
            start: u32,
        ) {
            let slices = PortSlices::from_mask(mask);
            // `start` near the end of u32 would wrap: the data path reduces it first, as here.
            let start = start % slices.ports_of(share);
            let tries = slices.ports_of(share).min(4096);
            let met: BTreeSet<_> =
                (0..tries).filter_map(|attempt| slices.candidate(share, start, attempt)).collect();
            prop_assert_eq!(met.len(), tries as usize);
            prop_assert!(met.iter().all(|port| slices.owns(*port) && share.contains(*port)));
        }

        #[test]
        fn what_lies_in_one_share_lies_in_no_share_beside_it(share in shares(), number in 1024_u16..) {
            let port = Port::new(number);
            let before = PortShare { first: 0, len: share.first };
            let end = share.first + share.len;
            let behind = PortShare { first: end, len: PORTS_PER_SLICE - end };
            let holders = [before, share, behind].into_iter().filter(|share| share.contains(port)).count();
            prop_assert_eq!(holders, 1);
        }

        #[test]
        fn owners_are_disjoint(mask: u64, number in 1024_u16..) {
            let (mine, theirs) = (PortSlices::from_mask(mask), PortSlices::from_mask(!mask));
            let port = Port::new(number);
            prop_assert!(mine.owns(port) != theirs.owns(port));
            prop_assert_eq!(mine.owns(port), mask & (1 << slice_of(port).unwrap()) != 0);
        }
    }
}
