//! The only code that changes packet bytes. It runs after every decision is made: what is left can be finished or
//! the packet dropped.

use crate::{
    abi::{Addr, FlowKey, LinkAddresses, Mac, Port, Protocol},
    packet::{Packet, Refused},
    wire::{
        arp::ArpRequest,
        checksum::Difference,
        ethernet::{
            self, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_OFFSET, ETHERTYPE_VLAN, HEADER_LEN, Link, TAG_LEN,
        },
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

/// Everything that translation changes, decided beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation<'a> {
    /// The packet's key; `pair` is the key of its answers, so it leaves as the reverse of `pair`.
    pub key: &'a FlowKey,
    /// See `key`.
    pub pair: &'a FlowKey,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The new link header; `None` leaves it to the kernel (neighbour resolution in TC).
    pub link: Option<LinkHeader>,
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
    let wanted = matches!(to.link, Some(LinkHeader { vlan_id: 1.., .. }));
    let ip_offset = packet.retag(link.tag.is_some(), wanted && P::TAGS_IN_FRAME)?;
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
    match to.link {
        Some(new) => store_link(packet, &new, link.tag, ETHERTYPE_IPV4),
        None => Ok(()),
    }
}

#[inline(always)]
fn store_ports<P: Packet>(
    packet: &mut P,
    transport: usize,
    protocol: Protocol,
    src_port: Port,
    dst_port: Port,
) -> Result<(), Refused> {
    let ([s0, s1], [d0, d1]) = (src_port.to_wire(), dst_port.to_wire());
    match protocol {
        Protocol::Tcp | Protocol::Udp => packet.store(transport, [s0, s1, d0, d1]),
        // One of the two is the identifier and the other zero.
        Protocol::Icmp => packet.store(transport + 4, [s0 | d0, s1 | d1]),
    }
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
    let ([c0, c1], [s0, s1, s2, s3], [d0, d1, d2, d3]) = (checksum.to_ne_bytes(), src.octets(), dst.octets());
    packet.store(offset + TTL_OFFSET, [ttl, ip.protocol, c0, c1, s0, s1, s2, s3, d0, d1, d2, d3])
}

/// Writes the link header. A tag keeps the priority that it came with.
#[inline(always)]
fn store_link<P: Packet>(
    packet: &mut P,
    new: &LinkHeader,
    old_tag: Option<u16>,
    ethertype: u16,
) -> Result<(), Refused> {
    let tagged = P::TAGS_IN_FRAME && new.vlan_id != 0;
    packet.store(0, new.addresses.to_wire())?;
    packet.store(ETHERTYPE_OFFSET, if tagged { ETHERTYPE_VLAN } else { ethertype }.to_be_bytes())?;
    if !tagged {
        return Ok(());
    }
    let priority = match old_tag {
        Some(tag) => tag & 0xf000,
        None => 0,
    };
    let ([t0, t1], [e0, e1]) = ((priority | new.vlan_id).to_be_bytes(), ethertype.to_be_bytes());
    packet.store::<TAG_LEN>(HEADER_LEN, [t0, t1, e0, e1])
}

/// Turns an echo request into its reply, in place: addresses swapped, type changed, TTL fresh, payload untouched.
///
/// # Errors
///
/// [`Refused`] when the packet could not be changed; it must then be dropped.
#[inline(always)]
pub fn echo_reply<P: Packet>(packet: &mut P, ip: &Ipv4) -> Result<(), Refused> {
    let icmp = ip.payload_offset();
    let change = Difference::NONE
        .word(u16::from_ne_bytes([ICMP_ECHO_REQUEST, 0]), u16::from_ne_bytes([ICMP_ECHO_REPLY, 0]));
    packet.update_transport_checksum(icmp + 2, Protocol::Icmp, Difference::NONE, change)?;
    packet.store(icmp, [ICMP_ECHO_REPLY, 0])?;
    store_addresses(packet, ip.offset, ip, ORIGINATED_TTL, Difference::NONE, (ip.dst, ip.src))?;
    let (sender, receiver) =
        (ethernet::source(packet).ok_or(Refused)?, ethernet::destination(packet).ok_or(Refused)?);
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
    debug_assert_eq!(link.ethertype, ETHERTYPE_ARP);
    let sender = ethernet::source(packet).ok_or(Refused)?;
    packet.store(link.len(), request.reply(mac))?;
    send_back(packet, sender, mac)
}

/// Writes both link addresses; a tag, if any, stays where it is.
#[inline(always)]
fn send_back<P: Packet>(packet: &mut P, destination: Mac, source: Mac) -> Result<(), Refused> {
    packet.store(0, LinkAddresses::new(destination, source).to_wire())
}
