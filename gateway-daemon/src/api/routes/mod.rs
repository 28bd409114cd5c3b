//! The paths of the API, one file a subject.

mod change;
mod history;
mod peer_groups;
mod pools;
mod read;
mod tenants;
mod watch;

use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;

use super::controller::{ChangeOutcome, ChangeRequest};
use super::extract::Terms;
use super::problem::{Asked, Problem, of_change};
use super::server::ApiState;
use crate::store::Version;
use crate::tenancy::edit::Edit;

/// Every path.
pub(super) fn all() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .merge(read::routes())
        .merge(tenants::routes())
        .merge(pools::routes())
        .merge(peer_groups::routes())
        .merge(history::routes())
        .merge(change::routes())
        .merge(watch::routes())
}

/// An answer that belongs to a version: its `ETag`.
struct Versioned<T>(Version, T);

impl<T: Serialize> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        ([(header::ETAG, super::etag(self.0))], Json(self.1)).into_response()
    }
}

impl From<ChangeOutcome> for Versioned<ChangeOutcome> {
    fn from(outcome: ChangeOutcome) -> Self {
        Self(outcome.version, outcome)
    }
}

type Changed = Result<Versioned<ChangeOutcome>, Problem>;

/// Where a change names what it changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    InPath,
    InBody,
}

/// Makes one change of what the path names.
async fn change<Q>(state: ApiState, terms: Terms<Q>, edit: Edit) -> Changed {
    changes(state, terms, vec![edit], Named::InPath).await
}

async fn changes<Q>(state: ApiState, terms: Terms<Q>, edits: Vec<Edit>, named: Named) -> Changed {
    let Terms { author, if_version, dry_run, .. } = terms;
    let asked = Asked { if_match: if_version.is_some(), by_path: named == Named::InPath };
    let request = ChangeRequest { edits, author, if_version, dry_run };
    let done = detached(async move { state.controller.change(request).await }).await?;
    done.map(Versioned::from).map_err(|error| of_change(error, asked))
}

/// Runs to its end whatever becomes of the connection: a change is made or not, never half.
async fn detached<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, Problem> {
    tokio::spawn(work).await.map_err(|_| Problem::defect())
}

/// Asks something that may block, away from the event loop.
async fn blocking<T, E>(ask: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, Problem>
where
    T: Send + 'static,
    E: Into<Problem> + Send + 'static,
{
    match tokio::task::spawn_blocking(ask).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => Err(Problem::defect()),
    }
}

/// The body has to be about what the path names.
fn same_name(field: &str, in_path: &str, in_body: &str) -> Result<(), Problem> {
    if in_path == in_body {
        return Ok(());
    }
    let problem = format!("the body is about `{in_body}`, the path about `{in_path}`");
    Err(Problem::field(field, problem, "use the same in both"))
}
