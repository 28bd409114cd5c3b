//! The committed description, and whether the server keeps to it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use axum::Extension;
use serde_json::Value;
use tokio::net::TcpListener;

use super::super::auth::{Caller, LocalCaller};
use super::super::fake::FakeSource;
use super::super::fake_controller::FakeController;
use super::super::openapi::document;
use super::super::server::router;
use super::state;

fn manifest() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `UPDATE_GOLDEN=1` writes it anew: read the difference.
#[test]
fn the_description_is_the_committed_one() {
    let path = manifest().join("openapi.json");
    let text = serde_json::to_string_pretty(&document()).unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == text, "openapi.json is not what the code says: UPDATE_GOLDEN=1 writes it anew");
}

fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let all = paths.flat_map(|(path, item)| {
        item.as_object()
            .unwrap()
            .iter()
            .map(move |(method, operation)| (format!("{method} {path}"), operation))
    });
    all.collect()
}

#[test]
fn every_operation_says_what_it_is_for_who_may_and_how_it_fails() {
    let document = document();
    let operations = operations(&document);
    assert!(operations.len() > 30, "{}", operations.len());
    for (name, operation) in operations {
        assert!(operation["summary"].as_str().is_some_and(|summary| summary.ends_with('.')), "{name}");
        assert!(operation["x-role"].is_string(), "{name}");
        let responses = operation["responses"].as_object().unwrap();
        for status in ["200", "403", "500", "503"] {
            assert!(responses.contains_key(status), "{name}: {status}");
        }
        let changes = operation["x-role"] != "viewer";
        assert_eq!(responses.contains_key("412"), changes, "{name}");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(
                parameter["description"].as_str().is_some_and(|text| !text.is_empty()),
                "{name}: {parameter}"
            );
        }
    }
}

/// `GATEWAY_SCHEMATHESIS`, or the one of the path.
fn schemathesis() -> PathBuf {
    std::env::var_os("GATEWAY_SCHEMATHESIS").map_or_else(|| "schemathesis".into(), PathBuf::from)
}

/// Throws legal and illegal requests at the server and compares its answers with the description.
///
/// `cargo xtask check-api` installs schemathesis and runs this. `GATEWAY_SCHEMATHESIS_EXAMPLES` sets the number of random
/// requests an operation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs schemathesis: `cargo xtask check-api` installs and runs it"]
async fn schemathesis_finds_no_difference() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/openapi.json", listener.local_addr().unwrap());
    let root = Caller::Local(Arc::new(LocalCaller { uid: 0, name: None, gids: vec![], pid: None }));
    let router = router(state(FakeSource::new(), FakeController::new())).layer(Extension(root));
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let examples = std::env::var("GATEWAY_SCHEMATHESIS_EXAMPLES").unwrap_or_else(|_| "50".to_owned());
    // It leaves files behind where it runs.
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_owned();
    let config = manifest().join("tests/schemathesis.toml");
    let run = tokio::task::spawn_blocking(move || {
        Command::new(schemathesis())
            .arg("--config-file")
            .arg(config)
            .args(["run", &url, "--checks", "all", "--no-color"])
            .args(["--max-examples", &examples, "--seed", "1"])
            .current_dir(place)
            .output()
            .expect("schemathesis starts: see this test's documentation")
    });
    let output = run.await.unwrap();
    server.abort();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
}
