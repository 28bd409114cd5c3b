//! What the wires carried, boiled down to the figures that are promised.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddrV4},
};

use crate::{
    capture::{Captured, Recording},
    packet::{BadChecksum, ChecksumOf, Frame},
    raw::Direction,
    topology::{AddressPlan, TenantPlan},
};

/// NPCI's wire, as NPCI sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NpciWire {
    /// Addresses that NPCI opened conversations to.
    pub destinations: BTreeSet<Ipv4Addr>,
    /// Addresses that opened conversations to NPCI.
    pub sources: BTreeSet<Ipv4Addr>,
    /// Addresses, in any packet, that are neither a VIP nor NPCI's own.
    pub foreign: BTreeSet<Ipv4Addr>,
    /// IPv4 packets.
    pub packets: usize,
    /// Wrong checksums in them, with the packet.
    pub bad_checksums: Vec<String>,
}

/// A tenant's wire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantWire {
    /// Addresses, in any packet, that are neither the tenant's NAT IP, nor its backends, nor an endpoint of NPCI.
    pub foreign: BTreeSet<Ipv4Addr>,
    /// Was the tenant's NAT IP seen?
    pub nat_ip_seen: bool,
    /// IPv4 packets.
    pub packets: usize,
    /// Wrong checksums in them, with the packet.
    pub bad_checksums: Vec<String>,
}

impl NpciWire {
    /// Reads a recording of NPCI's interface.
    pub fn read(recording: &Recording, plan: &AddressPlan) -> Self {
        let mut wire = Self { bad_checksums: bad_checksums(recording), ..Self::default() };
        let mut known = BTreeSet::new();
        for packet in &recording.packets {
            let frame = packet.frame();
            let Some((conversation, src, dst)) = conversation(&frame) else { continue };
            wire.packets += 1;
            if known.insert(conversation) {
                match packet.direction {
                    Direction::Out => wire.destinations.insert(dst),
                    Direction::In => wire.sources.insert(src),
                };
            }
        }
        let ours = |address: &Ipv4Addr| plan.is_vip(*address) || plan.npci_endpoints.contains(address);
        wire.foreign = recording.addresses().into_iter().filter(|address| !ours(address)).collect();
        wire
    }
}

impl TenantWire {
    /// Reads a recording of a tenant's interface.
    pub fn read(recording: &Recording, tenant: &TenantPlan, plan: &AddressPlan) -> Self {
        let addresses = recording.addresses();
        let allowed = |address: &Ipv4Addr| {
            *address == tenant.nat_ip
                || tenant.backends.contains(address)
                || plan.npci_endpoints.contains(address)
        };
        Self {
            nat_ip_seen: addresses.contains(&tenant.nat_ip),
            foreign: addresses.into_iter().filter(|address| !allowed(address)).collect(),
            packets: recording.packets.iter().filter(|packet| packet.addresses().is_some()).count(),
            bad_checksums: bad_checksums(recording),
        }
    }
}

/// Protocol and both ends, the same in both directions.
type Conversation = (u8, SocketAddrV4, SocketAddrV4);

fn conversation(frame: &Frame) -> Option<(Conversation, Ipv4Addr, Ipv4Addr)> {
    let ip = frame.ipv4()?;
    let end = |address| SocketAddrV4::new(address, 0);
    let (src, dst) = frame.endpoints().unwrap_or_else(|| (end(ip.src), end(ip.dst)));
    Some(((ip.protocol, src.min(dst), src.max(dst)), ip.src, ip.dst))
}

fn bad_checksums(recording: &Recording) -> Vec<String> {
    let describe = |packet: &Captured, bad: &BadChecksum| {
        let Captured { direction, checksum_pending, length, .. } = packet;
        format!("{bad:?}, {direction:?}, pending {checksum_pending}, {length} bytes: {:?}", packet.frame())
    };
    let packets = recording.packets.iter();
    packets.flat_map(|packet| wrong(packet).map(move |bad| describe(packet, &bad))).collect()
}

/// Checksums that the sender's offload has yet to finish are not wrong, see [`crate::capture`].
pub(super) fn wrong(packet: &Captured) -> impl Iterator<Item = BadChecksum> {
    let is_pending = packet.checksum_pending;
    let pending = move |bad: &BadChecksum| bad.partial && matches!(bad.of, ChecksumOf::Tcp | ChecksumOf::Udp);
    let bad = packet.frame().bad_checksums.into_iter();
    bad.filter(move |bad| !(is_other_zero(*bad) || is_pending && pending(bad)))
}

/// One's complement has two zeros, and a receiver takes either (RFC 1071). Where a sender has no offload, Linux writes
/// the one that UDP needs for TCP as well (`CSUM_MANGLED_0` in `skb_checksum_help`): one TCP packet in 65,536.
fn is_other_zero(bad: BadChecksum) -> bool {
    matches!(bad.of, ChecksumOf::Tcp) && bad.found == 0xffff && bad.expected == 0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::packet::{Packet, TcpFlags};

    const NPCI: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
    const INGRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
    const EGRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 20);
    const INSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 18);

    fn captured(direction: Direction, packet: &Packet) -> Captured {
        let bytes = packet.build();
        Captured { time: Duration::ZERO, direction, checksum_pending: false, length: bytes.len(), bytes }
    }

    #[test]
    fn the_first_packet_of_a_conversation_tells_who_opened_it() {
        let syn = Packet::tcp((NPCI, 4000), (INGRESS, 443)).flags(TcpFlags::SYN);
        let answer = Packet::tcp((INGRESS, 443), (NPCI, 4000)).flags(TcpFlags::SYN);
        let call = Packet::udp((EGRESS, 5000), (NPCI, 53));
        let packets = vec![
            captured(Direction::Out, &syn),
            captured(Direction::In, &answer),
            captured(Direction::In, &call),
        ];
        let wire = NpciWire::read(&Recording { packets }, &AddressPlan::default());
        assert_eq!((wire.destinations, wire.sources), ([INGRESS].into(), [EGRESS].into()));
        assert_eq!((wire.foreign.len(), wire.packets, wire.bad_checksums.len()), (0, 3, 0));
    }

    #[test]
    fn an_inside_address_on_npcis_wire_is_seen() {
        let leak = captured(Direction::In, &Packet::udp((INSIDE, 5000), (NPCI, 53)));
        let wire = NpciWire::read(&Recording { packets: vec![leak] }, &AddressPlan::default());
        assert_eq!((wire.foreign, wire.sources), ([INSIDE].into(), [INSIDE].into()));
    }

    #[test]
    fn another_tenants_address_and_a_bad_checksum_are_seen() {
        let (own, other) = (TenantPlan::numbered(1), TenantPlan::numbered(2));
        let mut bad = captured(Direction::In, &Packet::udp((other.nat_ip, 5000), (own.backend(), 53)));
        *bad.bytes.last_mut().expect("not empty") ^= 1;
        let wire = TenantWire::read(&Recording { packets: vec![bad] }, &own, &AddressPlan::default());
        assert_eq!((wire.foreign, wire.nat_ip_seen), ([other.nat_ip].into(), false));
        assert_eq!(wire.bad_checksums.len(), 1);
    }
    #[test]
    fn both_zeros_are_right_for_tcp_alone() {
        let zero = |of, found| is_other_zero(BadChecksum { of, found, expected: 0, partial: false });
        assert!(zero(ChecksumOf::Tcp, 0xffff));
        assert!(!zero(ChecksumOf::Tcp, 0xfffe) && !zero(ChecksumOf::Udp, 0xffff));
    }
}
