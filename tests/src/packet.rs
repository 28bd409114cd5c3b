//! Packets from scratch: a builder that can also build what no sane stack sends, and a strict parser.
//!
//! Own code instead of `etherparse`: the builder must be able to lie in any single field (IHL, lengths,
//! checksums) while all else stays right, the parser must recompute every checksum including those inside
//! ICMP errors and tell "absent" and "half-done by offload" from "wrong", and an oracle must share no code
//! with what it judges. Nothing here comes from `gateway-common`.
//!
//! Addresses and ports are in host order in every type of this module; bytes are in network order.

mod addr;
mod build;
mod checksum;
mod fragment;
mod icmp;
mod parse;
mod segment_size;

pub use addr::Mac;
pub use build::{Defect, Packet, TcpFlags};
pub use checksum::{internet_checksum, pseudo_header_sum};
pub use fragment::{fragments, reassemble};
pub use icmp::IcmpError;
pub use parse::{
    Arp, BadChecksum, Body, ChecksumOf, Ethernet, Frame, Icmp, IcmpBody, Ipv4, ParseError, Tcp, Transport,
    Udp,
};

/// `EtherType` of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// `EtherType` of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// `EtherType` of an 802.1Q tag.
pub const ETHERTYPE_VLAN: u16 = 0x8100;

/// IP protocol number of ICMP.
pub const PROTOCOL_ICMP: u8 = 1;
/// IP protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// IP protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;

#[cfg(test)]
mod tests;
