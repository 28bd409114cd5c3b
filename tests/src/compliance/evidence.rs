//! Do the tests exist that the document names?

use std::{fs, path::Path};

use super::{Row, Status, TestName};

/// Tests that rows name and that are not among the sources that this was compiled from, each with its row.
pub fn missing_tests(rows: &[Row]) -> Vec<String> {
    let named = rows.iter().flat_map(|row| match &row.status {
        Status::Met(tests) => tests.iter().map(|test| (row, test)).collect(),
        Status::NotMet(_) | Status::NotApplicable(_) => Vec::new(),
    });
    let missing = named.filter(|(_, test)| !exists(test));
    missing.map(|(row, test)| format!("RFC {} {}: {test}", row.rfc, row.number)).collect()
}

fn exists(test: &TestName) -> bool {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(&test.file);
    fs::read_to_string(path).is_ok_and(|source| is_test(&source, &test.function))
}

/// A function with `#[test]` above it, or one that a list of cases names.
fn is_test(source: &str, function: &str) -> bool {
    let declaration = format!("fn {function}(");
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let Some(at) = lines.iter().position(|line| line.starts_with(&declaration)) else { return false };
    let attributes =
        lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("///"));
    is_case(source, function)
        || attributes.into_iter().any(|line| *line == "#[test]" || line.starts_with("#[tokio::test"))
}

/// Is it the last argument of a row like `Case::new("a thing", function),`?
fn is_case(source: &str, function: &str) -> bool {
    let rows = source.split("Case::").skip(1).filter_map(|row| row.split("];").next());
    let mut arguments = rows.flat_map(|row| row.split(','));
    arguments.any(|argument| argument.trim().trim_end_matches(')') == function)
}

#[cfg(test)]
mod tests {
    use super::is_test;

    #[test]
    fn tests_and_cases_are_told_from_other_functions() {
        let source = "
            const CASES: &[Case] = &[
                Case::new(\"a thing\", a_case),
                Case::with(
                    \"another\",
                    |desired| desired.clear(),
                    split_case,
                ),
                Case::with(\"a third\", |desired| desired.x = f(0), third_case),
            ];
            fn a_case(rig: &mut Rig) {}
            fn split_case(rig: &mut Rig) {}
            fn third_case(rig: &mut Rig) {}
            fn no_case(rig: &mut Rig) {}
            /// It holds.
            #[test]
            #[should_panic]
            fn a_test() {}
            fn no_test() {}
        ";
        for name in ["a_case", "split_case", "third_case", "a_test"] {
            assert!(is_test(source, name), "{name}");
        }
        for name in ["no_case", "no_test", "missing"] {
            assert!(!is_test(source, name), "{name}");
        }
    }
}
