//! The configuration's loader: any text, and the way back from what it accepts.

use gateway_daemon::{
    config::{Complaint, Config, ConfigError, Interfaces},
    tenancy::Tenancy,
};

/// The name that errors give the text.
const NAME: &str = "fuzz.toml";

/// No text makes it panic; a refusal points into the text; what is accepted survives being written and read again.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Config::parse(NAME, text, &Interfaces::Unchecked) {
        Ok(config) => assert_round_trip(&config),
        Err(error) => assert_explained(text, &error),
    }
}

/// Objects of a legal configuration, written as people do and read again, are the same.
pub(crate) fn assert_round_trip(config: &Config) {
    let tenancy = config.tenancy();
    let again = config.with_tenancy(&tenancy, None).unwrap_or_else(|problems| {
        panic!("accepted, and refused when it was written anew: {problems:?}\n{tenancy:?}")
    });
    assert!(again.tenancy() == tenancy, "written twice, and not the same: {tenancy:?}");
    let kept = config.with_tenancy(&tenancy, Some(&tenancy)).expect("what is kept is not judged again");
    assert!(kept.tenancy() == tenancy, "kept, and not the same");
    let document = tenancy.document();
    let text = serde_json::to_vec(&document).expect("a document is JSON");
    let read = serde_json::from_slice(&text).expect("our own JSON");
    assert!(Tenancy::from(&read) == tenancy, "the store would give back something else");
}

fn assert_explained(text: &str, error: &ConfigError) {
    let shown = error.to_string();
    assert!(shown.starts_with("error: "), "{shown}");
    let ConfigError::Rejected { complaints, .. } = error else {
        panic!("a text is not a file: {shown}");
    };
    assert!(!complaints.is_empty(), "refused without a reason");
    assert!(complaints.is_sorted_by_key(|complaint| complaint.line), "not in the order of the text: {shown}");
    for complaint in complaints {
        assert_place(text, complaint);
    }
}

/// The complaint names a place in the text, and has nothing in it that a terminal would obey.
fn assert_place(text: &str, complaint: &Complaint) {
    let line = complaint.line.checked_sub(1).and_then(|line| text.split('\n').nth(line));
    let line = line.unwrap_or_else(|| panic!("there is no such line: {complaint:?}"));
    assert!((1..=line.chars().count() + 1).contains(&complaint.column), "no such column: {complaint:?}");
    assert!(!complaint.field.is_empty() && !complaint.what.is_empty() && !complaint.help.is_empty());
    let shown = complaint.to_string();
    assert!(shown.contains(NAME), "{shown}");
    assert!(shown.chars().all(|letter| letter == '\n' || !letter.is_control()), "{shown:?}");
}
