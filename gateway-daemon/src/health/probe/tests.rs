//! Checks against real servers on loopback addresses, kind and hostile ones.

mod servers;

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};

use self::servers::{Nginx, SelfSigned, head, serve, serve_bytes};
use super::*;
use crate::drain;
use crate::health::driver::Health;
use crate::health::target::tests::tcp_check;
use crate::health::target::{Initial, Target};
use crate::health::{Standing, Standings};

const TIMEOUT: Duration = Duration::from_millis(500);
const GOOD: &str = "200-299";

async fn probe(kind: CheckKind, to: SocketAddrV4) -> Result<(), Failure> {
    probe_from(None, kind, to).await
}

async fn probe_from(source: Option<Ipv4Addr>, kind: CheckKind, to: SocketAddrV4) -> Result<(), Failure> {
    let check = Check { kind, timeout: TIMEOUT, ..tcp_check() };
    let probe = Network::new(source).unwrap();
    let began = Instant::now();
    let result = probe.probe(&backend(to), &check).await;
    assert!(began.elapsed() < 2 * TIMEOUT, "the deadline was kept");
    result
}

fn backend(at: SocketAddrV4) -> BackendId {
    BackendId { tenant: "alpha".into(), pool: "web".into(), address: *at.ip(), port: at.port() }
}

fn http(path: &str, host: Option<&str>) -> CheckKind {
    let expect = GOOD.parse().unwrap();
    CheckKind::Http { tls: false, path: path.to_owned(), host: host.map(str::to_owned), expect }
}

fn https(host: Option<&str>) -> CheckKind {
    let expect = GOOD.parse().unwrap();
    CheckKind::Http { tls: true, path: "/".to_owned(), host: host.map(str::to_owned), expect }
}

fn tls(host: Option<&str>) -> CheckKind {
    CheckKind::Tls { host: host.map(str::to_owned) }
}

/// An echo as ISO 8583 hosts know it: length, MTI 0800, any bitmap; the answer has MTI 0810.
fn iso_echo() -> CheckKind {
    let expect = [&[None, None][..], &b"0810".map(Some)].concat();
    CheckKind::Script { send: b"\x00\x0c080082200000".to_vec(), expect }
}

/// A place at which nobody listens: no other test uses this address.
fn nobody() -> SocketAddrV4 {
    let address = Ipv4Addr::new(127, 0, 0, 77);
    let listener = std::net::TcpListener::bind((address, 0)).unwrap();
    SocketAddrV4::new(address, listener.local_addr().unwrap().port())
}

fn text(result: Result<(), Failure>) -> String {
    result.unwrap_err().to_string()
}

#[tokio::test]
async fn tcp_passes_and_leaves_with_a_reset() {
    let (at, mut seen) =
        serve(|mut stream| async move { stream.read(&mut [0]).await.map_err(|e| e.kind()) }).await;
    assert_eq!(probe(CheckKind::Tcp, at).await, Ok(()));
    assert_eq!(seen.next().await, Err(std::io::ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn tcp_is_refused_where_nobody_listens() {
    for kind in [CheckKind::Tcp, http("/", None), https(None), tls(None), iso_echo()] {
        assert_eq!(probe(kind, nobody()).await, Err(Failure::Refused));
    }
}

#[tokio::test]
async fn syns_that_nobody_answers_end_at_the_deadline() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let at = SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port());
    // The kernel drops SYNs while the queue of connections that wait to be accepted is full.
    let mut waiting = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(200), tokio::net::TcpStream::connect(at)).await
    {
        waiting.push(stream);
        assert!(waiting.len() < 100, "the queue is never full");
    }
    assert_eq!(text(probe(CheckKind::Tcp, at).await), "timeout after 500 ms while connecting");
}

#[tokio::test]
async fn checks_leave_from_the_address_that_was_set() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (at, source) = (address(&listener), Ipv4Addr::new(127, 0, 0, 99));
    assert_eq!(probe_from(Some(source), CheckKind::Tcp, at).await, Ok(()));
    assert_eq!(listener.accept().await.unwrap().1.ip(), source);
    // Not an address of this node (RFC 5737): its fault, not the backend's.
    let foreign = Ipv4Addr::new(192, 0, 2, 1);
    assert!(probe_from(Some(foreign), CheckKind::Tcp, at).await.unwrap_err().is_ours());
}

