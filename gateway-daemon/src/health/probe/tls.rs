//! TLS handshakes.

use std::io;
use std::net::{IpAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Deadline, tcp};
use crate::health::failure::{Failure, Phase};

/// How long a server may take to say goodbye, too. The verdict is there by then, so it fails nothing.
const GOODBYE: Duration = Duration::from_millis(100);

/// The most that is read of what a server says after the handshake: session tickets, a greeting.
const LAST_WORDS_MAX: u64 = 8 * 1024;

/// Completes a handshake, and parts in order: a server that is still sending its session tickets would log an RST as a
/// failed handshake.
pub async fn check(
    stream: TcpStream,
    tls: &TlsConnector,
    host: Option<&str>,
    to: SocketAddrV4,
    deadline: &Deadline,
) -> Result<(), Failure> {
    let mut stream = handshake(stream, tls, host, to, deadline).await?;
    // Whatever becomes of it, the handshake was complete.
    let _ = tokio::time::timeout(GOODBYE, part(&mut stream)).await;
    tcp::reset_on_close(stream.get_ref().0)
}

async fn part(stream: &mut TlsStream<TcpStream>) -> io::Result<()> {
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(LAST_WORDS_MAX), &mut tokio::io::sink()).await?;
    Ok(())
}

/// Shakes hands. Asks for `host`; without, for the address, which leaves the server name out (RFC 6066 section 3).
pub async fn handshake(
    stream: TcpStream,
    tls: &TlsConnector,
    host: Option<&str>,
    to: SocketAddrV4,
    deadline: &Deadline,
) -> Result<TlsStream<TcpStream>, Failure> {
    let name = server_name(host, to)?;
    let handshake = async { tls.connect(name, stream).await.map_err(|error| failure(&error)) };
    deadline.within(Phase::Handshaking, handshake).await
}

fn server_name(host: Option<&str>, to: SocketAddrV4) -> Result<ServerName<'static>, Failure> {
    let Some(host) = host else { return Ok(ServerName::from(IpAddr::V4(*to.ip()))) };
    let name = host.rsplit_once(':').map_or(host, |(name, _port)| name);
    ServerName::try_from(name.to_owned()).map_err(|_| {
        Failure::Unable(format!("`{name}` is no name that a TLS server can be asked for").into())
    })
}

fn failure(error: &io::Error) -> Failure {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => Failure::Tls(tls.to_string().into()),
        None => Failure::from_io(error, Phase::Handshaking),
    }
}

/// A client that takes every certificate: a check asks whether a backend works, not who it is. Nothing but the
/// check itself is ever sent through such a connection.
pub fn connector() -> Result<TlsConnector, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
