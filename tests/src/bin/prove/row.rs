//! One line of the result.

use std::fmt;

use clap::ValueEnum;
use serde::{Serialize, Serializer};

/// What a promise is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Holds on every machine, or the gateway is broken
    Correctness,
    /// Depends on the machine, and on who else uses it
    Speed,
}

/// What the measured value must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// This, exactly.
    Exactly(u64),
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

impl Target {
    /// Is it met?
    #[expect(clippy::cast_precision_loss, clippy::float_cmp, reason = "counts are far below 2^53")]
    pub fn is_met_by(self, measured: f64) -> bool {
        match self {
            Self::Exactly(value) => measured == value as f64,
            Self::AtLeast(value) => measured >= value,
            Self::AtMost(value) => measured <= value,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(value) => write!(f, "{value}"),
            Self::AtLeast(value) => write!(f, ">= {value}"),
            Self::AtMost(value) => write!(f, "<= {value}"),
        }
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A promise, as it stands before it is measured.
#[derive(Debug, Clone)]
pub struct Promise {
    /// Unique; the row of `docs/specification.md`.
    pub id: String,
    /// What it is about.
    pub kind: Kind,
    /// In words, with the size that is used.
    pub text: String,
    /// What is to be measured.
    pub target: Target,
    /// Of target and measured value.
    pub unit: &'static str,
}

/// A measured promise.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// See [`Promise`].
    pub id: String,
    /// See [`Promise`].
    pub kind: Kind,
    /// See [`Promise`].
    pub promise: String,
    /// See [`Promise`].
    pub target: Target,
    /// Nothing when it could not be measured.
    pub measured: Option<f64>,
    /// See [`Promise`].
    pub unit: &'static str,
    /// Is the target met?
    pub met: bool,
    /// What went wrong, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Row {
    /// From what was measured; the error says why nothing was.
    pub fn new(promise: &Promise, measured: Result<&Measured, &str>) -> Self {
        let Promise { id, kind, text, target, unit } = promise.clone();
        let value = measured.ok().map(|measured| measured.value);
        let met = value.is_some_and(|value| target.is_met_by(value));
        let problem = match measured {
            Ok(measured) => (!met && !measured.problems.is_empty()).then(|| shown(&measured.problems)),
            Err(problem) => Some(problem.to_owned()),
        };
        Self { id, kind, promise: text, target, measured: value, unit, met, problem }
    }
}

/// Problems that are shown of a row; the others are of the same kind more often than not.
const PROBLEMS_SHOWN: usize = 5;

fn shown(problems: &[String]) -> String {
    let (shown, hidden) = problems.split_at(problems.len().min(PROBLEMS_SHOWN));
    let rest = (!hidden.is_empty()).then(|| format!("... and {} more", hidden.len()));
    shown.iter().cloned().chain(rest).collect::<Vec<_>>().join("\n")
}

/// A value, and what explains it if it is not the wanted one.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// In the promise's unit.
    pub value: f64,
    /// In words.
    pub problems: Vec<String>,
}

impl Measured {
    /// A number of things.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    pub fn count(value: usize) -> Self {
        Self { value: value as f64, problems: Vec::new() }
    }

    /// A figure.
    pub fn figure(value: f64) -> Self {
        Self { value, problems: Vec::new() }
    }

    /// With an explanation.
    #[must_use]
    pub fn because(mut self, problems: impl IntoIterator<Item = String>) -> Self {
        self.problems.extend(problems);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promise() -> Promise {
        let text = "nothing is lost".to_owned();
        Promise { id: "lost".to_owned(), kind: Kind::Correctness, text, target: Target::Exactly(0), unit: "" }
    }

    #[test]
    fn targets_are_compared() {
        assert!(Target::Exactly(1).is_met_by(1.0) && !Target::Exactly(1).is_met_by(2.0));
        assert!(Target::AtLeast(5.0).is_met_by(5.0) && !Target::AtLeast(5.0).is_met_by(4.9));
        assert!(Target::AtMost(5.0).is_met_by(5.0) && !Target::AtMost(5.0).is_met_by(f64::NAN));
    }

    #[test]
    fn a_row_without_a_value_is_not_met() {
        let row = Row::new(&promise(), Err("it broke"));
        assert_eq!((row.met, row.measured, row.problem.as_deref()), (false, None, Some("it broke")));
    }

    #[test]
    fn problems_are_shown_only_when_they_explain_something() {
        let fine = Measured::count(0).because(["noise".to_owned()]);
        assert_eq!(Row::new(&promise(), Ok(&fine)).problem, None);
        let bad = Measured::count(7).because((0..7).map(|number| number.to_string()));
        let row = Row::new(&promise(), Ok(&bad));
        assert_eq!(row.problem.as_deref(), Some("0\n1\n2\n3\n4\n... and 2 more"));
    }
}
