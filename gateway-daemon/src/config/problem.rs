//! What is wrong with a file, while it is being read: places, paths and the list of faults.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

/// An error about one value that also knows the way out.
pub(super) trait Explain: fmt::Display {
    /// What the operator should do, in one line.
    fn help(&self) -> String;
}

/// The way from the top of the file to a value: `tenant[2].listener[0].port`.
#[derive(Clone, Debug, Default)]
pub(super) struct FieldPath(Option<Rc<Step>>);

#[derive(Debug)]
struct Step {
    parent: FieldPath,
    to: StepTo,
}

/// One step of a [`FieldPath`].
#[derive(Clone, Debug)]
pub(super) enum StepTo {
    /// A field of a table.
    Key(Cow<'static, str>),
    /// An element of a list, counted from 0.
    Index(usize),
}

impl FieldPath {
    pub(super) fn key(&self, key: impl Into<Cow<'static, str>>) -> Self {
        self.step(StepTo::Key(key.into()))
    }

    pub(super) fn index(&self, index: usize) -> Self {
        self.step(StepTo::Index(index))
    }

    fn step(&self, to: StepTo) -> Self {
        Self(Some(Rc::new(Step { parent: self.clone(), to })))
    }

    /// The steps from the top of the file.
    pub(super) fn steps(&self) -> Vec<StepTo> {
        let mut steps = Vec::new();
        let mut path = self;
        while let Some(step) = &path.0 {
            steps.push(step.to.clone());
            path = &step.parent;
        }
        steps.reverse();
        steps
    }

    /// The TOML header of the section at this path, quoted: `[gateway]`, `[[tenant.pool]]`.
    pub(super) fn header(&self) -> String {
        let steps = self.steps();
        let keys: Vec<&str> = steps
            .iter()
            .filter_map(|step| match step {
                StepTo::Key(key) => Some(&**key),
                StepTo::Index(_) => None,
            })
            .collect();
        match steps.last() {
            None => "the file".to_owned(),
            Some(StepTo::Index(_)) => format!("`[[{}]]`", keys.join(".")),
            Some(StepTo::Key(_)) => format!("`[{}]`", keys.join(".")),
        }
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.steps().iter().enumerate() {
            match step {
                StepTo::Key(key) => write!(f, "{}{}", if i == 0 { "" } else { "." }, TomlKey(key))?,
                StepTo::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A key as TOML has it: bare where that is possible, else in quotes.
struct TomlKey<'a>(&'a str);

impl fmt::Display for TomlKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if !self.0.is_empty() && self.0.chars().all(is_bare) {
            return f.write_str(self.0);
        }
        write!(f, "\"{}\"", self.0.escape_debug())
    }
}

/// A place in the file.
#[derive(Clone, Debug, Default)]
pub(super) struct At {
    /// Byte range in the text.
    pub(super) span: Range<usize>,
    pub(super) path: FieldPath,
}

impl At {
    /// The place of what does not stand in a text.
    pub(super) const NOWHERE: Self = Self { span: 0..0, path: FieldPath(None) };

    /// The same place, as that of the field `name` which is not there.
    pub(super) fn field(&self, name: &'static str) -> Self {
        Self { span: self.span.clone(), path: self.path.key(name) }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) at: At,
}

/// One fault of the file.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) at: At,
    pub(super) what: String,
    pub(super) help: String,
    /// Another place that takes part in the fault, and what it is.
    pub(super) note: Option<(String, At)>,
}

/// A value can't be had because of a fault, which is in [`Problems`].
#[derive(Debug)]
pub(super) struct Reported;

/// All faults found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    /// Adds a fault at `at`.
    pub(super) fn add(&mut self, at: &At, fault: &impl Explain) -> Reported {
        self.push(at, fault, None);
        Reported
    }

    /// Adds a fault at `at` that has to do with the value at `other`, which `note` describes.
    pub(super) fn add_with(&mut self, at: &At, fault: &impl Explain, note: &str, other: &At) {
        self.push(at, fault, Some((note.to_owned(), other.clone())));
    }

    fn push(&mut self, at: &At, fault: &impl Explain, note: Option<(String, At)>) {
        self.0.push(Problem { at: at.clone(), what: fault.to_string(), help: fault.help(), note });
    }

    /// Fails if there is a fault.
    pub(super) fn none_reported(&self) -> Result<(), Reported> {
        if self.0.is_empty() { Ok(()) } else { Err(Reported) }
    }

    /// The faults in the order of the file.
    pub(super) fn into_sorted(mut self) -> Vec<Problem> {
        self.0.sort_by_key(|problem| problem.at.span.start);
        self.0
    }
}
