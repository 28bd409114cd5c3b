//! What changes something: each path, its conditions and its refusals.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{Barrier, mpsc};
use tokio::time::timeout;

use super::super::audit::{Audit, AuditLine, Outcome};
use super::super::change::{Ask, ChangeTerms};
use super::super::client::{Answer, ClientError};
use super::super::controller::{ChangeError, ChangeOutcome, Controller as _};
use super::super::fake::FakeSource;
use super::super::fake_controller::FakeController;
use super::super::types::{Health, History, HistoryVersion, Problem, ProblemKind, VersionDiff};
use super::{Running, exchange, state};
use crate::store::{StoreError, Version};
use crate::tenancy::spec::{AdminState, Document, TenantSpec};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

fn tenant(name: &str) -> Value {
    json!({
        "name": name, "nat_ip": "198.51.100.30", "sources": ["10.1.0.0/24"],
        "pool": [{"name": "web", "backend": [{"address": "10.1.0.5", "port": 8080, "weight": 1}]}],
        "listener": [{"name": "upi", "protocol": "tcp", "port": 443, "pool": "web", "allow": ["0.0.0.0/0"]}],
    })
}

fn put_tenant(name: &str) -> Ask {
    Ask::new(Method::PUT, &["tenants", name]).with(&tenant(name))
}

async fn done(running: &Running, ask: Ask) -> Answer<ChangeOutcome> {
    let answer = running.client().send(&ask).await;
    answer.unwrap_or_else(|error| panic!("{ask:?}: {error:?}"))
}

async fn refused(running: &Running, ask: Ask) -> Problem {
    match running.client().send::<Value>(&ask).await {
        Err(ClientError::Refused(problem)) => problem,
        other => panic!("{ask:?}: {other:?}"),
    }
}

async fn with_bank_a() -> Running {
    let running = Running::start().await;
    assert_eq!(done(&running, put_tenant("bank-a")).await.version, Some(Version(1)));
    running
}

fn bank_a(running: &Running) -> TenantSpec {
    TenantSpec::clone(&running.controller.tenancy().tenancy.tenants["bank-a"])
}

#[tokio::test]
async fn a_tenant_is_put_shown_and_removed() {
    let running = with_bank_a().await;
    let shown: Answer<TenantSpec> =
        running.client().send(&Ask::new(Method::GET, &["tenants", "bank-a"])).await.unwrap();
    assert_eq!((shown.version, shown.value), (Some(Version(1)), bank_a(&running)));
    let removed = done(&running, Ask::new(Method::DELETE, &["tenants", "bank-a"])).await;
    assert_eq!(removed.version, Some(Version(2)));
    assert_eq!(removed.value.changes[0].path, "tenant[bank-a]");
    assert_eq!(refused(&running, Ask::new(Method::GET, &["tenants", "bank-a"])).await.status, 404);
    running.stop().await;
}

