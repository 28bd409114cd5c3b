//! Both ends over a real socket in a temporary directory.

mod change;
mod openapi;
mod roles;
mod tls;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::audit::Audit;
use super::auth::RoleMap;
use super::client::{Client, ClientError};
use super::fake::{self, FakeSource};
use super::fake_controller::FakeController;
use super::server::{self, ApiState, BindError};
use super::types::{
    ExplainPacket, ExplainRequest, ExplainTuple, FlowFilter, FlowLimit, FlowState, FrameText, Problem,
    Protocol,
};
use crate::drain::{self, Trigger};

/// A server with a fake source and a fake controller.
pub(crate) struct Running {
    directory: TempDir,
    pub(crate) socket: PathBuf,
    source: Arc<FakeSource>,
    pub(crate) controller: Arc<FakeController>,
    trigger: Trigger,
    task: JoinHandle<io::Result<()>>,
}

impl Running {
    pub(crate) async fn start() -> Self {
        let (source, controller) = (FakeSource::new(), FakeController::new());
        let state = state(source.clone(), controller.clone());
        Self::with(state, source, controller).await
    }

    async fn with(state: ApiState, source: Arc<FakeSource>, controller: Arc<FakeController>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("run/gateway.sock");
        let (trigger, shutdown) = drain::channel();
        let bound = server::bind(&socket).await.unwrap();
        let task = tokio::spawn(server::serve(bound, state, shutdown.requested()));
        Self { directory, socket, source, controller, trigger, task }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.socket)
    }

    pub(crate) async fn stop(self) -> TempDir {
        self.trigger.request();
        self.task.await.unwrap().unwrap();
        self.directory
    }
}

