//! Wrong inputs, and how each is to be refused. The gateway has the lab's tenants `bank-1` to `bank-3`.

use serde_json::{Value, json};

use super::super::made_up;

/// A tenant that could be added, but for what a case does to it.
const NUMBER: u16 = 7;
/// Its name.
const NAME: &str = "made-up-7";

/// What the remedy stands behind on the command line.
const HELP: &str = "help: ";

/// A request.
#[derive(Debug)]
pub struct ApiCase {
    /// What is wrong with it.
    pub what: &'static str,
    /// `PUT`, ...
    pub method: &'static str,
    /// With its query.
    pub path: String,
    /// Besides those of every request.
    pub headers: &'static [(&'static str, &'static str)],
    /// What is sent.
    pub body: Body,
    /// HTTP status of the refusal.
    pub status: u16,
    /// The field to blame, if one is.
    pub field: Option<&'static str>,
}

/// What is sent.
#[derive(Debug)]
pub enum Body {
    /// Nothing.
    None,
    /// These bytes.
    Text(String),
    /// This document.
    Json(Value),
}

impl ApiCase {
    /// For people.
    pub fn name(&self) -> String {
        format!("{} ({} {})", self.what, self.method, self.path)
    }

    /// As it is sent.
    pub fn body(&self) -> Option<Vec<u8>> {
        match &self.body {
            Body::None => None,
            Body::Text(text) => Some(text.clone().into_bytes()),
            Body::Json(value) => Some(value.to_string().into_bytes()),
        }
    }
}

/// A command.
#[derive(Debug)]
pub struct CliCase {
    /// Its words.
    pub arguments: &'static [&'static str],
    /// What stands in the file that they name.
    pub document: &'static str,
    /// What the error must say.
    pub says: &'static [&'static str],
}

/// Wrong requests to the API.
pub fn of_the_api() -> Vec<ApiCase> {
    [of_syntax(), of_meaning(), of_paths(), of_terms()].into_iter().flatten().collect()
}

/// Wrong commands.
pub fn of_the_cli() -> Vec<CliCase> {
    let case = |arguments, says| CliCase { arguments, document: "", says };
    vec![
        case(&["frobnicate"], &["frobnicate", "--help"]),
        case(&["status", "--frobnicate"], &["--frobnicate", "--help"]),
        case(&["flows", "--state", "open"], &["open", "established"]),
        case(&["flows", "--limit", "10001"], &["--limit", "10000"]),
        case(&["tenant", "add", NAME], &["--nat-ip", "--source", "--help"]),
        case(&["tenant", "add", NAME, "--nat-ip", "300.1.2.3", "--source", "10.0.7.0/24"], &["300.1.2.3"]),
        case(
            &["tenant", "add", NAME, "--nat-ip", "192.0.2.10", "--source", "10.0.7.0/24"],
            &["tenant[made-up-7].nat_ip", HELP],
        ),
        case(&["tenant", "set", "bank-1", "--nat-ip", "198.51.100.46"], &["tenant[bank-1].nat_ip", HELP]),
        case(&["tenant", "remove", "nobody"], &["nobody", HELP]),
        case(&["backend", "weight", "bank-1", "web", "198.51.100.18:8080", "heavy"], &["heavy", "--help"]),
        case(
            &["backend", "weight", "bank-1", "web", "198.51.100.20:8080", "2"],
            &["198.51.100.20:8080", HELP],
        ),
        case(&["backend", "drain", "bank-1", "web", "frobnicate"], &["frobnicate", "--help"]),
        case(&["rollback", "soon"], &["soon", "--help"]),
        case(&["rollback", "999999"], &["999999", HELP]),
        case(&["apply", "--file", "/nonexistent/tenants.toml"], &["/nonexistent/tenants.toml", HELP]),
        CliCase { document: "[[tenant]\n", ..case(&["apply", "--file", "FILE"], &["document.toml", HELP]) },
        CliCase {
            document: "[[tenant]]\nname = \"bank-9\"\ncolour = \"red\"\n",
            ..case(&["apply", "--file", "FILE"], &["colour", HELP])
        },
    ]
}

fn put(what: &'static str, body: Body, status: u16, field: Option<&'static str>) -> ApiCase {
    ApiCase { what, method: "PUT", path: format!("/v1/tenants/{NAME}"), headers: &[], body, status, field }
}

