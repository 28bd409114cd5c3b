//! Reads the parts of a request: like axum's extractors, but what is wrong is told as a problem document.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::{CONTENT_TYPE, IF_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::auth::Caller;
use super::body;
use super::problem::{Problem, ProblemKind, words};
use crate::store::{Author, Version};

/// Carries the reason of a change where a query is inconvenient.
pub(super) const REASON: HeaderName = HeaderName::from_static("gateway-reason");

/// A reason is a sentence or a ticket, not a document: it is stored with every version.
pub(super) const MAX_REASON_CHARS: usize = 500;

/// The values of a path's parameters.
pub(super) struct PathOf<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for PathOf<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(value) = Path::from_request_parts(parts, state).await.map_err(|rejection| {
            let remedy = "names are UTF-8, percent-encoded; versions are numbers";
            Problem::new(ProblemKind::BadRequest, rejection.body_text(), remedy)
        })?;
        Ok(Self(value))
    }
}

/// The query.
pub(super) struct QueryOf<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for QueryOf<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(value) = Query::try_from_uri(&parts.uri).map_err(|rejection| {
            let remedy = "GET /v1/openapi.json lists the parameters of every path";
            Problem::new(ProblemKind::BadRequest, rejection.body_text(), remedy)
        })?;
        Ok(Self(value))
    }
}

/// A body that is a JSON object.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        require_json(request.headers())?;
        body::object(&read(request, state).await?).map(Self)
    }
}

/// A body that is a JSON array.
pub(super) struct ListBody<T>(pub(super) Vec<T>);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for ListBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        require_json(request.headers())?;
        body::list(&read(request, state).await?).map(Self)
    }
}

/// A body of JSON that may be left out.
pub(super) struct OptionalBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_json = require_json(request.headers());
        let bytes = read(request, state).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        is_json?;
        body::object(&bytes).map(Self)
    }
}

fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"));
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let detail = if given.is_empty() {
        "the body has no content type".to_owned()
    } else {
        format!("the body is `{given}`")
    };
    Err(Problem::new(ProblemKind::NotJson, detail, "send JSON, with `Content-Type: application/json`"))
}

async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    Bytes::from_request(request, state).await.map_err(|rejection| match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => Problem::new(
            ProblemKind::TooLarge,
            "the body is larger than this path takes",
            "send less at once: 64 MiB to /v1/apply, 1 MiB elsewhere",
        ),
        rejection => Problem::new(ProblemKind::BadRequest, words(&rejection), "send the whole body"),
    })
}

/// What every change takes in its query.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ChangeQuery {
    /// Only say what would change.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    pub(super) dry_run: bool,
    /// Why: kept in the history. The header `Gateway-Reason` does the same.
    #[param(max_length = 500, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    pub(super) reason: Option<String>,
}

/// A change whose path takes something else in its query, too.
pub(super) trait ChangeParameters: DeserializeOwned + Send {
    /// What all take.
    fn change(&self) -> ChangeQuery;
}

impl ChangeParameters for ChangeQuery {
    fn change(&self) -> ChangeQuery {
        self.clone()
    }
}

/// What every change comes with: who asks, why, from which version, and whether it is meant.
pub(super) struct Terms<Q = ChangeQuery> {
    pub(super) author: Author,
    pub(super) if_version: Option<Version>,
    pub(super) dry_run: bool,
    /// The query, with what only this path takes.
    pub(super) query: Q,
}

impl<S: Sync, Q: ChangeParameters> FromRequestParts<S> for Terms<Q> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let QueryOf(query) = QueryOf::<Q>::from_request_parts(parts, state).await?;
        let ChangeQuery { dry_run, reason } = query.change();
        let in_header = reason_header(&parts.headers)?;
        let why = reason.unwrap_or(in_header);
        check_reason(&why)?;
        let who = parts.extensions.get::<Caller>().map(Caller::to_string).unwrap_or_default();
        let if_version = if_match(&parts.headers)?;
        Ok(Self { author: Author { who, why }, if_version, dry_run, query })
    }
}

fn reason_header(headers: &HeaderMap) -> Result<String, Problem> {
    let Some(value) = headers.get(REASON) else { return Ok(String::new()) };
    let reason = String::from_utf8(value.as_bytes().to_vec()).map_err(|_| {
        Problem::new(ProblemKind::BadRequest, "the header Gateway-Reason is not UTF-8", "send UTF-8")
    })?;
    check_reason(&reason)?;
    Ok(reason)
}

/// Reasons are shown on terminals, one a line.
fn check_reason(reason: &str) -> Result<(), Problem> {
    let fault = if reason.chars().count() > MAX_REASON_CHARS {
        format!("the reason is longer than {MAX_REASON_CHARS} characters")
    } else if reason.chars().any(char::is_control) {
        "the reason has control characters".to_owned()
    } else {
        return Ok(());
    };
    Err(Problem::new(ProblemKind::BadRequest, fault, "give one short sentence, or the number of a ticket"))
}

/// The version that `If-Match` demands: none without it, or when any will do.
fn if_match(headers: &HeaderMap) -> Result<Option<Version>, Problem> {
    let mut values = headers.get_all(IF_MATCH).iter();
    let (first, more) = (values.next(), values.next());
    let text = match (first, more) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.to_str().unwrap_or_default().trim(),
        (Some(_), Some(_)) => "",
    };
    if text == "*" {
        return Ok(None);
    }
    // An entity tag is quoted; a shell easily takes the quotes away, and a number has no other meaning here.
    let number = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let digits = Some(number).filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|number| number.parse().ok()).map(|number| Some(Version(number))).ok_or_else(|| {
        let detail = "the header If-Match names no version";
        Problem::new(ProblemKind::BadRequest, detail, r#"send the ETag of an answer, as in If-Match: "7""#)
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn with(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(IF_MATCH, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_version_is_one_strong_etag() {
        assert_eq!(if_match(&HeaderMap::new()).unwrap(), None);
        assert_eq!(if_match(&with("*")).unwrap(), None);
        assert_eq!(if_match(&with("\"7\"")).unwrap(), Some(Version(7)));
        assert_eq!(if_match(&with("7")).unwrap(), Some(Version(7)));
        for text in
            ["\"7", "", "W/\"7\"", "\"\"", "\"-1\"", "\"+7\"", "\"1\", \"2\"", "\"99999999999999999999\""]
        {
            assert_eq!(if_match(&with(text)).unwrap_err().kind, ProblemKind::BadRequest, "{text}");
        }
        let mut twice = with("\"7\"");
        twice.append(IF_MATCH, HeaderValue::from_static("\"8\""));
        assert!(if_match(&twice).is_err());
    }

    #[test]
    fn reasons_are_one_short_line() {
        check_reason("ticket 4711: \u{fc}ber Nacht").unwrap();
        assert!(check_reason(&"x".repeat(MAX_REASON_CHARS + 1)).is_err());
        assert!(check_reason("a\nb").is_err());
        assert!(check_reason("\u{1b}[2J").is_err());
    }
}