pub(crate) fn state(source: Arc<FakeSource>, controller: Arc<FakeController>) -> ApiState {
    let roles = RoleMap::default().into();
    ApiState { source, controller, roles, audit: Audit::default(), answered: Arc::new(|_, _| ()) }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn filter(limit: u32) -> FlowFilter {
    FlowFilter { limit: FlowLimit::try_from(limit).unwrap(), ..FlowFilter::default() }
}

async fn problem(running: &Running, path: &str) -> Problem {
    match running.client().get::<serde_json::Value>(path).await {
        Err(ClientError::Refused(problem)) => problem,
        other => panic!("{path}: {other:?}"),
    }
}

/// The answer to a request as it is on the wire.
async fn raw(socket: &Path, request: &str) -> String {
    exchange(socket, &format!("{request} HTTP/1.1\r\nConnection: close\r\n\r\n")).await
}

/// What comes back for these bytes, until the server closes.
async fn exchange(socket: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_client_reads_what_the_source_says() {
    let running = Running::start().await;
    let client = running.client();
    assert_eq!(client.status().await.unwrap(), fake::status());
    assert_eq!(client.drops().await.unwrap(), fake::drops());
    let list = client.flows(&filter(100)).await.unwrap();
    assert_eq!((list.total, list.truncated, list.flows), (3, false, fake::flows()));
    running.stop().await;
}

#[tokio::test]
async fn a_packet_is_explained_and_a_wrong_one_is_the_callers_fault() {
    let running = Running::start().await;
    let (client, explanation) = (running.client(), fake::explanation());
    let ends = explanation.original.unwrap();
    let tuple = ExplainTuple {
        protocol: Protocol::Tcp,
        source: ends.source,
        source_port: ends.source_port,
        destination: ends.destination,
        destination_port: ends.destination_port,
        flags: Vec::new(),
    };
    let request = ExplainRequest { interface: None, packet: ExplainPacket::Tuple(tuple) };
    assert_eq!(client.explain(&request).await.unwrap(), explanation);

    for (interface, hex, field) in
        [(None, "x", "packet.hex"), (None, "02:00", "interface"), (Some("lo"), "02:00", "interface")]
    {
        let packet = ExplainPacket::Hex(FrameText(hex.to_owned()));
        let request = ExplainRequest { interface: interface.map(str::to_owned), packet };
        let Err(ClientError::Refused(problem)) = client.explain(&request).await else {
            panic!("no problem: {request:?}")
        };
        assert_eq!((problem.status, problem.problems[0].path.as_str()), (422, field), "{request:?}");
    }
    running.stop().await;
}

#[tokio::test]
async fn flows_are_chosen_by_every_field_of_the_filter() {
    let running = Running::start().await;
    let client = running.client();
    let chosen = FlowFilter {
        tenant: Some("bank-a".to_owned()),
        protocol: Some(Protocol::Udp),
        state: Some(FlowState::HalfOpen),
        ..FlowFilter::default()
    };
    assert_eq!(client.flows(&chosen).await.unwrap().flows, fake::flows()[1..2]);
    let contradiction = FlowFilter { protocol: Some(Protocol::Tcp), ..chosen };
    assert_eq!(client.flows(&contradiction).await.unwrap().total, 0);
    let cut = client.flows(&filter(2)).await.unwrap();
    assert_eq!((cut.total, cut.truncated, cut.flows.len()), (3, true, 2));
    running.stop().await;
}

#[tokio::test]
async fn an_unknown_tenant_is_the_callers_fault_whatever_its_name() {
    let running = Running::start().await;
    let chosen = FlowFilter { tenant: Some("&limit=1 \u{e9}#%".to_owned()), ..filter(0) };
    let Err(error @ ClientError::Refused(_)) = running.client().flows(&chosen).await else {
        panic!("no problem document");
    };
    assert_eq!(error.to_string(), "there is no tenant `&limit=1 \u{e9}#%`");
    assert!(!error.is_unreachable());
    assert_eq!(error.remedy(), "`gateway-daemon status` lists the tenants");
    running.stop().await;
}

#[tokio::test]
async fn bad_requests_get_a_problem_document() {
    let running = Running::start().await;
    let cases = [
        ("/", 404, "there is no /"),
        ("/v1/flows?limit=10001", 400, "10001 is not a number from 0 to 10000"),
        ("/v1/flows?limit=-1", 400, "invalid digit"),
        ("/v1/flows?protocol=sctp", 400, "unknown variant `sctp`"),
        ("/v1/flows?state=open", 400, "unknown variant `open`"),
        ("/v1/flows?tenants=bank-a", 400, "unknown field `tenants`"),
    ];
    for (path, status, detail) in cases {
        let problem = problem(&running, path).await;
        assert_eq!(problem.status, status, "{path}");
        assert!(problem.detail.contains(detail), "{path}: {}", problem.detail);
        assert!(!problem.title.is_empty() && !problem.remedy.is_empty(), "{path}");
    }
    running.stop().await;
}

#[tokio::test]
async fn problem_documents_say_so_and_have_the_status_of_the_answer() {
    let running = Running::start().await;
    let answer = raw(&running.socket, "DELETE /v1/flows").await;
    assert!(answer.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{answer}");
    assert!(answer.contains("content-type: application/problem+json\r\n"), "{answer}");
    assert!(answer.contains("allow: GET,HEAD\r\n"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let problem: Problem = serde_json::from_str(body).unwrap();
    assert_eq!((problem.status, problem.title.as_str()), (405, "Method Not Allowed"));
    running.stop().await;
}

#[tokio::test]
async fn a_source_without_an_answer_says_why_and_what_to_do() {
    let running = Running::start().await;
    running.source.broken.store(true, Ordering::Relaxed);
    let problem = problem(&running, super::STATUS_PATH).await;
    assert_eq!(problem.status, 503);
    assert_eq!(problem.detail, "cannot read the flow table: no such map");
    assert_eq!(problem.remedy, "restart the daemon");
    running.stop().await;
}

#[tokio::test]
async fn a_panic_of_the_source_fails_one_request_only() {
    let running = Running::start().await;
    running.source.defect.store(true, Ordering::Relaxed);
    assert_eq!(problem(&running, super::DROPS_PATH).await.status, 500);
    running.source.defect.store(false, Ordering::Relaxed);
    assert_eq!(running.client().drops().await.unwrap(), fake::drops());
    running.stop().await;
}

#[tokio::test]
async fn the_socket_is_for_all_and_goes_with_the_server() {
    let running = Running::start().await;
    let socket = running.socket.clone();
    assert_eq!(mode(&socket), 0o666);
    assert_eq!(mode(socket.parent().unwrap()), 0o755);
    let _directory = running.stop().await;
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_socket_that_was_never_served_goes_too() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("gateway.sock");
    drop(server::bind(&socket).await.unwrap());
    assert!(!socket.exists());
}

#[tokio::test]
async fn the_socket_of_a_dead_daemon_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("gateway.sock");
    // The file outlives the listener, as it does when a daemon is killed.
    drop(StdUnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    let bound = server::bind(&socket).await.unwrap();
    UnixStream::connect(&socket).await.unwrap();
    drop(bound);
}

#[tokio::test]
async fn a_living_daemon_keeps_its_socket() {
    let running = Running::start().await;
    let refused = server::bind(&running.socket).await.unwrap_err();
    assert!(matches!(refused, BindError::AlreadyRunning { .. }), "{refused:?}");
    assert!(refused.to_string().contains("already running"), "{refused}");
    assert_eq!(running.client().status().await.unwrap(), fake::status());

    // Even if its file was deleted: two daemons would fight for the same interfaces.
    fs::remove_file(&running.socket).unwrap();
    let refused = server::bind(&running.socket).await.unwrap_err();
    assert!(matches!(refused, BindError::AlreadyRunning { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_socket_that_someone_else_listens_on_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("gateway.sock");
    let _other = StdUnixListener::bind(&socket).unwrap();
    let refused = server::bind(&socket).await.unwrap_err();
    assert!(matches!(refused, BindError::AlreadyRunning { .. }), "{refused:?}");
    assert!(socket.exists());
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.sock");
    fs::write(&path, "precious").unwrap();
    let refused = server::bind(&path).await.unwrap_err();
    assert!(matches!(refused, BindError::Occupied { .. }), "{refused:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn without_a_daemon_the_client_says_how_to_start_one() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("gateway.sock");
    let missing = Client::new(&socket).status().await.unwrap_err();
    drop(StdUnixListener::bind(&socket).unwrap());
    let dead = Client::new(&socket).status().await.unwrap_err();
    for error in [missing, dead] {
        assert!(matches!(error, ClientError::NotRunning { .. }), "{error:?}");
        assert!(error.is_unreachable());
        assert!(error.to_string().contains(&socket.display().to_string()), "{error}");
        assert!(error.remedy().contains("gateway-daemon run --config FILE"), "{}", error.remedy());
    }
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_hangs_does_not_hang_the_client() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("gateway.sock");
    let _never_accepts = StdUnixListener::bind(&socket).unwrap();
    let error = Client::new(&socket).status().await.unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error:?}");
    assert!(error.is_unreachable());
}

#[tokio::test]
async fn an_answer_of_someone_else_is_not_understood() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("gateway.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let router = axum::Router::new().fallback(async || "hello");
    tokio::spawn(async move { axum::serve(listener, router).await });
    let error = Client::new(&socket).status().await.unwrap_err();
    assert!(matches!(error, ClientError::NotUnderstood { status: 200, .. }), "{error:?}");
    assert!(!error.is_unreachable());
}
