//! The other end: asks a running daemon.
//!
//! [`Client::send`] takes any [`Ask`]; the other methods are shorthands for questions that need no parameters.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, ETAG, HOST, IF_MATCH};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::change::Ask;
use super::types::{Drops, ExplainRequest, Explanation, FlowFilter, FlowList, Problem, Status};
use super::{DROPS_PATH, EXPLAIN_PATH, FLOWS_PATH, STATUS_PATH, etag};
use crate::store::Version;

/// How long the daemon may take for an answer. It reads a table of a million flows in about a second; one that
/// takes longer than this hangs.
const DEADLINE: Duration = Duration::from_secs(10);

/// How long it may take for a change: longer than it gives itself, so that its own words are heard.
const CHANGE_DEADLINE: Duration = Duration::from_secs(70);

/// The largest answer that is read: ten times that of 16,383 tenants, or of [`super::types::FlowLimit::MAX`] flows.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Asks the daemon behind one socket. A connection a question.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// There is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("the gateway daemon is not running: nobody listens on {}", .socket.display())]
    NotRunning {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The caller may not use the socket.
    #[error("not permitted to connect to {}", .socket.display())]
    NotPermitted {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The socket can't be connected to.
    #[error("cannot connect to {}", .socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Someone listens and says nothing.
    #[error("the gateway daemon on {} did not answer within {after:?}", .socket.display())]
    TimedOut {
        /// The socket.
        socket: PathBuf,
        /// How long it was given.
        after: Duration,
    },
    /// The connection ended before the answer did, or the answer is no HTTP.
    #[error("the exchange with {} broke off", .socket.display())]
    BrokeOff {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The daemon refused the request.
    #[error("{}", .0.detail)]
    Refused(Problem),
    /// The answer is none of those that this program knows.
    #[error("cannot understand the answer of {} (HTTP status {status})", .socket.display())]
    NotUnderstood {
        /// The socket.
        socket: PathBuf,
        /// The HTTP status of the answer.
        status: u16,
        /// Why not.
        source: serde_json::Error,
    },
}

impl ClientError {
    /// Was there no daemon to give an answer? Asking again may help once it runs.
    pub fn is_unreachable(&self) -> bool {
        !matches!(self, Self::Refused(_) | Self::NotUnderstood { .. })
    }

    /// What to do about it.
    pub fn remedy(&self) -> &str {
        match self {
            Self::NotRunning { .. } => {
                "start it with `gateway-daemon run --config FILE`; if its configuration sets `daemon.socket`, \
                 name that path with `--socket`"
            }
            Self::NotPermitted { .. } => "use sudo, or join the group that the socket belongs to",
            Self::Connect { .. } => "name the daemon's socket with `--socket`",
            Self::TimedOut { .. } | Self::BrokeOff { .. } => "look at the daemon's log",
            Self::Refused(problem) => &problem.remedy,
            Self::NotUnderstood { .. } => "is the daemon of the same version as this program?",
        }
    }
}

impl Client {
    /// A client of the daemon behind `socket`. Does not connect yet.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// What the node is doing.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get(STATUS_PATH).await
    }

    /// The flows that match.
    pub async fn flows(&self, filter: &FlowFilter) -> Result<FlowList, ClientError> {
        let query = serde_urlencoded::to_string(filter).expect("words and numbers make a query");
        self.get(&format!("{FLOWS_PATH}?{query}")).await
    }

    /// What was dropped.
    pub async fn drops(&self) -> Result<Drops, ClientError> {
        self.get(DROPS_PATH).await
    }

    /// The way of a packet.
    pub async fn explain(&self, request: &ExplainRequest) -> Result<Explanation, ClientError> {
        let ask = Ask::raw(Method::POST, EXPLAIN_PATH).with(request);
        self.send(&ask).await.map(|answer| answer.value)
    }

    /// The JSON document at `path`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.send(&Ask::raw(Method::GET, path)).await.map(|answer| answer.value)
    }

    /// The answer to a request.
    pub async fn send<T: DeserializeOwned>(&self, ask: &Ask) -> Result<Answer<T>, ClientError> {
        let deadline = if ask.method == Method::GET { DEADLINE } else { CHANGE_DEADLINE };
        let timed_out = |_| ClientError::TimedOut { socket: self.socket.clone(), after: deadline };
        let exchange = tokio::time::timeout(deadline, self.exchange(ask));
        let (status, version, body) = exchange.await.map_err(timed_out)??;
        let not_understood =
            |source| ClientError::NotUnderstood { socket: self.socket.clone(), status, source };
        if status == 200 {
            let value = serde_json::from_slice(&body).map_err(not_understood)?;
            return Ok(Answer { version, value });
        }
        Err(serde_json::from_slice(&body).map_or_else(not_understood, ClientError::Refused))
    }

    /// The answer to a request, piece by piece: however long it goes on, only its beginning has to come in time.
    pub async fn follow(&self, ask: &Ask) -> Result<Pieces, ClientError> {
        let timed_out = |_| ClientError::TimedOut { socket: self.socket.clone(), after: CHANGE_DEADLINE };
        let answer = tokio::time::timeout(CHANGE_DEADLINE, self.head(ask)).await.map_err(timed_out)??;
        if answer.status().as_u16() == 200 {
            return Ok(Pieces { client: self.clone(), body: answer.into_body() });
        }
        let (status, body) = self.read(answer).await?;
        let not_understood =
            |source| ClientError::NotUnderstood { socket: self.socket.clone(), status, source };
        Err(serde_json::from_slice(&body).map_or_else(not_understood, ClientError::Refused))
    }

    async fn exchange(&self, ask: &Ask) -> Result<(u16, Option<Version>, Bytes), ClientError> {
        let answer = self.head(ask).await?;
        let version = version(&answer);
        let (status, body) = self.read(answer).await?;
        Ok((status, version, body))
    }

    async fn head(&self, ask: &Ask) -> Result<Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.not_connected(error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broke_off(error))?;
        // Ends with the sender; what goes wrong, the sender hears too.
        tokio::spawn(connection);
        sender.send_request(request(ask)).await.map_err(|error| self.broke_off(error))
    }

    async fn read(&self, answer: Response<Incoming>) -> Result<(u16, Bytes), ClientError> {
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
        Ok((status, body.map_err(|error| self.broke_off(error))?.to_bytes()))
    }

    fn not_connected(&self, source: io::Error) -> ClientError {
        let socket = self.socket.clone();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning { socket, source }
            }
            io::ErrorKind::PermissionDenied => ClientError::NotPermitted { socket, source },
            _ => ClientError::Connect { socket, source },
        }
    }

    fn broke_off(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
        ClientError::BrokeOff { socket: self.socket.clone(), source: source.into() }
    }
}

/// An answer that goes on.
#[derive(Debug)]
pub struct Pieces {
    client: Client,
    body: Incoming,
}

impl Pieces {
    /// The next piece, however it is cut; none at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| self.client.broke_off(error))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

/// An answer, and the version that it belongs to, if it does to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// Its `ETag`.
    pub version: Option<Version>,
    /// The answer.
    pub value: T,
}

fn request(ask: &Ask) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(ask.method.clone()).uri(&ask.path).header(HOST, "localhost");
    if let Some(version) = ask.if_version {
        request = request.header(IF_MATCH, etag(version));
    }
    if ask.body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let body = Full::new(Bytes::from(ask.body.clone().unwrap_or_default()));
    request.body(body).expect("the path is a valid one")
}

fn version<T>(answer: &Response<T>) -> Option<Version> {
    let text = answer.headers().get(ETAG)?.to_str().ok()?;
    text.trim_matches('"').parse().ok().map(Version)
}
