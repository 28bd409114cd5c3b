//! Versions: what is in force, what was, and what differs.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Versioned, blocking, detached};
use crate::api::extract::{PathOf, QueryOf};
use crate::api::problem::{Problem, ProblemKind};
use crate::api::server::ApiState;
use crate::api::types::{History, HistoryVersion, VersionDiff};
use crate::store::{HistoryEntry, Snapshot, Version};
use crate::tenancy::diff::diff;
use crate::tenancy::spec::Document;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(export))
        .routes(routes!(history))
        .routes(routes!(show_version))
        .routes(routes!(compare))
}

/// Everything that is in force, as one document. `apply` takes it back.
#[utoipa::path(get, path = "/v1/export", tag = "versions", responses((status = 200, body = Document)))]
async fn export(State(state): State<ApiState>) -> Result<Versioned<Document>, Problem> {
    blocking(move || {
        let snapshot = state.controller.tenancy();
        Ok::<_, Problem>(Versioned(snapshot.version, snapshot.tenancy.document()))
    })
    .await
}

/// Which entries of the history.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct HistoryQuery {
    /// How many entries at most.
    #[param(minimum = 1, maximum = 1_000, default = 20)]
    limit: Option<u32>,
    /// Only entries older than this version.
    #[param(value_type = Option<u64>)]
    before: Option<Version>,
}

impl HistoryQuery {
    /// A screen full.
    const DEFAULT: u32 = 20;
    /// Entries hold differences, which may be large.
    const MAX: u32 = 1_000;

    fn limit(&self) -> Result<usize, Problem> {
        match self.limit.unwrap_or(Self::DEFAULT) {
            limit @ 1..=Self::MAX => Ok(limit as usize),
            limit => Err(Problem::new(
                ProblemKind::BadRequest,
                format!("the limit {limit} is not a number from 1 to {}", Self::MAX),
                "ask for fewer, and go on with `before`",
            )),
        }
    }
}

/// Who changed what, when and why; newest first.
#[utoipa::path(get, path = "/v1/history", tag = "versions", params(HistoryQuery),
    responses((status = 200, body = History)))]
async fn history(
    State(state): State<ApiState>,
    QueryOf(query): QueryOf<HistoryQuery>,
) -> Result<Json<History>, Problem> {
    let limit = query.limit()?;
    let entries = entries(&state, limit, query.before).await?;
    Ok(Json(History { entries }))
}

/// One version: what it held, who made it, and why.
#[utoipa::path(get, path = "/v1/history/{version}", tag = "versions",
    params(("version" = u64, Path, description = "The version's number")),
    responses((status = 200, body = HistoryVersion)))]
async fn show_version(
    State(state): State<ApiState>,
    PathOf(version): PathOf<u64>,
) -> Result<Versioned<HistoryVersion>, Problem> {
    let version = Version(version);
    let snapshot = at(&state, version).await?;
    let next = Version(version.0.saturating_add(1));
    let newest = entries(&state, 1, Some(next)).await?;
    let entry = newest.into_iter().find(|entry| entry.version == version);
    Ok(Versioned(version, HistoryVersion { version, entry, document: snapshot.tenancy.document() }))
}

/// Which versions.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DiffQuery {
    /// The first.
    #[param(value_type = u64)]
    from: Version,
    /// The second; the one in force when absent.
    #[param(value_type = Option<u64>)]
    to: Option<Version>,
}

/// What differs between two versions.
#[utoipa::path(get, path = "/v1/diff", tag = "versions", params(DiffQuery),
    responses((status = 200, body = VersionDiff)))]
async fn compare(
    State(state): State<ApiState>,
    QueryOf(query): QueryOf<DiffQuery>,
) -> Result<Json<VersionDiff>, Problem> {
    let before = at(&state, query.from).await?;
    let after = match query.to {
        Some(version) => at(&state, version).await?,
        None => state.controller.tenancy(),
    };
    let compared = blocking(move || {
        let changes = diff(&before.tenancy, &after.tenancy);
        Ok::<_, Problem>(VersionDiff { from: before.version, to: after.version, changes })
    });
    compared.await.map(Json)
}

async fn entries(
    state: &ApiState,
    limit: usize,
    before: Option<Version>,
) -> Result<Vec<HistoryEntry>, Problem> {
    let controller = state.controller.clone();
    let entries = detached(async move { controller.history(limit, before).await });
    entries.await?.map_err(Into::into)
}

async fn at(state: &ApiState, version: Version) -> Result<Snapshot, Problem> {
    let controller = state.controller.clone();
    detached(async move { controller.at(version).await }).await?.map_err(Into::into)
}
