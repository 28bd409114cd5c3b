//! Committed copies of what users see.

use std::fs;
use std::path::Path;

/// Is `text` that of the file in `tests/golden/`? `UPDATE_GOLDEN=1 cargo test -p gateway-daemon` writes the
/// files anew: read the difference.
#[track_caller]
pub(crate) fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(text == expected, "{}\n--- expected\n{expected}--- found\n{text}", path.display());
}
