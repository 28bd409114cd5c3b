//! nginx with a configuration of its own: nothing of the system's nginx is read or written.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::netns::Namespace;
use crate::process::Proc;
use crate::seed::Random;

/// Until the first connection is accepted.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Written at a time.
const BLOCK: usize = 1 << 20;

/// A running nginx. Drop stops it.
#[derive(Debug)]
pub struct Nginx {
    process: Proc,
    name: String,
    dir: PathBuf,
    addresses: Vec<SocketAddrV4>,
}

/// One served request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLine {
    /// The client as nginx saw it.
    pub client: SocketAddrV4,
    /// What it reached.
    pub server: SocketAddrV4,
    /// HTTP status.
    pub status: u16,
    /// Method, path.
    pub request: String,
}

impl Nginx {
    /// Starts it in a namespace and waits until it accepts connections.
    ///
    /// - `GET /whoami` answers with `name` and the addresses that nginx saw, see [`super::WhoAmI`].
    /// - `GET /<file>` serves what [`Nginx::add_file`] made.
    /// - `PUT /upload/<file>` stores a body of any size (POST is refused: plain nginx has no place for its
    ///   body).
    #[track_caller]
    pub fn start(namespace: &Namespace, name: &str, addresses: &[SocketAddrV4]) -> Self {
        Self::start_in(namespace, &format!("nginx-{name}"), name, addresses)
    }

    /// The same for one of several that call themselves by the same name.
    #[track_caller]
    pub fn start_apart(namespace: &Namespace, name: &str, address: SocketAddrV4) -> Self {
        Self::start_in(namespace, &format!("nginx-{name}-{}", address.ip()), name, &[address])
    }

    #[track_caller]
    fn start_in(namespace: &Namespace, place: &str, name: &str, addresses: &[SocketAddrV4]) -> Self {
        let dir = namespace.session().path(&format!("{place}/conf")).with_file_name("");
        for part in ["files/upload", "body"] {
            fs::create_dir_all(dir.join(part)).unwrap_or_else(|error| panic!("create {part}: {error}"));
        }
        let config = dir.join("nginx.conf");
        fs::write(&config, configuration(&dir, name, addresses)).expect("write nginx.conf");
        let mut command = namespace.command("nginx");
        command.arg("-p").arg(&dir).arg("-c").arg(&config).arg("-e").arg(dir.join("error.log"));
        let process = Proc::spawn(namespace, place, command);
        let nginx = Self { process, name: name.to_owned(), dir, addresses: addresses.to_vec() };
        nginx.wait_until_ready(namespace);
        nginx
    }

    fn wait_until_ready(&self, namespace: &Namespace) {
        let accepts = |address: &SocketAddrV4| TcpStream::connect(address).is_ok();
        self.process.wait_for(START_LIMIT, "an accepted connection", |_| {
            namespace.enter(|| self.addresses.iter().all(accepts)).then_some(())
        });
    }

    /// The name given at start.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process, for signals.
    pub fn process(&self) -> &Proc {
        &self.process
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddrV4] {
        &self.addresses
    }

    /// Makes a file of so many bytes to be served as `/<name>`, and returns its path. The content depends on
    /// the seed, and no two blocks of it are equal, so that lost, doubled and exchanged parts are seen.
    pub fn add_file(&self, name: &str, bytes: u64, seed: u64) -> PathBuf {
        let path = self.dir.join("files").join(name);
        write_pattern(&path, bytes, seed).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
        path
    }

    /// Where a body uploaded to `/upload/<name>` is.
    pub fn uploaded(&self, name: &str) -> PathBuf {
        self.dir.join("files/upload").join(name)
    }

    /// All requests so far that were answered.
    pub fn accesses(&self) -> Vec<AccessLine> {
        let log = fs::read_to_string(self.dir.join("access.log")).unwrap_or_default();
        log.lines().filter_map(AccessLine::parse).collect()
    }
}

impl AccessLine {
    /// `client port server port status method path`
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(6, ' ');
        let mut endpoint = || {
            let address: Ipv4Addr = words.next()?.parse().ok()?;
            Some(SocketAddrV4::new(address, words.next()?.parse().ok()?))
        };
        let (client, server) = (endpoint()?, endpoint()?);
        Some(Self { client, server, status: words.next()?.parse().ok()?, request: words.next()?.to_owned() })
    }
}

/// One process without workers: it needs no other user to own the lab's directory, and is gone at once when
/// it is killed.
fn configuration(dir: &Path, name: &str, addresses: &[SocketAddrV4]) -> String {
    let dir = dir.display();
    let listens = addresses.iter().fold(String::new(), |mut text, address| {
        writeln!(text, "    listen {address} backlog=4096;").expect("writes to memory");
        text
    });
    format!(
        r#"daemon off;
master_process off;
pid {dir}/nginx.pid;
events {{ worker_connections 8192; }}
http {{
  log_format lab '$remote_addr $remote_port $server_addr $server_port $status $request_method $uri';
  access_log {dir}/access.log lab;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/body;
  fastcgi_temp_path {dir}/body;
  uwsgi_temp_path {dir}/body;
  scgi_temp_path {dir}/body;
  client_max_body_size 0;
  keepalive_requests 1000000;
  keepalive_timeout 1h;
  sendfile on;
  default_type application/octet-stream;
  server {{
{listens}    root {dir}/files;
    location = /whoami {{
      default_type application/json;
      return 200 '{{"name":"{name}","remote_addr":"$remote_addr","remote_port":$remote_port,"server_addr":"$server_addr","server_port":$server_port}}';
    }}
    location /upload/ {{ dav_methods PUT DELETE; create_full_put_path on; }}
  }}
}}
"#
    )
}

/// One random block over and over, each time with another number at its start.
fn write_pattern(path: &Path, bytes: u64, seed: u64) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    let mut block = Random::with_seed(seed).bytes(BLOCK);
    let (mut left, mut number) = (bytes, 0_u64);
    while left > 0 {
        block[..8].copy_from_slice(&number.to_be_bytes());
        let count = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        file.write_all(&block[..count])?;
        left -= count as u64;
        number += 1;
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_lines_are_read() {
        let line = "192.0.2.100 40000 198.51.100.18 8080 200 GET /a b";
        let expected = AccessLine {
            client: "192.0.2.100:40000".parse().expect("an endpoint"),
            server: "198.51.100.18:8080".parse().expect("an endpoint"),
            status: 200,
            request: "GET /a b".to_owned(),
        };
        assert_eq!(AccessLine::parse(line), Some(expected));
        assert_eq!(AccessLine::parse("half a li"), None);
    }
}
