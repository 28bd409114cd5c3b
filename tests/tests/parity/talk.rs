//! One flow as both sides see it.

use std::net::Ipv4Addr;

use gateway_common::abi::State;
use gateway_tests::packet::{Packet, TcpFlags};

use crate::expect::{Expect, translated};
use crate::places::{EGRESS_VIP, INGRESS_VIP, Wire, backend, nat_ip};
use crate::rig::Rig;

/// Address and port (or echo identifier).
pub type End = (Ipv4Addr, u16);

/// SYN.
pub const SYN: TcpFlags = TcpFlags::SYN;
/// ACK.
pub const ACK: TcpFlags = TcpFlags::ACK;
/// RST.
pub const RST: TcpFlags = TcpFlags::RST;
/// SYN and ACK.
pub const SYN_ACK: TcpFlags = TcpFlags(0x12);
/// FIN and ACK.
pub const FIN_ACK: TcpFlags = TcpFlags(0x11);
/// PSH and ACK: data.
pub const DATA: TcpFlags = TcpFlags(0x18);

/// Who talks to whom, before and behind the gateway.
#[derive(Clone, Copy, Debug)]
pub struct Talk {
    /// The side that opens.
    pub opener: Wire,
    /// The other side.
    pub other: Wire,
    /// Whose flow it is.
    pub tenant: u8,
    /// Source and destination as the opener writes them.
    pub near: (End, End),
    /// Source and destination as they arrive.
    pub far: (End, End),
}

impl Talk {
    /// NPCI calls a listener; the tenant's server sees its NAT IP and the client's port.
    pub fn ingress(rig: &Rig, tenant: u8, client: End, listener: u16, server: End) -> Self {
        Self {
            opener: rig.world.external,
            other: rig.world.tenant(tenant),
            tenant,
            near: (client, (INGRESS_VIP, listener)),
            far: ((nat_ip(tenant), client.1), server),
        }
    }

    /// The simplest of these.
    pub fn upi(rig: &Rig, client: End) -> Self {
        Self::ingress(rig, 1, client, 8443, (backend(1), 8080))
    }

    /// A tenant calls NPCI, which sees the egress VIP and the tenant's port.
    pub fn egress(rig: &Rig, tenant: u8, source: End, target: End) -> Self {
        Self {
            opener: rig.world.tenant(tenant),
            other: rig.world.external,
            tenant,
            near: (source, target),
            far: ((EGRESS_VIP, source.1), target),
        }
    }

    /// The same with another source behind the gateway.
    pub fn seen_from(mut self, source: End) -> Self {
        self.far.0 = source;
        self
    }

    /// A packet from the opener.
    #[track_caller]
    pub fn forth<'a>(
        &self,
        rig: &mut Rig,
        label: &str,
        packet: impl Fn(End, End) -> Packet,
        also: impl FnOnce(Expect<'a>) -> Expect<'a>,
    ) {
        let expect = translated(self.other, packet(self.far.0, self.far.1)).of(self.tenant);
        rig.step(label, self.opener, &packet(self.near.0, self.near.1), &also(expect));
    }

    /// A packet to the opener.
    #[track_caller]
    pub fn back<'a>(
        &self,
        rig: &mut Rig,
        label: &str,
        packet: impl Fn(End, End) -> Packet,
        also: impl FnOnce(Expect<'a>) -> Expect<'a>,
    ) {
        let expect = translated(self.opener, packet(self.near.1, self.near.0)).of(self.tenant);
        rig.step(label, self.other, &packet(self.far.1, self.far.0), &also(expect));
    }

    /// Three packets of TCP.
    #[track_caller]
    pub fn handshake(&self, rig: &mut Rig) {
        self.forth(rig, "SYN", tcp(SYN), Expect::opens);
        self.back(rig, "SYN-ACK", tcp(SYN_ACK), |expect| expect.half_open(State::Answered));
        self.forth(rig, "ACK", tcp(ACK), Expect::establishes);
    }

    /// Data there and back, of odd lengths.
    #[track_caller]
    pub fn data(&self, rig: &mut Rig) {
        let request = |src, dst| tcp(DATA)(src, dst).payload(b"<0800/>").numbers(u32::MAX, 7);
        let response = |src, dst| tcp(DATA)(src, dst).payload(b"<0810>ok</0810>");
        self.forth(rig, "request", request, settled);
        self.back(rig, "response", response, settled);
    }
}

/// A TCP segment with these flags.
pub fn tcp(flags: TcpFlags) -> impl Fn(End, End) -> Packet {
    move |src, dst| Packet::tcp(src, dst).flags(flags)
}

/// A UDP datagram with this payload.
pub fn udp(payload: &[u8]) -> impl Fn(End, End) -> Packet + '_ {
    move |src, dst| Packet::udp(src, dst).payload(payload)
}

/// An echo request with this payload; the source's port is its identifier.
pub fn ping(payload: &[u8]) -> impl Fn(End, End) -> Packet + '_ {
    move |src, dst| Packet::echo_request(src.0, dst.0, src.1, 1).payload(payload)
}

/// The reply to it; the destination's port is its identifier.
pub fn pong(payload: &[u8]) -> impl Fn(End, End) -> Packet + '_ {
    move |src, dst| Packet::echo_reply(src.0, dst.0, dst.1, 1).payload(payload)
}

/// The flow is established.
pub fn settled(expect: Expect<'_>) -> Expect<'_> {
    expect.established(State::Established)
}