#[tokio::test]
async fn every_path_changes_what_it_names() {
    let running = with_bank_a().await;
    let backend = ["tenants", "bank-a", "pools", "web", "backends", "10.1.0.5:8080"];
    let below = |verb: &'static str| [&backend[..], &[verb]].concat();
    done(&running, Ask::new(Method::PATCH, &backend).with(&json!({"weight": 7}))).await;
    assert_eq!(bank_a(&running).pool[0].backend[0].weight, Some(7));
    for (verb, state) in [
        ("drain", AdminState::Draining),
        ("maintenance", AdminState::Maintenance),
        ("resume", AdminState::Active),
    ] {
        done(&running, Ask::new(Method::POST, &below(verb))).await;
        assert_eq!(bank_a(&running).pool[0].backend[0].state, state, "{verb}");
        done(&running, Ask::new(Method::POST, &["tenants", "bank-a", verb])).await;
        assert_eq!(bank_a(&running).state, state, "{verb}");
    }
    let second = json!({"address": "10.1.0.6", "port": 8080});
    let path = ["tenants", "bank-a", "pools", "web", "backends", "10.1.0.6:8080"];
    done(&running, Ask::new(Method::PUT, &path).with(&second)).await;
    assert_eq!(bank_a(&running).pool[0].backend.len(), 2);
    done(&running, Ask::new(Method::DELETE, &path)).await;
    assert_eq!(bank_a(&running).pool[0].backend.len(), 1);
    let pool = json!({"name": "api", "backend": [second]});
    done(&running, Ask::new(Method::PUT, &["tenants", "bank-a", "pools", "api"]).with(&pool)).await;
    assert_eq!(bank_a(&running).pool.len(), 2);
    done(&running, Ask::new(Method::DELETE, &["tenants", "bank-a", "pools", "api"])).await;
    assert_eq!(bank_a(&running).pool.len(), 1);
    let listener =
        json!({"name": "dns", "protocol": "udp", "port": 53, "pool": "web", "allow": ["0.0.0.0/0"]});
    done(&running, Ask::new(Method::PUT, &["tenants", "bank-a", "listeners", "dns"]).with(&listener)).await;
    assert_eq!(bank_a(&running).listener.len(), 2);
    done(&running, Ask::new(Method::DELETE, &["tenants", "bank-a", "listeners", "dns"])).await;
    assert_eq!(bank_a(&running).listener.len(), 1);
    let egress = json!({"protocol": "tcp", "port": 9_001, "to": "203.0.113.7:443"});
    let path = ["tenants", "bank-a", "egress", "tcp:9001"];
    done(&running, Ask::new(Method::PUT, &path).with(&egress)).await;
    assert_eq!(bank_a(&running).egress.len(), 1);
    let other = ["tenants", "bank-a", "egress", "udp:9001"];
    let problem = refused(&running, Ask::new(Method::PUT, &other).with(&egress)).await;
    assert_eq!((problem.status, problem.problems[0].path.as_str()), (422, "port"));
    done(&running, Ask::new(Method::DELETE, &path)).await;
    assert_eq!(bank_a(&running).egress, []);
    running.stop().await;
}

#[tokio::test]
async fn peer_groups_are_put_listed_and_removed() {
    let running = Running::start().await;
    let group =
        json!({"name": "npci", "endpoint": [{"address": "203.0.113.0/24", "protocol": "tcp", "port": 443}]});
    let path = ["peer-groups", "npci"];
    done(&running, Ask::new(Method::PUT, &path).with(&group)).await;
    let list: Value = running.client().get("/v1/peer-groups").await.unwrap();
    assert_eq!(list, json!({"version": 1, "peer_groups": [group]}));
    let again = refused(&running, Ask::new(Method::PUT, &path).query("only_new", "true").with(&group)).await;
    assert_eq!((again.kind, again.status), (ProblemKind::Exists, 409));
    done(&running, Ask::new(Method::DELETE, &path)).await;
    assert_eq!(refused(&running, Ask::new(Method::DELETE, &path)).await.status, 404);
    running.stop().await;
}

#[tokio::test]
async fn a_deadline_becomes_a_time() {
    let running = with_bank_a().await;
    let drain = || Ask::new(Method::POST, &["tenants", "bank-a", "drain"]);
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let (before, secs) = (now(), std::time::Duration::from_secs);
    done(&running, drain().with(&json!({"deadline_secs": 600}))).await;
    let until = secs(bank_a(&running).drain_until.unwrap());
    assert!(until >= before + secs(600), "flows have less than was asked for: {until:?}");
    assert!(until <= now() + secs(601), "{until:?}");
    let problem = refused(&running, drain().with(&json!({"deadline_secs": 31_536_001}))).await;
    assert_eq!(problem.problems[0].path, "deadline_secs");
    assert!(problem.detail.contains("more than a year"), "{problem:?}");
    running.stop().await;
}

#[tokio::test]
async fn only_the_version_that_was_seen_is_changed() {
    let running = with_bank_a().await;
    let terms = |version| ChangeTerms { if_version: Some(Version(version)), ..ChangeTerms::default() };
    let late = refused(&running, put_tenant("bank-b").on(&terms(0))).await;
    assert_eq!((late.kind, late.status, late.version), (ProblemKind::VersionMoved, 412, Some(Version(1))));
    assert_eq!(late.detail, "version 1 is in force, not version 0");
    assert_eq!(done(&running, put_tenant("bank-b").on(&terms(1))).await.version, Some(Version(2)));
    running.stop().await;
}

