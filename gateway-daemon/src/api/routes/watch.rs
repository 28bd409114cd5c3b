//! What happens, as it happens: a stream of drops and flows, and a capture of packets. Both go on until the caller has
//! enough, or the daemon ends.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::blocking;
use crate::api::extract::{ChangeParameters, ChangeQuery, PathOf, QueryOf, Terms};
use crate::api::problem::Problem;
use crate::api::server::ApiState;
use crate::api::types::{CaptureQuery, Happening, MonitorFilter};

/// JSON, one object a line.
const LINES: &str = "application/x-ndjson";
/// No name is registered; this is the one that programs use.
const PCAPNG: &str = "application/x-pcapng";

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(monitor)).routes(routes!(capture))
}

/// It changes nothing, but is written down like a change: somebody's packets were looked at.
impl ChangeParameters for CaptureQuery {
    fn change(&self) -> ChangeQuery {
        ChangeQuery { dry_run: false, reason: self.reason.clone() }
    }
}

/// Drops, and flows that begin and end, as they happen: one JSON object a line.
#[utoipa::path(get, path = "/v1/monitor", tag = "node", params(MonitorFilter),
    responses((status = 200, body = Happening, content_type = "application/x-ndjson")))]
async fn monitor(
    State(state): State<ApiState>,
    QueryOf(filter): QueryOf<MonitorFilter>,
) -> Result<Response, Problem> {
    let happenings = blocking(move || state.source.monitor(filter)).await?;
    Ok(streamed(LINES, happenings.map(|what| line(&what)).boxed()))
}

/// A tenant's packets before and after translation, as a pcapng file. One capture runs at a time.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/capture", tag = "tenants",
    params(("tenant" = String, Path, description = "The tenant's name"), CaptureQuery),
    responses((status = 200, body = Vec<u8>, content_type = "application/x-pcapng")))]
async fn capture(
    State(state): State<ApiState>,
    PathOf(tenant): PathOf<String>,
    terms: Terms<CaptureQuery>,
) -> Result<Response, Problem> {
    let pieces = blocking(move || state.source.capture(&tenant, &terms.query)).await?;
    Ok(streamed(PCAPNG, pieces))
}

fn line(what: &Happening) -> Vec<u8> {
    let mut line = serde_json::to_vec(what).expect("words and numbers are JSON");
    line.push(b'\n');
    line
}

fn streamed(content_type: &'static str, pieces: BoxStream<'static, Vec<u8>>) -> Response {
    let body = Body::from_stream(pieces.map(Ok::<_, Infallible>));
    ([(CONTENT_TYPE, content_type)], body).into_response()
}
