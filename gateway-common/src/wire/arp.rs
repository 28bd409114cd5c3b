//! ARP for IPv4 over Ethernet (RFC 826).

use crate::{
    abi::{Addr, Mac},
    packet::Packet,
};

/// Length of the message.
pub const MESSAGE_LEN: usize = 28;
/// Hardware type Ethernet, protocol type IPv4, lengths 6 and 4.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 0x08, 0, 6, 4];
const OPERATION_REQUEST: [u8; 2] = [0, 1];
const OPERATION_REPLY: [u8; 2] = [0, 2];

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
        let m = packet.load::<MESSAGE_LEN>(offset)?;
        if [m[0], m[1], m[2], m[3], m[4], m[5]] != ETHERNET_IPV4 || [m[6], m[7]] != OPERATION_REQUEST {
            return None;
        }
        Some(Self {
            sender: Addr::new([m[14], m[15], m[16], m[17]]),
            sender_mac: [m[8], m[9], m[10], m[11], m[12], m[13]],
            target: Addr::new([m[24], m[25], m[26], m[27]]),
        })
    }

    /// The message that answers it: "`target` is at `mac`".
    #[inline(always)]
    pub fn reply(&self, mac: Mac) -> [u8; MESSAGE_LEN] {
        let [p0, p1, p2, p3, p4, p5] = ETHERNET_IPV4;
        let [o0, o1] = OPERATION_REPLY;
        let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (self.target.octets(), self.sender.octets());
        let ([m0, m1, m2, m3, m4, m5], [n0, n1, n2, n3, n4, n5]) = (mac, self.sender_mac);
        [
            p0, p1, p2, p3, p4, p5, o0, o1, m0, m1, m2, m3, m4, m5, a0, a1, a2, a3, n0, n1, n2, n3, n4, n5,
            b0, b1, b2, b3,
        ]
    }
}
