//! `docs/drop-reasons.md` is what the enum says, and a test produces every reason.
//!
//! Who produces a reason is read from the tests' sources: a function that names it there expects it of a packet, and the
//! compiler complains about functions that nobody calls. Adding a reason takes its row in the enum, a test, and
//! `UPDATE_GOLDEN=1 cargo test -p gateway-common reasons`.

use crate::drop_reason::DropReason;
use std::{
    borrow::ToOwned,
    env, format, fs,
    path::{Path, PathBuf},
    string::String,
    vec::Vec,
};

const DOCUMENT: &str = "docs/drop-reasons.md";

/// Where packets and what must come of them are written down: for the engine in memory, and for the loaded programs.
const SOURCES: [&str; 2] = ["gateway-common/src/forward/tests", "tests/tests/parity"];

/// Reasons that no test can produce, and why.
const BEYOND_TESTS: [(DropReason, &str); 1] = [(
    DropReason::NotLinear,
    "no test: only a kernel that has no memory left meets it (TC's entry point, before the engine)",
)];

/// A function of a test's source that names a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    variant: String,
    function: String,
}

#[test]
fn a_test_produces_every_reason() {
    for reason in DropReason::ALL {
        let is_produced = SOURCES.iter().any(|dir| first_producer(dir, *reason).is_some());
        let is_excused = BEYOND_TESTS.iter().any(|(excused, _)| excused == reason);
        assert!(
            is_produced || is_excused,
            "no test produces DropReason::{}: let one in {SOURCES:?} expect it",
            reason.variant()
        );
        assert!(!(is_produced && is_excused), "{reason:?} is produced by a test: no excuse is needed");
    }
}

#[test]
fn the_document_is_what_the_enum_says() {
    let (path, text) = (workspace().join(DOCUMENT), document());
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == text, "{DOCUMENT} is not what the enum says: UPDATE_GOLDEN=1 writes it anew");
}

fn document() -> String {
    let head = "\
# Why packets are dropped

Every packet that the gateway drops is counted for one of these reasons, and for its tenant as far as that is known by then.
`gateway-daemon drops` and the metric `gateway_drops_total` show them by name, `gateway-daemon explain` tells the
reason of a packet before it is sent. Numbers are stable: one that is retired is never used again.

This page is made from `gateway-common/src/drop_reason.rs`. The last column names a test that produces the reason in the
engine, and one that produces it in the programs as the kernel runs them.

| number | name | meaning | what to do | produced by |
|---|---|---|---|---|
";
    DropReason::ALL.iter().fold(head.to_owned(), |text, reason| text + &row(*reason))
}

fn row(reason: DropReason) -> String {
    let (number, name) = (reason as u8, reason.name());
    let (meaning, advice) = (reason.explanation().trim(), reason.advice());
    format!("| {number} | `{name}` | {meaning} | {advice} | {} |\n", produced_by(reason))
}

fn produced_by(reason: DropReason) -> String {
    let producers: Vec<_> = SOURCES.iter().filter_map(|dir| first_producer(dir, reason)).collect();
    match BEYOND_TESTS.iter().find(|(excused, _)| *excused == reason) {
        Some((_, why)) => (*why).to_owned(),
        None => producers.join(", "),
    }
}

/// The first by file and line, so that further tests do not change the page.
fn first_producer(dir: &str, reason: DropReason) -> Option<String> {
    sources(&workspace().join(dir)).into_iter().find_map(|path| {
        let text = fs::read_to_string(&path).unwrap();
        let producer = producers(&text).into_iter().find(|producer| producer.variant == reason.variant())?;
        let file = path.file_name()?.to_string_lossy().into_owned();
        let parent = Path::new(dir).components().rev().nth(1)?.as_os_str().to_string_lossy().into_owned();
        let last = Path::new(dir).file_name()?.to_string_lossy().into_owned();
        Some(format!("`{}` in `{parent}/{last}/{file}`", producer.function))
    })
}

/// Rust sources of a directory, this one aside.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("reasons.rs"));
    paths.sort();
    paths
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Who expects which reason.
fn producers(text: &str) -> Vec<Producer> {
    let (mut function, mut found) = (String::new(), Vec::new());
    for line in text.lines() {
        let code = line.split("//").next().unwrap_or_default();
        if let Some(name) = function_name(code) {
            name.clone_into(&mut function);
        }
        let named = code.match_indices(REASON).map(|(at, _)| (&code[..at], &code[at + REASON.len()..]));
        found.extend(named.filter_map(|(before, after)| {
            let variant = expected(before, after).filter(|_| !function.is_empty())?.to_owned();
            Some(Producer { variant, function: function.clone() })
        }));
    }
    found
}

const REASON: &str = "DropReason::";

/// The name between what stands before and after it in a line, if it is something expected: being put on a list, or
/// tolerated by a pattern, proves nothing.
fn expected<'a>(before: &str, after: &'a str) -> Option<&'a str> {
    let end = after.find(|at: char| !at.is_alphanumeric()).unwrap_or(after.len());
    let (variant, rest) = after.split_at(end);
    let (before, rest) = (before.trim_end(), rest.trim_start());
    let is_listed = before.ends_with(".push(");
    let is_pattern = before.contains("matches!(")
        || before.ends_with('|')
        || ["|", "=>"].iter().any(|next| rest.starts_with(next));
    (!is_listed && !is_pattern).then_some(variant)
}

/// `cut` of `    fn cut(rig: &mut Rig) {`.
fn function_name(code: &str) -> Option<&str> {
    let (before, after) = code.split_once("fn ")?;
    let is_declaration = before.split_whitespace().all(|word| ["pub", "const", "async"].contains(&word));
    let end = after.find(|at: char| !at.is_alphanumeric() && at != '_')?;
    (is_declaration && end > 0).then_some(&after[..end])
}

#[test]
fn producers_are_functions_that_expect_a_reason() {
    let source = "
// dropped(DropReason::Commented)
fn cases() -> Vec<(DropReason, Case)> {
    vec![(DropReason::One, a()), (DropReason::Two, b())] // DropReason::Three
}
    pub const fn later(rig: &mut Rig) {
        met.push(DropReason::Four);
        matches!(verdict, Verdict::Drop(DropReason::Four | DropReason::Six))
        match reason { DropReason::Four => 1, _ => 2 }
        rig.step(&dropped(DropReason::Five).of(1));
    }
";
    let found: Vec<_> =
        producers(source).into_iter().map(|producer| (producer.function, producer.variant)).collect();
    let expected = [("cases", "One"), ("cases", "Two"), ("later", "Five")];
    assert_eq!(found, expected.map(|(function, variant)| (function.to_owned(), variant.to_owned())));
}
