//! ARP for IPv4 over Ethernet (RFC 826).

use crate::{
    abi::{Addr, Mac},
    packet::{Packet, Refused, Window as _, WindowMut as _},
};

/// Length of the message.
pub const MESSAGE_LEN: usize = 28;
const HARDWARE_ETHERNET: u16 = 1;
const PROTOCOL_IPV4: u16 = 0x0800;
/// Lengths of a hardware and of a protocol address: 6 and 4.
const LENGTHS: u16 = 0x0604;
const OPERATION_REQUEST: u16 = 1;
const OPERATION_REPLY: u16 = 2;

/// A request: "who has `target`? tell `sender`".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpRequest {
    /// Who asks.
    pub sender: Addr,
    /// The link address of who asks.
    pub sender_mac: Mac,
    /// The address that is asked for.
    pub target: Addr,
}

impl ArpRequest {
    /// Reads a request; `None` for anything else, replies and foreign hardware types included.
    #[inline(always)]
    pub fn parse<P: Packet>(packet: &P, offset: usize) -> Option<Self> {
        let message = packet.window::<MESSAGE_LEN>(offset)?;
        let kind = [message.u16::<0>(), message.u16::<2>(), message.u16::<4>(), message.u16::<6>()]
            .map(u16::from_be);
        if kind != [HARDWARE_ETHERNET, PROTOCOL_IPV4, LENGTHS, OPERATION_REQUEST] {
            return None;
        }
        Some(Self {
            sender: Addr::from_be(message.u32::<14>()),
            sender_mac: Mac::from_half_words([message.u16::<8>(), message.u16::<10>(), message.u16::<12>()]),
            target: Addr::from_be(message.u32::<24>()),
        })
    }

    /// Turns the message at `offset` into the reply "`target` is at `mac`".
    ///
    /// # Errors
    ///
    /// [`Refused`] when the frame ends too early.
    #[inline(always)]
    pub fn write_reply<P: Packet>(&self, packet: &mut P, offset: usize, mac: Mac) -> Result<(), Refused> {
        let mut message = packet.window_mut::<MESSAGE_LEN>(offset)?;
        let ([m0, m1, m2], [s0, s1, s2]) = (mac.half_words(), self.sender_mac.half_words());
        message.set_u16::<6>(OPERATION_REPLY.to_be());
        message.set_u16::<8>(m0);
        message.set_u16::<10>(m1);
        message.set_u16::<12>(m2);
        message.set_u32::<14>(self.target.to_be());
        message.set_u16::<18>(s0);
        message.set_u16::<20>(s1);
        message.set_u16::<22>(s2);
        message.set_u32::<24>(self.sender.to_be());
        Ok(())
    }
}
