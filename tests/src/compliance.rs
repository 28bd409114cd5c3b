//! `docs/rfc-compliance.md`, read: what the RFCs ask of a NAT, and how much of it is met.
//!
//! The document is for people; its tables are strict enough for this parser, which takes no row that it does not
//! understand. The tests beside it know every number that has to be there, and look for each test that a row names.

mod evidence;

use std::{fmt, path::Path, str::FromStr};

pub use evidence::missing_tests;

/// The document, as it was when this was compiled.
pub const DOCUMENT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rfc-compliance.md"));

/// One demand of an RFC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The RFC's number.
    pub rfc: u16,
    /// `REQ-3a`, or `section-2.1`.
    pub number: String,
    /// How much it is demanded.
    pub level: Level,
    /// In our words.
    pub demand: String,
    /// Whether it is met.
    pub status: Status,
}

/// How much something is demanded, in the words of RFC 2119.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// MUST or MUST NOT.
    Must,
    /// SHOULD, SHOULD NOT or RECOMMENDED.
    Should,
}

/// Whether a demand is met, and what supports that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// These tests show it.
    Met(Vec<TestName>),
    /// Why not, and what would be needed.
    NotMet(String),
    /// Why it cannot apply.
    NotApplicable(String),
}

/// A test function, or a case of the parity tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestName {
    /// From the root of the workspace.
    pub file: String,
    /// Its name there.
    pub function: String,
}

impl fmt::Display for TestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.file, self.function)
    }
}

/// How many demands of one level are met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Met, each with a test.
    pub met: usize,
    /// Not met.
    pub not_met: usize,
    /// Cannot apply.
    pub not_applicable: usize,
}

impl Tally {
    /// All that is demanded.
    pub const fn total(self) -> usize {
        self.met + self.not_met + self.not_applicable
    }

    const fn add(&mut self, status: &Status) {
        match status {
            Status::Met(_) => self.met += 1,
            Status::NotMet(_) => self.not_met += 1,
            Status::NotApplicable(_) => self.not_applicable += 1,
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} met, {} not met, {} not applicable", self.met, self.not_met, self.not_applicable)
    }
}

/// The document, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// What the RFCs call MUST and MUST NOT.
    pub must: Tally,
    /// What they call SHOULD, SHOULD NOT and RECOMMENDED.
    pub should: Tally,
}

/// Counts the committed document.
///
/// # Panics
///
/// When it has a row that is not understood: a test fails then, too.
pub fn summary() -> Summary {
    count(&rows(DOCUMENT).unwrap_or_else(|error| panic!("docs/rfc-compliance.md: {error}")))
}

/// Counts rows.
pub fn count(rows: &[Row]) -> Summary {
    let mut summary = Summary::default();
    for row in rows {
        match row.level {
            Level::Must => summary.must.add(&row.status),
            Level::Should => summary.should.add(&row.status),
        }
    }
    summary
}

/// The first cell of the line over every table.
const HEAD: &str = "number";

/// Reads every table of a document.
///
/// # Errors
///
/// The first line of a table that is not understood, and why.
pub fn rows(document: &str) -> Result<Vec<Row>, String> {
    let lines = document.lines().enumerate().filter(|(_, line)| line.starts_with('|'));
    let is_row = |line: &str| !line.starts_with("|---") && !line.starts_with(&format!("| {HEAD} |"));
    let rows = lines.filter(|(_, line)| is_row(line));
    rows.map(|(at, line)| line.parse().map_err(|why| format!("line {}: {why}: {line}", at + 1))).collect()
}

impl FromStr for Row {
    type Err = String;

    /// `| 4787 REQ-3a | MUST | the demand | met | …, or why |`
    fn from_str(line: &str) -> Result<Self, String> {
        let inner = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |"));
        let cells: Vec<_> = inner.ok_or("a row starts and ends with a bar")?.split(" | ").collect();
        let [name, level, demand, status, support] = cells[..] else {
            return Err(format!("{} cells, five are wanted", cells.len()));
        };
        let (rfc, number) = name.split_once(' ').ok_or("an RFC and a number are wanted")?;
        Ok(Self {
            rfc: rfc.parse().map_err(|_| format!("{rfc:?} is no RFC"))?,
            number: number.to_owned(),
            level: level.parse()?,
            demand: filled(demand, "what it asks")?,
            status: read_status(status, support)?,
        })
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "MUST" | "MUST NOT" => Ok(Self::Must),
            "SHOULD" | "SHOULD NOT" | "RECOMMENDED" => Ok(Self::Should),
            _ => Err(format!("{text:?} is no level")),
        }
    }
}

fn filled(text: &str, what: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err(format!("{what} is missing")) } else { Ok(text.to_owned()) }
}

fn read_status(status: &str, support: &str) -> Result<Status, String> {
    match status {
        "met" => tests(support).map(Status::Met),
        "not met" if support.starts_with("in work: ") || support.contains("Needs: ") => {
            Ok(Status::NotMet(support.to_owned()))
        }
        "not met" => Err("either `in work: …`, or why and `Needs: …`".to_owned()),
        "not applicable" => filled(support, "why it cannot apply").map(Status::NotApplicable),
        _ => Err(format!("{status:?} is no status")),
    }
}

/// `` `file::function`, `file::function`: a remark ``
fn tests(support: &str) -> Result<Vec<TestName>, String> {
    let names = support.split_once("`: ").map_or(support, |(names, _)| names);
    names.split(", ").map(|name| name.trim_matches('`').parse()).collect()
}

impl FromStr for TestName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (file, function) =
            text.split_once("::").ok_or_else(|| format!("{text:?} is no `file::function`"))?;
        let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
        let is_source = Path::new(file).extension().is_some_and(|kind| kind == "rs");
        if !is_source || function.is_empty() || !function.chars().all(is_name) {
            return Err(format!("{text:?} is no `file::function`"));
        }
        Ok(Self { file: file.to_owned(), function: function.to_owned() })
    }
}

#[cfg(test)]
mod tests;
