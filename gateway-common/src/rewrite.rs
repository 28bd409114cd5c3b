//! The only code that changes packet bytes. It runs after every decision is made: what is left can be finished or
//! the packet dropped.

mod mss;
mod part;
mod quoted;
mod refusal;

pub use mss::clamp_mss;
pub use part::translate_part;
pub use quoted::{ErrorTranslation, translate_error};
pub use refusal::{Complaint, icmp_error, tcp_challenge, tcp_reset};

use crate::{
    abi::{Addr, FlowKey, LinkAddresses, Mac, Port, Protocol},
    packet::{Packet, Refused, WindowMut as _},
    wire::{
        arp::ArpRequest,
        checksum::Difference,
        ethernet::{self, ETHERTYPE_IPV4, ETHERTYPE_OFFSET, ETHERTYPE_VLAN, HEADER_LEN, Link, TAG_LEN},
        ipv4::{Ipv4, TTL_OFFSET},
        transport::{ICMP_ECHO_REPLY, ICMP_ECHO_REQUEST, checksum_offset},
    },
};

/// Time to live of packets that the gateway itself originates (RFC 1700's recommended default).
const ORIGINATED_TTL: u8 = 64;

/// Where a translated packet goes on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkHeader {
    /// To the next hop, from the outgoing interface.
    pub addresses: LinkAddresses,
    /// VLAN identifier to send with; 0 for none.
    pub vlan_id: u16,
}

impl LinkHeader {
    /// None: the kernel writes it. Stands in plans, and is lent to functions that are not inlined, in place of an `Option`,
    /// whose empty variant would leave undefined bytes.
    pub const BY_KERNEL: Self = Self { addresses: LinkAddresses::NONE, vlan_id: u16::MAX };

    /// Is it a header that the gateway has to write?
    #[inline(always)]
    const fn is_known(self) -> bool {
        self.vlan_id != u16::MAX
    }

    /// Is it one with a tag?
    #[inline(always)]
    const fn is_tagged(self) -> bool {
        self.is_known() && self.vlan_id != 0
    }
}

/// Everything that translation changes, decided beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation<'a> {
    /// The packet's key; `pair` is the key of its answers, so it leaves as the reverse of `pair`.
    pub key: &'a FlowKey,
    /// See `key`.
    pub pair: &'a FlowKey,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The new link header, or [`LinkHeader::BY_KERNEL`] (neighbour resolution in TC).
    pub link: LinkHeader,
}

/// Translates addresses and ports, decrements the TTL and updates every checksum.
///
/// # Errors
///
/// [`Refused`] when the packet could not be changed. It may then be half-written and must be dropped.
#[inline(always)]
pub fn translate<P: Packet>(
    packet: &mut P,
    link: &Link,
    ip: &Ipv4,
    to: &Translation<'_>,
) -> Result<(), Refused> {
    let ip_offset = packet.retag(link.tag.is_some(), to.link.is_tagged() && P::TAGS_IN_FRAME)?;
    let (src, dst) = (to.pair.dst, to.pair.src);
    let (src_port, dst_port) = (to.pair.dst_port, to.pair.src_port);
    let addresses =
        Difference::NONE.long(to.key.src.to_be(), src.to_be()).long(to.key.dst.to_be(), dst.to_be());
    let ports = Difference::NONE
        .word(to.key.src_port.to_be(), src_port.to_be())
        .word(to.key.dst_port.to_be(), dst_port.to_be());
    let transport = ip_offset + ip.header_len;
    let checksum = transport + checksum_offset(to.protocol);
    packet.update_transport_checksum(checksum, to.protocol, addresses, ports)?;
    store_ports(packet, transport, to.protocol, src_port, dst_port)?;
    store_addresses(packet, ip_offset, ip, ip.ttl - 1, addresses, (src, dst))?;
    store_link(packet, &to.link, link.tag, ETHERTYPE_IPV4)
}

#[inline(always)]
fn store_ports<P: Packet>(
    packet: &mut P,
    transport: usize,
    protocol: Protocol,
    src_port: Port,
    dst_port: Port,
) -> Result<(), Refused> {
    match protocol {
        Protocol::Tcp | Protocol::Udp => {
            let mut ports = packet.window_mut::<4>(transport)?;
            ports.set_u16::<0>(src_port.to_be());
            ports.set_u16::<2>(dst_port.to_be());
        }
        // One of the two is the identifier and the other zero.
        Protocol::Icmp => {
            packet.window_mut::<2>(transport + 4)?.set_u16::<0>(src_port.to_be() | dst_port.to_be());
        }
    }
    Ok(())
}

