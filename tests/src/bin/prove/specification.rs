//! `docs/specification.md` names every row, and no other.

use std::collections::BTreeSet;

use crate::{control_suite, main_suite, nat_suite};

const DOCUMENT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/specification.md"));
/// Stands where others have the identifier of a row.
const NOT_YET: &str = "not yet proved";
/// What `*` at the end of an identifier stands for.
const MODES: [&str; 3] = ["tc", "xdp-native", "xdp-generic"];

/// The last cell of every line of a table, apart from heads and rules.
fn proofs() -> impl Iterator<Item = &'static str> {
    let lines = DOCUMENT.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let cells = lines.map(|line| line.rsplit(" | ").next().unwrap_or(line));
    cells.filter(|cell| *cell != "row" && !cell.starts_with("--"))
}

/// `` `a`, `b-*` `` to `a`, `b-tc` and so on.
fn documented() -> Vec<String> {
    let cells = proofs().filter(|cell| !cell.starts_with(NOT_YET));
    let names = cells.flat_map(|cell| cell.split(", ")).map(|name| name.trim_matches('`'));
    let expand = |name: &str| match name.strip_suffix('*') {
        Some(stem) => MODES.iter().map(|mode| format!("{stem}{mode}")).collect(),
        None => vec![name.to_owned()],
    };
    names.flat_map(expand).collect()
}

#[test]
fn every_row_is_documented_and_every_documented_row_exists() {
    let promises = [main_suite::promises(), control_suite::promises(), nat_suite::promises()].concat();
    let rows: BTreeSet<String> = promises.iter().map(|promise| promise.id.clone()).collect();
    assert_eq!(rows.len(), promises.len(), "identifiers are unique");
    let documented: BTreeSet<String> = documented().into_iter().collect();
    let difference: Vec<_> = rows.symmetric_difference(&documented).collect();
    assert!(difference.is_empty(), "in one of code and docs/specification.md only: {difference:?}");
}

#[test]
fn the_document_was_understood() {
    assert!(documented().len() > 40, "{:?}", documented());
    assert!(proofs().any(|cell| cell.starts_with(NOT_YET)));
}
