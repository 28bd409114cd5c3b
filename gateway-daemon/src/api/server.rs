//! The daemon's end: binds the unix socket and answers.
//!
//! One task a connection, owned by `serve`; each question to the [`Source`] runs on a thread for blocking work.
//! `serve` may be dropped at any time: the socket file goes with it.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use nix::sys::stat::{Mode, fchmod};
use serde::Serialize;
use tokio::net::{UnixListener, UnixSocket, UnixStream};

use super::source::{Source, SourceError, with_causes};
use super::types::{FlowFilter, Problem};
use super::{DROPS_PATH, FLOWS_PATH, PROBLEM_CONTENT_TYPE, STATUS_PATH};

/// Owner and group may connect: who may, is a matter of the file's group.
const SOCKET_MODE: u32 = 0o660;

/// Others may see that the socket is there.
const DIRECTORY_MODE: u32 = 0o755;

/// Who may open the lock file may lock it, and so keep the daemon from starting.
const LOCK_MODE: u32 = 0o600;

/// Connections that wait to be accepted; one more has to try again. A command line makes one at a time.
const BACKLOG: u32 = 128;

/// A socket that is bound and not yet served. The file is removed when this, or the server, ends.
#[derive(Debug)]
pub struct ApiSocket {
    listener: UnixListener,
    file: SocketFile,
}

/// The socket's file and the lock that makes it ours.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Held as long as the socket: a second daemon is refused even if someone deleted the socket's file, and
    /// two that start at once cannot both take over a stale one. The kernel releases it when we die.
    _lock: File,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket of the API");
        }
    }
}

/// The socket of the API can't be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A living daemon has it. Starting again is of no use while it runs.
    #[error("a gateway daemon is already running: it answers on {}", .path.display())]
    AlreadyRunning {
        /// The socket.
        path: PathBuf,
    },
    /// The path is taken by something that no daemon has made.
    #[error("{} exists and is not the socket of a gateway daemon", .path.display())]
    Occupied {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {action} {}", .path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl BindError {
    fn system(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::System { action, path, source }
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::AlreadyRunning { .. } => {
                "stop it first, or give this one another `daemon.socket`, another `daemon.bpffs` and other interfaces"
            }
            Self::Occupied { .. } => "remove it, or set `daemon.socket` to another path",
            Self::System { .. } => "run the daemon as root, or set `daemon.socket` to a path that it may use",
        }
    }
}

/// Takes the socket at `path`; replaces that of a dead daemon, refuses if a living one has it.
pub async fn bind(path: &Path) -> Result<ApiSocket, BindError> {
    create_directory_of(path)?;
    let lock = lock(path)?;
    remove_stale(path).await?;
    let listener = listen(path)?;
    Ok(ApiSocket { listener, file: SocketFile { path: path.to_owned(), _lock: lock } })
}

fn create_directory_of(path: &Path) -> Result<(), BindError> {
    let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) else {
        return Ok(());
    };
    if directory.exists() {
        return Ok(());
    }
    let create = || {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)?;
        // Whatever the umask took.
        fs::set_permissions(directory, Permissions::from_mode(DIRECTORY_MODE))
    };
    create().map_err(BindError::system("create the directory", directory))
}

fn lock(socket: &Path) -> Result<File, BindError> {
    let mut path = socket.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let file = File::options().write(true).create(true).truncate(false).mode(LOCK_MODE).open(&path);
    let file = file.map_err(BindError::system("create the lock file", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BindError::AlreadyRunning { path: socket.to_owned() }),
        Err(TryLockError::Error(error)) => Err(BindError::system("lock", &path)(error)),
    }
}

