//! Where the tenants are kept, who may change them, and how often the tables are compared.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

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

/// A certificate and its key, both in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsIdentity {
    /// The certificate, followed by those between it and the authority's.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

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

/// Somebody who may use the API.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// `root`: the user of this name.
    User(String),
    /// `#1000`: the user of this number.
    Uid(u32),
    /// `@wheel`: every member of this group.
    Group(String),
    /// `cert:bank-a-ops`: whose certificate has this name.
    Certificate(String),
}

/// How the tables of the kernel are kept right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reconcile {
    /// From one full comparison to the next.
    pub interval: Duration,
}
