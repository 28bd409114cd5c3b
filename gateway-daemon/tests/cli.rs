//! The program as a shell sees it: what it prints where, and its exit code.

use std::fs;
use std::process::{Command, Output};

use tempfile::TempDir;

/// Runs the program, with everything in the environment that makes errors noisy.
fn gateway(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gateway-daemon"))
        .args(arguments)
        .env("RUST_BACKTRACE", "full")
        .env_remove("GATEWAY_SOCKET")
        .env_remove("RUST_LOG")
        .output()
        .expect("the program starts")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// A file in a directory of its own.
fn file(text: &str) -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.toml");
    fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (directory, path)
}

fn sample() -> (TempDir, String) {
    file(&gateway_daemon::config::example())
}

#[test]
fn without_a_daemon_its_clients_end_with_1_and_one_error() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("gateway.sock");
    for verb in ["status", "flows", "drops", "health", "export", "history", "top", "reload"] {
        let output = gateway(&[verb, "--socket", socket.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{verb}");
        assert_eq!(stdout(&output), "", "{verb}");
        let lines: Vec<_> = stderr(&output).lines().collect();
        assert_eq!(lines.len(), 2, "{verb}: {lines:#?}");
        assert!(lines[0].starts_with("error: the gateway daemon is not running"), "{}", lines[0]);
        assert!(lines[1].starts_with("  = help: start it with"), "{}", lines[1]);
    }
}

#[test]
fn the_socket_can_come_from_the_environment() {
    let output = Command::new(env!("CARGO_BIN_EXE_gateway-daemon"))
        .arg("status")
        .env("GATEWAY_SOCKET", "/nonexistent/of-the-environment.sock")
        .output()
        .unwrap();
    assert!(stderr(&output).contains("/nonexistent/of-the-environment.sock"), "{}", stderr(&output));
}

#[test]
fn a_bad_configuration_ends_with_2_and_its_own_error() {
    let (_directory, path) = file("[gateway]\n");
    for arguments in [
        &["run", "--config", &path][..],
        &["config", "check", &path],
        &["config", "check", "--no-interfaces", &path],
        &["unload", "--config", &path],
    ] {
        let output = gateway(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{arguments:?}");
        assert!(stderr(&output).contains("error: "), "{}", stderr(&output));
        assert!(stderr(&output).contains("= help: "), "{}", stderr(&output));
        assert!(!stderr(&output).contains("backtrace"), "{}", stderr(&output));
    }
}

#[test]
fn bad_usage_ends_with_2() {
    for arguments in [&["frobnicate"][..], &["status", "--colour"], &["flows", "--limit", "10001"]] {
        let output = gateway(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).starts_with("error: "), "{}", stderr(&output));
    }
}

#[test]
fn a_filter_for_the_log_that_makes_no_sense_ends_with_2() {
    let output = Command::new(env!("CARGO_BIN_EXE_gateway-daemon"))
        .args(["run", "--config", "/nonexistent/config.toml"])
        .env("RUST_LOG", "gateway=loud")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).starts_with("error: cannot understand RUST_LOG=`gateway=loud`"));
}

#[test]
fn the_example_is_the_sample_file_and_valid_elsewhere() {
    let output = gateway(&["config", "example"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stdout(&output), gateway_daemon::config::example());

    let (_directory, path) = sample();
    let output = gateway(&["config", "check", "--no-interfaces", &path]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).starts_with(&format!("{path}: valid: 1 tenant, ")), "{}", stdout(&output));
    assert_eq!(stdout(&output).lines().count(), 1);

    // This host has no such interfaces.
    let output = gateway(&["config", "check", &path]);
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
}

#[test]
fn a_daemon_whose_interfaces_are_not_there_yet_is_to_be_started_again_and_a_wrong_file_is_not() {
    let (_directory, path) = sample();
    let output = gateway(&["run", "--config", &path]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("ext0"), "{}", stderr(&output));
    let output = gateway(&["run", "--config", &path, "--set", "node.id=nonsense"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn the_check_answers_programs_in_json() {
    let (_directory, path) = sample();
    let output = gateway(&["config", "check", "--json", "--no-interfaces", &path]);
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(verdict["valid"], true);
    assert_eq!(verdict["summary"]["tenants"], 1);

    let output = gateway(&["config", "check", "--json", &path]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stderr(&output), "");
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(verdict["valid"], false);
    let field = verdict["faults"][0]["field"].as_str().unwrap();
    assert!(field.starts_with("interface[0].name"), "{verdict:#}");
    assert!(verdict["faults"][0]["line"].as_u64().is_some_and(|line| line > 1), "{verdict:#}");

    let output = gateway(&["config", "check", "--json", "/nonexistent/config.toml"]);
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(verdict["faults"][0]["what"].as_str().unwrap().contains("there is no such file"), "{verdict:#}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_gateway-daemon"))
        .args(["config", "example"])
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
}

#[test]
fn the_doctor_says_what_is_missing_and_ends_with_1() {
    let (directory, config) = sample();
    let state = directory.path().join("state");
    let state = format!("daemon.state_dir={}", state.display());
    let output = gateway(&["doctor", "--config", &config, "--set", &state]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let fault = "fail  interface ext0    does not exist\n      = help: `ip link`";
    assert!(stdout(&output).contains(fault), "{}", stdout(&output));

    let output = gateway(&["doctor", "--json", "--config", &config, "--set", &state]);
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!(report["verdict"], "fail");
    let findings = report["findings"].as_array().unwrap();
    assert!(findings.iter().any(|finding| finding["name"] == "kernel"), "{findings:?}");

    let output = gateway(&["doctor", "--config", "/nonexistent/config.toml"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}
