//! Ethernet II with at most one 802.1Q tag.

use crate::{abi::Mac, packet::Packet};

/// Length of an untagged header.
pub const HEADER_LEN: usize = 14;
/// Where the sender's address lies.
const SOURCE_OFFSET: usize = 6;
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
    /// Length of the header.
    #[inline(always)]
    pub const fn len(&self) -> usize {
        link_len(self.tag.is_some())
    }

    /// Reads the header; `None` when the frame ends within it.
    #[inline(always)]
    pub fn parse<P: Packet>(packet: &P) -> Option<Self> {
        let ethertype = u16::from_be_bytes(packet.load(ETHERTYPE_OFFSET)?);
        if ethertype != ETHERTYPE_VLAN {
            return Some(Self { tag: None, ethertype });
        }
        let [t0, t1, e0, e1] = packet.load::<TAG_LEN>(HEADER_LEN)?;
        let tag = Some(u16::from_be_bytes([t0, t1]));
        Some(Self { tag, ethertype: u16::from_be_bytes([e0, e1]) })
    }
}

/// The link address of the frame's sender.
#[inline(always)]
pub fn source<P: Packet>(packet: &P) -> Option<Mac> {
    packet.load(SOURCE_OFFSET)
}

/// The link address that the frame was sent to.
#[inline(always)]
pub fn destination<P: Packet>(packet: &P) -> Option<Mac> {
    packet.load(0)
}

/// Length of a header with or without a tag.
#[inline(always)]
pub const fn link_len(tagged: bool) -> usize {
    if tagged { HEADER_LEN + TAG_LEN } else { HEADER_LEN }
}
