//! What backends are called: `198.51.100.18:8080`.

use std::fmt;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::str::FromStr;

use super::spec::BackendSpec;

/// The address and port of a backend, unique within its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressPort {
    /// The address.
    pub address: Ipv4Addr,
    /// The port.
    pub port: NonZeroU16,
}

impl AddressPort {
    /// Is this the backend?
    pub fn is(self, backend: &BackendSpec) -> bool {
        backend.port == self.port.get() && backend.address.parse() == Ok(self.address)
    }
}

/// A text is not an address and a port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no address:port, such as 198.51.100.18:8080", .text.escape_debug())]
pub struct AddressPortError {
    text: String,
}

impl FromStr for AddressPort {
    type Err = AddressPortError;

    fn from_str(text: &str) -> Result<Self, AddressPortError> {
        let parse = || {
            let (address, port) = text.split_once(':')?;
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            let port = port.parse().ok().filter(|_| digits)?;
            Some(Self { address: address.parse().ok()?, port })
        };
        parse().ok_or_else(|| AddressPortError { text: text.to_owned() })
    }
}

impl fmt::Display for AddressPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.address, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parts_are_needed() {
        let parsed: AddressPort = "198.51.100.18:8080".parse().unwrap();
        assert_eq!((parsed.address, parsed.port.get()), (Ipv4Addr::new(198, 51, 100, 18), 8080));
        assert_eq!(parsed.to_string(), "198.51.100.18:8080");
        for text in
            ["", "1.2.3.4", "1.2.3.4:", "1.2.3.4:0", "1.2.3.4:65536", "1.2.3.4:+1", ":1", "a:1", "::1:1"]
        {
            assert!(text.parse::<AddressPort>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_backend_is_known_by_both() {
        let backend = BackendSpec { address: "1.2.3.4".to_owned(), port: 5, ..BackendSpec::default() };
        for (text, expected) in [("1.2.3.4:5", true), ("1.2.3.4:6", false), ("1.2.3.5:5", false)] {
            assert_eq!(text.parse::<AddressPort>().unwrap().is(&backend), expected, "{text}");
        }
    }
}
