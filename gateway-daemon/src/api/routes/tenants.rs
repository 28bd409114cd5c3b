//! Tenants, their listeners and their addressed egress.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Changed, Versioned, change, same_name};
use crate::api::controller::ChangeOutcome;
use crate::api::extract::{Body, ChangeParameters, ChangeQuery, OptionalBody, PathOf, Terms};
use crate::api::problem::{Problem, ProblemKind};
use crate::api::server::ApiState;
use crate::api::types::{DrainRequest, TenantList};
use crate::tenancy::edit::Edit;
use crate::tenancy::spec::{AdminState, EgressSpec, ListenerSpec, TenantSpec};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list_tenants))
        .routes(routes!(show_tenant, put_tenant, remove_tenant))
        .routes(routes!(drain_tenant))
        .routes(routes!(resume_tenant))
        .routes(routes!(maintain_tenant))
        .routes(routes!(put_listener, remove_listener))
        .routes(routes!(put_egress, remove_egress))
}

/// The query of a change that adds something.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PutQuery {
    /// Refuse if there is one already.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    pub(super) only_new: bool,
    /// Only say what would change.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    dry_run: bool,
    /// Why: kept in the history. The header `Gateway-Reason` does the same.
    #[param(max_length = 500, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    reason: Option<String>,
}

impl ChangeParameters for PutQuery {
    fn change(&self) -> ChangeQuery {
        ChangeQuery { dry_run: self.dry_run, reason: self.reason.clone() }
    }
}

/// When the flows that remain are reset: Unix time in seconds. A second that has begun does not count: flows have at
/// least as long as was asked for.
pub(super) fn drain_until(request: DrainRequest) -> Option<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let begun = u64::from(now.subsec_nanos() > 0);
    request.deadline_secs.map(|deadline| now.as_secs().saturating_add(begun).saturating_add(deadline.secs()))
}

/// Every tenant, as it is to be.
#[utoipa::path(get, path = "/v1/tenants", tag = "tenants", responses((status = 200, body = TenantList)))]
async fn list_tenants(State(state): State<ApiState>) -> Versioned<TenantList> {
    let snapshot = state.controller.tenancy();
    let tenants = snapshot.tenancy.tenants.values().map(|tenant| TenantSpec::clone(tenant)).collect();
    Versioned(snapshot.version, TenantList { version: snapshot.version, tenants })
}

/// One tenant, as it is to be.
#[utoipa::path(get, path = "/v1/tenants/{tenant}", tag = "tenants",
    params(("tenant" = String, Path, description = "The tenant's name")),
    responses((status = 200, body = TenantSpec)))]
async fn show_tenant(
    State(state): State<ApiState>,
    PathOf(name): PathOf<String>,
) -> Result<Versioned<TenantSpec>, Problem> {
    let snapshot = state.controller.tenancy();
    let tenant = snapshot.tenancy.tenants.get(&name).map(|tenant| TenantSpec::clone(tenant));
    tenant.map(|tenant| Versioned(snapshot.version, tenant)).ok_or_else(|| {
        let remedy = "`gateway-daemon tenant list` (GET /v1/tenants) lists the tenants";
        Problem::new(ProblemKind::NotFound, format!("there is no tenant `{name}`"), remedy)
    })
}

/// Add a tenant, or replace the one of this name.
#[utoipa::path(put, path = "/v1/tenants/{tenant}", tag = "tenants",
    params(("tenant" = String, Path, description = "The tenant's name"), PutQuery),
    request_body = TenantSpec, responses((status = 200, body = ChangeOutcome)))]
async fn put_tenant(
    State(state): State<ApiState>,
    PathOf(name): PathOf<String>,
    terms: Terms<PutQuery>,
    Body(tenant): Body<TenantSpec>,
) -> Changed {
    same_name("name", &name, &tenant.name)?;
    let only_new = terms.query.only_new;
    change(state, terms, Edit::PutTenant { tenant, only_new }).await
}

/// Remove a tenant, with its listeners and pools.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}", tag = "tenants",
    params(("tenant" = String, Path, description = "The tenant's name"), ChangeQuery),
    responses((status = 200, body = ChangeOutcome)))]
async fn remove_tenant(
    State(state): State<ApiState>,
    PathOf(tenant): PathOf<String>,
    terms: Terms,
) -> Changed {
    change(state, terms, Edit::RemoveTenant { tenant }).await
}

