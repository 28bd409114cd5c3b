//! What an HTTP request of a check says: path and host.

use std::str::FromStr;

use super::problem::Explain;
use super::reader::from_toml_string;
use super::text::Quoted;

/// Longest path: longer ones are cut by servers (RFC 9110 section 4.1 asks for 8,000; a check needs no more than
/// this).
const PATH_BYTES: usize = 1_024;

/// Longest host: that of a DNS name.
const HOST_BYTES: usize = 253;

/// A path to GET, with its query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HttpPath(pub(super) String);

/// The name of a host; the empty text is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HostName(pub(super) Option<String>);

/// Why a text can't be in a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HttpError {
    #[error("{} is not a path of HTTP", Quoted(text))]
    Path { text: String },
    #[error("{} is not the name of a host", Quoted(text))]
    Host { text: String },
}

impl Explain for HttpError {
    fn help(&self) -> String {
        match self {
            Self::Path { .. } => format!(
                "begin it with a slash, as in \"/healthz\"; printable ASCII without spaces, at most {PATH_BYTES} bytes"
            ),
            Self::Host { .. } => {
                "write a DNS name or an IPv4 address without port, as in \"web.bank-a.example\"".to_owned()
            }
        }
    }
}

impl FromStr for HttpPath {
    type Err = HttpError;

    fn from_str(text: &str) -> Result<Self, HttpError> {
        let printable = text.chars().all(|c| c.is_ascii_graphic() && c != '#');
        if text.starts_with('/') && printable && text.len() <= PATH_BYTES {
            Ok(Self(text.to_owned()))
        } else {
            Err(HttpError::Path { text: text.to_owned() })
        }
    }
}

impl FromStr for HostName {
    type Err = HttpError;

    fn from_str(text: &str) -> Result<Self, HttpError> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let label = |label: &str| {
            let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            !label.is_empty() && label.len() <= 63 && label.chars().all(legal)
        };
        if text.len() <= HOST_BYTES && text.split('.').all(label) {
            Ok(Self(Some(text.to_owned())))
        } else {
            Err(HttpError::Host { text: text.to_owned() })
        }
    }
}

from_toml_string! {
    HttpPath: "path",
    HostName: "name of a host",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_begin_with_a_slash() {
        for text in ["/", "/healthz?full=1", &format!("/{}", "x".repeat(1_023))] {
            assert!(text.parse::<HttpPath>().is_ok(), "{text}");
        }
        for text in ["", "healthz", "/a b", "/a\r\nX: y", "/a#b", &format!("/{}", "x".repeat(1_024))] {
            assert!(text.parse::<HttpPath>().is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_are_names_or_nothing() {
        assert_eq!("".parse::<HostName>().unwrap().0, None);
        for text in ["web", "web.bank-a.example", "198.51.100.18"] {
            assert_eq!(text.parse::<HostName>().unwrap().0.as_deref(), Some(text));
        }
        for text in [".", "a..b", "a b", "web:80", "a\r\nb", &"x".repeat(64)] {
            assert!(text.parse::<HostName>().is_err(), "{text}");
        }
    }
}