#[tokio::test]
async fn http_asks_as_documented() {
    let (at, mut seen) = serve(|mut stream| async move {
        let head = head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        head
    })
    .await;
    assert_eq!(probe(http("/live?x=1", Some("pay.example:8443")), at).await, Ok(()));
    let head = seen.next().await;
    assert!(head.starts_with("GET /live?x=1 HTTP/1.1\r\n"), "{head}");
    for line in
        ["host: pay.example:8443\r\n", "connection: close\r\n", "user-agent: two-ip-gateway-health\r\n"]
    {
        assert!(head.contains(line), "{head}");
    }
    assert_eq!(probe(http("/", None), at).await, Ok(()));
    assert!(seen.next().await.contains(&format!("host: {at}\r\n")));
}

#[tokio::test]
async fn http_judges_the_status() {
    let at = serve_bytes(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    assert_eq!(text(probe(http("/", None), at).await), "status 503, expected 200-299");
    let expect = "200-299,503".parse().unwrap();
    let lenient = CheckKind::Http { tls: false, path: "/".to_owned(), host: None, expect };
    assert_eq!(probe(lenient, at).await, Ok(()));
}

#[tokio::test]
async fn http_reads_the_head_and_no_more() {
    let (at, _seen) = serve(|mut stream| async move {
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        // A body without end: written until the check goes.
        while stream.write_all(&[b'x'; 4_096]).await.is_ok() {}
    })
    .await;
    assert_eq!(probe(http("/", None), at).await, Ok(()));
}

#[tokio::test]
async fn http_takes_no_nonsense() {
    let long = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\n\r\n", "x".repeat(20_000)).into_bytes();
    for answer in [b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec(), long] {
        let result = probe(http("/", None), serve_bytes(answer).await).await;
        assert!(matches!(result, Err(Failure::Http(_))), "{result:?}");
    }
    for cut in [&b""[..], b"HTTP/1.1 200 OK\r\nX-Cut: "] {
        let result = probe(http("/", None), serve_bytes(cut.to_vec()).await).await;
        assert_eq!(result, Err(Failure::Reset(Phase::Answering)));
    }
    let unable = probe(http("/a b", None), serve_bytes(Vec::new()).await).await;
    assert!(unable.as_ref().is_err_and(Failure::is_ours), "{unable:?}");
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let (at, _seen) =
        serve(|mut stream| async move { stream.read_to_end(&mut Vec::new()).await.is_ok() }).await;
    let waited = |during: &str| format!("timeout after 500 ms while {during}");
    assert_eq!(text(probe(http("/", None), at).await), waited("waiting for the answer"));
    assert_eq!(text(probe(https(None), at).await), waited("shaking hands"));
    assert_eq!(text(probe(tls(None), at).await), waited("shaking hands"));
    assert_eq!(text(probe(iso_echo(), at).await), waited("waiting for the answer"));
}

#[tokio::test]
async fn tls_takes_any_certificate_and_asks_for_the_name() {
    let certificate = SelfSigned::new();
    let acceptor = certificate.acceptor();
    let (at, mut seen) = serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = acceptor.accept(stream).await.unwrap();
            let name = stream.get_ref().1.server_name().map(str::to_owned);
            // Ok means that the check said goodbye before it went.
            (name, stream.read(&mut [0]).await.ok())
        }
    })
    .await;
    assert_eq!(probe(tls(Some("pay.example")), at).await, Ok(()));
    assert_eq!(seen.next().await, (Some("pay.example".to_owned()), Some(0)));
    assert_eq!(probe(tls(None), at).await, Ok(()));
    assert_eq!(seen.next().await.0, None);
    assert!(probe(tls(Some("not a name")), at).await.unwrap_err().is_ours());
}

#[tokio::test]
async fn https_is_http_inside_tls() {
    let certificate = SelfSigned::new();
    let acceptor = certificate.acceptor();
    let (at, mut seen) = serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = acceptor.accept(stream).await.unwrap();
            let head = head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            (stream.get_ref().1.server_name().map(str::to_owned), head)
        }
    })
    .await;
    assert_eq!(probe(https(Some("pay.example:8443")), at).await, Ok(()));
    let (name, head) = seen.next().await;
    assert_eq!(name.as_deref(), Some("pay.example"));
    assert!(head.contains("host: pay.example:8443\r\n"), "{head}");
}

#[tokio::test]
async fn plain_servers_do_not_speak_tls() {
    let at = serve_bytes(b"220 mail.example ESMTP\r\n".to_vec()).await;
    for kind in [tls(None), https(None)] {
        let result = probe(kind, at).await;
        assert!(matches!(result, Err(Failure::Tls(_) | Failure::Reset(Phase::Handshaking))), "{result:?}");
    }
}