/// Removes a socket that nobody listens on.
async fn remove_stale(path: &Path) -> Result<(), BindError> {
    let Err(error) = UnixStream::connect(path).await else {
        return Err(BindError::AlreadyRunning { path: path.to_owned() });
    };
    match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        // Its queue is full, so someone is to empty it.
        io::ErrorKind::WouldBlock => Err(BindError::AlreadyRunning { path: path.to_owned() }),
        io::ErrorKind::ConnectionRefused if is_socket(path)? => {
            tracing::info!(path = %path.display(), "replacing the API socket of a daemon that is gone");
            fs::remove_file(path).map_err(BindError::system("remove", path))
        }
        io::ErrorKind::ConnectionRefused => Err(BindError::Occupied { path: path.to_owned() }),
        _ => Err(BindError::system("connect to", path)(error)),
    }
}

fn is_socket(path: &Path) -> Result<bool, BindError> {
    let metadata = fs::symlink_metadata(path).map_err(BindError::system("look at", path))?;
    Ok(metadata.file_type().is_socket())
}

fn listen(path: &Path) -> Result<UnixListener, BindError> {
    let bind = || {
        let socket = UnixSocket::new_stream()?;
        // bind(2) gives the file the mode of the socket less the umask, so it is never wider than wanted ...
        fchmod(&socket, Mode::from_bits_truncate(SOCKET_MODE))?;
        socket.bind(path)?;
        // ... and this gives back what the umask took.
        fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
        socket.listen(BACKLOG)
    };
    bind().map_err(BindError::system("bind", path))
}

/// Answers on the socket until `shutdown` is ready and the requests under way are answered.
pub async fn serve(
    socket: ApiSocket,
    source: Arc<dyn Source>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let ApiSocket { listener, file } = socket;
    let served = axum::serve(listener, router(source)).with_graceful_shutdown(shutdown).await;
    drop(file);
    served
}

/// The API without a socket.
pub fn router(source: Arc<dyn Source>) -> Router {
    Router::new()
        .route(STATUS_PATH, get(status))
        .route(FLOWS_PATH, get(flows))
        .route(DROPS_PATH, get(drops))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .with_state(source)
}

async fn status(State(source): State<Arc<dyn Source>>) -> Response {
    answer(move || source.status()).await
}

async fn flows(
    State(source): State<Arc<dyn Source>>,
    filter: Result<Query<FlowFilter>, QueryRejection>,
) -> Response {
    match filter {
        Ok(Query(filter)) => answer(move || source.flows(&filter)).await,
        Err(rejection) => bad_query(&rejection).into_response(),
    }
}

async fn drops(State(source): State<Arc<dyn Source>>) -> Response {
    answer(move || source.drops()).await
}

/// Asks the source, away from the event loop.
async fn answer<T: Serialize + Send + 'static>(
    ask: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Response {
    match tokio::task::spawn_blocking(ask).await {
        Ok(Ok(value)) => Json(value).into_response(),
        Ok(Err(error)) => refused(&error).into_response(),
        Err(_) => panicked().into_response(),
    }
}

impl Problem {
    fn new(status: StatusCode, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            remedy: remedy.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, [(header::CONTENT_TYPE, PROBLEM_CONTENT_TYPE)], Json(self)).into_response()
    }
}

fn refused(error: &SourceError) -> Problem {
    let status = match error {
        SourceError::UnknownTenant { .. } => StatusCode::NOT_FOUND,
        SourceError::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
    };
    let detail = with_causes(error);
    if status.is_server_error() {
        tracing::warn!(error = detail, "cannot answer a request to the API");
    }
    Problem::new(status, detail, error.remedy())
}

/// The panic itself is on the daemon's standard error.
fn panicked() -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the daemon met a defect of its own",
        "report it, with the daemon's log; forwarding is not affected",
    )
}

fn bad_query(rejection: &QueryRejection) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        rejection.body_text(),
        "the query takes `tenant`, `protocol` (tcp, udp, icmp), `state` and `limit` (0 to 10000)",
    )
}

async fn unknown_path(uri: Uri) -> Problem {
    let remedy = format!("the paths are {STATUS_PATH}, {FLOWS_PATH} and {DROPS_PATH}");
    Problem::new(StatusCode::NOT_FOUND, format!("there is no {}", uri.path()), remedy)
}

async fn wrong_method(uri: Uri) -> Problem {
    let detail = format!("{} can only be read", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail, "use the method GET")
}
