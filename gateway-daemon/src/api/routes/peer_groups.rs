//! Peer groups.

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::tenants::PutQuery;
use super::{Changed, Versioned, change, same_name};
use crate::api::controller::ChangeOutcome;
use crate::api::extract::{Body, ChangeQuery, PathOf, Terms};
use crate::api::problem::{Problem, ProblemKind};
use crate::api::server::ApiState;
use crate::api::types::PeerGroupList;
use crate::tenancy::edit::Edit;
use crate::tenancy::spec::PeerGroupSpec;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list_peer_groups)).routes(routes!(
        show_peer_group,
        put_peer_group,
        remove_peer_group
    ))
}

/// Every peer group.
#[utoipa::path(get, path = "/v1/peer-groups", tag = "peer-groups",
    responses((status = 200, body = PeerGroupList)))]
async fn list_peer_groups(State(state): State<ApiState>) -> Versioned<PeerGroupList> {
    let snapshot = state.controller.tenancy();
    let peer_groups =
        snapshot.tenancy.peer_groups.values().map(|group| PeerGroupSpec::clone(group)).collect();
    Versioned(snapshot.version, PeerGroupList { version: snapshot.version, peer_groups })
}

/// One peer group.
#[utoipa::path(get, path = "/v1/peer-groups/{peer_group}", tag = "peer-groups",
    params(("peer_group" = String, Path, description = "The peer group's name")),
    responses((status = 200, body = PeerGroupSpec)))]
async fn show_peer_group(
    State(state): State<ApiState>,
    PathOf(name): PathOf<String>,
) -> Result<Versioned<PeerGroupSpec>, Problem> {
    let snapshot = state.controller.tenancy();
    let group = snapshot.tenancy.peer_groups.get(&name).map(|group| PeerGroupSpec::clone(group));
    group.map(|group| Versioned(snapshot.version, group)).ok_or_else(|| {
        let remedy = "`gateway-daemon peer-group list` (GET /v1/peer-groups) lists the peer groups";
        Problem::new(ProblemKind::NotFound, format!("there is no peer group `{name}`"), remedy)
    })
}

/// Add a peer group, or replace the one of this name.
#[utoipa::path(put, path = "/v1/peer-groups/{peer_group}", tag = "peer-groups",
    params(("peer_group" = String, Path, description = "The peer group's name"), PutQuery),
    request_body = PeerGroupSpec, responses((status = 200, body = ChangeOutcome)))]
async fn put_peer_group(
    State(state): State<ApiState>,
    PathOf(name): PathOf<String>,
    terms: Terms<PutQuery>,
    Body(peer_group): Body<PeerGroupSpec>,
) -> Changed {
    same_name("name", &name, &peer_group.name)?;
    let only_new = terms.query.only_new;
    change(state, terms, Edit::PutPeerGroup { peer_group, only_new }).await
}

/// Remove a peer group.
#[utoipa::path(delete, path = "/v1/peer-groups/{peer_group}", tag = "peer-groups",
    params(("peer_group" = String, Path, description = "The peer group's name"), ChangeQuery),
    responses((status = 200, body = ChangeOutcome)))]
async fn remove_peer_group(
    State(state): State<ApiState>,
    PathOf(peer_group): PathOf<String>,
    terms: Terms,
) -> Changed {
    change(state, terms, Edit::RemovePeerGroup { peer_group }).await
}