/// A good tenant in which something is put somewhere.
fn spoilt(pointer: &str, value: Value) -> Body {
    let mut tenant = serde_json::to_value(made_up::tenant(NUMBER, 2)).expect("plain data");
    let (parent, last) = pointer.rsplit_once('/').expect("a pointer begins with a slash");
    let parent = tenant.pointer_mut(parent).unwrap_or_else(|| panic!("no {pointer} in a tenant"));
    match parent {
        Value::Object(fields) => _ = fields.insert(last.to_owned(), value),
        Value::Array(items) => items[last.parse::<usize>().expect("an index")] = value,
        other => panic!("{pointer} is in {other}"),
    }
    Body::Json(tenant)
}

fn of_syntax() -> Vec<ApiCase> {
    vec![
        put("half a document", Body::Text("{\"name\":".to_owned()), 400, None),
        put("no document", Body::Text("bank-9".to_owned()), 400, None),
        put("a field that does not exist", spoilt("/colour", json!("red")), 422, Some("colour")),
        put(
            "a field in a backend that does not exist",
            spoilt("/pool/0/backend/1/wieght", json!(2)),
            422,
            None,
        ),
        put("a word for a number", spoilt("/listener/0/port", json!("https")), 422, Some("listener[0].port")),
        put("a number for a list", spoilt("/sources", json!(7)), 422, Some("sources")),
        put(
            "a number that is too large",
            spoilt("/listener/0/port", json!(70_000)),
            422,
            Some("listener[0].port"),
        ),
        ApiCase {
            headers: &[("Content-Type", "text/plain")],
            path: format!("/v1/tenants/{NAME}/pools/web/backends/10.0.7.1:8080"),
            method: "PATCH",
            ..put("plain text", Body::None, 415, None)
        },
        put("a body that is too large", Body::Text(" ".repeat(3 << 20)), 413, None),
    ]
}

fn of_meaning() -> Vec<ApiCase> {
    let wrong = |what, pointer: &str, value, field| put(what, spoilt(pointer, value), 422, Some(field));
    vec![
        put("another name than the path's", spoilt("/name", json!("somebody")), 422, Some("name")),
        wrong(
            "another tenant's source",
            "/sources/0",
            json!("198.51.100.16/29"),
            "tenant[made-up-7].sources[0]",
        ),
        wrong(
            "a prefix with bits beyond it",
            "/sources/0",
            json!("10.0.7.1/24"),
            "tenant[made-up-7].sources[0]",
        ),
        wrong("no source", "/sources", json!([]), "tenant[made-up-7].sources"),
        wrong("another tenant's NAT IP", "/nat_ip", json!("198.51.100.30"), "tenant[made-up-7].nat_ip"),
        wrong("a VIP as NAT IP", "/nat_ip", json!("192.0.2.20"), "tenant[made-up-7].nat_ip"),
        wrong("no address", "/nat_ip", json!("300.1.2.3"), "tenant[made-up-7].nat_ip"),
        wrong("port 0", "/listener/0/port", json!(0), "tenant[made-up-7].listener[tcp-10007].port"),
        wrong(
            "another tenant's port",
            "/listener/0/port",
            json!(8441),
            "tenant[made-up-7].listener[tcp-10007].port",
        ),
        wrong(
            "a protocol that is none",
            "/listener/0/protocol",
            json!("sctp"),
            "tenant[made-up-7].listener[tcp-10007].protocol",
        ),
        wrong(
            "a pool that is not there",
            "/listener/0/pool",
            json!("webb"),
            "tenant[made-up-7].listener[tcp-10007].pool",
        ),
        wrong(
            "nobody allowed",
            "/listener/0/allow",
            json!([]),
            "tenant[made-up-7].listener[tcp-10007].allow",
        ),
        wrong("an empty pool", "/pool/0/backend", json!([]), "tenant[made-up-7].pool[web].backend"),
        wrong(
            "a backend elsewhere",
            "/pool/0/backend/0/address",
            json!("10.0.8.1"),
            "tenant[made-up-7].pool[web].backend[10.0.8.1:8080].address",
        ),
        wrong(
            "a backend twice",
            "/pool/0/backend/1/address",
            json!("10.0.7.1"),
            "tenant[made-up-7].pool[web].backend[10.0.7.1:8080].address",
        ),
        wrong(
            "a weight that is too large",
            "/pool/0/backend/0/weight",
            json!(1001),
            "tenant[made-up-7].pool[web].backend[10.0.7.1:8080].weight",
        ),
        wrong(
            "a peer group that is not there",
            "/peer_groups/0",
            json!("npcl"),
            "tenant[made-up-7].peer_groups[0]",
        ),
        wrong(
            "a check that is none",
            "/pool/0/health",
            json!({ "check": "smoke" }),
            "tenant[made-up-7].pool[web].health.check",
        ),
        wrong(
            "a check that takes longer than its interval",
            "/pool/0/health",
            json!({ "check": "tcp", "interval_ms": 200, "timeout_ms": 300 }),
            "tenant[made-up-7].pool[web].health.timeout_ms",
        ),
        ApiCase {
            method: "POST",
            path: "/v1/apply".to_owned(),
            ..put("a tenant twice in a file", twice(), 422, None)
        },
    ]
}

