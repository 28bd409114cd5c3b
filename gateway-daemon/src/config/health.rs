//! How the backends of a pool are checked.

use std::time::Duration;

use super::port::Port;
use super::status_ranges::StatusRanges;

/// How long a check may take when nothing is said, unless the interval is shorter.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

/// The path of a GET when none is said.
pub(super) const DEFAULT_PATH: &str = "/";

/// The statuses that count as success when none are said.
pub(super) const DEFAULT_STATUSES: &str = "200-299";

/// The check of a pool's backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is done.
    pub kind: CheckKind,
    /// From the start of one check to the start of the next, before jitter: 100 ms to an hour.
    pub interval: Duration,
    /// How long a check may take, at most the interval.
    pub timeout: Duration,
    /// Successes in a row until a backend is up, 1 to 10.
    pub rise: u8,
    /// Failures in a row until a backend is down, 1 to 10.
    pub fall: u8,
    /// Per cent of the interval by which checks are spread at random, 0 to 50.
    pub jitter_percent: u8,
    /// Does a backend count as up until it is proven down? Otherwise it is down until proven up.
    pub assume_up: bool,
    /// May unanswered SYNs and RSTs of real traffic mark a backend down sooner?
    pub passive: bool,
    /// The port to check, if not the backend's own.
    pub port: Option<Port>,
}

/// What a check does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// A TCP handshake.
    Tcp,
    /// A GET over HTTP or HTTPS.
    Http {
        /// Over TLS?
        tls: bool,
        /// The path, with its query; begins with a slash.
        path: String,
        /// The value of the Host header and, over TLS, the server name; the backend's address when absent.
        host: Option<String>,
        /// The statuses that count as success.
        expect: StatusRanges,
    },
    /// A TLS handshake.
    Tls {
        /// The server name, if one is sent.
        host: Option<String>,
    },
    /// Bytes there and back.
    Script {
        /// What is sent when the connection stands; may be empty.
        send: Vec<u8>,
        /// What the answer must begin with; `None` stands for any byte. Never empty.
        expect: Vec<Option<u8>>,
    },
}
