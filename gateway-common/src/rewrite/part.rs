//! Translating a later part of a fragmented datagram: there is no transport header in it.

use super::{LinkHeader, store_addresses, store_link};
use crate::{
    abi::Addr,
    packet::{Packet, Refused},
    wire::{
        checksum::Difference,
        ethernet::{ETHERTYPE_IPV4, Link},
        ipv4::Ipv4,
    },
};

/// Translates addresses, decrements the TTL and updates the header checksum.
///
/// # Errors
///
/// [`Refused`] when the packet could not be changed. It may then be half-written and must be dropped.
#[inline(always)]
pub fn translate_part<P: Packet>(
    packet: &mut P,
    link: &Link,
    ip: &Ipv4,
    (src, dst): (Addr, Addr),
    new_link: LinkHeader,
) -> Result<(), Refused> {
    let ip_offset = packet.retag(link.tag.is_some(), new_link.is_tagged() && P::TAGS_IN_FRAME)?;
    let addresses = Difference::NONE.long(ip.src.to_be(), src.to_be()).long(ip.dst.to_be(), dst.to_be());
    store_addresses(packet, ip_offset, ip, ip.ttl - 1, addresses, (src, dst))?;
    store_link(packet, &new_link, link.tag, ETHERTYPE_IPV4)
}
