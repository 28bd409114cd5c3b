//! ICMP errors that a NAT has to translate (RFC 792, RFC 5508).

/// An error message about a packet of the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IcmpError {
    /// Type 3 code 0.
    NetUnreachable,
    /// Type 3 code 1.
    HostUnreachable,
    /// Type 3 code 3.
    PortUnreachable,
    /// Type 3 code 4 with the next hop's MTU (RFC 1191 section 4).
    FragmentationNeeded {
        /// In bytes, IP header included.
        mtu: u16,
    },
    /// Type 3 code 13.
    AdministrativelyProhibited,
    /// Type 11 code 0.
    TtlExceeded,
    /// Type 12 code 0 with the offset of the bad byte.
    ParameterProblem {
        /// Counted from the start of the inner IP header.
        pointer: u8,
    },
}

impl IcmpError {
    /// Type and code.
    pub fn type_and_code(self) -> (u8, u8) {
        match self {
            Self::NetUnreachable => (3, 0),
            Self::HostUnreachable => (3, 1),
            Self::PortUnreachable => (3, 3),
            Self::FragmentationNeeded { .. } => (3, 4),
            Self::AdministrativelyProhibited => (3, 13),
            Self::TtlExceeded => (11, 0),
            Self::ParameterProblem { .. } => (12, 0),
        }
    }

    /// The four bytes after the checksum.
    pub fn rest(self) -> [u8; 4] {
        match self {
            Self::FragmentationNeeded { mtu } => {
                let [high, low] = mtu.to_be_bytes();
                [0, 0, high, low]
            }
            Self::ParameterProblem { pointer } => [pointer, 0, 0, 0],
            _ => [0; 4],
        }
    }
}
