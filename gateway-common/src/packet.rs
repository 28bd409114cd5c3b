//! The seam between the packet engine and a packet: an XDP context, a TC context, or bytes in memory.

use crate::{
    abi::Protocol,
    wire::{checksum::Difference, ethernet::link_len},
};

/// The kernel, or the frame's end, refused a change. Nothing was written by the call that returned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// A frame, starting with its Ethernet header.
pub trait Packet {
    /// Does the frame itself carry the 802.1Q tag that the wire will see? True for XDP and for plain bytes. In TC the
    /// kernel keeps tags beside the frame and a VLAN device adds its own.
    const TAGS_IN_FRAME: bool;

    /// Can the kernel resolve the next hop's link address after the program has decided? True for TC.
    const RESOLVES_NEIGHBOURS: bool;

    /// Length of the whole frame in bytes.
    fn len(&self) -> usize;

    /// Is the frame empty? (Never on a wire.)
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Index of the interface that the frame came in by.
    fn ingress_ifindex(&self) -> u32;

    /// The `N` bytes at `offset`; `None` when the frame ends before them.
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// Overwrites the `N` bytes at `offset`.
    ///
    /// # Errors
    ///
    /// [`Refused`] when the frame ends before them.
    fn store<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> Result<(), Refused>;

    /// Makes room for, or removes, the 802.1Q tag, so that a link header with `wanted` fits in front of the payload;
    /// the link header's bytes are undefined afterwards. Returns its new length.
    ///
    /// # Errors
    ///
    /// [`Refused`] when there is no headroom.
    fn retag(&mut self, tagged: bool, wanted: bool) -> Result<usize, Refused> {
        if tagged == wanted { Ok(link_len(wanted)) } else { Err(Refused) }
    }

    /// Updates the transport checksum at `offset` after a change of addresses (which the pseudo-header covers) and of
    /// ports or identifiers.
    ///
    /// # Errors
    ///
    /// [`Refused`] when the frame ends before it.
    #[inline(always)]
    fn update_transport_checksum(
        &mut self,
        offset: usize,
        protocol: Protocol,
        addresses: Difference,
        ports: Difference,
    ) -> Result<(), Refused> {
        let checksum = u16::from_ne_bytes(self.load::<2>(offset).ok_or(Refused)?);
        let updated = match protocol {
            Protocol::Tcp => addresses.and(ports).apply(checksum),
            Protocol::Udp => addresses.and(ports).apply_udp(checksum),
            Protocol::Icmp => ports.apply(checksum),
        };
        self.store(offset, updated.to_ne_bytes())
    }
}
