//! IPv4 prefixes: `198.51.100.16/28`, or one address as `/32`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::Ipv4Net;

use super::address::special_range;
use super::problem::Explain;
use super::reader::from_toml_string;
use super::text::Quoted;

/// A prefix of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix(pub(super) Ipv4Net);

/// Why a text is not a prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// Neither an address nor a prefix.
    #[error("{} is not an IPv4 address or prefix", Quoted(text))]
    NotAPrefix {
        /// What was given.
        text: String,
    },
    /// An IPv6 address or prefix.
    #[error("{} is IPv6", Quoted(text))]
    Ipv6 {
        /// What was given.
        text: String,
    },
    /// The length is not a number from 0 to 32.
    #[error("{} is not a prefix length", Quoted(length))]
    Length {
        /// What was given.
        length: String,
    },
    /// Bits are set behind the length.
    #[error("{address}/{} has bits set beyond its first {}", network.prefix_len(), network.prefix_len())]
    HostBits {
        /// The address as given.
        address: Ipv4Addr,
        /// The prefix that it is in.
        network: Ipv4Net,
    },
    /// No host can have an address of this prefix.
    #[error("{prefix} holds no address of a host: it is {range}")]
    NotUnicast {
        /// What was given.
        prefix: Ipv4Net,
        /// What it is.
        range: &'static str,
    },
}

impl Explain for PrefixError {
    fn help(&self) -> String {
        match self {
            Self::NotAPrefix { .. } => {
                "write an address and a length, as in \"198.51.100.16/28\", or one address".to_owned()
            }
            Self::Ipv6 { .. } => "give IPv4: the gateway forwards IPv4 only, for now".to_owned(),
            Self::Length { .. } => "the length behind the slash is a number from 0 to 32".to_owned(),
            Self::HostBits { address, network } => {
                format!("write \"{network}\" for the network, or \"{address}\" for the one host")
            }
            Self::NotUnicast { .. } => "give a prefix of unicast addresses".to_owned(),
        }
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, length) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
        if address.parse::<Ipv6Addr>().is_ok() {
            return Err(PrefixError::Ipv6 { text: text.to_owned() });
        }
        let address: Ipv4Addr =
            address.parse().map_err(|_| PrefixError::NotAPrefix { text: text.to_owned() })?;
        let prefix = with_length(address, length.unwrap_or("32"))?;
        refuse_special(prefix)?;
        Ok(Self(prefix))
    }
}

fn with_length(address: Ipv4Addr, length: &str) -> Result<Ipv4Net, PrefixError> {
    let wrong = || PrefixError::Length { length: length.to_owned() };
    if !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let prefix = length.parse().ok().and_then(|n| Ipv4Net::new(address, n).ok()).ok_or_else(wrong)?;
    let network = prefix.trunc();
    if network.addr() == address { Ok(network) } else { Err(PrefixError::HostBits { address, network }) }
}

/// Refuses prefixes that lie in a special range as a whole; wider ones, such as `0.0.0.0/0`, are legal.
fn refuse_special(prefix: Ipv4Net) -> Result<(), PrefixError> {
    match (special_range(prefix.network()), special_range(prefix.broadcast())) {
        (Some(range), Some(_)) if prefix.prefix_len() >= 3 => Err(PrefixError::NotUnicast { prefix, range }),
        _ => Ok(()),
    }
}

from_toml_string!(Prefix: "address or prefix");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_and_addresses_are_accepted() {
        for (text, expected) in [
            ("198.51.100.16/28", "198.51.100.16/28"),
            ("198.51.100.16", "198.51.100.16/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("0.0.0.0/1", "0.0.0.0/1"),
            ("128.0.0.0/1", "128.0.0.0/1"),
            ("10.0.0.0/8", "10.0.0.0/8"),
        ] {
            assert_eq!(text.parse::<Prefix>().unwrap().0.to_string(), expected);
        }
    }

    #[test]
    fn host_bits_are_refused_and_the_network_is_named() {
        let error = "198.51.100.18/28".parse::<Prefix>().unwrap_err();
        assert_eq!(
            error.help(),
            "write \"198.51.100.16/28\" for the network, or \"198.51.100.18\" for the one host"
        );
    }

    #[test]
    fn other_texts_are_refused() {
        let error = |text: &str| text.parse::<Prefix>().unwrap_err();
        for text in
            ["192.0.2.0/33", "192.0.2.0/", "192.0.2.0/-1", "192.0.2.0/+1", "192.0.2.0/a", "1.0.0.0/8/8"]
        {
            assert!(matches!(error(text), PrefixError::Length { .. }), "{text}");
        }
        for text in ["", "/", "/8", "bank", "192.0.2/24"] {
            assert!(matches!(error(text), PrefixError::NotAPrefix { .. }), "{text}");
        }
        assert!(matches!(error("2001:db8::/32"), PrefixError::Ipv6 { .. }));
    }

    #[test]
    fn ranges_without_hosts_are_refused() {
        for text in ["0.0.0.0/8", "127.0.0.0/8", "127.0.0.1", "224.0.0.0/4", "224.0.0.0/3", "255.255.255.255"]
        {
            assert!(matches!(text.parse::<Prefix>(), Err(PrefixError::NotUnicast { .. })), "{text}");
        }
    }
}