#[tokio::test]
async fn a_dry_run_says_what_would_change_and_changes_nothing() {
    let running = Running::start().await;
    let terms = ChangeTerms { dry_run: true, ..ChangeTerms::default() };
    let answer = done(&running, put_tenant("bank-a").on(&terms)).await;
    assert!(answer.value.dry_run && answer.value.changes.len() == 1, "{answer:?}");
    assert_eq!(running.controller.tenancy().version, Version(0));
    running.stop().await;
}

#[tokio::test]
async fn a_document_goes_in_and_comes_out() {
    let running = with_bank_a().await;
    let document = json!({"tenant": [tenant("bank-b"), tenant("bank-c")]});
    let added = done(&running, Ask::new(Method::POST, &["apply"]).with(&document)).await;
    assert_eq!(added.value.changes.len(), 2);
    let pruned =
        done(&running, Ask::new(Method::POST, &["apply"]).query("prune", "true").with(&document)).await;
    assert_eq!(pruned.value.changes[0].path, "tenant[bank-a]");
    let exported: Answer<Document> =
        running.client().send(&Ask::new(Method::GET, &["export"])).await.unwrap();
    assert_eq!(exported.version, Some(Version(3)));
    assert_eq!(serde_json::to_value(&exported.value).unwrap(), document);
    running.stop().await;
}

#[tokio::test]
async fn several_changes_are_made_together() {
    let running = with_bank_a().await;
    let edits = json!([
        {"edit": "set_tenant_state", "tenant": "bank-a", "state": "draining"},
        {"edit": "put_tenant", "tenant": tenant("bank-b")},
    ]);
    let ask = Ask::new(Method::POST, &["changes"]);
    assert_eq!(done(&running, ask.clone().with(&edits)).await.version, Some(Version(2)));
    // What the body names is the body's fault, not the path's.
    let missing = refused(&running, ask.with(&json!([{"edit": "remove_tenant", "tenant": "x"}]))).await;
    assert_eq!((missing.status, missing.detail.as_str()), (422, "there is no tenant `x`"));
    running.stop().await;
}

#[tokio::test]
async fn the_history_has_who_and_why_and_an_old_version_comes_back() {
    let running = with_bank_a().await;
    let terms =
        ChangeTerms { reason: Some("ticket 4711: \u{fc}ber Nacht".to_owned()), ..ChangeTerms::default() };
    done(&running, put_tenant("bank-b").on(&terms)).await;
    let history: History = running.client().get("/v1/history?limit=1").await.unwrap();
    assert_eq!(history.entries.len(), 1);
    assert_eq!(history.entries[0].author.why, "ticket 4711: \u{fc}ber Nacht");
    assert!(history.entries[0].author.who.contains("(uid "), "{history:?}");
    let older: History = running.client().get("/v1/history?before=2").await.unwrap();
    assert_eq!(older.entries.iter().map(|entry| entry.version.0).collect::<Vec<_>>(), [1]);
    let ask = Ask::new(Method::POST, &["rollback"]);
    assert_eq!(done(&running, ask.clone().with(&json!({"version": 1}))).await.version, Some(Version(3)));
    let one: HistoryVersion = running.client().get("/v1/history/2").await.unwrap();
    assert_eq!((one.entry.unwrap().version, one.document.tenant.len()), (Version(2), 2));
    let diff: VersionDiff = running.client().get("/v1/diff?from=1&to=2").await.unwrap();
    assert_eq!(diff.changes[0].path, "tenant[bank-b]");
    let diff: VersionDiff = running.client().get("/v1/diff?from=1").await.unwrap();
    assert_eq!((diff.to, diff.changes), (Version(3), Vec::new()));
    assert_eq!(refused(&running, ask.with(&json!({"version": 99}))).await.problems[0].path, "version");
    assert_eq!(refused(&running, Ask::raw(Method::GET, "/v1/history/99")).await.status, 404);
    running.stop().await;
}

