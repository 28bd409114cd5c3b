//! What a packet carries, and how it is cut.

use crate::packet::TcpFlags;

/// What a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A TCP segment.
    Tcp {
        /// Control bits.
        flags: TcpFlags,
        /// Sequence number.
        seq: u32,
        /// Acknowledgement number.
        ack: u32,
        /// Bytes of data.
        length: usize,
    },
    /// A UDP datagram with so many bytes of data.
    Udp {
        /// Bytes of data.
        length: usize,
    },
    /// A ping.
    EchoRequest {
        /// Sequence number.
        sequence: u16,
        /// Bytes of data.
        length: usize,
    },
    /// Its answer.
    EchoReply {
        /// Sequence number.
        sequence: u16,
        /// Bytes of data.
        length: usize,
    },
    /// An ICMP message that quotes a packet.
    Error {
        /// Type and code.
        kind: (u8, u8),
        /// The four bytes after the checksum.
        rest: [u8; 4],
        /// What is quoted.
        quote: Quote,
    },
    /// An ICMP message that is neither echo nor quotes anything.
    Icmp {
        /// Type and code.
        kind: (u8, u8),
    },
    /// Another IP protocol.
    Protocol {
        /// Its number.
        number: u8,
    },
}

/// The packet that an ICMP error quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// Which one.
    pub of: Quoted,
    /// At most so many bytes behind its IP header.
    pub bytes: usize,
}

/// Which packet an ICMP error quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quoted {
    /// The last one of the flow that arrived where the error comes from; one that could have come if none did.
    Arrived,
    /// A TCP segment of no flow.
    StrayTcp,
    /// A datagram of no flow.
    StrayUdp,
}

/// How a packet is cut into fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Bytes of each, but for the last.
    pub size: usize,
    /// In which order they are sent.
    pub order: Order,
}

impl Cut {
    /// Does a fragment never come?
    pub fn is_incomplete(self) -> bool {
        matches!(self.order, Order::LastMissing | Order::FirstMissing)
    }
}

/// The order of fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Order {
    /// As they lie in the packet.
    Straight,
    /// The last one first.
    Reversed,
    /// The first one last.
    FirstLast,
    /// Without the last one.
    LastMissing,
    /// Without the first one.
    FirstMissing,
    /// One of them twice.
    Doubled,
}
