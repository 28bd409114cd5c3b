//! What the node does: status, flows, drops, health; and what it would do with a packet.

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::blocking;
use crate::api::extract::{Body, QueryOf};
use crate::api::problem::Problem;
use crate::api::server::ApiState;
use crate::api::types::{Drops, ExplainRequest, Explanation, FlowFilter, FlowList, Health, Status};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(status))
        .routes(routes!(flows))
        .routes(routes!(drops))
        .routes(routes!(health))
        .routes(routes!(explain))
}

/// What the node is doing.
#[utoipa::path(get, path = "/v1/status", tag = "node", responses((status = 200, body = Status)))]
async fn status(State(state): State<ApiState>) -> Result<Json<Status>, Problem> {
    blocking(move || state.source.status()).await.map(Json)
}

/// The tracked flows that match.
#[utoipa::path(get, path = "/v1/flows", tag = "node", params(FlowFilter), responses((status = 200, body = FlowList)))]
async fn flows(
    State(state): State<ApiState>,
    QueryOf(filter): QueryOf<FlowFilter>,
) -> Result<Json<FlowList>, Problem> {
    blocking(move || state.source.flows(&filter)).await.map(Json)
}

/// What was dropped, why and of whom.
#[utoipa::path(get, path = "/v1/drops", tag = "node", responses((status = 200, body = Drops)))]
async fn drops(State(state): State<ApiState>) -> Result<Json<Drops>, Problem> {
    blocking(move || state.source.drops()).await.map(Json)
}

/// Every backend, and what is known about it.
#[utoipa::path(get, path = "/v1/health", tag = "node", responses((status = 200, body = Health)))]
async fn health(State(state): State<ApiState>) -> Json<Health> {
    Json(Health { backends: state.controller.health() })
}

/// The way that a packet would take, step by step. Nothing is changed by it.
#[utoipa::path(post, path = "/v1/explain", tag = "node", request_body = ExplainRequest,
    responses((status = 200, body = Explanation)))]
async fn explain(
    State(state): State<ApiState>,
    Body(request): Body<ExplainRequest>,
) -> Result<Json<Explanation>, Problem> {
    blocking(move || state.source.explain(&request)).await.map(Json)
}
