//! Who may do what, by the router without a socket: the tests run as one user only.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use futures_util::stream;
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::sync::Barrier;

use super::super::audit::{Audit, AuditLine, Outcome};
use super::super::auth::{Caller, LocalCaller, RoleMap};
use super::super::fake::FakeSource;
use super::super::fake_controller::FakeController;
use super::super::gate::REQUEST_DEADLINE;
use super::super::server::{ApiState, router};
use super::super::types::{Problem, ProblemKind};
use super::state;
use crate::store::Version;

const OPERATOR: u32 = 3_000_001;
const VIEWER: u32 = 3_000_002;
const NOBODY: u32 = 3_000_003;

fn names(uid: u32) -> Vec<String> {
    vec![format!("#{uid}")]
}

fn guarded() -> (ApiState, Arc<Mutex<Vec<AuditLine>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let heard = lines.clone();
    let audit = Audit::default().with_hook(move |line| heard.lock().unwrap().push(line.clone()));
    let roles = RoleMap::new(&[], &names(OPERATOR), &names(VIEWER)).unwrap().into();
    (ApiState { roles, audit, ..state(FakeSource::new(), FakeController::new()) }, lines)
}

async fn ask(state: &ApiState, uid: u32, method: Method, path: &str) -> (StatusCode, Vec<u8>) {
    let caller = Caller::Local(Arc::new(LocalCaller { uid, name: None, gids: vec![], pid: Some(7) }));
    let request = Request::builder().method(method).uri(path).extension(caller).body(Body::empty()).unwrap();
    let answer = TowerToHyperService::new(router(state.clone())).call(request).await.unwrap();
    let status = answer.status();
    (status, answer.into_body().collect().await.unwrap().to_bytes().to_vec())
}

#[tokio::test]
async fn each_role_may_do_its_own_and_no_more() {
    let (state, _) = guarded();
    let drain = "/v1/tenants/bank-a/drain";
    for (uid, method, path, expected) in [
        (VIEWER, Method::GET, "/v1/status", StatusCode::OK),
        (VIEWER, Method::GET, "/v1/openapi.json", StatusCode::OK),
        // Permitted, and there is no body.
        (VIEWER, Method::POST, "/v1/explain", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (VIEWER, Method::POST, drain, StatusCode::FORBIDDEN),
        (VIEWER, Method::GET, "/v1/monitor", StatusCode::OK),
        (NOBODY, Method::GET, "/v1/monitor", StatusCode::FORBIDDEN),
        (VIEWER, Method::POST, "/v1/tenants/bank-a/capture", StatusCode::FORBIDDEN),
        (OPERATOR, Method::POST, "/v1/tenants/bank-a/capture", StatusCode::FORBIDDEN),
        (0, Method::POST, "/v1/tenants/bank-a/capture", StatusCode::OK),
        // Permitted, and there is no such tenant.
        (OPERATOR, Method::POST, drain, StatusCode::NOT_FOUND),
        (OPERATOR, Method::POST, "/v1/reload", StatusCode::OK),
        (OPERATOR, Method::DELETE, "/v1/tenants/bank-a", StatusCode::FORBIDDEN),
        (OPERATOR, Method::POST, "/v1/apply", StatusCode::FORBIDDEN),
        (0, Method::DELETE, "/v1/tenants/bank-a", StatusCode::NOT_FOUND),
        (NOBODY, Method::GET, "/v1/status", StatusCode::FORBIDDEN),
        (NOBODY, Method::GET, "/v1/nothing", StatusCode::FORBIDDEN),
    ] {
        let (status, _) = ask(&state, uid, method.clone(), path).await;
        assert_eq!(status, expected, "{uid} {method} {path}");
    }
}

#[tokio::test]
async fn whoever_is_turned_away_is_told_why_and_is_in_the_audit() {
    let (state, lines) = guarded();
    let (_, body) = ask(&state, OPERATOR, Method::DELETE, "/v1/tenants/bank-a").await;
    let problem: Problem = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem.kind, ProblemKind::NotPermitted);
    assert_eq!(problem.detail, "uid 3000001 is operator; this needs admin");
    ask(&state, NOBODY, Method::GET, "/v1/status").await;
    let lines = lines.lock().unwrap();
    let seen: Vec<_> = lines.iter().map(|line| (line.uid, line.method.as_str(), line.outcome)).collect();
    let turned_away = Outcome::NotPermitted;
    assert_eq!(seen, [(Some(OPERATOR), "DELETE", turned_away), (Some(NOBODY), "GET", turned_away)]);
}

#[tokio::test]
async fn a_question_is_not_in_the_audit_whatever_its_method() {
    let (state, lines) = guarded();
    ask(&state, VIEWER, Method::POST, "/v1/explain").await;
    assert!(lines.lock().unwrap().is_empty());
    ask(&state, OPERATOR, Method::POST, "/v1/reload").await;
    assert_eq!(lines.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_takes_longer_than_its_deadline_is_in_the_audit_as_it_ended() {
    let (state, lines) = guarded();
    let (controller, meeting) = (FakeController::new(), Arc::new(Barrier::new(2)));
    *controller.meeting.lock().unwrap() = Some(meeting.clone());
    let state = ApiState { controller: controller.clone(), ..state };
    let begun = tokio::spawn({
        let meeting = meeting.clone();
        async move { meeting.wait().await }
    });
    let caller = Caller::Local(Arc::new(LocalCaller { uid: 0, name: None, gids: vec![], pid: None }));
    let request = Request::post("/v1/apply").header("content-type", "application/json").extension(caller);
    let request = request.body(Body::from("{}")).unwrap();
    let answer = TowerToHyperService::new(router(state)).call(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    begun.await.unwrap();
    assert!(lines.lock().unwrap().is_empty(), "nobody knows yet how it ends");
    meeting.wait().await;
    while lines.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let line = lines.lock().unwrap()[0].clone();
    assert_eq!((line.outcome, line.status, line.version), (Outcome::Done, 200, Some(Version(0))));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_comes_after_the_deadline_changes_nothing() {
    let (state, lines) = guarded();
    let late = stream::once(async {
        tokio::time::sleep(2 * REQUEST_DEADLINE).await;
        Ok::<_, Infallible>("{}")
    });
    let caller = Caller::Local(Arc::new(LocalCaller { uid: 0, name: None, gids: vec![], pid: None }));
    let request = Request::post("/v1/apply").header("content-type", "application/json").extension(caller);
    let request = request.body(Body::from_stream(late)).unwrap();
    let answer = TowerToHyperService::new(router(state)).call(request).await.unwrap();
    assert!(answer.status().is_client_error() || answer.status().is_server_error(), "{answer:?}");
    while lines.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(lines.lock().unwrap()[0].outcome, Outcome::Refused);
}

#[tokio::test]
async fn new_roles_count_at_once() {
    let (state, _) = guarded();
    state.roles.replace(RoleMap::new(&[], &[], &names(NOBODY)).unwrap());
    assert_eq!(ask(&state, NOBODY, Method::GET, "/v1/status").await.0, StatusCode::OK);
    assert_eq!(ask(&state, VIEWER, Method::GET, "/v1/status").await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_request_of_nobody_in_particular_is_not_answered() {
    let (state, _) = guarded();
    let request = Request::get("/v1/status").body(Body::empty()).unwrap();
    let answer = TowerToHyperService::new(router(state)).call(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
}
