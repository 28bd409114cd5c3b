//! The packet that an ICMP error quotes (RFC 792; RFC 5508 section 4.2).
//!
//! Only the first 64 bits behind the quoted IP header are sure to be there, and nothing more is asked for.

use super::{
    ipv4::{Fragment, HEADER_LEN, Ipv4},
    transport::{
        ICMP_DESTINATION_UNREACHABLE, ICMP_ECHO_REPLY, ICMP_ECHO_REQUEST, ICMP_HEADER_LEN,
        ICMP_PARAMETER_PROBLEM, ICMP_TIME_EXCEEDED, checksum_offset,
    },
};
use crate::{
    abi::{Addr, FlowKey, Port, Protocol, Side},
    drop_reason::DropReason,
    packet::{Packet, Window as _},
};

/// Bytes behind the quoted IP header that every error holds.
const QUOTED_TRANSPORT_LEN: usize = 8;

/// What is quoted. Offsets are from the start of the outer IP header, so that they outlive a change of the link header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Where the quoted IP header starts.
    pub offset: usize,
    /// Where the quoted transport header starts.
    pub transport: usize,
    /// How much of it, and of its payload, is there.
    pub transport_len: usize,
    /// The quoted transport protocol.
    pub protocol: Protocol,
    /// The quoted IP header's checksum, as it stands in memory.
    pub checksum: u16,
    /// The key of packets that answer the quoted one: those that come from the same side as the error.
    pub key: FlowKey,
}

impl Quote {
    /// Nothing.
    pub const NONE: Self = Self {
        offset: 0,
        transport: 0,
        transport_len: 0,
        protocol: Protocol::Tcp,
        checksum: 0,
        key: FlowKey::v4(
            Side::External,
            Protocol::Tcp,
            (Addr::UNSPECIFIED, Port::NONE),
            (Addr::UNSPECIFIED, Port::NONE),
        ),
    };

    /// Reads what the error behind `ip` quotes; it came in on `side`.
    ///
    /// # Errors
    ///
    /// [`DropReason::BadTransportHeader`] when it is too short, [`DropReason::IcmpErrorUnmatched`] when what it quotes
    /// can belong to no flow: a later fragment, another error, another protocol.
    #[inline(always)]
    pub fn parse<P: Packet>(packet: &P, ip: &Ipv4, side: Side) -> Result<Self, DropReason> {
        let offset = ip.header_len + ICMP_HEADER_LEN;
        if (ip.total_len as usize) < offset + HEADER_LEN + QUOTED_TRANSPORT_LEN {
            return Err(DropReason::BadTransportHeader);
        }
        let header = packet.window::<HEADER_LEN>(ip.offset + offset).ok_or(DropReason::Truncated)?;
        let version_and_len = header.u8::<0>();
        let header_len = ((version_and_len & 0x0f) as usize) << 2;
        let transport = offset + header_len;
        let too_short = (ip.total_len as usize) < transport + QUOTED_TRANSPORT_LEN;
        if version_and_len >> 4 != 4 || header_len < HEADER_LEN || too_short {
            return Err(DropReason::BadTransportHeader);
        }
        let protocol = Protocol::from_number(header.u8::<9>()).ok_or(DropReason::IcmpErrorUnmatched)?;
        if Fragment::from_bits(u16::from_be(header.u16::<6>())).is_later() {
            return Err(DropReason::IcmpErrorUnmatched);
        }
        let (src, dst) = (Addr::from_be(header.u32::<12>()), Addr::from_be(header.u32::<16>()));
        let checksum = header.u16::<10>();
        let ports = ports(packet, ip.offset + transport, protocol)?;
        Ok(Self {
            offset,
            transport,
            transport_len: ip.total_len as usize - transport,
            protocol,
            checksum,
            key: FlowKey::v4(side, protocol, (dst, ports.1), (src, ports.0)),
        })
    }

    /// Where the quoted transport checksum starts, if the quote reaches that far.
    #[inline(always)]
    pub const fn transport_checksum(&self) -> Option<usize> {
        let at = checksum_offset(self.protocol);
        if self.transport_len >= at + 2 { Some(self.transport + at) } else { None }
    }
}

/// Source and destination port of the quoted packet; of an echo, its identifier and none.
#[inline(always)]
fn ports<P: Packet>(packet: &P, transport: usize, protocol: Protocol) -> Result<(Port, Port), DropReason> {
    let header = packet.window::<QUOTED_TRANSPORT_LEN>(transport).ok_or(DropReason::Truncated)?;
    match protocol {
        Protocol::Tcp | Protocol::Udp => {
            Ok((Port::from_be(header.u16::<0>()), Port::from_be(header.u16::<2>())))
        }
        Protocol::Icmp => {
            let id = Port::from_be(header.u16::<4>());
            match (header.u8::<0>(), header.u8::<1>()) {
                (ICMP_ECHO_REQUEST, 0) => Ok((id, Port::NONE)),
                (ICMP_ECHO_REPLY, 0) => Ok((Port::NONE, id)),
                _ => Err(DropReason::IcmpErrorUnmatched),
            }
        }
    }
}

/// Is this the type of an error that a gateway passes on? Not redirects, which are for hosts of one link, nor source
/// quench, which nobody may send or heed any more (RFC 6633).
#[inline(always)]
pub const fn is_error(kind: u8) -> bool {
    matches!(kind, ICMP_DESTINATION_UNREACHABLE | ICMP_TIME_EXCEEDED | ICMP_PARAMETER_PROBLEM)
}
