//! Serves the metrics and the probes over HTTP: `/metrics`, `/healthz`, `/readyz`.
//!
//! One task a connection, owned by `serve`, which may be dropped at any time. The source is asked for one caller
//! at a time, however many there are: reading a full table is work, and this port has no authentication.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

use super::{Metrics, Reading};
use crate::api::source::{Source, SourceError, with_causes};
use crate::api::types::Status;

/// `OpenMetrics` 1.0, which Prometheus reads since 2.5.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const INDEX: &str = "\
two-ip-gateway: /metrics for Prometheus, /healthz (the daemon's event loop runs), /readyz (the data path is \
attached)\n";

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

/// Takes the address.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { address, source })
}

/// Answers until `shutdown` is ready and the requests under way are answered.
pub async fn serve(
    listener: TcpListener,
    source: Arc<dyn Source>,
    metrics: Metrics,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, router(source, metrics)).with_graceful_shutdown(shutdown).await
}

/// The pages without a port.
pub fn router(source: Arc<dyn Source>, metrics: Metrics) -> Router {
    Router::new()
        .route("/", get(INDEX))
        .route("/metrics", get(scrape))
        // Whoever answers this has a running event loop.
        .route("/healthz", get("ok\n"))
        .route("/readyz", get(ready))
        .with_state(Pages { source: Arc::new(Mutex::new(source)), metrics })
}

#[derive(Clone)]
struct Pages {
    source: Arc<Mutex<Arc<dyn Source>>>,
    metrics: Metrics,
}

impl Pages {
    /// Asks the source, away from the event loop, one at a time.
    async fn ask<T: Send + 'static>(
        &self,
        question: fn(&dyn Source) -> Result<T, SourceError>,
    ) -> Result<T, String> {
        let source = Arc::clone(&self.source).lock_owned().await;
        match tokio::task::spawn_blocking(move || question(&**source)).await {
            Ok(answer) => answer.map_err(|error| with_causes(&error)),
            Err(_) => Err("the daemon met a defect of its own".to_owned()),
        }
    }
}

async fn scrape(State(pages): State<Pages>) -> Response {
    let reading = pages.ask(|source| Ok(Reading { status: source.status()?, drops: source.drops()? })).await;
    if let Err(error) = &reading {
        tracing::warn!(error, "cannot read the data path for the metrics");
    }
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], pages.metrics.render(reading.ok())).into_response()
}

async fn ready(State(pages): State<Pages>) -> (StatusCode, String) {
    let faults = match pages.ask(<dyn Source>::status).await {
        Ok(status) => missing_interfaces(&status),
        Err(error) => format!("{error}\n"),
    };
    if faults.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, faults)
    }
}

/// One line for each interface that is not attached.
fn missing_interfaces(status: &Status) -> String {
    let missing = status.interfaces.iter().filter(|interface| !interface.is_attached());
    missing.fold(String::new(), |mut text, interface| {
        let _ = writeln!(text, "interface {} is not attached: {}", interface.name, interface.why);
        text
    })
}