#[tokio::test]
async fn a_script_is_played_and_ended_in_order() {
    let (at, mut seen) = serve(|mut stream| async move {
        let mut request = [0; 14];
        stream.read_exact(&mut request).await.unwrap();
        // Byte by byte, each in its own segment.
        stream.set_nodelay(true).unwrap();
        for byte in b"\x00\x040810" {
            stream.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        request
    })
    .await;
    assert_eq!(probe(iso_echo(), at).await, Ok(()));
    assert_eq!(&seen.next().await[2..6], b"0800");

    let (at, mut seen) = serve(|mut stream| async move {
        stream.read_exact(&mut [0; 14]).await.unwrap();
        stream.write_all(b"\x00\x040810").await.unwrap();
        stream.read(&mut [0]).await.map_err(|error| error.kind())
    })
    .await;
    assert_eq!(probe(iso_echo(), at).await, Ok(()));
    assert_eq!(seen.next().await, Ok(0), "a FIN, no RST");
}

#[tokio::test]
async fn a_script_says_what_differs() {
    let answered = async |answer: &[u8]| text(probe(iso_echo(), serve_bytes(answer.to_vec()).await).await);
    assert_eq!(answered(b"\x00\x040811").await, "the answer differs at byte 5: 31, expected 30");
    assert_eq!(answered(b"\x00\x0409").await, "the answer differs at byte 3: 39, expected 38");
    assert_eq!(answered(b"\x00\x04081").await, "the answer ended after 5 bytes, expected 6");
    let banner = CheckKind::Script { send: Vec::new(), expect: b"SSH-".map(Some).to_vec() };
    assert_eq!(probe(banner, serve_bytes(b"SSH-2.0-x\r\n".to_vec()).await).await, Ok(()));
    let push = CheckKind::Script { send: b"hello".to_vec(), expect: Vec::new() };
    assert_eq!(probe(push, serve_bytes(Vec::new()).await).await, Ok(()));
}

#[tokio::test]
async fn random_answers_fail_and_nothing_else() {
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..100 {
        let answer: Vec<u8> = (0..random.usize(..600)).map(|_| random.u8(..)).collect();
        let at = serve_bytes(answer).await;
        for kind in [http("/", None), https(None), tls(None), iso_echo()] {
            let result = probe(kind, at).await;
            assert!(
                result.as_ref().is_err_and(|failure| !failure.is_ours()),
                "seed 11, round {round}: {result:?}"
            );
        }
    }
}

/// Everything together, in real time: a real server comes, is seen, goes, is missed.
#[tokio::test]
async fn nginx_comes_and_goes() {
    let mut nginx = Nginx::start();
    let (trigger, shutdown) = drain::channel();
    let health = Health::start(Arc::new(Network::new(None).unwrap()), 16, shutdown);
    let check = |path: &str| {
        let (kind, interval) = (http(path, None), Duration::from_millis(200));
        Arc::new(Check { kind, interval, timeout: TIMEOUT, rise: 2, fall: 2, ..tcp_check() })
    };
    let target = |pool: &str, path: &str| Target {
        id: BackendId { pool: pool.into(), ..backend(nginx.at) },
        check: check(path),
        slow_start: Duration::ZERO,
        initial: Initial::Down,
    };
    let targets = [target("good", "/live"), target("sick", "/sick")];
    let mut standings = health.standings();
    health.update_targets(&targets);

    let good = |standings: &Standings| standings.get(&targets[0].id).copied();
    let patience = targets[0].check.recovery_time() + Duration::from_secs(2);
    let up = standings.wait_for(|now| good(now) == Some(Standing::Up));
    tokio::time::timeout(patience, up).await.unwrap().unwrap();
    assert_eq!(standings.borrow()[&targets[1].id], Standing::Down);
    assert_eq!(health.report()[1].reason, "status 503, expected 200-299");

    nginx.stop();
    let down = standings.wait_for(|now| good(now) == Some(Standing::Down));
    let limit = targets[0].check.detection_time() + Duration::from_millis(100);
    tokio::time::timeout(limit, down).await.unwrap().unwrap();
    assert_eq!(health.report()[0].reason, "connection refused");
    trigger.request();
    assert_eq!(trigger.drained(Duration::from_secs(1)).await, drain::Drained::All);
}

/// The listener's address, as IPv4.
fn address(listener: &TcpListener) -> SocketAddrV4 {
    match listener.local_addr().unwrap() {
        std::net::SocketAddr::V4(at) => at,
        std::net::SocketAddr::V6(at) => panic!("{at} is not IPv4"),
    }
}
