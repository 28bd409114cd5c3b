//! Fields that take one of a few words.

use std::fmt;

use super::problem::Explain;
use super::reader::from_toml_string;
use super::text::{Quoted, closest, listed};
use crate::tenancy::spec::AdminState;

/// Declares an enum together with the word of each variant.
macro_rules! choice {
    (
        $(#[$meta:meta])* $name:ident $what:literal {
            $( $(#[doc = $variant_doc:literal])* $variant:ident = $word:literal, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $( $(#[doc = $variant_doc])* $variant, )* }

        impl $name {
            /// The word in the file.
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word, )* }
            }
        }

        impl std::str::FromStr for $name {
            type Err = ChoiceError;

            fn from_str(text: &str) -> Result<Self, ChoiceError> {
                match text {
                    $( $word => Ok(Self::$variant), )*
                    _ => Err(ChoiceError { what: $what, text: text.to_owned(), words: &[$($word),*] }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        from_toml_string!($name: words(&[$($word),*]));
    };
}

/// The words as the reference shows them.
fn words(words: &[&str]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}

choice! {
    /// Which network an interface leads to.
    Side "side" {
        /// NPCI's network.
        External = "external",
        /// The tenants' networks.
        Internal = "internal",
    }
}
choice! {
    /// Where in the kernel the gateway attaches to an interface.
    HookChoice "hook" {
        /// The daemon chooses and says why in `status`.
        Auto = "auto",
        /// XDP, before the kernel's own packet structures exist.
        Xdp = "xdp",
        /// TC ingress, behind GRO; for veth, bonds and traffic of the same host.
        Tc = "tc",
    }
}
choice! {
    /// How an XDP program is attached.
    XdpMode "XDP mode" {
        /// In the driver.
        Native = "native",
        /// In the network stack; every interface can do it, slower.
        Generic = "generic",
    }
}
choice! {
    /// An IP protocol that the gateway translates.
    Protocol "protocol" {
        /// TCP.
        Tcp = "tcp",
        /// UDP.
        Udp = "udp",
        /// ICMP queries (echo).
        Icmp = "icmp",
    }
}
choice! {
    /// A protocol with ports.
    Transport "protocol" {
        /// TCP.
        Tcp = "tcp",
        /// UDP.
        Udp = "udp",
    }
}
choice! {
    /// Which source address the backends of a listener see.
    SourceMode "source mode" {
        /// The tenant's NAT IP.
        Nat = "nat",
        /// The client's own address.
        Preserve = "preserve",
    }
}
choice! {
    /// What new flows meet when no backend of a pool takes any.
    WhenAllDown "policy" {
        /// A RST, or an ICMP error, at once.
        Refuse = "refuse",
        /// Nothing.
        Drop = "drop",
    }
}
choice! {
    /// What becomes of the flows of a backend that goes down.
    OnBackendDown "policy" {
        /// They go on, in the hope that it comes back.
        Keep = "keep",
        /// Both ends get a RST, so that they connect anew.
        Reset = "reset",
    }
}
choice! {
    /// What a check does.
    CheckWord "check" {
        /// A TCP handshake.
        Tcp = "tcp",
        /// A GET.
        Http = "http",
        /// A GET over TLS.
        Https = "https",
        /// A TLS handshake.
        Tls = "tls",
        /// Bytes there and back.
        Script = "script",
    }
}
choice! {
    /// Where the tenants are kept.
    StoreWord "store" {
        /// A database in the state directory.
        Embedded = "embedded",
        /// An etcd cluster.
        Etcd = "etcd",
        /// The configuration file.
        File = "file",
    }
}
choice! {
    /// [`AdminState`] as the file has it.
    StateWord "state" {
        /// Takes new flows.
        Active = "active",
        /// Takes no new flows, keeps those that it has.
        Draining = "draining",
        /// Takes no flows.
        Maintenance = "maintenance",
    }
}

impl From<StateWord> for AdminState {
    fn from(word: StateWord) -> Self {
        match word {
            StateWord::Active => Self::Active,
            StateWord::Draining => Self::Draining,
            StateWord::Maintenance => Self::Maintenance,
        }
    }
}

impl From<Transport> for Protocol {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Tcp => Self::Tcp,
            Transport::Udp => Self::Udp,
        }
    }
}

/// A word is not one of those that are known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} {}", Quoted(text))]
pub struct ChoiceError {
    what: &'static str,
    text: String,
    words: &'static [&'static str],
}

impl Explain for ChoiceError {
    fn help(&self) -> String {
        let words = listed(self.words.iter().copied());
        match closest(&self.text, self.words.iter().copied()) {
            Some(word) => format!("did you mean `{word}`? The choices are {words}"),
            None if self.text == "icmp" => {
                format!(
                    "use {words}: ICMP has no ports, and the gateway itself answers echo requests to its VIPs"
                )
            }
            None => format!("the choices are {words}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_written_alike() {
        for hook in [HookChoice::Auto, HookChoice::Xdp, HookChoice::Tc] {
            assert_eq!(hook.as_str().parse(), Ok(hook));
        }
        assert_eq!("preserve".parse(), Ok(SourceMode::Preserve));
        assert!("TCP".parse::<Protocol>().is_err());
    }

    #[test]
    fn the_error_lists_the_words() {
        let error = "extern".parse::<Side>().unwrap_err();
        assert_eq!(error.to_string(), "unknown side `extern`");
        assert_eq!(error.help(), "did you mean `external`? The choices are `external`, `internal`");
    }
}
