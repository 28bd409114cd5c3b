//! Pools and their backends.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::tenants::drain_until;
use super::{Changed, change, same_name};
use crate::api::controller::ChangeOutcome;
use crate::api::extract::{Body, ChangeQuery, OptionalBody, PathOf, Terms};
use crate::api::server::ApiState;
use crate::api::types::{DrainRequest, WeightRequest};
use crate::tenancy::edit::Edit;
use crate::tenancy::spec::{AdminState, BackendSpec, PoolSpec};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(put_pool, remove_pool))
        .routes(routes!(put_backend, remove_backend, weigh_backend))
        .routes(routes!(drain_backend))
        .routes(routes!(resume_backend))
        .routes(routes!(maintain_backend))
}

/// The parameters of a pool's path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct PoolPath {
    /// The tenant's name
    tenant: String,
    /// The pool's name
    pool: String,
}

/// The parameters of a backend's path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct BackendPath {
    /// The tenant's name
    tenant: String,
    /// The pool's name
    pool: String,
    /// The backend's address and port, as address:port
    #[param(example = "198.51.100.18:8080")]
    backend: String,
}

impl BackendPath {
    fn with_state(self, state: AdminState, drain_until: Option<u64>) -> Edit {
        let Self { tenant, pool, backend } = self;
        Edit::SetBackendState { tenant, pool, backend, state, drain_until }
    }
}

/// Add a pool, or replace the one of this name.
#[utoipa::path(put, path = "/v1/tenants/{tenant}/pools/{pool}", tag = "pools", params(PoolPath, ChangeQuery),
    request_body = PoolSpec, responses((status = 200, body = ChangeOutcome)))]
async fn put_pool(
    State(state): State<ApiState>,
    PathOf(path): PathOf<PoolPath>,
    terms: Terms,
    Body(pool): Body<PoolSpec>,
) -> Changed {
    same_name("name", &path.pool, &pool.name)?;
    change(state, terms, Edit::PutPool { tenant: path.tenant, pool }).await
}

/// Remove a pool.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/pools/{pool}", tag = "pools", params(PoolPath, ChangeQuery),
    responses((status = 200, body = ChangeOutcome)))]
async fn remove_pool(State(state): State<ApiState>, PathOf(path): PathOf<PoolPath>, terms: Terms) -> Changed {
    change(state, terms, Edit::RemovePool { tenant: path.tenant, pool: path.pool }).await
}

/// Add a backend, or replace the one of this address and port.
#[utoipa::path(put, path = "/v1/tenants/{tenant}/pools/{pool}/backends/{backend}", tag = "backends",
    params(BackendPath, ChangeQuery), request_body = BackendSpec,
    responses((status = 200, body = ChangeOutcome)))]
async fn put_backend(
    State(state): State<ApiState>,
    PathOf(path): PathOf<BackendPath>,
    terms: Terms,
    Body(backend): Body<BackendSpec>,
) -> Changed {
    same_name("address", &path.backend, &format!("{}:{}", backend.address, backend.port))?;
    change(state, terms, Edit::PutBackend { tenant: path.tenant, pool: path.pool, backend }).await
}

/// Remove a backend.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/pools/{pool}/backends/{backend}", tag = "backends",
    params(BackendPath, ChangeQuery), responses((status = 200, body = ChangeOutcome)))]
async fn remove_backend(
    State(state): State<ApiState>,
    PathOf(path): PathOf<BackendPath>,
    terms: Terms,
) -> Changed {
    let BackendPath { tenant, pool, backend } = path;
    change(state, terms, Edit::RemoveBackend { tenant, pool, backend }).await
}

/// Change a backend's share of new flows.
#[utoipa::path(patch, path = "/v1/tenants/{tenant}/pools/{pool}/backends/{backend}", tag = "backends",
    params(BackendPath, ChangeQuery), request_body = WeightRequest,
    responses((status = 200, body = ChangeOutcome)))]
async fn weigh_backend(
    State(state): State<ApiState>,
    PathOf(path): PathOf<BackendPath>,
    terms: Terms,
    Body(WeightRequest { weight }): Body<WeightRequest>,
) -> Changed {
    let BackendPath { tenant, pool, backend } = path;
    change(state, terms, Edit::SetBackendWeight { tenant, pool, backend, weight }).await
}

/// Give a backend no new flows, and let those that it has end.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/pools/{pool}/backends/{backend}/drain", tag = "backends",
    params(BackendPath, ChangeQuery), request_body = inline(Option<DrainRequest>),
    responses((status = 200, body = ChangeOutcome)))]
async fn drain_backend(
    State(state): State<ApiState>,
    PathOf(path): PathOf<BackendPath>,
    terms: Terms,
    OptionalBody(request): OptionalBody<DrainRequest>,
) -> Changed {
    change(state, terms, path.with_state(AdminState::Draining, drain_until(request))).await
}

/// Give a backend new flows again.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/pools/{pool}/backends/{backend}/resume", tag = "backends",
    params(BackendPath, ChangeQuery), responses((status = 200, body = ChangeOutcome)))]
async fn resume_backend(
    State(state): State<ApiState>,
    PathOf(path): PathOf<BackendPath>,
    terms: Terms,
) -> Changed {
    change(state, terms, path.with_state(AdminState::Active, None)).await
}

/// Give a backend no new flows, and reset those that it has.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/pools/{pool}/backends/{backend}/maintenance", tag = "backends",
    params(BackendPath, ChangeQuery), responses((status = 200, body = ChangeOutcome)))]
async fn maintain_backend(
    State(state): State<ApiState>,
    PathOf(path): PathOf<BackendPath>,
    terms: Terms,
) -> Changed {
    change(state, terms, path.with_state(AdminState::Maintenance, None)).await
}
