//! The seam between the packet engine and a packet: an XDP context, a TC context, or bytes in memory.
//!
//! Headers lie at odd places, and BPF has no cheap way to copy bytes that may be misaligned. So a packet lends windows
//! of a fixed length, checked once against its end, whose fields are read and written in place at offsets known to the
//! compiler. All values are as they stand in memory: network byte order is kept, never converted by a window.

use crate::{
    abi::{Protocol, Side},
    wire::{checksum::Difference, ethernet::link_len, ipv4::Ipv4},
};

/// The kernel, or the frame's end, refused a change. Nothing was written by the call that returned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// Bytes of a packet that may be read.
pub trait Window {
    /// The byte at `AT`.
    fn u8<const AT: usize>(&self) -> u8;
    /// The two bytes at `AT`.
    fn u16<const AT: usize>(&self) -> u16;
    /// The four bytes at `AT`.
    fn u32<const AT: usize>(&self) -> u32;
}

/// Bytes of a packet that may be written.
pub trait WindowMut {
    /// Overwrites the byte at `AT`.
    fn set_u8<const AT: usize>(&mut self, value: u8);
    /// Overwrites the two bytes at `AT`.
    fn set_u16<const AT: usize>(&mut self, value: u16);
    /// Overwrites the four bytes at `AT`.
    fn set_u32<const AT: usize>(&mut self, value: u32);
}

/// A frame, starting with its Ethernet header.
pub trait Packet {
    /// `N` bytes to read.
    type Window<'a, const N: usize>: Window
    where
        Self: 'a;

    /// `N` bytes to write.
    type WindowMut<'a, const N: usize>: WindowMut
    where
        Self: 'a;

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

    /// The outermost 802.1Q tag, where the kernel keeps that beside the frame.
    #[inline(always)]
    fn tag_beside(&self) -> Option<u16> {
        None
    }

    /// Length in bytes of the longest IP packet that leaves for this one, which begins with `ip`: for one that the kernel has
    /// put together of many (GSO), that of each when it is cut up again.
    #[inline(always)]
    fn longest_len(&self, ip: &Ipv4) -> u16 {
        ip.total_len
    }

    /// The `N` bytes at `offset`; `None` when the frame ends before them.
    fn window<const N: usize>(&self, offset: usize) -> Option<Self::Window<'_, N>>;

    /// The `N` bytes at `offset`, to be written.
    ///
    /// # Errors
    ///
    /// [`Refused`] when the frame ends before them.
    fn window_mut<const N: usize>(&mut self, offset: usize) -> Result<Self::WindowMut<'_, N>, Refused>;

    /// Makes room for, or removes, the 802.1Q tag, so that a link header with `wanted` fits in front of the payload;
    /// the link header's bytes are undefined afterwards. Returns its new length.
    ///
    /// # Errors
    ///
    /// [`Refused`] when there is no headroom.
    fn retag(&mut self, tagged: bool, wanted: bool) -> Result<usize, Refused> {
        if tagged == wanted { Ok(link_len(wanted)) } else { Err(Refused) }
    }

    /// Makes the frame exactly this long. One that shrinks loses bytes at its end; one that grows may do so at its front,
    /// so that all its bytes are undefined then.
    ///
    /// # Errors
    ///
    /// [`Refused`] when there is no room.
    fn resize(&mut self, len: usize) -> Result<(), Refused> {
        if len == self.len() { Ok(()) } else { Err(Refused) }
    }

    /// Hands the whole frame, which came in on `side`, to the daemon to be kept for a moment; false when there is no room.
    fn hold(&self, side: Side) -> bool;

    /// Is the transport checksum, which lies at `offset`, left to the network card, which will write there? Never on a wire.
    ///
    /// # Errors
    ///
    /// [`Refused`] when the frame ends before it.
    #[inline(always)]
    fn leaves_checksum(&mut self, _offset: usize) -> Result<bool, Refused> {
        Ok(false)
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
        let checksum = self.window::<2>(offset).ok_or(Refused)?.u16::<0>();
        let updated = match protocol {
            Protocol::Tcp => addresses.and(ports).apply(checksum),
            Protocol::Udp => addresses.and(ports).apply_udp(checksum),
            Protocol::Icmp => ports.apply(checksum),
        };
        self.window_mut::<2>(offset)?.set_u16::<0>(updated);
        Ok(())
    }
}