#[tokio::test]
async fn health_names_every_backend() {
    let running = with_bank_a().await;
    let health: Health = running.client().get("/v1/health").await.unwrap();
    assert_eq!(health.backends, running.controller.health());
    assert_eq!(health.backends.len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn wrong_bodies_name_their_fault() {
    let running = with_bank_a().await;
    let mut wrong_type = tenant("bank-a");
    wrong_type["pool"][0]["backend"][0]["port"] = json!("http");
    let mut unknown = tenant("bank-a");
    unknown["listener"][0]["prot"] = json!(1);
    let put = || Ask::new(Method::PUT, &["tenants", "bank-a"]);
    for (ask, status, path, detail) in [
        (put().with(&wrong_type), 422, "pool[0].backend[0].port", "expected u16"),
        (put().with(&unknown), 422, "listener[0].prot", "unknown field `prot`"),
        (put().with(&tenant("bank-b")), 422, "name", "the path about `bank-a`"),
        (put().with(&json!([])), 422, "", "is to be an object"),
        (Ask::new(Method::POST, &["apply"]).with(&json!([])), 422, "", "is to be an object"),
    ] {
        let problem = refused(&running, ask).await;
        assert_eq!(problem.status, status, "{problem:?}");
        assert_eq!(problem.problems[0].path, path, "{problem:?}");
        assert!(problem.problems[0].problem.contains(detail), "{problem:?}");
    }
    assert_eq!(running.controller.tenancy().version, Version(1));
    running.stop().await;
}

/// A request as `curl` would send it.
fn request(head: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
}

#[tokio::test]
async fn the_envelope_is_checked_too() {
    let running = with_bank_a().await;
    let large = format!("{{\"x\": \"{}\"}}", "x".repeat(1 << 20));
    let json = "Content-Type: application/json\r\n";
    for (head, headers, body, status) in [
        ("PUT /v1/tenants/a", "", "{}", 415),
        ("PUT /v1/tenants/a", "Content-Type: text/plain\r\n", "{}", 415),
        ("PUT /v1/tenants/a", json, "{", 400),
        ("PUT /v1/tenants/a", json, large.as_str(), 413),
        ("POST /v1/apply?dry_run=maybe", json, "{}", 400),
        ("POST /v1/apply?dryrun=true", json, "{}", 400),
        ("POST /v1/apply", "Content-Type: application/json\r\nIf-Match: W/\"1\"\r\n", "{}", 400),
        ("POST /v1/apply", "Content-Type: application/json\r\nGateway-Reason: \u{7}\r\n", "{}", 400),
        ("PUT /v1/tenants/%ff", json, "{}", 400),
        ("GET /v1/history?limit=0", "", "", 400),
        ("GET /v1/history/x", "", "", 400),
        ("POST /v1/tenants", json, "{}", 405),
        ("POST /v1/nothing", json, "{}", 404),
    ] {
        let answer = exchange(&running.socket, &request(head, headers, body)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {answer}");
        // What hyper itself refuses, the control character, has no body.
        assert!(answer.contains("application/problem+json") || headers.contains('\u{7}'), "{head}: {answer}");
    }
    // A document may be larger.
    let answer = exchange(&running.socket, &request("POST /v1/apply", json, &large)).await;
    assert!(answer.starts_with("HTTP/1.1 422 "), "{answer}");
    running.stop().await;
}

#[tokio::test]
async fn what_fails_behind_the_api_is_told_as_what_it_is() {
    let running = with_bank_a().await;
    let unavailable = || StoreError::Unavailable {
        message: "etcd does not answer".to_owned(),
        remedy: "look at etcd".to_owned(),
        source: Some("connection refused".into()),
    };
    let not_applied = ChangeError::NotApplied { version: Version(9), source: "table full".into() };
    let conflict = StoreError::Conflict { from: Version(1), current: Version(2) };
    let read_only = StoreError::ReadOnly { place: "/etc/g.toml".to_owned() };
    for (error, kind, detail, remedy) in [
        (
            unavailable().into(),
            ProblemKind::Unavailable,
            "etcd does not answer: connection refused",
            "look at etcd",
        ),
        (not_applied, ProblemKind::NotApplied, "version 9 is stored", "do not repeat the change"),
        (conflict.into(), ProblemKind::Conflict, "the store has moved on", "repeat the change"),
        (read_only.into(), ProblemKind::ReadOnly, "/etc/g.toml", "edit /etc/g.toml"),
    ] {
        *running.controller.next_error.lock().unwrap() = Some(error);
        let problem = refused(&running, put_tenant("bank-b")).await;
        assert_eq!((problem.kind, problem.status), (kind, kind.status().as_u16()), "{problem:?}");
        assert!(problem.detail.contains(detail), "{problem:?}");
        assert!(problem.remedy.contains(remedy), "{problem:?}");
    }
    *running.controller.defect.lock().unwrap() = true;
    assert_eq!(refused(&running, put_tenant("bank-b")).await.kind, ProblemKind::Defect);
    done(&running, put_tenant("bank-b")).await;
    running.stop().await;
}

/// A server whose lines of the audit come out of the other end.
async fn audited() -> (Running, mpsc::UnboundedReceiver<AuditLine>) {
    let (sender, lines) = mpsc::unbounded_channel();
    let (source, controller) = (FakeSource::new(), FakeController::new());
    let audit = Audit::default().with_hook(move |line| drop(sender.send(line.clone())));
    let state = super::ApiState { audit, ..state(source.clone(), controller.clone()) };
    (Running::with(state, source, controller).await, lines)
}

/// Begins to put a tenant, and hangs up while that is under way.
async fn hang_up_while_it_changes(running: &Running) -> Arc<Barrier> {
    let meeting = Arc::new(Barrier::new(2));
    *running.controller.meeting.lock().unwrap() = Some(meeting.clone());
    let mut stream = UnixStream::connect(&running.socket).await.unwrap();
    let json = "Content-Type: application/json\r\n";
    let put = request("PUT /v1/tenants/bank-a", json, &tenant("bank-a").to_string());
    stream.write_all(put.as_bytes()).await.unwrap();
    meeting.wait().await;
    stream.shutdown().await.unwrap();
    // The server has noticed when it hangs up, too.
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    meeting
}

#[tokio::test]
async fn a_change_of_somebody_who_hung_up_is_in_the_audit() {
    let (running, mut lines) = audited().await;
    let meeting = hang_up_while_it_changes(&running).await;
    assert!(lines.try_recv().is_err(), "nobody knows yet how it ends");
    meeting.wait().await;
    let line = timeout(PATIENCE, lines.recv()).await.expect("no line").unwrap();
    assert_eq!((line.outcome, line.status, line.version), (Outcome::Done, 200, Some(Version(1))));
    assert_eq!(running.controller.tenancy().version, Version(1));
    running.stop().await;
}

#[tokio::test]
async fn the_server_ends_after_the_work_of_those_who_hung_up() {
    let (running, mut lines) = audited().await;
    let meeting = hang_up_while_it_changes(&running).await;
    let mut stopped = tokio::spawn(running.stop());
    assert!(timeout(Duration::from_millis(50), &mut stopped).await.is_err(), "it did not wait");
    meeting.wait().await;
    stopped.await.unwrap();
    assert_eq!(lines.try_recv().unwrap().outcome, Outcome::Done);
}

#[tokio::test]
async fn every_change_is_in_the_audit_and_reading_is_not() {
    let lines = Arc::new(Mutex::new(Vec::<AuditLine>::new()));
    let (source, controller) = (FakeSource::new(), FakeController::new());
    let heard = lines.clone();
    let audit = Audit::default().with_hook(move |line| heard.lock().unwrap().push(line.clone()));
    let state = super::ApiState { audit, ..state(source.clone(), controller.clone()) };
    let running = Running::with(state, source, controller).await;
    let terms = ChangeTerms { reason: Some("ticket 1".to_owned()), ..ChangeTerms::default() };
    done(&running, put_tenant("bank-a").on(&terms)).await;
    refused(&running, Ask::new(Method::DELETE, &["tenants", "bank-x"])).await;
    running.client().status().await.unwrap();
    running.stop().await;
    let lines = lines.lock().unwrap();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    let AuditLine { method, path, outcome, status, version, reason, uid, pid, .. } = &lines[0];
    assert_eq!((method.as_str(), path.as_str()), ("PUT", "/v1/tenants/bank-a?reason=ticket+1"));
    assert_eq!((*outcome, *status, *version), (Outcome::Done, 200, Some(Version(1))));
    assert_eq!(reason, "ticket 1");
    assert_eq!(*uid, Some(nix::unistd::Uid::effective().as_raw()));
    assert_eq!(*pid, i32::try_from(std::process::id()).ok());
    assert_eq!((lines[1].outcome, lines[1].status), (Outcome::Refused, 404));
    assert_ne!(lines[0].request_id, lines[1].request_id);
}
