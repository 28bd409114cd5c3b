//! IPv4 addresses by role, so that a backend can't be passed where a VIP is meant.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::port::Port;
use super::problem::Explain;
use super::reader::from_toml_string;
use super::text::Quoted;

/// Why a text is not the address of one host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not an address at all.
    #[error("{} is not an IPv4 address", Quoted(text))]
    NotAnAddress {
        /// What was given.
        text: String,
    },
    /// An IPv6 address.
    #[error("{} is an IPv6 address", Quoted(text))]
    Ipv6 {
        /// What was given.
        text: String,
    },
    /// An address with a prefix length.
    #[error("{} is a prefix, and one address is expected", Quoted(text))]
    Prefix {
        /// What was given.
        text: String,
    },
    /// An address that no host can have.
    #[error("{address} is {range}, not the address of a host")]
    NotUnicast {
        /// What was given.
        address: Ipv4Addr,
        /// What it is instead.
        range: &'static str,
    },
    /// The port that should follow the address is missing or wrong.
    #[error("{} is not an address and a port", Quoted(text))]
    NotAddressAndPort {
        /// What was given.
        text: String,
    },
}

impl Explain for AddressError {
    fn help(&self) -> String {
        match self {
            Self::NotAnAddress { .. } => "write four numbers from 0 to 255, as in \"192.0.2.10\"".to_owned(),
            Self::Ipv6 { .. } => "give an IPv4 address: the gateway forwards IPv4 only, for now".to_owned(),
            Self::Prefix { text } => {
                let address = text.split('/').next().unwrap_or_default();
                format!("leave the length away: {}", Quoted(&format!("\"{address}\"")))
            }
            Self::NotUnicast { .. } => "give the unicast address of a host".to_owned(),
            Self::NotAddressAndPort { .. } => {
                "write address, colon, port from 1 to 65535, as in \"192.0.2.100:443\"".to_owned()
            }
        }
    }
}

/// The range that makes an address unfit for a host, if it is in one.
pub(super) fn special_range(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, ..] => Some("in 0.0.0.0/8 (\"this network\")"),
        [127, ..] => Some("a loopback address"),
        [224..=239, ..] => Some("a multicast address"),
        [255, 255, 255, 255] => Some("the broadcast address"),
        [240..=255, ..] => Some("in the reserved range 240.0.0.0/4"),
        _ => None,
    }
}

fn unicast(address: Ipv4Addr) -> Result<Ipv4Addr, AddressError> {
    match special_range(address) {
        Some(range) => Err(AddressError::NotUnicast { address, range }),
        None => Ok(address),
    }
}

fn parse_unicast(text: &str) -> Result<Ipv4Addr, AddressError> {
    let Ok(address) = text.parse() else {
        return Err(not_an_address(text.to_owned()));
    };
    unicast(address)
}

fn not_an_address(text: String) -> AddressError {
    let address = text.split('/').next().unwrap_or_default();
    if address.parse::<Ipv6Addr>().is_ok() {
        AddressError::Ipv6 { text }
    } else if address.len() < text.len() && address.parse::<Ipv4Addr>().is_ok() {
        AddressError::Prefix { text }
    } else {
        AddressError::NotAnAddress { text }
    }
}

/// Declares an address type; all of them are unicast IPv4.
macro_rules! address {
    ($(#[doc = $doc:literal])* $name:ident) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Ipv4Addr);

        impl $name {
            /// The plain address.
            pub fn get(self) -> Ipv4Addr {
                self.0
            }
        }

        impl TryFrom<Ipv4Addr> for $name {
            type Error = AddressError;

            fn try_from(address: Ipv4Addr) -> Result<Self, AddressError> {
                unicast(address).map(Self)
            }
        }

        impl FromStr for $name {
            type Err = AddressError;

            fn from_str(text: &str) -> Result<Self, AddressError> {
                parse_unicast(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

address! {
    /// One of the two addresses that NPCI whitelists. Unicast IPv4.
    VipAddr
}
address! {
    /// A tenant's NAT IP, the inside address that stands for the tenant. Unicast IPv4.
    NatAddr
}
address! {
    /// The address of one inside server. Unicast IPv4.
    BackendAddr
}
address! {
    /// The address of one NPCI endpoint. Unicast IPv4.
    PeerAddr
}
address! {
    /// The address of a router, the next hop of a route. Unicast IPv4.
    RouterAddr
}

from_toml_string! {
    VipAddr: "address",
    RouterAddr: "address",
    NatAddr: "address",
    BackendAddr: "address",
}

/// Splits `address:port`.
pub(super) fn parse_peer_socket(text: &str) -> Result<(PeerAddr, Port), AddressError> {
    let wrong = || AddressError::NotAddressAndPort { text: text.to_owned() };
    let (address, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    if text.starts_with('[') || address.contains(':') {
        return Err(AddressError::Ipv6 { text: text.to_owned() });
    }
    let port: i64 = port.parse().map_err(|_| wrong())?;
    Ok((address.parse()?, Port::try_from(port).map_err(|_| wrong())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_hosts_are_accepted() {
        for text in ["1.0.0.1", "10.0.0.0", "192.0.2.255", "126.255.255.255", "223.255.255.255"] {
            assert_eq!(text.parse::<VipAddr>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn addresses_of_no_host_are_refused_by_every_constructor() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
        ] {
            assert!(matches!(text.parse::<NatAddr>(), Err(AddressError::NotUnicast { .. })), "{text}");
            let address: Ipv4Addr = text.parse().unwrap();
            assert!(BackendAddr::try_from(address).is_err(), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused_by_what_they_are() {
        let error = |text: &str| text.parse::<VipAddr>().unwrap_err();
        assert!(matches!(error("2001:db8::1"), AddressError::Ipv6 { .. }));
        assert!(matches!(error("2001:db8::/64"), AddressError::Ipv6 { .. }));
        assert!(matches!(error("192.0.2.1/32"), AddressError::Prefix { .. }));
        for text in ["", " 192.0.2.1", "192.0.2", "192.0.2.256", "192.0.2.01", "npci.example", "/24"] {
            assert!(matches!(error(text), AddressError::NotAnAddress { .. }), "{text}");
        }
    }

    #[test]
    fn sockets_need_both_parts() {
        let (address, port) = parse_peer_socket("192.0.2.100:443").unwrap();
        assert_eq!((address.get(), port.get()), (Ipv4Addr::new(192, 0, 2, 100), 443));
        for text in [
            "192.0.2.100",
            "192.0.2.100:",
            "192.0.2.100:0",
            "192.0.2.100:65536",
            ":443",
            "x:443",
            "[::1]:443",
            "::1:443",
        ] {
            assert!(parse_peer_socket(text).is_err(), "{text}");
        }
    }
}
