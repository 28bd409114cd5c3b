//! What the API and the metrics ask the rest of the daemon.

use std::error::Error;
use std::sync::Arc;

use futures_util::stream::BoxStream;

use super::types::{
    CaptureQuery, Drops, ExplainRequest, Explanation, FlowFilter, FlowList, Happening, MonitorFilter, Status,
};

/// Knows the state of the gateway. The calls may block (they read kernel tables), so the servers make them on
/// threads for blocking work.
pub trait Source: Send + Sync + 'static {
    /// What the node is doing.
    fn status(&self) -> Result<Status, SourceError>;

    /// The flows that match, as many as the filter's limit allows.
    fn flows(&self, filter: &FlowFilter) -> Result<FlowList, SourceError>;

    /// What was dropped.
    fn drops(&self) -> Result<Drops, SourceError>;

    /// The way that a packet would take. Changes nothing.
    fn explain(&self, request: &ExplainRequest) -> Result<Explanation, SourceError>;

    /// Tells what happens, as it happens, until the stream is dropped.
    fn monitor(self: Arc<Self>, filter: MonitorFilter) -> Result<BoxStream<'static, Happening>, SourceError>;

    /// Captures a tenant's packets: the pieces of a pcapng file, until the query's bounds are reached or the stream is
    /// dropped.
    fn capture(
        self: Arc<Self>,
        tenant: &str,
        query: &CaptureQuery,
    ) -> Result<BoxStream<'static, Vec<u8>>, SourceError>;
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The caller asked for a tenant that is not configured. Asking again is of no use.
    #[error("there is no tenant `{name}`")]
    UnknownTenant {
        /// What the caller wrote.
        name: String,
    },
    /// The caller asked for something that makes no sense. Asking again is of no use.
    #[error("{problem}")]
    Wrong {
        /// Which field of the request.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
        /// What the caller can do about it.
        remedy: String,
    },
    /// The daemon can't tell now. Asking again may help.
    #[error("{message}")]
    Unavailable {
        /// What failed.
        message: String,
        /// What the operator can do about it.
        remedy: String,
        /// Why it failed.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
}

impl SourceError {
    /// Something on our side failed.
    pub fn unavailable(
        message: impl Into<String>,
        remedy: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable { message: message.into(), remedy: remedy.into(), source: Some(source.into()) }
    }

    /// What to do about it.
    pub fn remedy(&self) -> &str {
        match self {
            Self::UnknownTenant { .. } => "`gateway-daemon status` lists the tenants",
            Self::Wrong { remedy, .. } | Self::Unavailable { remedy, .. } => remedy,
        }
    }
}

/// An error and its causes, joined by colons, as people read them.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
