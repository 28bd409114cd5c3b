//! What Prometheus's own programs say about our metrics.

use gateway_common::limits::ABI_VERSION;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::{Pages, busy, classic, reading};
use crate::metrics::labels::Kind;

/// From its start to its first scrape Prometheus takes about a second; this is for a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Is a program there? Without it a test has nothing to say: `scripts/setup.sh` installs it.
fn is_installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        assert!(std::env::var_os("CI").is_none(), "{program} is not installed: run scripts/setup.sh");
        eprintln!("left out: {program} is not installed, scripts/setup.sh installs it");
    }
    found.is_ok()
}

#[test]
fn promtool_finds_nothing_to_say_about_the_metrics() {
    if !is_installed("promtool") {
        return;
    }
    let text = classic::from_openmetrics(&busy().render(Some(reading())));
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

/// A Prometheus that scrapes one target, with everything in a directory of its own. Ends with its guard.
struct Prometheus {
    process: Child,
    directory: TempDir,
}

impl Prometheus {
    fn start(target: std::net::SocketAddr) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("prometheus.yml");
        let job = format!("{{ job_name: two-ip-gateway, static_configs: [{{ targets: ['{target}'] }}] }}");
        fs::write(&config, format!("global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - {job}\n"))
            .unwrap();
        let log = File::create(directory.path().join("log")).unwrap();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { process, directory }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// The port that it chose, as the kernel has it: its log says 0.
    fn port(&self) -> Option<u16> {
        let process = Path::new("/proc").join(self.process.id().to_string());
        let sockets: Vec<_> = fs::read_dir(process.join("fd")).ok()?.filter_map(Result::ok).collect();
        let sockets = sockets.iter().filter_map(|entry| fs::read_link(entry.path()).ok());
        let inodes: Vec<_> = sockets.filter_map(|link| inode_of(link.to_str()?)).collect();
        let listening = fs::read_to_string(process.join("net/tcp")).ok()?;
        listening.lines().find_map(|line| listening_port(line, &inodes))
    }

    /// The value of a series; none while there is no such series, or nobody to ask.
    async fn value_of(&self, query: &str) -> Option<String> {
        let port = self.port()?;
        let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        let query = serde_urlencoded::to_string([("query", query)]).ok()?;
        let request = Request::get(format!("/api/v1/query?{query}")).header("host", "prometheus");
        let answer = sender.send_request(request.body(Empty::<Bytes>::new()).ok()?).await.ok()?;
        let body = answer.into_body().collect().await.ok()?.to_bytes();
        let answer: serde_json::Value = serde_json::from_slice(&body).ok()?;
        Some(answer.pointer("/data/result/0/value/1")?.as_str()?.to_owned())
    }

    /// Waits until a series has a value.
    async fn await_value(&self, query: &str, value: &str) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let found = timeout(LIMIT, self.value_of(query)).await.ok().flatten();
            if found.as_deref() == Some(value) {
                return;
            }
            assert!(Instant::now() < deadline, "{query} is {found:?}, not {value}:\n{}", self.log());
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself; it is reaped either way.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `socket:[12345]`
fn inode_of(link: &str) -> Option<String> {
    Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
}

/// The port of a line of /proc/net/tcp, if the line is of a listening socket (state 0A) that is among the inodes.
fn listening_port(line: &str, inodes: &[String]) -> Option<u16> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let (address, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    let ours = *state == "0A" && inodes.iter().any(|known| known == inode);
    ours.then(|| u16::from_str_radix(address.rsplit(':').next()?, 16).ok())?
}

#[tokio::test]
async fn a_real_prometheus_reads_the_metrics() {
    if !is_installed("prometheus") {
        return;
    }
    let pages = Pages::serve().await;
    pages.metrics.repairs(Kind::Link).inc_by(3);
    let prometheus = Prometheus::start(pages.address);
    for (query, value) in [
        ("up{job=\"two-ip-gateway\"}", "1"),
        ("gateway_up", "1"),
        ("gateway_repairs_total{kind=\"link\"}", "3"),
        ("gateway_drops_total{reason=\"ports_exhausted\"}", "3400"),
        ("gateway_tenant_bytes_total{tenant=\"bank-b\",direction=\"to_external\"}", "93000000"),
        (&format!("gateway_build_info{{abi_version=\"{ABI_VERSION}\"}}"), "1"),
        // Every family arrived, none under another kind's name.
        ("count(count by (__name__) ({__name__=~\"gateway_.+\"}))", &families_with_samples()),
    ] {
        prometheus.await_value(query, value).await;
    }
    pages.metrics.repairs(Kind::Link).inc();
    prometheus.await_value("gateway_repairs_total{kind=\"link\"}", "4").await;
}

/// How many names of samples a daemon shows that has just started.
fn families_with_samples() -> String {
    let text = super::Metrics::default().render(Some(reading()));
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let names: std::collections::BTreeSet<_> =
        samples.filter_map(|line| line.split(['{', ' ']).next()).collect();
    names.len().to_string()
}
