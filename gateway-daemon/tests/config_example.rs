//! The committed sample file is the one that the documentation of the fields makes. (That it is valid and
//! complete is tested beside `example`.)
//!
//! After a wanted change, `UPDATE_GOLDEN=1 cargo test -p gateway-daemon --test config_example` writes it
//! anew.

use std::fs;
use std::path::Path;

use gateway_daemon::config;

#[test]
fn the_committed_sample_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/config.example.toml");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, config::example()).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap();
    assert!(
        committed == config::example(),
        "docs/config.example.toml is not what `gateway-daemon config example` prints: run with UPDATE_GOLDEN=1"
    );
}
