//! Why a request was refused: problem documents (RFC 9457), and which refusal becomes which.

use std::error::Error;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::PROBLEM_CONTENT_TYPE;
use super::controller::{ChangeError, FieldProblem};
use super::source::{SourceError, with_causes};
use crate::store::{StoreError, Version};
use crate::tenancy::edit::EditError;

/// Declares the kinds: name in Rust, last part of the URN, HTTP status.
macro_rules! kinds {
    ($($(#[doc = $doc:tt])+ $kind:ident = $urn:tt, $status:ident;)+) => {
        /// What sort of problem it is. Programs act upon this; the rest is for people.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        pub enum ProblemKind {
            $($(#[doc = $doc])+ #[serde(rename = $urn)] $kind,)+
            /// One that this program does not know: the other end is younger.
            #[serde(other, rename = "about:blank")]
            Other,
        }

        impl ProblemKind {
            /// The HTTP status that goes with it.
            pub fn status(self) -> StatusCode {
                match self {
                    $(Self::$kind => StatusCode::$status,)+
                    Self::Other => StatusCode::INTERNAL_SERVER_ERROR,
                }
            }
        }
    };
}

kinds! {
    /// The query, a header or the syntax of the body is wrong.
    BadRequest = "urn:two-ip-gateway:problem:bad-request", BAD_REQUEST;
    /// The caller's role does not allow it.
    NotPermitted = "urn:two-ip-gateway:problem:not-permitted", FORBIDDEN;
    /// The path names something that is not there.
    NotFound = "urn:two-ip-gateway:problem:not-found", NOT_FOUND;
    /// The path is there and has no such method.
    MethodNotAllowed = "urn:two-ip-gateway:problem:method-not-allowed", METHOD_NOT_ALLOWED;
    /// What is to be new is there already.
    Exists = "urn:two-ip-gateway:problem:exists", CONFLICT;
    /// Somebody else changed something at the same moment: trying again is safe.
    Conflict = "urn:two-ip-gateway:problem:conflict", CONFLICT;
    /// The tenants can't be changed through this daemon.
    ReadOnly = "urn:two-ip-gateway:problem:read-only", CONFLICT;
    /// The version of `If-Match` is not the one in force.
    VersionMoved = "urn:two-ip-gateway:problem:version-moved", PRECONDITION_FAILED;
    /// The body is too large.
    TooLarge = "urn:two-ip-gateway:problem:too-large", PAYLOAD_TOO_LARGE;
    /// The body is not JSON.
    NotJson = "urn:two-ip-gateway:problem:not-json", UNSUPPORTED_MEDIA_TYPE;
    /// The body is understood, and what it asks for is wrong.
    Invalid = "urn:two-ip-gateway:problem:invalid", UNPROCESSABLE_ENTITY;
    /// The change is stored and not yet in the kernel's tables. Do not repeat it.
    NotApplied = "urn:two-ip-gateway:problem:not-applied", SERVICE_UNAVAILABLE;
    /// The daemon can't do it now.
    Unavailable = "urn:two-ip-gateway:problem:unavailable", SERVICE_UNAVAILABLE;
    /// The daemon met a defect, of its own or of what is stored.
    Defect = "urn:two-ip-gateway:problem:defect", INTERNAL_SERVER_ERROR;
}

/// Why a request was refused: a problem document (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// What sort of problem it is.
    #[serde(rename = "type")]
    pub kind: ProblemKind,
    /// What the HTTP status means.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong.
    pub detail: String,
    /// What to do about it.
    pub remedy: String,
    /// Each wrong field, where fields are to blame.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<FieldProblem>,
    /// The version in force, where versions are to blame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
}

impl Problem {
    /// A problem without fields to blame.
    pub fn new(kind: ProblemKind, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        let status = kind.status();
        Self {
            kind,
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            remedy: remedy.into(),
            problems: Vec::new(),
            version: None,
        }
    }

    /// A body whose fields are wrong.
    pub fn invalid(problems: Vec<FieldProblem>) -> Self {
        let number = problems.len();
        let detail = match problems.as_slice() {
            [one] if one.path.is_empty() => one.problem.clone(),
            [one] => format!("{}: {}", one.path, one.problem),
            _ => format!("{number} problems"),
        };
        let remedy = match problems.as_slice() {
            [one] => one.remedy.clone(),
            _ => "correct each of them; nothing was changed".to_owned(),
        };
        Self { problems, ..Self::new(ProblemKind::Invalid, detail, remedy) }
    }

    /// A body with one wrong field.
    pub fn field(path: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (path, problem, remedy) = (path.into(), problem.into(), remedy.into());
        Self::invalid(vec![FieldProblem { path, problem, remedy }])
    }

    /// A part of the daemon panicked; the panic itself is on its standard error.
    pub(super) fn defect() -> Self {
        Self::new(
            ProblemKind::Defect,
            "the daemon met a defect of its own",
            "report it, with the daemon's log; forwarding is not affected",
        )
    }

    fn with_version(self, version: Version) -> Self {
        Self { version: Some(version), ..self }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.kind.status();
        if status.is_server_error() {
            tracing::warn!(error = self.detail, "cannot answer a request to the API");
        }
        let mut response = (status, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(PROBLEM_CONTENT_TYPE));
        if let Some(version) = self.version {
            headers.insert(header::ETAG, super::etag(version));
        }
        response
    }
}

impl From<SourceError> for Problem {
    fn from(error: SourceError) -> Self {
        let kind = match error {
            SourceError::Wrong { field, problem, remedy } => return Self::field(field, problem, remedy),
            SourceError::UnknownTenant { .. } => ProblemKind::NotFound,
            SourceError::Unavailable { .. } => ProblemKind::Unavailable,
        };
        Self::new(kind, with_causes(&error), error.remedy())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let detail = with_causes(&error);
        match error {
            StoreError::Conflict { current, .. } => {
                Self::new(ProblemKind::Conflict, detail, "read again, and repeat the change")
                    .with_version(current)
            }
            StoreError::ReadOnly { place } => {
                let remedy = format!("edit {place}, and reload the daemon");
                Self::new(ProblemKind::ReadOnly, detail, remedy)
            }
            StoreError::NoSuchVersion { .. } => Self::new(
                ProblemKind::NotFound,
                detail,
                "`gateway-daemon history` (GET /v1/history) lists the versions that are kept",
            ),
            StoreError::Unavailable { remedy, .. } => Self::new(ProblemKind::Unavailable, detail, remedy),
            StoreError::Corrupt { remedy, .. } => Self::new(ProblemKind::Defect, detail, remedy),
        }
    }
}

/// What the caller of a change gave besides the change: it decides what a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Was there an `If-Match`?
    pub(super) if_match: bool,
    /// Is what the change names part of the path, rather than of the body?
    pub(super) by_path: bool,
}

/// A refused change as a document.
pub(super) fn of_change(error: ChangeError, asked: Asked) -> Problem {
    match error {
        ChangeError::Edit(error) => of_edit(&error, asked),
        ChangeError::Rejected(problems) => Problem::invalid(problems),
        ChangeError::Store(error) => of_store(error, asked),
        ChangeError::NotApplied { version, source } => Problem::new(
            ProblemKind::NotApplied,
            format!(
                "version {version} is stored, but the kernel's tables could not be brought to it yet: {}",
                with_causes(&*source)
            ),
            "do not repeat the change: the daemon goes on trying; `gateway-daemon status` shows what it lacks",
        )
        .with_version(version),
    }
}

fn of_edit(error: &EditError, asked: Asked) -> Problem {
    let detail = error.to_string();
    match error {
        EditError::Missing { .. } if asked.by_path => {
            Problem::new(ProblemKind::NotFound, detail, "`gateway-daemon export` shows what there is")
        }
        EditError::Missing { .. } => Problem::field("", detail, "add it first, or correct the name"),
        EditError::Exists { .. } => {
            Problem::new(ProblemKind::Exists, detail, "change that one, or choose another name")
        }
        EditError::Twice { .. } => Problem::field("", detail, "keep one of them"),
    }
}

fn of_store(error: StoreError, asked: Asked) -> Problem {
    match error {
        StoreError::Conflict { from, current } if asked.if_match => Problem::new(
            ProblemKind::VersionMoved,
            format!("version {current} is in force, not version {from}"),
            "read again what is there now, decide anew, and name that version",
        )
        .with_version(current),
        StoreError::NoSuchVersion { .. } if !asked.by_path => Problem::field(
            "version",
            error.to_string(),
            "`gateway-daemon history` (GET /v1/history) lists the versions that are kept",
        ),
        error => error.into(),
    }
}

/// What a library says, with its causes.
pub(super) fn words(error: &dyn Error) -> String {
    with_causes(error)
}
