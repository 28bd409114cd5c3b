//! Where the tenants are kept.

use std::path::PathBuf;
use std::str::FromStr;

use super::api::TlsIdentity;
use super::problem::Explain;
use super::reader::from_toml_string;
use super::text::Quoted;

/// Where the tenants are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Which store it is.
    pub kind: StoreKind,
    /// How many versions are kept, 10 to 100,000.
    pub history: u32,
}

/// Which store it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// A database in [`super::Daemon::state_dir`].
    Embedded,
    /// The configuration file itself.
    File,
    /// An etcd cluster.
    Etcd(EtcdConfig),
}

/// An etcd cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdConfig {
    /// URLs of its members, `http` or `https`; at least one.
    pub endpoints: Vec<String>,
    /// What the gateway's keys begin with; begins and ends with a slash.
    pub prefix: String,
    /// The certificates of the authorities that sign the members' certificates; the system's when absent.
    pub ca_file: Option<PathBuf>,
    /// How this daemon shows who it is, if it does.
    pub identity: Option<TlsIdentity>,
}

/// The URL of an etcd member: scheme, host and port, nothing behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EndpointUrl(pub(super) String);

/// A text is not the URL of an etcd member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is not the URL of an etcd member", Quoted(text))]
pub(super) struct EndpointUrlError {
    text: String,
}

impl Explain for EndpointUrlError {
    fn help(&self) -> String {
        "write scheme, host and port, as in \"https://etcd-1.example:2379\"; no path, no user".to_owned()
    }
}

impl FromStr for EndpointUrl {
    type Err = EndpointUrlError;

    fn from_str(text: &str) -> Result<Self, EndpointUrlError> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let socket = rest.and_then(|rest| rest.rsplit_once(':'));
        let legal =
            |(host, port): (&str, &str)| is_host(host) && port.parse::<u16>().is_ok_and(|port| port != 0);
        if socket.is_some_and(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(EndpointUrlError { text: text.to_owned() })
        }
    }
}

/// A DNS name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    !host.is_empty() && host.len() <= 253 && host.chars().all(legal)
}

/// What keys in etcd begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyPrefix(pub(super) String);

/// Longest prefix of keys: every request repeats it.
const KEY_PREFIX_BYTES: usize = 200;

/// A text can't be what keys begin with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is not a prefix of keys", Quoted(text))]
pub(super) struct KeyPrefixError {
    text: String,
}

impl Explain for KeyPrefixError {
    fn help(&self) -> String {
        format!(
            "begin and end it with a slash, as in \"/two-ip-gateway/\"; printable ASCII without spaces, at most \
             {KEY_PREFIX_BYTES} bytes"
        )
    }
}

impl FromStr for KeyPrefix {
    type Err = KeyPrefixError;

    fn from_str(text: &str) -> Result<Self, KeyPrefixError> {
        let slashes = text.len() >= 2 && text.starts_with('/') && text.ends_with('/');
        let printable = text.chars().all(|c| c.is_ascii_graphic());
        if slashes && printable && text.len() <= KEY_PREFIX_BYTES {
            Ok(Self(text.to_owned()))
        } else {
            Err(KeyPrefixError { text: text.to_owned() })
        }
    }
}

from_toml_string! {
    EndpointUrl: "URL",
    KeyPrefix: "text that begins and ends with a slash",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_a_scheme_a_host_and_a_port() {
        for text in ["http://127.0.0.1:2379", "https://etcd-1.example:2379", "https://[::1]:2379"] {
            assert_eq!(text.parse::<EndpointUrl>().unwrap().0, text);
        }
        for text in [
            "",
            "etcd:2379",
            "https://etcd",
            "https://etcd:0",
            "https://:2379",
            "https://a:2379/",
            "https://u@a:2379",
            "ftp://a:21",
            "https://::1:2379",
        ] {
            assert!(text.parse::<EndpointUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn prefixes_of_keys_stand_between_slashes() {
        for text in ["/a/", "/two-ip-gateway/site-1/"] {
            assert!(text.parse::<KeyPrefix>().is_ok(), "{text}");
        }
        for text in ["", "/", "a/", "/a", "/a b/", &format!("/{}/", "x".repeat(199))] {
            assert!(text.parse::<KeyPrefix>().is_err(), "{text}");
        }
    }
}
