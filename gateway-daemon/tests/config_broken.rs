//! Every broken configuration in `config-broken/` gets exactly the error that stands beside it.
//!
//! `NN-name.stderr` is what the operator sees for `NN-name.toml`. After a wanted change of the messages,
//! `UPDATE_GOLDEN=1 cargo test -p gateway-daemon --test config_broken` writes the files anew: read the
//! difference.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use gateway_daemon::config::{Config, ConfigError, Interfaces, Overrides};

/// Relative to the crate, where cargo runs its tests: the messages show the path as it was given.
const DIRECTORY: &str = "tests/config-broken";

/// The cases that are no files of TOML text, and so have no line to point at.
const NOT_READABLE: [&str; 2] = ["90-missing-file", "91-directory"];

fn load(case: &str) -> ConfigError {
    let path = Path::new(DIRECTORY).join(format!("{case}.toml"));
    let interfaces = Interfaces::present(["ext0", "int0", "lo"]);
    match Config::load(&path, &interfaces, &Overrides::default()) {
        Ok(_) => panic!("{} was accepted", path.display()),
        Err(error) => error,
    }
}

/// The stems of all files that end in `.{extension}`.
fn cases(extension: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(DIRECTORY).expect("the tests run in the crate's directory");
    let paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths
        .iter()
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn every_broken_file_gets_the_error_beside_it() {
    let mut wrong = Vec::new();
    for case in cases("toml").union(&BTreeSet::from(NOT_READABLE.map(str::to_owned))) {
        let golden = Path::new(DIRECTORY).join(format!("{case}.stderr"));
        let error = format!("{}\n", load(case));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &error).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if error != expected {
            wrong.push(format!("{}\n--- expected\n{expected}--- found\n{error}", golden.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_error_text_belongs_to_a_case() {
    let known = cases("toml").into_iter().chain(NOT_READABLE.map(str::to_owned)).collect();
    assert_eq!(cases("stderr"), known);
    assert!(known.len() >= 90, "only {} cases", known.len());
}

/// Each file has one fault, so each gets one complaint, with place, field and help. `60-several-faults` has
/// more.
#[test]
fn every_complaint_says_where_what_and_how_to_fix_it() {
    for case in cases("toml").iter().filter(|case| !NOT_READABLE.contains(&case.as_str())) {
        let ConfigError::Rejected { complaints, hidden } = load(case) else {
            panic!("{case} was not read");
        };
        assert_eq!(hidden, 0, "{case}");
        assert_eq!(complaints.len() == 1, case != "60-several-faults", "{case}: {complaints:#?}");
        for complaint in complaints {
            assert_eq!(complaint.file, format!("{DIRECTORY}/{case}.toml"));
            assert!(complaint.line >= 1 && complaint.column >= 1, "{case}");
            for text in [&complaint.field, &complaint.what, &complaint.help] {
                assert!(!text.is_empty(), "{case}: {complaint:#?}");
            }
        }
    }
}
