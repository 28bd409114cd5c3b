//! Who may use the API, and where it listens.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use super::problem::Explain;
use super::reader::from_toml_string;
use super::text::Quoted;

/// Who may do what through the API, and where it listens besides the unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiConfig {
    /// Who may do everything.
    pub admins: Vec<Principal>,
    /// Who may drain, resume and change weights.
    pub operators: Vec<Principal>,
    /// Who may look.
    pub viewers: Vec<Principal>,
    /// The TCP listener, if there is one.
    pub remote: Option<ApiListen>,
}

/// The TCP listener of the API: TLS, and clients must show a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiListen {
    /// Where it listens.
    pub address: SocketAddr,
    /// How it shows who it is.
    pub identity: TlsIdentity,
    /// The certificates of the authorities that sign the clients' certificates.
    pub client_ca_file: PathBuf,
}

/// A certificate and its key, both in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsIdentity {
    /// The certificate, followed by those between it and the authority's.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

/// Somebody who may use the API.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// `root`: the user of this name.
    User(String),
    /// `#1000`: the user of this number.
    Uid(u32),
    /// `@wheel`: every member of this group.
    Group(String),
    /// `cert:ops.example`: whose certificate has this name.
    Certificate(String),
}

/// A text names nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} names nobody who could use the API", Quoted(text))]
pub struct PrincipalError {
    text: String,
}

impl Explain for PrincipalError {
    fn help(&self) -> String {
        "write a user as \"alice\" or \"#1000\", a group as \"@wheel\", the name in a certificate as \"cert:NAME\""
            .to_owned()
    }
}

impl FromStr for Principal {
    type Err = PrincipalError;

    fn from_str(text: &str) -> Result<Self, PrincipalError> {
        let principal = if let Some(number) = text.strip_prefix('#') {
            // Without this a sign would be accepted.
            let digits = number.bytes().all(|byte| byte.is_ascii_digit());
            number.parse().ok().filter(|_| digits).map(Self::Uid)
        } else if let Some(name) = text.strip_prefix("cert:") {
            is_certificate_name(name).then(|| Self::Certificate(name.to_owned()))
        } else if let Some(group) = text.strip_prefix('@') {
            is_account(group).then(|| Self::Group(group.to_owned()))
        } else {
            is_account(text).then(|| Self::User(text.to_owned()))
        };
        principal.ok_or_else(|| PrincipalError { text: text.to_owned() })
    }
}

/// What useradd(8) accepts, dots and capitals included: directories of companies have them.
fn is_account(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '$' | '\\');
    !name.is_empty() && name.len() <= 64 && !name.starts_with('-') && name.chars().all(legal)
}

fn is_certificate_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 253 && name.trim() == name && !name.chars().any(char::is_control)
}

/// As in the file.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "{name}"),
            Self::Uid(number) => write!(f, "#{number}"),
            Self::Group(name) => write!(f, "@{name}"),
            Self::Certificate(name) => write!(f, "cert:{name}"),
        }
    }
}

from_toml_string! {
    Principal: "user, \"#uid\", \"@group\" or \"cert:NAME\"",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_are_read_and_written_alike() {
        for text in
            ["root", "#0", "#4294967295", "@wheel", "cert:ops.example", "CORP\\alice", "cert:Ops Team"]
        {
            assert_eq!(text.parse::<Principal>().unwrap().to_string(), text);
        }
        assert_eq!("#7".parse(), Ok(Principal::Uid(7)));
        assert_eq!("@ops".parse(), Ok(Principal::Group("ops".to_owned())));
    }

    #[test]
    fn other_texts_name_nobody() {
        for text in ["", "#", "#x", "#+1", "#4294967296", "@", "cert:", "cert: a", "a b", "-x", "@#1"] {
            assert!(text.parse::<Principal>().is_err(), "{text}");
        }
    }
}
