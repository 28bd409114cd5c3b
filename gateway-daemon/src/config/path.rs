//! Paths and the local address of the daemon.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use super::problem::Explain;
use super::reader::from_toml_string;
use super::text::Quoted;

/// Longest path of a unix socket: `sun_path` of unix(7) has 108 bytes, the last one is NUL.
const SOCKET_PATH_BYTES: usize = 107;

/// Longest path of anything else: `PATH_MAX` of limits.h less the NUL.
const PATH_BYTES: usize = 4_095;

/// The absolute path of a directory.
#[derive(Clone, Debug)]
pub(super) struct DirectoryPath(pub(super) PathBuf);

/// The absolute path of a unix socket.
#[derive(Clone, Debug)]
pub(super) struct SocketPath(pub(super) PathBuf);

/// The absolute path of a file; the empty text means none.
#[derive(Clone, Debug)]
pub(super) struct OptionalFile(pub(super) Option<PathBuf>);

/// Why a text is not a path of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PathError {
    #[error("the path {} is not absolute", Quoted(text))]
    NotAbsolute { text: String },
    #[error("the path has {bytes} bytes, at most {max} are possible")]
    TooLong { bytes: usize, max: usize },
    #[error("the path {} has a NUL character", Quoted(text))]
    Nul { text: String },
}

impl Explain for PathError {
    fn help(&self) -> String {
        match self {
            Self::NotAbsolute { text } => {
                format!("begin it with a slash, as in {}", Quoted(&format!("\"/run/{text}\"")))
            }
            Self::TooLong { .. } => "choose a shorter path".to_owned(),
            Self::Nul { .. } => "remove it".to_owned(),
        }
    }
}

fn absolute(text: &str, max: usize) -> Result<PathBuf, PathError> {
    if !text.starts_with('/') {
        return Err(PathError::NotAbsolute { text: text.to_owned() });
    }
    if text.contains('\0') {
        return Err(PathError::Nul { text: text.to_owned() });
    }
    if text.len() > max {
        return Err(PathError::TooLong { bytes: text.len(), max });
    }
    Ok(text.into())
}

impl FromStr for DirectoryPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        absolute(text, PATH_BYTES).map(Self)
    }
}

impl FromStr for SocketPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        absolute(text, SOCKET_PATH_BYTES).map(Self)
    }
}

impl FromStr for OptionalFile {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        if text.is_empty() { Ok(Self(None)) } else { absolute(text, PATH_BYTES).map(|path| Self(Some(path))) }
    }
}

/// Where something is served; the empty text means nowhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListenAddr(pub(super) Option<SocketAddr>);

/// A text is not a local address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is not an address and a port", Quoted(text))]
pub(super) struct ListenAddrError {
    text: String,
}

impl Explain for ListenAddrError {
    fn help(&self) -> String {
        "write address, colon, port from 1 to 65535, as in \"127.0.0.1:9464\"; \"\" means nowhere".to_owned()
    }
}

impl FromStr for ListenAddr {
    type Err = ListenAddrError;

    fn from_str(text: &str) -> Result<Self, ListenAddrError> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let address: Option<SocketAddr> = text.parse().ok();
        match address.filter(|address| address.port() != 0) {
            Some(address) => Ok(Self(Some(address))),
            None => Err(ListenAddrError { text: text.to_owned() }),
        }
    }
}

from_toml_string! {
    DirectoryPath: "absolute path",
    SocketPath: "absolute path of at most 107 bytes",
    OptionalFile: "absolute path, or \"\"",
    ListenAddr: "address and port, or \"\"",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute_and_not_too_long() {
        assert!("/run/gateway.sock".parse::<SocketPath>().is_ok());
        assert!(format!("/{}", "x".repeat(106)).parse::<SocketPath>().is_ok());
        for text in ["", "run/x", "./x", "/a\0b", &format!("/{}", "x".repeat(107))] {
            assert!(text.parse::<SocketPath>().is_err(), "{text:?}");
        }
        assert!(format!("/{}", "x".repeat(107)).parse::<DirectoryPath>().is_ok());
    }

    #[test]
    fn something_is_served_or_not() {
        assert_eq!("".parse::<ListenAddr>().unwrap().0, None);
        assert!("[::1]:9464".parse::<ListenAddr>().unwrap().0.is_some());
        for text in ["9464", "localhost:9464", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536"] {
            assert!(text.parse::<ListenAddr>().is_err(), "{text}");
        }
    }
}
