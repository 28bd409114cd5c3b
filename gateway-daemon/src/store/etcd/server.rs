//! A real etcd for tests: on loopback, with its data in a temporary directory, ended with the test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use tempfile::TempDir;

use super::{EtcdConfig, EtcdTls};
use crate::store::suite::{KEPT, PATIENCE};

/// The program, and where it comes from.
const ETCD: &str = "etcd";
const MISSING: &str = "etcd is missing, which the tests of the etcd store need: apt-get install etcd-server";

/// The server and its data.
pub struct Server {
    dir: TempDir,
    client_port: u16,
    peer_port: u16,
    tls: Option<EtcdTls>,
    process: Option<Child>,
}

impl Server {
    /// Starts one and waits until it serves.
    pub async fn start() -> Self {
        Self::start_with(TempDir::new().unwrap(), None).await
    }

    /// Starts one that wants clients to show a certificate. The files of `server` are for the server.
    pub async fn start_tls(dir: TempDir, server: EtcdTls) -> Self {
        Self::start_with(dir, Some(server)).await
    }

    async fn start_with(dir: TempDir, tls: Option<EtcdTls>) -> Self {
        let [client_port, peer_port] = free_ports();
        let mut server = Self { dir, client_port, peer_port, tls, process: None };
        server.run().await;
        server
    }

    /// Starts it again with the same data on the same ports.
    pub async fn run(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        self.process = Some(self.command().spawn().expect(MISSING));
        let start = Instant::now();
        while !self.serves().await {
            assert!(start.elapsed() < PATIENCE, "etcd did not start: see {}", self.log().display());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// As when its machine dies.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Starts it again with nothing in it, as if it were restored from a backup of before.
    pub async fn run_empty(&mut self) {
        std::fs::remove_dir_all(self.dir.path().join("data")).unwrap();
        self.run().await;
    }

    /// Stops it from answering, its connections stay open. Undone by [`Self::thaw`].
    pub fn freeze(&self) {
        self.signal(nix::sys::signal::Signal::SIGSTOP);
    }

    pub fn thaw(&self) {
        self.signal(nix::sys::signal::Signal::SIGCONT);
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let id = self.process.as_ref().expect("it runs").id();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(id.cast_signed()), signal).unwrap();
    }

    /// How a node gets there. `node` has a state directory of its own.
    pub fn config(&self, node: &str) -> EtcdConfig {
        EtcdConfig {
            endpoints: vec![self.url()],
            prefix: "/gateway/".into(),
            tls: None,
            state_dir: self.dir.path().join(node),
            kept: KEPT,
        }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Every key under the prefix.
    pub async fn keys(&self) -> Vec<String> {
        let mut client = etcd_client::Client::connect([self.url()], None).await.unwrap();
        let options = etcd_client::GetOptions::new().with_prefix().with_keys_only();
        let answer = client.get("/gateway/", Some(options)).await.unwrap();
        answer.kvs().iter().map(|pair| pair.key_str().unwrap()["/gateway/".len()..].to_owned()).collect()
    }

    pub async fn put(&self, key: &str, value: &str) {
        let mut client = etcd_client::Client::connect([self.url()], None).await.unwrap();
        client.put(format!("/gateway/{key}"), value, None).await.unwrap();
    }

    fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.client_port)
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("etcd.log")
    }

    fn command(&self) -> Command {
        let (client, peer) = (self.url(), format!("http://127.0.0.1:{}", self.peer_port));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let mut command = Command::new(ETCD);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.args(["--name", "test", "--data-dir"]).arg(self.dir.path().join("data"));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("test={peer}"), "--logger", "zap"]);
        if let Some(EtcdTls { ca, cert: Some(cert), key: Some(key) }) = &self.tls {
            command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(ca);
            command.arg("--cert-file").arg(cert).arg("--key-file").arg(key);
        }
        command
    }

    async fn serves(&self) -> bool {
        if self.tls.is_some() {
            return tokio::net::TcpStream::connect(("127.0.0.1", self.client_port)).await.is_ok();
        }
        let Ok(mut client) = etcd_client::Client::connect([self.url()], None).await else { return false };
        let get = client.get("x", None);
        tokio::time::timeout(std::time::Duration::from_secs(1), get).await.is_ok_and(|answer| answer.is_ok())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // The test is over, or has failed already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Two ports that nobody listens on.
fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