/// Writes TTL, protocol, header checksum and both addresses, which lie side by side.
#[inline(always)]
fn store_addresses<P: Packet>(
    packet: &mut P,
    offset: usize,
    ip: &Ipv4,
    ttl: u8,
    addresses: Difference,
    (src, dst): (Addr, Addr),
) -> Result<(), Refused> {
    let ttl_word = |ttl: u8| u16::from_ne_bytes([ttl, ip.protocol]);
    let checksum = addresses.word(ttl_word(ip.ttl), ttl_word(ttl)).apply(ip.checksum);
    let mut header = packet.window_mut::<12>(offset + TTL_OFFSET)?;
    header.set_u8::<0>(ttl);
    header.set_u16::<2>(checksum);
    header.set_u32::<4>(src.to_be());
    header.set_u32::<8>(dst.to_be());
    Ok(())
}

/// Writes the link header, unless the kernel does. A tag keeps the priority that it came with.
#[inline(always)]
fn store_link<P: Packet>(
    packet: &mut P,
    new: &LinkHeader,
    old_tag: Option<u16>,
    ethertype: u16,
) -> Result<(), Refused> {
    if !new.is_known() {
        return Ok(());
    }
    let tagged = P::TAGS_IN_FRAME && new.vlan_id != 0;
    store_link_addresses(packet, new.addresses)?;
    let outer = if tagged { ETHERTYPE_VLAN } else { ethertype };
    packet.window_mut::<2>(ETHERTYPE_OFFSET)?.set_u16::<0>(outer.to_be());
    if !tagged {
        return Ok(());
    }
    let priority = match old_tag {
        Some(tag) => tag & 0xf000,
        None => 0,
    };
    let mut tag = packet.window_mut::<TAG_LEN>(HEADER_LEN)?;
    tag.set_u16::<0>((priority | new.vlan_id).to_be());
    tag.set_u16::<2>(ethertype.to_be());
    Ok(())
}

/// Turns an echo request into its reply, in place: addresses swapped, type changed, TTL fresh, payload untouched.
///
/// # Errors
///
/// [`Refused`] when the packet could not be changed; it must then be dropped.
#[inline(always)]
pub fn echo_reply<P: Packet>(packet: &mut P, ip: &Ipv4) -> Result<(), Refused> {
    let (receiver, sender) = ethernet::addresses(packet).ok_or(Refused)?;
    let icmp = ip.payload_offset();
    let (request, reply) =
        (u16::from_ne_bytes([ICMP_ECHO_REQUEST, 0]), u16::from_ne_bytes([ICMP_ECHO_REPLY, 0]));
    let change = Difference::NONE.word(request, reply);
    packet.update_transport_checksum(icmp + 2, Protocol::Icmp, Difference::NONE, change)?;
    packet.window_mut::<2>(icmp)?.set_u16::<0>(reply);
    store_addresses(packet, ip.offset, ip, ORIGINATED_TTL, Difference::NONE, (ip.dst, ip.src))?;
    send_back(packet, sender, receiver)
}

/// Turns an ARP request into the reply that says "the target is at `mac`".
///
/// # Errors
///
/// [`Refused`] when the packet could not be changed; it must then be dropped.
#[inline(always)]
pub fn arp_reply<P: Packet>(
    packet: &mut P,
    link: &Link,
    request: &ArpRequest,
    mac: Mac,
) -> Result<(), Refused> {
    let (_, sender) = ethernet::addresses(packet).ok_or(Refused)?;
    request.write_reply(packet, link.header_len(), mac)?;
    send_back(packet, sender, mac)
}

/// Sends the frame back to where it came from; a tag, if any, stays where it is.
#[inline(always)]
fn send_back<P: Packet>(packet: &mut P, destination: Mac, source: Mac) -> Result<(), Refused> {
    store_link_addresses(packet, LinkAddresses::new(destination, source))
}

#[inline(always)]
fn store_link_addresses<P: Packet>(packet: &mut P, addresses: LinkAddresses) -> Result<(), Refused> {
    let mut header = packet.window_mut::<12>(0)?;
    let [first, second, third] = addresses.words();
    header.set_u32::<0>(first);
    header.set_u32::<4>(second);
    header.set_u32::<8>(third);
    Ok(())
}

#[cfg(test)]
mod tests;
