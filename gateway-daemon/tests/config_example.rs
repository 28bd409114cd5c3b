//! The committed sample file and reference are those that the documentation of the fields makes. (That they are
//! valid and complete is tested beside `example` and `reference`.)
//!
//! After a wanted change, `UPDATE_GOLDEN=1 cargo test -p gateway-daemon --test config_example` writes them
//! anew.

use std::fs;
use std::path::Path;

use gateway_daemon::config;

/// Fails unless the committed file has this text.
fn assert_committed(file: &str, command: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap();
    assert!(
        committed == text,
        "docs/{file} is not what `gateway-daemon config {command}` prints: run with UPDATE_GOLDEN=1"
    );
}

#[test]
fn the_committed_sample_is_up_to_date() {
    assert_committed("config.example.toml", "example", &config::example());
}

#[test]
fn the_committed_reference_is_up_to_date() {
    assert_committed("configuration.md", "reference", &config::reference());
}
