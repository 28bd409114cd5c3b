//! What every request passes: who asks, may they, how long may it take, and the line of the audit.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::BoxError;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::ETAG;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::{FutureExt as _, TryStreamExt as _, stream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::audit::{AuditLine, Outcome, now_unix_ms};
use super::auth::{Caller, Role};
use super::extract::{MAX_REASON_CHARS, REASON};
use super::problem::{Problem, ProblemKind};
use super::server::ApiState;
use crate::store::Version;

/// How long an answer may take, the reading of the request included. Ten times what the largest document takes.
pub(super) const REQUEST_DEADLINE: Duration = Duration::from_secs(60);

/// Names a request in the answer and in the audit.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A longer path is cut in the audit: it names nothing of ours.
const MAX_PATH_CHARS: usize = 1_024;

/// Lets a request through, or not, and writes down what changes something or is not permitted.
pub(super) async fn pass(
    State(state): State<ApiState>,
    route: Option<MatchedPath>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(caller) = request.extensions().get::<Caller>().cloned() else {
        return Problem::defect().into_response();
    };
    let (line, reads) = (begin(&request).by(&caller), reads(request.method(), route.as_ref()));
    let id = HeaderValue::from_str(&line.request_id);
    let role = state.roles.current().role_of(&caller);
    let allowed = allow(role, &caller, route.as_ref(), request.method());
    let asked = Asked { state, role, line, reads };
    let mut response = match allowed {
        Err(problem) => asked.ended(problem.into_response()).await,
        Ok(()) if reads => asked.ended(in_time(next.run(request)).await).await,
        Ok(()) => {
            let under_way = request.extensions_mut().remove::<UnderWay>();
            let work = next.run(request.map(in_time_to_be_read));
            in_time(detached(asked, work, under_way)).await
        }
    };
    if let Ok(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// Held by a request until its work is done: the server waits for it, also when the connection is gone by then.
#[derive(Clone, Debug)]
pub(super) struct UnderWay(#[expect(dead_code, reason = "only held")] pub(super) watch::Receiver<bool>);

/// Changes something in a task of its own: the end is written down by whoever gets there, not by the connection, which
/// may be gone, nor at the deadline, when it is not known yet.
async fn detached(
    asked: Asked,
    work: impl Future<Output = Response> + Send + 'static,
    under_way: Option<UnderWay>,
) -> Response {
    let task = tokio::spawn(async move {
        let response = AssertUnwindSafe(work).catch_unwind().await;
        let response = response.unwrap_or_else(|_| Problem::defect().into_response());
        let response = asked.ended(response).await;
        drop(under_way);
        response
    });
    task.await.unwrap_or_else(|_| Problem::defect().into_response())
}

/// The body, as long as it comes in time: what is read after the deadline must not become a change.
fn in_time_to_be_read(body: Body) -> Body {
    let until = Instant::now() + REQUEST_DEADLINE;
    Body::from_stream(stream::try_unfold(body.into_data_stream(), move |mut data| async move {
        match timeout_at(until, data.try_next()).await {
            Ok(bytes) => Ok::<_, BoxError>(bytes?.map(|bytes| (bytes, data))),
            Err(late) => Err(late.into()),
        }
    }))
}

/// A request whose end is to be written down.
struct Asked {
    state: ApiState,
    role: Option<Role>,
    line: AuditLine,
    reads: bool,
}

impl Asked {
    /// It ended like this.
    async fn ended(self, response: Response) -> Response {
        let Self { state, role, mut line, reads } = self;
        (state.answered)(role, response.status());
        line.status = response.status().as_u16();
        line.outcome = Outcome::of(line.status);
        line.version = version(response.headers());
        if !reads || line.outcome == Outcome::NotPermitted {
            state.audit.record(line).await;
        }
        response
    }
}

/// Does it change nothing?
fn reads(method: &Method, route: Option<&MatchedPath>) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
        || route.is_some_and(|route| Role::needed(method, route.as_str()) == Role::Viewer)
}

/// A path that is not there needs the least role: whoever has none learns nothing.
fn allow(
    role: Option<Role>,
    caller: &Caller,
    route: Option<&MatchedPath>,
    method: &Method,
) -> Result<(), Problem> {
    let needed = route.map_or(Role::Viewer, |route| Role::needed(method, route.as_str()));
    if role.is_some_and(|role| role >= needed) {
        return Ok(());
    }
    let has = role.map_or_else(|| "has no role".to_owned(), |role| format!("is {role}"));
    Err(Problem::new(
        ProblemKind::NotPermitted,
        format!("{caller} {has}; this needs {needed}"),
        format!("use sudo, or name the caller under `{needed}` in the daemon's configuration and reload it"),
    ))
}

async fn in_time(answer: impl Future<Output = Response>) -> Response {
    tokio::time::timeout(REQUEST_DEADLINE, answer).await.unwrap_or_else(|_| {
        Problem::new(
            ProblemKind::Unavailable,
            format!("there was no answer within {REQUEST_DEADLINE:?}"),
            "`gateway-daemon history` says whether a change was made; look at the daemon's log",
        )
        .into_response()
    })
}

fn begin(request: &Request) -> AuditLine {
    AuditLine {
        at_unix_ms: now_unix_ms(),
        request_id: format!("{:016x}", fastrand::u64(..)),
        who: String::new(),
        uid: None,
        pid: None,
        address: None,
        method: request.method().to_string(),
        path: request.uri().to_string().chars().take(MAX_PATH_CHARS).collect(),
        outcome: Outcome::Failed,
        status: 0,
        version: None,
        reason: reason(request.uri(), request.headers()),
    }
}

/// The reason as far as it can be shown: a wrong one is refused elsewhere, and yet is in the audit.
fn reason(uri: &Uri, headers: &HeaderMap) -> String {
    let query: Vec<(String, String)> =
        serde_urlencoded::from_str(uri.query().unwrap_or_default()).unwrap_or_default();
    let given = query.into_iter().find_map(|(name, value)| (name == "reason").then_some(value));
    let header = || headers.get(REASON).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let reason = given.or_else(header).unwrap_or_default();
    reason.chars().filter(|letter| !letter.is_control()).take(MAX_REASON_CHARS).collect()
}

fn version(headers: &HeaderMap) -> Option<Version> {
    let text = headers.get(ETAG)?.to_str().ok()?;
    text.trim_matches('"').parse().ok().map(Version)
}
