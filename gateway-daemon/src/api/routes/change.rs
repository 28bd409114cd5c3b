//! Changes of more than one object: documents, lists of edits, earlier versions; and the daemon's own settings.

use axum::Json;
use axum::extract::{DefaultBodyLimit, State};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Changed, Named, Versioned, changes, detached};
use crate::api::controller::{ChangeOutcome, ReloadOutcome};
use crate::api::extract::{Body, ChangeParameters, ChangeQuery, ListBody, Terms};
use crate::api::problem::{Asked, Problem, of_change};
use crate::api::server::ApiState;
use crate::api::types::RollbackRequest;
use crate::tenancy::edit::Edit;
use crate::tenancy::spec::Document;

/// Ten times 10,000 tenants with ten backends each.
const MAX_DOCUMENT_BYTES: usize = 64 << 20;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    let documents =
        OpenApiRouter::new().routes(routes!(apply)).layer(DefaultBodyLimit::max(MAX_DOCUMENT_BYTES));
    documents.routes(routes!(make_changes)).routes(routes!(rollback)).routes(routes!(reload))
}

/// The query of `apply`.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ApplyQuery {
    /// Remove what the document does not have.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    prune: bool,
    /// Only say what would change.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    dry_run: bool,
    /// Why: kept in the history. The header `Gateway-Reason` does the same.
    #[param(max_length = 500, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    reason: Option<String>,
}

impl ChangeParameters for ApplyQuery {
    fn change(&self) -> ChangeQuery {
        ChangeQuery { dry_run: self.dry_run, reason: self.reason.clone() }
    }
}

/// Add or replace every object of a document; all or none.
#[utoipa::path(post, path = "/v1/apply", tag = "changes", params(ApplyQuery), request_body = Document,
    responses((status = 200, body = ChangeOutcome)))]
async fn apply(
    State(state): State<ApiState>,
    terms: Terms<ApplyQuery>,
    Body(document): Body<Document>,
) -> Changed {
    let prune = terms.query.prune;
    changes(state, terms, vec![Edit::Apply { document, prune }], Named::InBody).await
}

/// Make several changes in their order; all or none.
#[utoipa::path(post, path = "/v1/changes", tag = "changes", params(ChangeQuery), request_body = Vec<Edit>,
    responses((status = 200, body = ChangeOutcome)))]
async fn make_changes(
    State(state): State<ApiState>,
    terms: Terms,
    ListBody(edits): ListBody<Edit>,
) -> Changed {
    changes(state, terms, edits, Named::InBody).await
}

/// Make what an earlier version held the newest version.
#[utoipa::path(post, path = "/v1/rollback", tag = "changes", params(ChangeQuery), request_body = RollbackRequest,
    responses((status = 200, body = ChangeOutcome)))]
async fn rollback(
    State(state): State<ApiState>,
    terms: Terms,
    Body(RollbackRequest { version }): Body<RollbackRequest>,
) -> Changed {
    let Terms { author, if_version, dry_run, .. } = terms;
    let asked = Asked { if_match: if_version.is_some(), by_path: false };
    let rolled =
        detached(async move { state.controller.rollback(version, author, if_version, dry_run).await });
    rolled.await?.map(Versioned::from).map_err(|error| of_change(error, asked))
}

/// Read the daemon's settings again, and put into force what can be.
#[utoipa::path(post, path = "/v1/reload", tag = "node", params(ReloadQuery),
    responses((status = 200, body = ReloadOutcome)))]
async fn reload(
    State(state): State<ApiState>,
    terms: Terms<ReloadQuery>,
) -> Result<Json<ReloadOutcome>, Problem> {
    let asked = Asked { if_match: false, by_path: false };
    let reloaded = detached(async move { state.controller.reload(terms.author).await });
    reloaded.await?.map(Json).map_err(|error| of_change(error, asked))
}

/// The query of `reload`, which can't be tried.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ReloadQuery {
    /// Why: kept in the audit. The header `Gateway-Reason` does the same.
    #[param(max_length = 500, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    reason: Option<String>,
}

impl ChangeParameters for ReloadQuery {
    fn change(&self) -> ChangeQuery {
        ChangeQuery { dry_run: false, reason: self.reason.clone() }
    }
}
