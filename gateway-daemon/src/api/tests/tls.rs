//! Who gets in over TCP. The certificates are made for each test.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::super::auth::RoleMap;
use super::super::fake::FakeSource;
use super::super::fake_controller::FakeController;
use super::super::server::ApiState;
use super::super::tls::{self, Reloader, TlsError, TlsOptions};
use super::state;
use crate::drain::{self, Trigger};

/// Runs openssl in a directory.
fn openssl(directory: &Path, arguments: &[&str]) {
    let output =
        Command::new("openssl").args(arguments).current_dir(directory).output().expect("openssl runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes an authority `name.pem`, `name.key`.
fn authority(directory: &Path, name: &str) {
    let (key, certificate, subject) = (format!("{name}.key"), format!("{name}.pem"), format!("/CN={name}"));
    let new =
        ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    openssl(directory, &[&new[..], &["-keyout", &key, "-out", &certificate, "-subj", &subject]].concat());
}

/// Makes a certificate `name.pem` for the DNS name `name`, signed by `by`. `days` may be over.
fn certificate(directory: &Path, name: &str, by: &str, days: &str) {
    let file = |end: &str| format!("{name}.{end}");
    let (key, request, signed, extensions) = (file("key"), file("csr"), file("pem"), file("ext"));
    fs::write(directory.join(&extensions), format!("subjectAltName=DNS:{name}\n")).unwrap();
    let new =
        ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=x"];
    openssl(directory, &[&new[..], &["-keyout", &key, "-out", &request]].concat());
    let (ca, ca_key) = (format!("{by}.pem"), format!("{by}.key"));
    let sign = ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial"];
    openssl(directory, &[&sign[..], &["-out", &signed, "-days", days, "-extfile", &extensions]].concat());
}

struct Remote {
    directory: TempDir,
    address: SocketAddr,
    reloader: Reloader,
    trigger: Trigger,
    task: JoinHandle<io::Result<()>>,
}

fn options(directory: &Path) -> TlsOptions {
    TlsOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        certificate: directory.join("gateway.example.pem"),
        key: directory.join("gateway.example.key"),
        client_ca: directory.join("ca.pem"),
    }
}

impl Remote {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        authority(directory.path(), "ca");
        certificate(directory.path(), "gateway.example", "ca", "2");
        let listener = tls::bind(options(directory.path())).await.unwrap();
        let roles = RoleMap::new(&[], &["cert:ops.example".to_owned()], &[]).unwrap().into();
        let state = ApiState { roles, ..state(FakeSource::new(), FakeController::new()) };
        let (trigger, shutdown) = drain::channel();
        let (address, reloader) = (listener.address().unwrap(), listener.reloader());
        let task = tokio::spawn(tls::serve(listener, state, shutdown.requested()));
        Self { directory, address, reloader, trigger, task }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn client(
        &self,
        authority: &str,
        own: Option<&str>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path(&format!("{authority}.pem"))).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        let Some(own) = own else { return builder.with_no_client_auth() };
        let certificate = CertificateDer::from_pem_file(self.path(&format!("{own}.pem"))).unwrap();
        let key = PrivateKeyDer::from_pem_file(self.path(&format!("{own}.key"))).unwrap();
        builder.with_client_auth_cert(vec![certificate], key).unwrap()
    }

    /// The answer to a request, by this certificate.
    async fn ask(&self, own: Option<&str>, request: &str) -> io::Result<String> {
        self.ask_by(self.client("ca", own, &[&rustls::version::TLS13]), request).await
    }

    async fn ask_by(&self, client: ClientConfig, request: &str) -> io::Result<String> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("gateway.example").unwrap();
        let mut stream = TlsConnector::from(Arc::new(client)).connect(name, stream).await?;
        let text = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(text.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        if answer.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(answer) }
    }

    async fn stop(self) {
        self.trigger.request();
        self.task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_certificate_has_the_role_of_its_name() {
    let remote = Remote::start().await;
    certificate(remote.directory.path(), "ops.example", "ca", "2");
    certificate(remote.directory.path(), "stranger.example", "ca", "2");
    let answer = remote.ask(Some("ops.example"), "GET /v1/status").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let answer = remote.ask(Some("ops.example"), "DELETE /v1/tenants/bank-a").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("certificate ops.example is operator; this needs admin"), "{answer}");
    let answer = remote.ask(Some("stranger.example"), "GET /v1/status").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("unknown certificate from 127.0.0.1 has no role"), "{answer}");
    remote.stop().await;
}

#[tokio::test]
async fn whoever_has_no_good_certificate_gets_no_answer() {
    let remote = Remote::start().await;
    authority(remote.directory.path(), "other");
    certificate(remote.directory.path(), "ops.example", "other", "2");
    remote.ask(Some("ops.example"), "GET /v1/status").await.expect_err("the authority is another");
    remote.ask(None, "GET /v1/status").await.expect_err("there is no certificate");
    certificate(remote.directory.path(), "ops.example", "ca", "-1");
    remote.ask(Some("ops.example"), "GET /v1/status").await.expect_err("the certificate is over");
    certificate(remote.directory.path(), "ops.example", "ca", "2");
    let old = remote.client("ca", Some("ops.example"), &[&rustls::version::TLS12]);
    remote.ask_by(old, "GET /v1/status").await.expect_err("TLS 1.2");
    remote.ask(Some("ops.example"), "GET /v1/status").await.unwrap();
    remote.stop().await;
}

#[tokio::test]
async fn new_files_are_used_after_a_reload_and_bad_ones_never() {
    let remote = Remote::start().await;
    certificate(remote.directory.path(), "ops.example", "ca", "2");
    fs::write(remote.path("gateway.example.key"), "nonsense").unwrap();
    let error = remote.reloader.reload().unwrap_err();
    assert!(error.to_string().starts_with("cannot read private key from "), "{error}");
    remote.ask(Some("ops.example"), "GET /v1/status").await.unwrap();

    fs::rename(remote.path("ca.pem"), remote.path("old.pem")).unwrap();
    authority(remote.directory.path(), "ca");
    certificate(remote.directory.path(), "gateway.example", "ca", "2");
    remote.reloader.reload().unwrap();
    let old = remote.client("old", Some("ops.example"), &[&rustls::version::TLS13]);
    remote.ask_by(old, "GET /v1/status").await.expect_err("the server has another authority now");
    certificate(remote.directory.path(), "ops.example", "ca", "2");
    remote.ask(Some("ops.example"), "GET /v1/status").await.unwrap();
    remote.stop().await;
}

#[tokio::test]
async fn files_that_are_of_no_use_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let error = tls::bind(options(directory.path())).await.unwrap_err();
    assert!(error.to_string().contains("ca.pem"), "{error}");
    authority(directory.path(), "ca");
    certificate(directory.path(), "gateway.example", "ca", "2");
    fs::copy(directory.path().join("ca.key"), directory.path().join("gateway.example.key")).unwrap();
    let error = tls::bind(options(directory.path())).await.unwrap_err();
    assert!(matches!(error, TlsError::Pair { .. }), "{error:?}");
    fs::write(directory.path().join("ca.pem"), "").unwrap();
    let error = tls::bind(options(directory.path())).await.unwrap_err();
    assert!(!error.remedy().is_empty() && error.to_string().contains("ca.pem"), "{error}");
}
