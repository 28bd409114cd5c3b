//! The API over TCP: TLS 1.3 with a certificate on both ends. There is no other way in over the network, and none at
//! all unless it is configured.
//!
//! The files are read again when they change, and on [`TlsListener::reloader`]; connections that are open stay as they
//! are. Files that can't be used change nothing.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::auth::{Caller, RemoteCaller};
use super::connections::{Connections, Door};
use super::server::{ApiState, Roles, router};

/// How often the files are looked at. Certificates are renewed days before they end.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How long a client may take to show who it is.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Where to listen, and by which files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// The address.
    pub listen: SocketAddr,
    /// Our certificate and those above it, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// The authority that has to have signed a client's certificate, PEM.
    pub client_ca: PathBuf,
}

/// The listener can't be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A file can't be read, or has no PEM in it.
    #[error("cannot read {what} from {}", .path.display())]
    File {
        /// What it is to hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: rustls::pki_types::pem::Error,
    },
    /// A file has PEM in it, and not what is wanted.
    #[error("there is no {what} in {}", .path.display())]
    Empty {
        /// What it is to hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key do not belong together, or are of no use.
    #[error("cannot use the certificate of {} with the key of {}", .certificate.display(), .key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
    /// The authority's certificate is of no use.
    #[error("cannot use the authority of {}", .path.display())]
    Authority {
        /// Its file.
        path: PathBuf,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl TlsError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Bind { .. } => "choose another address, or end the program that has it",
            Self::File { .. } | Self::Empty { .. } => "name a PEM file that the daemon may read",
            Self::Pair { .. } => "name a certificate and the key that was made for it",
            Self::Authority { .. } => {
                "name the certificate of the authority that signs the clients' certificates"
            }
        }
    }
}

/// A bound address, with the certificates read.
#[derive(Debug)]
pub struct TlsListener {
    listener: TcpListener,
    reloader: Reloader,
}

/// Reads the files again.
#[derive(Clone, Debug)]
pub struct Reloader {
    options: Arc<TlsOptions>,
    config: Arc<ArcSwap<ServerConfig>>,
}

/// Takes the address and reads the files.
pub async fn bind(options: TlsOptions) -> Result<TlsListener, TlsError> {
    let config = Arc::new(ArcSwap::from_pointee(load(&options)?));
    let address = options.listen;
    let bound = TcpListener::bind(address).await;
    let listener = bound.map_err(|source| TlsError::Bind { address, source })?;
    Ok(TlsListener { listener, reloader: Reloader { options: Arc::new(options), config } })
}

impl TlsListener {
    /// The address, with the port that the system chose if none was given.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// A handle to read the files again.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }
}

impl Reloader {
    /// Reads the files; new connections use what they hold. What was in use stays so on an error.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.config.store(Arc::new(load(&self.options)?));
        Ok(())
    }

    /// Reads the files again whenever one of them has changed.
    async fn follow(&self) -> Infallible {
        let mut seen = self.stamps();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = self.stamps();
            if now == seen {
                continue;
            }
            match self.reload() {
                Ok(()) => tracing::info!("the certificates of the API have changed and were read again"),
                Err(error) => {
                    tracing::warn!("the old certificates of the API stay in use: {}", chain(&error));
                }
            }
            seen = now;
        }
    }

    /// Whatever changes when a file does, or the link to it.
    fn stamps(&self) -> [Option<(SystemTime, u64)>; 3] {
        let TlsOptions { certificate, key, client_ca, .. } = &*self.options;
        [certificate, key, client_ca].map(|path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }
}

fn chain(error: &TlsError) -> String {
    super::source::with_causes(error)
}

fn load(options: &TlsOptions) -> Result<ServerConfig, TlsError> {
    let TlsOptions { certificate, key, client_ca, .. } = options;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = Arc::new(authority(client_ca)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|source: VerifierBuilderError| unusable(client_ca, source))?;
    let pair = |source| TlsError::Pair { certificate: certificate.clone(), key: key.clone(), source };
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(pair)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(certificate)?, private_key(key)?)
        .map_err(pair)
}

fn authority(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|source| unusable(path, source))?;
    }
    Ok(roots)
}

fn unusable(path: &Path, source: impl std::error::Error + Send + Sync + 'static) -> TlsError {
    TlsError::Authority { path: path.to_owned(), source: Box::new(source) }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    const WHAT: &str = "certificate";
    let unreadable = |source| TlsError::File { what: WHAT, path: path.to_owned(), source };
    let found = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(unreadable)?;
    if found.is_empty() {
        return Err(TlsError::Empty { what: WHAT, path: path.to_owned() });
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let key = PrivateKeyDer::from_pem_file(path);
    key.map_err(|source| TlsError::File { what: "private key", path: path.to_owned(), source })
}

/// Answers until `shutdown` is ready and the requests under way are answered.
pub async fn serve(
    listener: TlsListener,
    state: ApiState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let TlsListener { listener, reloader } = listener;
    let roles = state.roles.clone();
    let connections = Connections::new(router(state));
    let entrance = Entrance { listener, config: reloader.config.clone(), roles };
    tokio::select! {
        () = connections.run(entrance, shutdown) => Ok(()),
        never = reloader.follow() => match never {},
    }
}

struct Entrance {
    listener: TcpListener,
    config: Arc<ArcSwap<ServerConfig>>,
    roles: Roles,
}

impl Door for Entrance {
    type Guest = (TcpStream, SocketAddr);

    async fn accept(&self) -> io::Result<Self::Guest> {
        self.listener.accept().await
    }

    fn greet(&self, connections: &mut Connections, (stream, address): Self::Guest) {
        let (config, roles) = (self.config.load_full(), self.roles.clone());
        connections.remote(address.ip(), introduce(stream, address, config, roles));
    }
}

/// The handshake. Whoever fails it is nobody, and gets no answer.
async fn introduce(
    stream: TcpStream,
    address: SocketAddr,
    config: Arc<ServerConfig>,
    roles: Roles,
) -> Option<(TlsStream<TcpStream>, Caller)> {
    let handshake = tokio::time::timeout(HANDSHAKE_DEADLINE, TlsAcceptor::from(config).accept(stream));
    let stream = match handshake.await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::info!(target: "audit", %address, %error, "refused a TLS handshake");
            return None;
        }
        Err(_) => return None,
    };
    let certificate = stream.get_ref().1.peer_certificates()?.first()?.clone().into_owned();
    let name = roles.current().certificate_name(&certificate).map(str::to_owned);
    Some((stream, Caller::Remote(Arc::new(RemoteCaller { address, certificate, name }))))
}
