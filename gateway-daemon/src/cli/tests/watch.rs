//! The verbs that watch, against a server with made-up happenings.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::super::Exit;
use super::super::golden::assert_golden;
use super::change::Served;
use crate::api::fake;
use crate::api::types::Happening;

#[test]
fn happenings_are_lines() {
    let served = Served::start();
    assert_golden("monitor.txt", &served.done("monitor"));
    let told: Vec<Happening> =
        served.done("monitor --json").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(told, fake::happenings());
}

#[test]
fn only_what_is_asked_for_is_told() {
    let served = Served::start();
    for (options, lines) in [("--drops", 3), ("--flows", 3), ("--tenant bank-b", 2), ("--limit 2", 2)] {
        assert_eq!(served.done(&format!("monitor {options}")).lines().count(), lines, "{options}");
    }
    assert_eq!(served.refused("monitor --tenant bank-x").0, Exit::Refused);
}

#[test]
fn a_capture_is_written_for_its_owner_alone() {
    let (served, directory) = (Served::start(), tempfile::tempdir().unwrap());
    let path = directory.path().join("bank-a.pcapng");
    let line = format!("capture --tenant bank-a --output {}", path.display());
    let text = served.done(&line);
    assert!(text.ends_with("bank-a.pcapng: 2 frames; 0 packets lost\n"), "{text}");
    assert_eq!(fs::read(&path).unwrap(), fake::capture_file().concat());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let (exit, message) = served.refused(&line);
    assert!(
        exit == Exit::Failed && message.contains("cannot write"),
        "an earlier one is not overwritten: {message}"
    );
}

#[test]
fn a_capture_that_is_refused_leaves_no_file() {
    let (served, directory) = (Served::start(), tempfile::tempdir().unwrap());
    let path = directory.path().join("none.pcapng");
    let (exit, message) = served.refused(&format!("capture --tenant bank-x --output {}", path.display()));
    assert!(exit == Exit::Refused && message.contains("there is no tenant `bank-x`"), "{message}");
    assert!(!path.exists());
}
