//! Servers to check.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::address;

/// What a server has seen.
pub struct Seen<T>(mpsc::Receiver<T>);

impl<T> Seen<T> {
    /// What it saw of the next connection.
    pub async fn next(&mut self) -> T {
        let next = tokio::time::timeout(Duration::from_secs(5), self.0.recv()).await;
        next.expect("the server failed, or nobody came").expect("the server runs")
    }
}

/// Serves each connection with `serve`, and hands out what it returned.
pub async fn serve<T, F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> (SocketAddrV4, Seen<T>)
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (at, (sender, receiver)) = (address(&listener), mpsc::channel(16));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (served, sender) = (serve(stream), sender.clone());
            // The test may not want to know.
            tokio::spawn(async move { drop(sender.send(served.await).await) });
        }
    });
    (at, Seen(receiver))
}

/// Says this to everybody, then waits for their silence.
pub async fn serve_bytes(answer: Vec<u8>) -> SocketAddrV4 {
    let answer = Arc::new(answer);
    let (at, _) = serve(move |mut stream| {
        let answer = answer.clone();
        async move {
            // A check may go in the middle of it: that is what tests look at, from the other side.
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    })
    .await;
    at
}

/// Reads the head of a request, in small letters but for the first line.
pub async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let (first, rest) = head.split_once("\r\n").unwrap();
    format!("{first}\r\n{}", rest.to_lowercase())
}

/// A certificate that nobody has reason to trust, and its key.
pub struct SelfSigned(TempDir);

impl SelfSigned {
    pub fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let made = Command::new("openssl")
            .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2".split(' '))
            .args(["-subj", "/CN=nobody", "-keyout", "key.pem", "-out", "cert.pem"])
            .current_dir(&directory)
            .output()
            .expect("these tests need `openssl`: scripts/setup.sh");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self(directory)
    }

    pub fn acceptor(&self) -> TlsAcceptor {
        let certificate = CertificateDer::from_pem_file(self.0.path().join("cert.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(self.0.path().join("key.pem")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A real web server: 200 at /live, 503 elsewhere. It ends with the test.
pub struct Nginx {
    pub at: SocketAddrV4,
    child: Child,
    _directory: TempDir,
}

impl Nginx {
    pub fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let at = super::nobody();
        let path = directory.path().join("nginx.conf");
        std::fs::write(&path, config(at, directory.path())).unwrap();
        let child = Command::new("nginx")
            .arg("-e")
            .arg(directory.path().join("error.log"))
            .arg("-c")
            .arg(path)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .spawn()
            .expect("these tests need `nginx`: scripts/setup.sh");
        Self { at, child, _directory: directory }
    }

    pub fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config(at: SocketAddrV4, directory: &Path) -> String {
    let place = directory.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {place}/{kind};\n"))
        .concat();
    format!(
        "daemon off;\nmaster_process off;\npid {place}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}\
         server {{\nlisten {at};\nlocation = /live {{ return 200; }}\nlocation / {{ return 503; }}\n}}\n}}\n"
    )
}
