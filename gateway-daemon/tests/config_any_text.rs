//! No text makes the configuration parser panic, and every refusal points into the text.

use gateway_daemon::config::{Config, ConfigError, Interfaces, example};
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Values that are legal TOML and wrong, or at the edge, nearly everywhere.
const VALUES: [&str; 24] = [
    "0",
    "-1",
    "1",
    "65535",
    "65536",
    "9223372036854775807",
    "99999999999999999999",
    "0xffff",
    "1.5",
    "nan",
    "true",
    "1979-05-27",
    "\"\"",
    "\"\\u0000\"",
    "\"\u{1f980}\"",
    "\"0.0.0.0/0\"",
    "\"255.255.255.255\"",
    "\"::1\"",
    "\"192.0.2.10\"",
    "[]",
    "[[]]",
    "[\"\"]",
    "{}",
    "{ a = 1 }",
];

/// One way of damaging a text.
#[derive(Clone, Debug)]
enum Mutation {
    DropLine(Index),
    RepeatLine(Index, Index),
    SwapLines(Index, Index),
    Value(Index, &'static str),
    Cut(Index),
    Insert(Index, String),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        any::<Index>().prop_map(Mutation::DropLine),
        any::<(Index, Index)>().prop_map(|(from, to)| Mutation::RepeatLine(from, to)),
        any::<(Index, Index)>().prop_map(|(a, b)| Mutation::SwapLines(a, b)),
        (any::<Index>(), select(&VALUES[..])).prop_map(|(line, value)| Mutation::Value(line, value)),
        any::<Index>().prop_map(Mutation::Cut),
        (any::<Index>(), ".{0,8}").prop_map(|(at, text)| Mutation::Insert(at, text)),
    ]
}

fn mutate(text: &str, mutation: Mutation) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let mut chars: Vec<char> = text.chars().collect();
    if lines.is_empty() {
        return String::new();
    }
    let count = lines.len();
    let replaced;
    match mutation {
        Mutation::DropLine(line) => drop(lines.remove(line.index(count))),
        Mutation::RepeatLine(from, to) => lines.insert(to.index(count), lines[from.index(count)]),
        Mutation::SwapLines(a, b) => lines.swap(a.index(count), b.index(count)),
        Mutation::Value(line, value) => {
            let field = lines[line.index(count)].split(" = ").next().unwrap_or_default();
            replaced = format!("{field} = {value}");
            lines[line.index(count)] = &replaced;
        }
        Mutation::Cut(at) => return chars.drain(..at.index(chars.len() + 1)).collect(),
        Mutation::Insert(at, text) => {
            let at = at.index(chars.len() + 1);
            chars.splice(at..at, text.chars());
            return chars.into_iter().collect();
        }
    }
    lines.join("\n") + "\n"
}

/// The sample without its comments, so that mutations hit fields.
fn bare_sample() -> String {
    let sample = example();
    let fields = sample.lines().filter(|line| !line.is_empty() && !line.starts_with("# ") && *line != "#");
    fields.map(|line| line.strip_prefix('#').unwrap_or(line)).collect::<Vec<_>>().join("\n") + "\n"
}

fn check(text: &str) -> Result<(), TestCaseError> {
    let Err(error) = Config::parse("any.toml", text, &Interfaces::present(["ext0", "int0"])) else {
        return Ok(());
    };
    prop_assert!(error.to_string().starts_with("error: "));
    let ConfigError::Rejected { complaints, .. } = error else {
        return Err(TestCaseError::fail("a text can't be unreadable"));
    };
    prop_assert!(!complaints.is_empty());
    prop_assert!(complaints.is_sorted_by_key(|complaint| complaint.line));
    for complaint in complaints {
        let line = text.split('\n').nth(complaint.line - 1);
        prop_assert!(line.is_some_and(|line| complaint.column <= line.chars().count() + 1), "{complaint:?}");
        prop_assert!(complaint.to_string().chars().all(|c| c == '\n' || !c.is_control()), "{complaint:?}");
        prop_assert!(!complaint.field.is_empty() && !complaint.help.is_empty(), "{complaint:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

    #[test]
    fn any_text(text in any::<String>()) {
        check(&text)?;
    }

    #[test]
    fn any_text_of_toml_characters(text in "[\\[\\]{}=\"'#.,a-c0-9_\\-+ \n\r\t\\\\\u{e4}\u{feff}]{0,80}") {
        check(&text)?;
    }

    #[test]
    fn mutated_sample(mutations in prop::collection::vec(mutation(), 1..6)) {
        let text = mutations.into_iter().fold(bare_sample(), |text, mutation| mutate(&text, mutation));
        check(&text)?;
    }
}

#[test]
fn the_unchanged_sample_is_accepted() {
    let config = Config::parse("sample", &bare_sample(), &Interfaces::present(["ext0", "int0"]));
    assert!(config.is_ok(), "{}", config.unwrap_err());
}
