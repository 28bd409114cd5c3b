//! What every request passes: who asks, may they, how long may it take, and the line of the audit.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::ETAG;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::audit::{AuditLine, Outcome};
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
    request: Request,
    next: Next,
) -> Response {
    let Some(caller) = request.extensions().get::<Caller>().cloned() else {
        return Problem::defect().into_response();
    };
    let (mut line, reads) = (begin(&request).by(&caller), reads(request.method(), route.as_ref()));
    let role = state.roles.current().role_of(&caller);
    let allowed = allow(role, &caller, route.as_ref(), request.method());
    let mut response = match allowed {
        Ok(()) => in_time(next.run(request)).await,
        Err(problem) => problem.into_response(),
    };
    if let Ok(id) = HeaderValue::from_str(&line.request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    (state.answered)(role, response.status());
    line.status = response.status().as_u16();
    line.outcome = Outcome::of(line.status);
    line.version = version(response.headers());
    if !reads || line.outcome == Outcome::NotPermitted {
        state.audit.record(line).await;
    }
    response
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
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    AuditLine {
        at_unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
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
