//! The description of the API (`OpenAPI` 3.1), made from the code and committed as `gateway-daemon/openapi.json`.
//!
//! The paths say what they take and what they answer when all is well. What is the same for all of them is added here:
//! how a request can be refused, the headers of a change, the role that it needs, and the bounds of numbers.

use std::sync::LazyLock;

use axum::Json;
use axum::http::Method;
use serde_json::{Value, json};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use super::auth::Role;
use super::problem::{Problem, ProblemKind};
use super::server::ApiState;
use super::{EXPLAIN_PATH, MONITOR_PATH, OPENAPI_PATH, PROBLEM_CONTENT_TYPE, routes};

/// The part that stands above the paths.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Two-IP gateway",
        description = "The gateway's control API. A caller on the unix socket is known by its user; one over TCP by \
                       its certificate. Every change is a version: `ETag` tells which one, `If-Match` demands it.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(Problem, ProblemKind)),
    tags(
        (name = "node", description = "What the node does"),
        (name = "tenants", description = "Customers"),
        (name = "listeners", description = "Ports of the ingress VIP"),
        (name = "egress", description = "Ports of a tenant NAT IP that lead to NPCI"),
        (name = "pools", description = "The servers behind listeners"),
        (name = "backends", description = "One of these servers"),
        (name = "peer-groups", description = "Endpoints of NPCI that tenants may call"),
        (name = "versions", description = "What is in force, what was, and what differs"),
        (name = "changes", description = "Changes of several objects at once"),
    ),
)]
struct Heading;

/// Every path and its description.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(Heading::openapi()).merge(routes::all())
}

/// The description.
pub fn document() -> Value {
    let (_, description) = routes().split_for_parts();
    let mut document = serde_json::to_value(&description).expect("a description is JSON");
    document["paths"][OPENAPI_PATH] = own_path();
    bound_numbers(&mut document);
    for (path, item) in document["paths"].as_object_mut().into_iter().flatten() {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            if let Ok(method) = Method::from_bytes(method.to_uppercase().as_bytes()) {
                complete(path, &method, operation);
            }
        }
    }
    document
}

/// `GET /v1/openapi.json`.
pub(super) async fn serve() -> Json<&'static Value> {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(document);
    Json(&DOCUMENT)
}

fn own_path() -> Value {
    json!({"get": {
        "tags": ["node"],
        "summary": "This description.",
        "operationId": "openapi",
        "responses": {"200": {
            "description": "", "content": {"application/json": {"schema": {"type": "object"}}}
        }},
    }})
}

/// What is the same for all.
fn complete(path: &str, method: &Method, operation: &mut Value) {
    let needed = Role::needed(method, path);
    operation["description"] = json!(format!("Needs the role {needed}."));
    operation["x-role"] = json!(needed.as_str());
    let changes = needed != Role::Viewer;
    if changes && has_parameter(operation, "dry_run") {
        add_parameter(operation, if_match());
    }
    if changes {
        add_parameter(operation, reason());
    }
    succeed(path, operation);
    for kind in refusals(path, changes, operation) {
        refuse(operation, kind);
    }
}

fn has_parameter(operation: &Value, name: &str) -> bool {
    operation["parameters"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == name))
}

fn add_parameter(operation: &mut Value, parameter: Value) {
    match operation["parameters"].as_array_mut() {
        Some(parameters) => parameters.push(parameter),
        None => operation["parameters"] = json!([parameter]),
    }
}

fn if_match() -> Value {
    json!({
        "name": "If-Match", "in": "header", "required": false,
        "description": "Refuse unless this version is in force: the ETag of an answer.",
        "schema": {"type": "string", "pattern": r#"^([0-9]{1,19}|"[0-9]{1,19}")$"#},
        "example": "\"7\"",
    })
}

fn reason() -> Value {
    json!({
        "name": "Gateway-Reason", "in": "header", "required": false,
        "description": "Why: kept in the history and in the audit. The parameter `reason` goes before it.",
        "schema": {"type": "string", "maxLength": 500, "pattern": r"^[^\x00-\x1f\x7f-\x9f]*$"},
    })
}

/// Every answer of a version says which.
fn succeed(path: &str, operation: &mut Value) {
    const UNVERSIONED: [&str; 11] = [
        "/v1/status",
        "/v1/flows",
        "/v1/drops",
        EXPLAIN_PATH,
        "/v1/health",
        "/v1/history",
        "/v1/diff",
        "/v1/reload",
        MONITOR_PATH,
        "/v1/tenants/{tenant}/capture",
        OPENAPI_PATH,
    ];
    let answer = &mut operation["responses"]["200"];
    answer["description"] = json!("Done.");
    let mut headers = json!({"X-Request-Id": {
        "description": "Names the request in the audit.", "schema": {"type": "string"}
    }});
    if !UNVERSIONED.contains(&path) {
        headers["ETag"] =
            json!({"description": "The version, in quotes.", "schema": {"type": "string"}, "required": true});
    }
    answer["headers"] = headers;
}

fn refusals(path: &str, changes: bool, operation: &Value) -> Vec<ProblemKind> {
    use ProblemKind as Kind;
    let mut kinds = vec![Kind::NotPermitted, Kind::Defect, Kind::Unavailable];
    if operation["parameters"].is_array() {
        kinds.push(Kind::BadRequest);
    }
    if path.contains('{') || ["/v1/flows", "/v1/diff", MONITOR_PATH].contains(&path) {
        kinds.push(Kind::NotFound);
    }
    if changes {
        kinds.extend([Kind::Conflict, Kind::VersionMoved, Kind::Invalid]);
    }
    if operation["requestBody"].is_object() {
        kinds.extend([Kind::BadRequest, Kind::TooLarge, Kind::NotJson, Kind::Invalid]);
    }
    kinds.sort_by_key(|kind| kind.status());
    kinds
}

fn refuse(operation: &mut Value, kind: ProblemKind) {
    let status = kind.status();
    operation["responses"][status.as_str()] = json!({
        "description": status.canonical_reason().unwrap_or_default(),
        "content": {PROBLEM_CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    });
}

/// utoipa tells the width of an integer in its format alone, which few readers turn into bounds, and spells it in its
/// own way.
fn bound_numbers(value: &mut Value) {
    let (format, maximum) = match value["format"].as_str() {
        Some("u-int8") => ("uint8", u64::from(u8::MAX)),
        Some("u-int16") => ("uint16", u64::from(u16::MAX)),
        Some("u-int32") => ("uint32", u64::from(u32::MAX)),
        Some("u-int64") => ("uint64", u64::MAX),
        _ => ("", 0),
    };
    if let (false, Some(schema)) = (format.is_empty(), value.as_object_mut()) {
        schema.insert("format".to_owned(), json!(format));
        schema.entry("maximum").or_insert(json!(maximum));
    }
    match value {
        Value::Object(fields) => fields.values_mut().for_each(bound_numbers),
        Value::Array(items) => items.iter_mut().for_each(bound_numbers),
        _ => {}
    }
}
