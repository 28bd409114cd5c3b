//! A TCP or UDP port.

use std::fmt;
use std::num::NonZeroU16;

use super::problem::{Explain, Problems, Reported};
use super::reader::{FromToml, Node};

/// A TCP or UDP port, 1 to 65535, in host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port(NonZeroU16);

impl Port {
    /// The port as a number.
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

/// A number is not a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value} is not a port")]
pub struct PortError {
    value: i64,
}

impl Explain for PortError {
    fn help(&self) -> String {
        "choose a port from 1 to 65535".to_owned()
    }
}

impl TryFrom<i64> for Port {
    type Error = PortError;

    fn try_from(value: i64) -> Result<Self, PortError> {
        u16::try_from(value).ok().and_then(NonZeroU16::new).map(Self).ok_or(PortError { value })
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromToml for Port {
    fn form() -> String {
        "integer, 1 to 65,535".to_owned()
    }

    fn from_toml(node: &Node<'_>, problems: &mut Problems) -> Result<Self, Reported> {
        node.integer(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_1_to_65535() {
        for value in [1, 65_535] {
            assert_eq!(i64::from(Port::try_from(value).unwrap().get()), value);
        }
        for value in [i64::MIN, -1, 0, 65_536, 70_000, i64::MAX] {
            assert!(Port::try_from(value).is_err(), "{value}");
        }
    }
}
