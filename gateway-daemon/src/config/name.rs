//! Names of things in the file, one type a thing.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::problem::Explain;
use super::reader::from_toml_string;
use super::text::Quoted;

/// What a kind of name may look like.
#[derive(Clone, Copy)]
struct Rule {
    max_bytes: usize,
    allowed: fn(char) -> bool,
    allowed_text: &'static str,
}

/// Tenants, pools, listeners and peer groups: a DNS label, so that a name can be a Kubernetes object and a
/// metric label.
const LABEL: Rule = Rule {
    max_bytes: 63,
    allowed: |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-',
    allowed_text: "a to z, 0 to 9 and `-`",
};

/// Nodes: a DNS name, because Kubernetes names nodes so.
const DNS_NAME: Rule = Rule {
    max_bytes: 253,
    allowed: |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.',
    allowed_text: "a to z, 0 to 9, `-` and `.`",
};

/// Interfaces: what the kernel's `dev_valid_name` accepts, in printable ASCII.
const INTERFACE: Rule = Rule {
    max_bytes: 15,
    allowed: |c| c.is_ascii_graphic() && c != '/' && c != ':',
    allowed_text: "printable ASCII characters except space, `/` and `:`",
};

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No characters.
    #[error("the name is empty")]
    Empty {
        /// Which characters a name may have.
        allowed: &'static str,
    },
    /// Too many bytes.
    #[error("the name {} is too long: {bytes} bytes, at most {max} are allowed", Quoted(text))]
    TooLong {
        /// What was given.
        text: String,
        /// Its length.
        bytes: usize,
        /// The greatest length.
        max: usize,
    },
    /// A character that such a name can't have.
    #[error("the name {} has the character {character:?}", Quoted(text))]
    Character {
        /// What was given.
        text: String,
        /// The first wrong character.
        character: char,
        /// Which characters a name may have.
        allowed: &'static str,
    },
    /// `.` and `..` are no interface names.
    #[error("{} can't be a name", Quoted(text))]
    Dots {
        /// What was given.
        text: String,
    },
}

impl Explain for NameError {
    fn help(&self) -> String {
        match self {
            Self::Empty { allowed } => format!("choose a name of {allowed}"),
            Self::TooLong { max, .. } => format!("shorten it to {max} bytes"),
            Self::Character { allowed, .. } => format!("use only {allowed}"),
            Self::Dots { .. } => "give the name of a network interface, as `ip link` shows it".to_owned(),
        }
    }
}

fn check(text: &str, rule: Rule) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { allowed: rule.allowed_text });
    }
    if let Some(character) = text.chars().find(|c| !(rule.allowed)(*c)) {
        return Err(NameError::Character { text: text.to_owned(), character, allowed: rule.allowed_text });
    }
    if text.len() > rule.max_bytes {
        return Err(NameError::TooLong { text: text.to_owned(), bytes: text.len(), max: rule.max_bytes });
    }
    if matches!(text, "." | "..") {
        return Err(NameError::Dots { text: text.to_owned() });
    }
    Ok(())
}

/// Declares a name type with its rule.
macro_rules! name {
    ($(#[doc = $doc:literal])* $name:ident, $rule:expr) => {
        $(#[doc = $doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The same text, not another one.
            pub fn share(&self) -> Arc<str> {
                self.0.clone()
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check(text, $rule)?;
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), &*self.0)
            }
        }

        from_toml_string!($name: format!("name of at most {} bytes", $rule.max_bytes));
    };
}

name! {
    /// A tenant's name: 1 to 63 of `a-z`, `0-9`, `-`. Unique in the configuration.
    TenantName, LABEL
}
name! {
    /// A pool's name: 1 to 63 of `a-z`, `0-9`, `-`. Unique within its tenant.
    PoolName, LABEL
}
name! {
    /// A listener's name: 1 to 63 of `a-z`, `0-9`, `-`. Unique within its tenant.
    ListenerName, LABEL
}
name! {
    /// A peer group's name: 1 to 63 of `a-z`, `0-9`, `-`. Unique in the configuration.
    PeerGroupName, LABEL
}
name! {
    /// A node's name: 1 to 253 of `a-z`, `0-9`, `-`, `.`.
    NodeName, DNS_NAME
}
name! {
    /// The name of a network interface: 1 to 15 printable ASCII characters, no `/` and no `:`.
    InterfaceName, INTERFACE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_are_accepted() {
        assert_eq!("bank-a".parse::<TenantName>().unwrap().as_str(), "bank-a");
        assert!("x".repeat(63).parse::<PoolName>().is_ok());
        assert!("ip-10-0-0-1.ec2.internal".parse::<NodeName>().is_ok());
        for name in ["eth0", "enp0s31f6", "eth0.100", "br-lan", "cali1234567890a"] {
            assert!(name.parse::<InterfaceName>().is_ok(), "{name}");
        }
    }

    #[test]
    fn bad_names_are_refused() {
        for name in ["", "Bank", "bank a", "bank_a", "bank.a", "b\u{e4}nk", "a\nb", &"x".repeat(64)] {
            assert!(name.parse::<TenantName>().is_err(), "{name}");
        }
        for name in ["", ".", "..", "a/b", "eth0:1", "eth 0", "abcdefghijklmnop"] {
            assert!(name.parse::<InterfaceName>().is_err(), "{name}");
        }
    }
}
