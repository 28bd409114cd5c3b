//! The daemon's end: binds the unix socket and answers.
//!
//! One task a connection, owned by `serve`; each question to the [`Source`] runs on a thread for blocking work.
//! `serve` may be dropped at any time: the socket file goes with it.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware;
use axum::routing::get;
use nix::sys::stat::{Mode, fchmod};
use tokio::net::{UnixListener, UnixSocket, UnixStream};

use super::audit::Audit;
use super::auth::{Role, RoleMap};
use super::connections::Connections;
use super::controller::Controller;
use super::problem::{Problem, ProblemKind};
use super::source::Source;
use super::{OPENAPI_PATH, gate, openapi};

/// Everybody may connect: each request is then allowed or not by who sends it, as the kernel vouches for. So one
/// socket serves all roles, and who is turned away is told so, and is in the audit.
const SOCKET_MODE: u32 = 0o666;

/// Others may see that the socket is there.
const DIRECTORY_MODE: u32 = 0o755;

/// Who may open the lock file may lock it, and so keep the daemon from starting.
const LOCK_MODE: u32 = 0o600;

/// Connections that wait to be accepted; one more has to try again. A command line makes one at a time.
const BACKLOG: u32 = 128;

/// The largest body, where a path does not say otherwise: a tenant with some thousand backends.
const MAX_BODY_BYTES: usize = 1 << 20;

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

/// Hears of every answer: what the caller may do, if anything, and how it ended.
pub type Answered = Arc<dyn Fn(Option<Role>, StatusCode) + Send + Sync>;

/// What the API answers from, and what it changes. Cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    /// Knows what the node does.
    pub source: Arc<dyn Source>,
    /// Changes it.
    pub controller: Arc<dyn Controller>,
    /// Who may do what.
    pub roles: Roles,
    /// Where it is written down.
    pub audit: Audit,
    /// Told of every answer.
    pub answered: Answered,
}

/// The roles in force. All clones see the same, so that a reload reaches every listener and every open connection.
#[derive(Clone, Debug)]
pub struct Roles(Arc<ArcSwap<RoleMap>>);

impl Roles {
    /// Puts others into force.
    pub fn replace(&self, roles: RoleMap) {
        self.0.store(Arc::new(roles));
    }

    /// Those in force.
    pub fn current(&self) -> Arc<RoleMap> {
        self.0.load_full()
    }
}

impl From<RoleMap> for Roles {
    fn from(roles: RoleMap) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(roles)))
    }
}

/// Answers on the socket until `shutdown` is ready and the requests under way are answered.
pub async fn serve(
    socket: ApiSocket,
    state: ApiState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let ApiSocket { listener, file } = socket;
    Connections::new(router(state)).run(listener, shutdown).await;
    drop(file);
    Ok(())
}

/// The API without a socket. Whoever serves it puts a [`super::auth::Caller`] into the extensions of every request.
pub fn router(state: ApiState) -> Router {
    let (router, _) = openapi::routes().split_for_parts();
    router
        .route(OPENAPI_PATH, get(openapi::serve))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(state.clone(), gate::pass))
        .with_state(state)
}

async fn unknown_path(uri: Uri) -> Problem {
    let remedy = format!("GET {OPENAPI_PATH} lists the paths");
    Problem::new(ProblemKind::NotFound, format!("there is no {}", uri.path()), remedy)
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} does not take {method}", uri.path());
    Problem::new(
        ProblemKind::MethodNotAllowed,
        detail,
        "the header Allow of this answer names those that it takes",
    )
}