/// Take no new flows of a tenant, and let those that it has end.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/drain", tag = "tenants",
    params(("tenant" = String, Path, description = "The tenant's name"), ChangeQuery),
    request_body = inline(Option<DrainRequest>), responses((status = 200, body = ChangeOutcome)))]
async fn drain_tenant(
    State(state): State<ApiState>,
    PathOf(tenant): PathOf<String>,
    terms: Terms,
    OptionalBody(request): OptionalBody<DrainRequest>,
) -> Changed {
    let drain_until = drain_until(request);
    change(state, terms, Edit::SetTenantState { tenant, state: AdminState::Draining, drain_until }).await
}

/// Take new flows of a tenant again.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/resume", tag = "tenants",
    params(("tenant" = String, Path, description = "The tenant's name"), ChangeQuery),
    responses((status = 200, body = ChangeOutcome)))]
async fn resume_tenant(
    State(state): State<ApiState>,
    PathOf(tenant): PathOf<String>,
    terms: Terms,
) -> Changed {
    change(state, terms, Edit::SetTenantState { tenant, state: AdminState::Active, drain_until: None }).await
}

/// Take no new flows of a tenant, and reset those that it has.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/maintenance", tag = "tenants",
    params(("tenant" = String, Path, description = "The tenant's name"), ChangeQuery),
    responses((status = 200, body = ChangeOutcome)))]
async fn maintain_tenant(
    State(state): State<ApiState>,
    PathOf(tenant): PathOf<String>,
    terms: Terms,
) -> Changed {
    change(state, terms, Edit::SetTenantState { tenant, state: AdminState::Maintenance, drain_until: None })
        .await
}

/// Add a listener, or replace the one of this name.
#[utoipa::path(put, path = "/v1/tenants/{tenant}/listeners/{listener}", tag = "listeners",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("listener" = String, Path, description = "The listener's name"),
        ChangeQuery,
    ),
    request_body = ListenerSpec, responses((status = 200, body = ChangeOutcome)))]
async fn put_listener(
    State(state): State<ApiState>,
    PathOf((tenant, name)): PathOf<(String, String)>,
    terms: Terms,
    Body(listener): Body<ListenerSpec>,
) -> Changed {
    same_name("name", &name, &listener.name)?;
    change(state, terms, Edit::PutListener { tenant, listener }).await
}

/// Remove a listener.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/listeners/{listener}", tag = "listeners",
    params(
        ("tenant" = String, Path, description = "The tenant's name"),
        ("listener" = String, Path, description = "The listener's name"),
        ChangeQuery,
    ),
    responses((status = 200, body = ChangeOutcome)))]
async fn remove_listener(
    State(state): State<ApiState>,
    PathOf((tenant, listener)): PathOf<(String, String)>,
    terms: Terms,
) -> Changed {
    change(state, terms, Edit::RemoveListener { tenant, listener }).await
}

/// The parameters of an egress's path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct EgressPath {
    /// The tenant's name
    tenant: String,
    /// The egress's protocol and port, as protocol:port
    #[param(example = "tcp:9001")]
    egress: String,
}

/// Add addressed egress, or replace the one of this protocol and port.
#[utoipa::path(put, path = "/v1/tenants/{tenant}/egress/{egress}", tag = "egress",
    params(EgressPath, ChangeQuery), request_body = EgressSpec, responses((status = 200, body = ChangeOutcome)))]
async fn put_egress(
    State(state): State<ApiState>,
    PathOf(path): PathOf<EgressPath>,
    terms: Terms,
    Body(egress): Body<EgressSpec>,
) -> Changed {
    same_name("port", &path.egress, &format!("{}:{}", egress.protocol, egress.port))?;
    change(state, terms, Edit::PutEgress { tenant: path.tenant, egress }).await
}

/// Remove addressed egress.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/egress/{egress}", tag = "egress",
    params(EgressPath, ChangeQuery), responses((status = 200, body = ChangeOutcome)))]
async fn remove_egress(
    State(state): State<ApiState>,
    PathOf(EgressPath { tenant, egress }): PathOf<EgressPath>,
    terms: Terms,
) -> Changed {
    change(state, terms, Edit::RemoveEgress { tenant, egress }).await
}
