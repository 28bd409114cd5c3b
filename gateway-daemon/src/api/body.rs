//! From the bytes of a body to what it asks for, or to what is wrong with it.

use serde::de::DeserializeOwned;

use super::problem::{Problem, ProblemKind};
use crate::tenancy::objects::Objects;

/// What a body that is to be a JSON object holds. An empty array, say, is no empty document, which `prune` would turn into
/// the removal of everything.
///
/// # Errors
///
/// What is wrong with it: with its syntax, or with which field.
pub fn object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        // Refused by `parse` as well, but in the words of the library.
        let remedy = "GET /v1/openapi.json describes every field";
        return Err(Problem::field("", "the body is an array, and is to be an object", remedy));
    }
    parse(bytes)
}

/// What a body that is to be a JSON array holds.
///
/// # Errors
///
/// As [`object`].
pub fn list<T: DeserializeOwned>(bytes: &[u8]) -> Result<Vec<T>, Problem> {
    parse(bytes)
}

/// Syntax is one kind of fault, what the fields hold another.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(Objects(&mut reader)).map_err(|error| {
        let path = error.path().to_string();
        bad_json(if path == "." { "" } else { &path }, error.inner())
    })?;
    reader.end().map_err(|error| bad_json("", &error))?;
    Ok(value)
}

fn bad_json(path: &str, error: &serde_json::Error) -> Problem {
    if error.is_data() {
        let remedy = "GET /v1/openapi.json describes every field";
        return Problem::field(path, error.to_string(), remedy);
    }
    let detail = format!("the body is not JSON: {error}");
    Problem::new(ProblemKind::BadRequest, detail, "correct the text at that line and column")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenancy::{edit::Edit, spec::Document};

    #[test]
    fn a_wrong_field_is_named_by_its_path() {
        let text =
            br#"{"tenant": [{"name": "a", "nat_ip": "x", "sources": [], "pool": [{"name": "p", "backend":
            [{"address": "1.2.3.4", "port": "http"}]}]}]}"#;
        let problem = parse::<Document>(text).unwrap_err();
        assert_eq!(problem.kind, ProblemKind::Invalid);
        assert_eq!(problem.problems[0].path, "tenant[0].pool[0].backend[0].port");
        assert!(problem.problems[0].problem.contains("invalid type: string \"http\""), "{problem:?}");
    }

    #[test]
    fn text_that_is_no_json_is_another_fault_than_a_wrong_field() {
        for text in ["", "{", "{\"tenant\": []} x", "nonsense"] {
            let problem = parse::<Document>(text.as_bytes()).unwrap_err();
            assert_eq!(problem.kind, ProblemKind::BadRequest, "{text}");
            assert!(problem.detail.contains("line 1 column"), "{text}: {}", problem.detail);
        }
        assert_eq!(parse::<Document>(b"{\"tenants\": []}").unwrap_err().kind, ProblemKind::Invalid);
    }

    #[test]
    fn an_array_is_no_object_however_deep() {
        let tenant =
            |more: &str| format!(r#"{{"tenant": [{{"name": "a", "nat_ip": "x", "sources": []{more}}}]}}"#);
        assert!(parse::<Document>(tenant(r#", "timeouts": {"udp_secs": 300}"#).as_bytes()).is_ok());
        for (text, path) in [
            (tenant(r#", "timeouts": [null, null]"#), "tenant[0].timeouts"),
            (tenant(r#", "pool": [["p"]]"#), "tenant[0].pool[0]"),
            (r#"{"tenant": [["a", "x", []]]}"#.to_owned(), "tenant[0]"),
        ] {
            let problem = parse::<Document>(text.as_bytes()).unwrap_err();
            assert_eq!(problem.problems[0].path, path, "{text}");
            assert!(problem.problems[0].problem.contains("invalid type: sequence"), "{problem:?}");
        }
    }

    #[test]
    fn an_array_is_no_object_in_an_edit_either() {
        let edit = |timeouts: &str| {
            format!(
                r#"[{{"edit": "put_tenant", "tenant": {{"name": "a", "nat_ip": "x", "sources": [], "timeouts": {timeouts}}}}}]"#
            )
        };
        assert!(list::<Edit>(edit(r#"{"udp_secs": 300}"#).as_bytes()).is_ok());
        assert_eq!(list::<Edit>(edit("[null, null]").as_bytes()).unwrap_err().kind, ProblemKind::Invalid);
    }

    #[test]
    fn an_array_is_no_document() {
        for text in ["[]", " \n[]", "[[], []]"] {
            assert_eq!(object::<Document>(text.as_bytes()).unwrap_err().kind, ProblemKind::Invalid, "{text}");
        }
        assert_eq!(object::<Document>(b"{}").unwrap(), Document::default());
    }
}
