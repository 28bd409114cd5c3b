//! What a client asks: method, path, query, body, and the version that it has to be.

use hyper::Method;
use serde::Serialize;

use crate::store::Version;

/// How a change is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeTerms {
    /// Only say what would change.
    pub dry_run: bool,
    /// Refuse unless this version is in force.
    pub if_version: Option<Version>,
    /// Why.
    pub reason: Option<String>,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Option<Vec<u8>>,
    pub(super) if_version: Option<Version>,
}

impl Ask {
    /// A request for a path that is encoded already.
    pub fn raw(method: Method, path: &str) -> Self {
        Self { method, path: path.to_owned(), body: None, if_version: None }
    }

    /// A request for `/v1/` and these names, which may hold anything.
    pub fn new(method: Method, names: &[&str]) -> Self {
        let names = names.iter().map(|name| format!("/{}", encoded(name)));
        Self::raw(method, &format!("/v1{}", names.collect::<String>()))
    }

    /// With a body.
    #[must_use]
    pub fn with(self, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("a specification is JSON");
        Self { body: Some(body), ..self }
    }

    /// With a parameter in the query.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        let parameter = serde_urlencoded::to_string([(name, value)]).expect("words make a query");
        self.path.push(if self.path.contains('?') { '&' } else { '?' });
        self.path.push_str(&parameter);
        self
    }

    /// With what every change takes.
    #[must_use]
    pub fn on(self, terms: &ChangeTerms) -> Self {
        let mut ask = Self { if_version: terms.if_version, ..self };
        if terms.dry_run {
            ask = ask.query("dry_run", "true");
        }
        match &terms.reason {
            Some(reason) => ask.query("reason", reason),
            None => ask,
        }
    }
}

/// A name as a segment of a path (RFC 3986 section 3.3): what is not unreserved is encoded, so that it stays one
/// segment.
fn encoded(name: &str) -> String {
    // A server may take these two for steps in the path, and a client remove them.
    if name == "." || name == ".." {
        return name.replace('.', "%2E");
    }
    let bytes = name.bytes().map(|byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    });
    bytes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_one_segment() {
        let ask = Ask::new(Method::GET, &["tenants", "a/../b?c#d%\u{e9}", ".."]);
        assert_eq!(ask.path, "/v1/tenants/a%2F..%2Fb%3Fc%23d%25%C3%A9/%2E%2E");
        let ask = Ask::new(Method::GET, &["backends", "198.51.100.7:80"]);
        assert_eq!(ask.path, "/v1/backends/198.51.100.7:80");
    }

    #[test]
    fn terms_go_into_the_query_and_the_header() {
        let terms =
            ChangeTerms { dry_run: true, if_version: Some(Version(7)), reason: Some("a & b".to_owned()) };
        let ask = Ask::new(Method::POST, &["apply"]).query("prune", "true").on(&terms);
        assert_eq!(ask.path, "/v1/apply?prune=true&dry_run=true&reason=a+%26+b");
        assert_eq!(ask.if_version, Some(Version(7)));
        let ask = Ask::new(Method::POST, &["apply"]).on(&ChangeTerms::default());
        assert_eq!((ask.path.as_str(), ask.if_version), ("/v1/apply", None));
    }
}