fn twice() -> Body {
    let tenant = serde_json::to_value(made_up::tenant(NUMBER, 2)).expect("plain data");
    Body::Json(json!({ "tenant": [tenant, tenant] }))
}

/// What is named is not there, or does not take it.
fn of_paths() -> Vec<ApiCase> {
    let case = |what, method, path: &str, body, status| ApiCase {
        method,
        path: path.to_owned(),
        ..put(what, body, status, None)
    };
    let backend = "/v1/tenants/bank-1/pools/web/backends";
    vec![
        case("no such path", "GET", "/v1/frobnicate", Body::None, 404),
        case("no such method", "DELETE", "/v1/status", Body::None, 405),
        case("no such tenant", "DELETE", "/v1/tenants/nobody", Body::None, 404),
        case("no such tenant to drain", "POST", "/v1/tenants/nobody/drain", Body::None, 404),
        case(
            "no such backend",
            "PATCH",
            &format!("{backend}/198.51.100.20:8080"),
            Body::Json(json!({ "weight": 2 })),
            404,
        ),
        case("no backend", "POST", &format!("{backend}/frobnicate/drain"), Body::None, 404),
        case(
            "a weight in words",
            "PATCH",
            &format!("{backend}/198.51.100.18:8080"),
            Body::Json(json!({ "weight": "heavy" })),
            422,
        ),
        case(
            "a deadline in the far future",
            "POST",
            &format!("{backend}/198.51.100.18:8080/drain"),
            Body::Json(json!({ "deadline_secs": 4_000_000_000_u32 })),
            422,
        ),
        case("the last pool of a listener", "DELETE", "/v1/tenants/bank-1/pools/web", Body::None, 422),
        case("a peer group that is needed", "DELETE", "/v1/peer-groups/npci", Body::None, 422),
        case("no such version", "POST", "/v1/rollback", Body::Json(json!({ "version": 999_999 })), 422),
        case("no such version to read", "GET", "/v1/history/999999", Body::None, 404),
    ]
}

/// How it is asked.
fn of_terms() -> Vec<ApiCase> {
    let good = || spoilt("/peer_groups", json!(["npci"]));
    let remove = |what, path: &str, headers, status| ApiCase {
        method: "DELETE",
        path: path.to_owned(),
        headers,
        ..put(what, Body::None, status, None)
    };
    vec![
        remove("an If-Match that is none", "/v1/tenants/bank-1", &[("If-Match", "seven")], 400),
        remove("an old version", "/v1/tenants/bank-1", &[("If-Match", "\"0\"")], 412),
        remove("a version that is not there yet", "/v1/tenants/bank-1", &[("If-Match", "\"999999\"")], 412),
        remove("a parameter that does not exist", "/v1/tenants/bank-1?dryrun=true", &[], 400),
        remove("a parameter that is no truth", "/v1/tenants/bank-1?dry_run=maybe", &[], 400),
        ApiCase {
            path: format!("/v1/tenants/{NAME}?reason={}", "x".repeat(501)),
            ..put("a reason that is too long", good(), 400, None)
        },
        ApiCase {
            path: "/v1/tenants/bank-1?only_new=true".to_owned(),
            ..put("a tenant that is there", existing(), 409, None)
        },
    ]
}

fn existing() -> Body {
    let mut tenant = serde_json::to_value(made_up::tenant(NUMBER, 2)).expect("plain data");
    tenant["name"] = json!("bank-1");
    Body::Json(tenant)
}
