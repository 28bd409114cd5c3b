//! Serves the metrics and the probes over HTTP: `/metrics`, `/livez`, `/readyz`.
//!
//! One task a connection, owned by `serve`, which may be dropped at any time. The source is asked for one caller
//! at a time, however many there are: reading a full table is work, and this port has no authentication. Probes have a
//! turn of their own, so that a long scrape fails none.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

use super::probes::{self, Check, Readiness};
use super::{Metrics, Reading, classic};
use crate::api::source::{Source, SourceError, with_causes};

/// `OpenMetrics` 1.0, which Prometheus reads since 2.5.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The format before it, for whoever does not ask for `OpenMetrics`.
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

const INDEX: &str = "\
two-ip-gateway: /metrics for Prometheus, /livez (the daemon's event loop runs), /readyz (programs are attached, \
tables open, settings loaded; ?verbose says more)\n";

/// The address of the metrics can't be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen for metrics on {address}; `daemon.metrics` of the configuration chooses another address"
)]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// What is served.
#[derive(Clone)]
pub struct Pages {
    /// What the node is doing.
    pub source: Arc<dyn Source>,
    /// Whether it is ready.
    pub readiness: Arc<dyn Readiness>,
    /// The daemon's own figures.
    pub metrics: Metrics,
}

/// Takes the address.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { address, source })
}

/// Answers until `shutdown` is ready and the requests under way are answered.
pub async fn serve(
    listener: TcpListener,
    pages: Pages,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, router(pages)).with_graceful_shutdown(shutdown).await
}

/// The pages without a port.
pub fn router(pages: Pages) -> Router {
    Router::new()
        .route("/", get(INDEX))
        .route("/metrics", get(scrape))
        // Whoever answers this has a running event loop. Nothing else is asked: a restart mends neither a peer nor a
        // store.
        .route("/livez", get("ok\n"))
        .route("/readyz", get(ready))
        .with_state(Turns {
            source: Arc::new(Mutex::new(pages.source)),
            readiness: Arc::new(Mutex::new(pages.readiness)),
            metrics: pages.metrics,
        })
}

/// What is asked by one caller at a time.
#[derive(Clone)]
struct Turns {
    source: Arc<Mutex<Arc<dyn Source>>>,
    readiness: Arc<Mutex<Arc<dyn Readiness>>>,
    metrics: Metrics,
}

/// Asks away from the event loop, one caller at a time.
async fn ask<S: Send + Sync + ?Sized + 'static, T: Send + 'static>(
    whom: &Arc<Mutex<Arc<S>>>,
    question: fn(&S) -> T,
) -> Result<T, String> {
    let turn = Arc::clone(whom).lock_owned().await;
    let answer = tokio::task::spawn_blocking(move || question(&turn)).await;
    answer.map_err(|_| "the daemon met a defect of its own".to_owned())
}

async fn scrape(State(turns): State<Turns>, headers: HeaderMap) -> Response {
    let reading = ask(&turns.source, read).await.and_then(|read| read.map_err(|error| with_causes(&error)));
    if let Err(error) = &reading {
        tracing::warn!(error, "cannot read the data path for the metrics");
    }
    let text = turns.metrics.render(reading.ok());
    if wants_openmetrics(&headers) {
        ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response()
    } else {
        ([(header::CONTENT_TYPE, CLASSIC)], classic::from_openmetrics(&text)).into_response()
    }
}

fn read(source: &dyn Source) -> Result<Reading, SourceError> {
    Ok(Reading { status: source.status()?, drops: source.drops()? })
}

fn wants_openmetrics(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.any(|accepted| accepted.contains("application/openmetrics-text"))
}

async fn ready(State(turns): State<Turns>, RawQuery(query): RawQuery) -> (StatusCode, String) {
    let checks = match ask(&turns.readiness, <dyn Readiness>::checks).await {
        Ok(checks) => checks,
        Err(defect) => vec![Check::failed("readiness", defect)],
    };
    let status = if probes::is_ready(&checks) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let text = if is_verbose(query.as_deref()) { probes::verbose(&checks) } else { probes::brief(&checks) };
    (status, text)
}

/// Is `verbose` among the parameters, with or without a value?
fn is_verbose(query: Option<&str>) -> bool {
    let mut parameters = query.unwrap_or_default().split('&');
    parameters.any(|parameter| parameter.split('=').next() == Some("verbose"))
}
