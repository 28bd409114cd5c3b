//! Why a check did not pass.

use std::io;
use std::time::Duration;

use nix::errno::Errno;

use crate::config::StatusRanges;

/// Why a check did not pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The backend has no listener on that port.
    #[error("connection refused")]
    Refused,
    /// The backend ended the connection before it answered.
    #[error("connection reset while {0}")]
    Reset(Phase),
    /// The time was up.
    #[error("timeout after {} ms while {during}", after.as_millis())]
    Timeout {
        /// The check's timeout.
        after: Duration,
        /// What it waited for.
        during: Phase,
    },
    /// The network failed: no route, no such neighbour.
    #[error("failed while {during}: {message}")]
    Network {
        /// What was under way.
        during: Phase,
        /// In the kernel's words.
        message: Box<str>,
    },
    /// Another status than was hoped for.
    #[error("status {status}, expected {expected}")]
    Status {
        /// What came.
        status: u16,
        /// The statuses that pass.
        expected: Box<str>,
    },
    /// What came is no HTTP answer, or its head is too long.
    #[error("no valid HTTP answer: {0}")]
    Http(Box<str>),
    /// The TLS handshake failed.
    #[error("TLS handshake failed: {0}")]
    Tls(Box<str>),
    /// The answer to the script is another one.
    #[error("the answer differs at byte {at}: {got:02x}, expected {expected:02x}")]
    Differs {
        /// Which byte, from 0.
        at: usize,
        /// What came.
        got: u8,
        /// What was expected.
        expected: u8,
    },
    /// The answer to the script is too short.
    #[error("the answer ended after {got} bytes, expected {expected}")]
    Short {
        /// Bytes that came.
        got: usize,
        /// Bytes expected.
        expected: usize,
    },
    /// This node could not make the check. It says nothing about the backend and counts as neither.
    #[error("this node cannot check it: {0}")]
    Unable(Box<str>),
}

/// What a check was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// TCP.
    Connecting,
    /// TLS.
    Handshaking,
    /// Sending and receiving.
    Answering,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connecting => "connecting",
            Self::Handshaking => "shaking hands",
            Self::Answering => "waiting for the answer",
        })
    }
}

impl Failure {
    /// Is it this node's own fault? Then it must not take a backend down: a gateway that has run out of descriptors
    /// would take down all of them.
    pub const fn is_ours(&self) -> bool {
        matches!(self, Self::Unable(_))
    }

    /// From what the kernel said.
    pub fn from_io(error: &io::Error, during: Phase) -> Self {
        if is_ours(error) {
            return Self::Unable(error.to_string().into());
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
                Self::Reset(during)
            }
            _ => Self::Network { during, message: error.to_string().into() },
        }
    }

    /// A status that was not hoped for.
    pub fn status(status: u16, expected: &StatusRanges) -> Self {
        Self::Status { status, expected: expected.to_string().into() }
    }
}

/// Errors that come from this node's own limits, addresses and filters, not from the way or the backend.
fn is_ours(error: &io::Error) -> bool {
    const OURS: [Errno; 7] = [
        Errno::EMFILE,
        Errno::ENFILE,
        Errno::ENOMEM,
        Errno::ENOBUFS,
        Errno::EADDRNOTAVAIL,
        Errno::EADDRINUSE,
        Errno::EPERM,
    ];
    error.raw_os_error().is_some_and(|number| OURS.contains(&Errno::from_raw(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_errno(errno: Errno) -> Failure {
        Failure::from_io(&io::Error::from(errno), Phase::Connecting)
    }

    #[test]
    fn what_people_read() {
        let texts = [
            (Failure::Refused, "connection refused"),
            (Failure::Reset(Phase::Handshaking), "connection reset while shaking hands"),
            (
                Failure::Timeout { after: Duration::from_secs(1), during: Phase::Connecting },
                "timeout after 1000 ms while connecting",
            ),
            (Failure::status(503, &"200-299,304".parse().unwrap()), "status 503, expected 200-299,304"),
            (
                Failure::Differs { at: 4, got: 0x30, expected: 0x31 },
                "the answer differs at byte 4: 30, expected 31",
            ),
            (Failure::Short { got: 3, expected: 6 }, "the answer ended after 3 bytes, expected 6"),
        ];
        for (failure, text) in texts {
            assert_eq!(failure.to_string(), text);
        }
    }

    #[test]
    fn limits_of_this_node_are_not_the_backends_fault() {
        for errno in [Errno::EMFILE, Errno::ENFILE, Errno::EADDRNOTAVAIL, Errno::EPERM] {
            assert!(from_errno(errno).is_ours(), "{errno}");
        }
        for errno in [Errno::ECONNREFUSED, Errno::EHOSTUNREACH, Errno::ENETUNREACH, Errno::ETIMEDOUT] {
            assert!(!from_errno(errno).is_ours(), "{errno}");
        }
        assert_eq!(from_errno(Errno::ECONNREFUSED), Failure::Refused);
    }
}
