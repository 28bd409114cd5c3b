//! Translating an ICMP error and the packet that it quotes: four checksums (RFC 5508 section 4.2).

use super::{LinkHeader, store_addresses, store_link, store_ports};
use crate::{
    abi::{Addr, FlowKey, Protocol},
    packet::{Packet, Refused, Window as _, WindowMut as _},
    wire::{
        checksum::Difference,
        ethernet::{ETHERTYPE_IPV4, Link},
        ipv4::Ipv4,
        quote::Quote,
        transport::checksum_offset,
    },
};

/// Offset of the header checksum in an IP header; both addresses follow it.
const IP_CHECKSUM_OFFSET: usize = 10;

/// Everything that the translation of an error changes, decided beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorTranslation<'a> {
    /// What is quoted becomes the packet that this is the key of, as its sender knows it.
    pub original: &'a FlowKey,
    /// The error's new source; it goes to the original packet's.
    pub src: Addr,
    /// The new link header, or [`LinkHeader::BY_KERNEL`].
    pub link: LinkHeader,
}

/// Translates outer and quoted headers, decrements the outer TTL and updates every checksum.
///
/// # Errors
///
/// [`Refused`] when the packet could not be changed. It may then be half-written and must be dropped.
// Not inlined, so that it shares the kernel's stack with what comes before it.
#[inline(never)]
pub fn translate_error<P: Packet>(
    packet: &mut P,
    link: &Link,
    ip: &Ipv4,
    quote: &Quote,
    to: &ErrorTranslation<'_>,
) -> Result<(), Refused> {
    let ip_offset = packet.retag(link.tag.is_some(), to.link.is_tagged() && P::TAGS_IN_FRAME)?;
    let change = translate_quote(packet, ip_offset, quote, to.original)?;
    let checksum = ip_offset + ip.header_len + checksum_offset(Protocol::Icmp);
    packet.update_transport_checksum(checksum, Protocol::Icmp, Difference::NONE, change)?;
    let (src, dst) = (to.src, to.original.src);
    let addresses = Difference::NONE.long(ip.src.to_be(), src.to_be()).long(ip.dst.to_be(), dst.to_be());
    store_addresses(packet, ip_offset, ip, ip.ttl - 1, addresses, (src, dst))?;
    store_link(packet, &to.link, link.tag, ETHERTYPE_IPV4)
}

/// Translates the quote and returns how its sum has changed, which is how the error's own checksum changes.
#[inline(always)]
fn translate_quote<P: Packet>(
    packet: &mut P,
    ip_offset: usize,
    quote: &Quote,
    original: &FlowKey,
) -> Result<Difference, Refused> {
    // The quoted packet is the reverse of the key.
    let key = &quote.key;
    let addresses = Difference::NONE
        .long(key.dst.to_be(), original.src.to_be())
        .long(key.src.to_be(), original.dst.to_be());
    let ports = Difference::NONE
        .word(key.dst_port.to_be(), original.src_port.to_be())
        .word(key.src_port.to_be(), original.dst_port.to_be());
    let transport = translate_transport_checksum(packet, ip_offset, quote, addresses, ports)?;
    store_ports(packet, ip_offset + quote.transport, quote.protocol, original.src_port, original.dst_port)?;
    let checksum = addresses.apply(quote.checksum);
    let mut header = packet.window_mut::<10>(ip_offset + quote.offset + IP_CHECKSUM_OFFSET)?;
    header.set_u16::<0>(checksum);
    header.set_u32::<2>(original.src.to_be());
    header.set_u32::<6>(original.dst.to_be());
    Ok(addresses.and(ports).and(transport).word(quote.checksum, checksum))
}

/// Updates the quoted transport checksum if the quote reaches that far. It is data here: the kernel has no part in it.
#[inline(always)]
fn translate_transport_checksum<P: Packet>(
    packet: &mut P,
    ip_offset: usize,
    quote: &Quote,
    addresses: Difference,
    ports: Difference,
) -> Result<Difference, Refused> {
    let Some(at) = quote.transport_checksum() else {
        return Ok(Difference::NONE);
    };
    let old = packet.window::<2>(ip_offset + at).ok_or(Refused)?.u16::<0>();
    let new = match quote.protocol {
        Protocol::Tcp => addresses.and(ports).apply(old),
        Protocol::Udp => addresses.and(ports).apply_udp(old),
        Protocol::Icmp => ports.apply(old),
    };
    packet.window_mut::<2>(ip_offset + at)?.set_u16::<0>(new);
    Ok(Difference::NONE.word(old, new))
}
