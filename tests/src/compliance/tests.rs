use std::collections::BTreeMap;

use super::{DOCUMENT, Level, Row, Status, Summary, Tally, TestName, count, missing_tests, rows, summary};

/// Every demand of the five RFCs. MAYs are left out; `.2` is a second demand of another weight.
const NUMBERS: [(u16, &str); 5] = [
    (
        4787,
        "REQ-1 REQ-2 REQ-3 REQ-3a REQ-4 REQ-5 REQ-5c REQ-6 REQ-7 REQ-8 REQ-9 REQ-9a REQ-10 REQ-10a REQ-11 REQ-12 \
         REQ-12a REQ-12b REQ-13 REQ-13a REQ-13a.2 REQ-14 REQ-14a",
    ),
    (
        5382,
        "REQ-1 REQ-2 REQ-2a REQ-3 REQ-4 REQ-4.2 REQ-4a REQ-5 REQ-5.2 REQ-6 REQ-7 REQ-8 REQ-8a REQ-9 REQ-10",
    ),
    (
        5508,
        "REQ-1 REQ-1a REQ-2 REQ-2a REQ-3 REQ-3a REQ-3b REQ-3c REQ-3d REQ-4 REQ-4a REQ-4b REQ-4c REQ-5 REQ-5a REQ-5b \
         REQ-5c REQ-6 REQ-7 REQ-7.2 REQ-7a REQ-8 REQ-10a REQ-10c REQ-10d REQ-10e REQ-10f",
    ),
    (
        6888,
        "REQ-1 REQ-2 REQ-3 REQ-3.2 REQ-4 REQ-4a REQ-4c REQ-5 REQ-5a REQ-5b REQ-6 REQ-7 REQ-8 REQ-8.2 REQ-9 REQ-9.2 \
         REQ-10 REQ-10.2 REQ-11a REQ-11b REQ-11c REQ-11d REQ-12 REQ-13 REQ-14 REQ-15",
    ),
    (
        7857,
        "section-2.1 section-2.2 section-2.2.2 section-2.3 section-2.3.2 section-4 section-5 section-6 section-7 \
         section-7.1 section-8 section-9 section-10 section-12",
    ),
];

fn committed() -> Vec<Row> {
    rows(DOCUMENT).unwrap_or_else(|error| panic!("docs/rfc-compliance.md: {error}"))
}

fn one(row: &str) -> Result<Row, String> {
    rows(row).map(|mut rows| rows.remove(0))
}

#[test]
fn every_number_of_each_rfc_occurs_once() {
    let mut found: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for row in committed() {
        found.entry(row.rfc).or_default().push(row.number);
    }
    assert_eq!(found.len(), NUMBERS.len());
    for (rfc, numbers) in NUMBERS {
        let mut expected: Vec<_> = numbers.split_whitespace().map(str::to_owned).collect();
        let mut found = found.remove(&rfc).unwrap_or_default();
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "RFC {rfc}");
    }
}

#[test]
fn every_test_that_is_named_exists() {
    let missing = missing_tests(&committed());
    assert!(missing.is_empty(), "named in docs/rfc-compliance.md, but no tests:\n{}", missing.join("\n"));
}

#[test]
fn reads_each_status() {
    let met =
        one("| 4787 REQ-3a | MUST NOT | Something | met | `a/b.rs::c_d`, `e.rs::f`: a remark, with `code` |")
            .unwrap();
    let name = |file: &str, function: &str| TestName { file: file.to_owned(), function: function.to_owned() };
    assert_eq!(met.status, Status::Met(vec![name("a/b.rs", "c_d"), name("e.rs", "f")]));
    assert_eq!((met.rfc, &*met.number, met.level), (4787, "REQ-3a", Level::Must));
    let not_met = one("| 1 R | RECOMMENDED | Something | not met | Too dear. Needs: money |").unwrap();
    assert_eq!(
        (not_met.level, not_met.status),
        (Level::Should, Status::NotMet("Too dear. Needs: money".to_owned()))
    );
    let beside = one("| 1 R | SHOULD | Something | not applicable | No such thing |").unwrap();
    assert_eq!(beside.status, Status::NotApplicable("No such thing".to_owned()));
}

#[test]
fn refuses_what_it_does_not_understand() {
    for (row, why) in [
        ("| 4787 REQ-1 | MUST | x | met |", "4 cells"),
        ("| REQ-1 | MUST | x | met | `a.rs::b` |", "an RFC and a number"),
        ("| four REQ-1 | MUST | x | met | `a.rs::b` |", "is no RFC"),
        ("| 4787 REQ-1 | MAY | x | met | `a.rs::b` |", "is no level"),
        ("| 4787 REQ-1 | MUST | x | mostly | `a.rs::b` |", "is no status"),
        ("| 4787 REQ-1 | MUST | x | met | believe me |", "is no `file::function`"),
        ("| 4787 REQ-1 | MUST | x | met | `a.rs::` |", "is no `file::function`"),
        ("| 4787 REQ-1 | MUST | x | not met | no time |", "`Needs: …`"),
        ("| 4787 REQ-1 | MUST | x | not applicable |  |", "is missing"),
        ("|4787 REQ-1 | MUST | x | met | `a.rs::b` |", "starts and ends with a bar"),
    ] {
        let error = one(row).unwrap_err();
        assert!(error.starts_with("line 1: ") && error.contains(why), "{error}");
    }
}

#[test]
fn counts_by_level() {
    let row = |level: &str, status: &str| {
        let support = if status == "met" { "`a.rs::b`" } else { "in work: it" };
        format!("| 1 R | {level} | x | {status} | {support} |\n")
    };
    let text = [
        ("MUST", "met"),
        ("MUST NOT", "met"),
        ("MUST", "not met"),
        ("SHOULD", "not applicable"),
        ("SHOULD NOT", "met"),
        ("RECOMMENDED", "not met"),
    ]
    .map(|(level, status)| row(level, status))
    .concat();
    let counted = count(&rows(&text).unwrap());
    let must = Tally { met: 2, not_met: 1, not_applicable: 0 };
    let should = Tally { met: 1, not_met: 1, not_applicable: 1 };
    assert_eq!(counted, Summary { must, should });
    assert_eq!(must.to_string(), "2 met, 1 not met, 0 not applicable");
}

#[test]
fn the_committed_document_is_counted_whole() {
    let summary = summary();
    println!("MUST: {}\nSHOULD: {}", summary.must, summary.should);
    let numbers: usize = NUMBERS.iter().map(|(_, numbers)| numbers.split_whitespace().count()).sum();
    assert_eq!(summary.must.total() + summary.should.total(), numbers);
}
