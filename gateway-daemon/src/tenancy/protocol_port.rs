//! What addressed egress is called: `tcp:9001`.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use super::spec::EgressSpec;

/// The protocols that have ports.
const PROTOCOLS: [&str; 2] = ["tcp", "udp"];

/// A protocol and a port of the tenant NAT IP, unique within a tenant's addressed egress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProtocolPort {
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// The port.
    pub port: NonZeroU16,
}

impl ProtocolPort {
    /// Is this the one?
    pub fn is(self, egress: &EgressSpec) -> bool {
        egress.port == self.port.get() && egress.protocol == self.protocol
    }
}

/// A text is not a protocol and a port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no protocol:port, such as tcp:9001", .text.escape_debug())]
pub struct ProtocolPortError {
    text: String,
}

impl FromStr for ProtocolPort {
    type Err = ProtocolPortError;

    fn from_str(text: &str) -> Result<Self, ProtocolPortError> {
        let parse = || {
            let (protocol, port) = text.split_once(':')?;
            let protocol = PROTOCOLS.into_iter().find(|known| *known == protocol)?;
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            Some(Self { protocol, port: port.parse().ok().filter(|_| digits)? })
        };
        parse().ok_or_else(|| ProtocolPortError { text: text.to_owned() })
    }
}

impl fmt::Display for ProtocolPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.protocol, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parts_are_needed() {
        for text in ["tcp:9001", "udp:1", "tcp:65535"] {
            assert_eq!(text.parse::<ProtocolPort>().unwrap().to_string(), text);
        }
        for text in ["", "tcp", "tcp:", ":1", "tcp:0", "tcp:65536", "tcp:+1", "icmp:1", "TCP:1", "tcp:1:2"] {
            assert!(text.parse::<ProtocolPort>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_egress_is_known_by_both() {
        let egress = EgressSpec { protocol: "tcp".to_owned(), port: 5, ..EgressSpec::default() };
        for (text, expected) in [("tcp:5", true), ("tcp:6", false), ("udp:5", false)] {
            assert_eq!(text.parse::<ProtocolPort>().unwrap().is(&egress), expected, "{text}");
        }
    }
}
