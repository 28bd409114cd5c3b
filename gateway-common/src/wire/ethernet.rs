//! Ethernet II with at most one 802.1Q tag.

use crate::{
    abi::Mac,
    packet::{Packet, Window as _},
};

/// Length of an untagged header.
pub const HEADER_LEN: usize = 14;
/// Where the `EtherType`, or a tag's identifier, lies.
pub const ETHERTYPE_OFFSET: usize = 12;
/// Length that a tag adds.
pub const TAG_LEN: usize = 4;
/// `EtherType` of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// `EtherType` of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// Tag protocol identifier of 802.1Q.
pub const ETHERTYPE_VLAN: u16 = 0x8100;

/// What the link header says. Its addresses are only needed where a packet is answered, and read there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The tag's control information, if the frame has one (priority, drop eligible, VLAN identifier).
    pub tag: Option<u16>,
    /// `EtherType` of the payload.
    pub ethertype: u16,
}

impl Link {
    /// That of no frame.
    pub const NONE: Self = Self { tag: None, ethertype: 0 };

    /// Length of the header.
    #[inline(always)]
    pub const fn header_len(&self) -> usize {
        link_len(self.tag.is_some())
    }

    /// Reads the header; `None` when the frame ends within it.
    #[inline(always)]
    pub fn parse<P: Packet>(packet: &P) -> Option<Self> {
        let ethertype = u16::from_be(packet.window::<HEADER_LEN>(0)?.u16::<ETHERTYPE_OFFSET>());
        if ethertype != ETHERTYPE_VLAN {
            return Some(Self { tag: None, ethertype });
        }
        let tag = packet.window::<TAG_LEN>(HEADER_LEN)?;
        Some(Self { tag: Some(u16::from_be(tag.u16::<0>())), ethertype: u16::from_be(tag.u16::<2>()) })
    }
}

/// The frame's two link addresses: destination, source.
#[inline(always)]
pub fn addresses<P: Packet>(packet: &P) -> Option<(Mac, Mac)> {
    let header = packet.window::<HEADER_LEN>(0)?;
    let destination = Mac::from_half_words([header.u16::<0>(), header.u16::<2>(), header.u16::<4>()]);
    let source = Mac::from_half_words([header.u16::<6>(), header.u16::<8>(), header.u16::<10>()]);
    Some((destination, source))
}

/// Length of a header with or without a tag.
#[inline(always)]
pub const fn link_len(tagged: bool) -> usize {
    if tagged { HEADER_LEN + TAG_LEN } else { HEADER_LEN }
}
