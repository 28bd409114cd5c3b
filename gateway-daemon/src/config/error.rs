//! Why a configuration was refused, in the form of a compiler's message.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::string::FromUtf8Error;

use toml::de::{DeTable, DeValue};

use super::overrides::OverrideText;
use super::problem::{At, FieldPath, Problem, Problems, StepTo};
use super::text::Quoted;

/// Most complaints that one error carries; the rest is counted.
const MAX_COMPLAINTS: usize = 20;

/// Most characters of a source line that are shown.
const MAX_LINE_CHARS: usize = 110;

/// A configuration was refused. The operator has to change the file (or its place); nothing else has changed.
///
/// `Display` is made for people: one block a fault, each with place, field, fault and help.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no such file.
    #[error("{}", AboutFile(.path, FileFault::Missing))]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The path is that of a directory.
    #[error("{}", AboutFile(.path, FileFault::Directory))]
    Directory {
        /// The directory.
        path: PathBuf,
    },
    /// The file can't be read.
    #[error("{}", AboutFile(.path, FileFault::Unreadable))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is beyond [`super::MAX_FILE_BYTES`].
    #[error("{}", AboutFile(.path, FileFault::TooLarge))]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file isn't text, isn't TOML, or says something that can't be.
    #[error("{}", Blocks(.complaints, *.hidden))]
    Rejected {
        /// The faults in the order of the file, at least one.
        complaints: Vec<Complaint>,
        /// How many more there are.
        hidden: usize,
    },
}

/// One fault of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// Path of the field, `tenant[2].listener[0].port`, and the names on the way to it.
    pub field: String,
    /// What is wrong.
    pub what: String,
    /// How to put it right.
    pub help: String,
    /// Another place that takes part in the fault.
    pub note: Option<String>,
    /// The source line, or the part of it around the fault.
    source_line: String,
    /// What to underline in it: characters before, characters of it.
    underline: (usize, usize),
}

impl ConfigError {
    pub(super) fn unreadable(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { path },
            io::ErrorKind::IsADirectory => Self::Directory { path },
            _ => Self::Unreadable { path, source },
        }
    }

    pub(super) fn not_utf8(path: &Path, error: &FromUtf8Error) -> Self {
        let valid = error.utf8_error().valid_up_to();
        let wrong = error.as_bytes()[valid];
        let text = String::from_utf8_lossy(error.as_bytes());
        // Up to `valid` the lossy text is the same, then comes the replacement character.
        let span = valid..valid + char::REPLACEMENT_CHARACTER.len_utf8();
        let what = format!("the byte 0x{wrong:02x} is not UTF-8 text");
        let help = "save the file in UTF-8".to_owned();
        Self::single(&path.display().to_string(), &text, span, what, help)
    }

    pub(super) fn syntax(file: &str, text: &str, error: &toml::de::Error) -> Self {
        let span = error.span().unwrap_or_default();
        let (what, help) = syntax_fault(error.message());
        Self::single(file, text, span, what, help)
    }

    /// One fault of a text that has no fields yet.
    fn single(file: &str, text: &str, span: Range<usize>, what: String, help: String) -> Self {
        let field = match header_above(text, floor_char_boundary(text, span.start)) {
            Some(header) => format!("in {}", Quoted(header)),
            None => "before the first section".to_owned(),
        };
        let complaint = Source::new(file, text).complaint(&span, field, what, help, None);
        Self::Rejected { complaints: vec![complaint], hidden: 0 }
    }

    /// `others` are texts behind the first one, see [`super::Overrides::put_into`].
    pub(super) fn rejected(
        file: &str,
        text: &str,
        others: &[OverrideText<'_>],
        root: &DeTable<'_>,
        problems: Problems,
    ) -> Self {
        let problems = problems.into_sorted();
        let hidden = problems.len().saturating_sub(MAX_COMPLAINTS);
        let sources = Sources::new(file, text, others);
        let complaints = problems
            .into_iter()
            .take(MAX_COMPLAINTS)
            .map(|problem| sources.complaint_about(problem, root))
            .collect();
        Self::Rejected { complaints, hidden }
    }
}

/// What the TOML parser's message means for an operator, and what to do.
fn syntax_fault(message: &str) -> (String, String) {
    let fault = message.split(", expected").next().unwrap_or(message);
    let help = match fault {
        "string values must be quoted" | "invalid float" => {
            return (
                "not valid TOML: neither a number nor text in quotes".to_owned(),
                "put text in double quotes: `field = \"text\"`".to_owned(),
            );
        }
        "duplicate key" => {
            "give it once only; a section that may stand several times needs double brackets: `[[...]]`"
        }
        "key with no value" => "write `field = value`, one a line",
        "unexpected key or value" => "begin a new line: one `field = value` a line",
        fault if fault.contains("array") => "close the list with `]`, and put commas between its values",
        fault if fault.contains("table") => {
            "write a section as `[name]`, or `[[name]]` if it may stand several times"
        }
        fault if fault.contains("string") => {
            "close the text with the quote that it began with, on the same line"
        }
        _ => "see `gateway-daemon config example` for the form of each field",
    };
    (format!("not valid TOML: {fault}"), help.to_owned())
}

/// The section header that the byte at `offset` belongs to.
fn header_above(text: &str, offset: usize) -> Option<&str> {
    let end = text[offset..].find('\n').map_or(text.len(), |newline| offset + newline);
    text[..end].lines().map(str::trim).rfind(|line| line.starts_with('['))
}

/// The file and the settings from elsewhere, one text behind the other.
struct Sources<'t>(Vec<(usize, Source<'t>)>);

impl<'t> Sources<'t> {
    fn new(file: &'t str, text: &'t str, others: &[OverrideText<'t>]) -> Self {
        let others = others.iter().map(|other| (other.start, Source::new(other.origin, other.text)));
        Self(std::iter::once((0, Source::new(file, text))).chain(others).collect())
    }

    /// The text that `span` is in, and where.
    fn find(&self, span: &Range<usize>) -> (&Source<'t>, Range<usize>) {
        let behind = self.0.partition_point(|(start, _)| *start <= span.start);
        let (start, source) = &self.0[behind - 1];
        (source, span.start - start..span.end.saturating_sub(*start))
    }

    fn complaint_about(&self, problem: Problem, root: &DeTable<'_>) -> Complaint {
        let note = problem.note.map(|(note, At { span, path })| {
            let (source, span) = self.find(&span);
            format!("{note}: line {}, {}", source.line_of(span.start).0, described(&path, root))
        });
        let field = described(&problem.at.path, root);
        let (source, span) = self.find(&problem.at.span);
        source.complaint(&span, field, problem.what, problem.help, note)
    }
}

/// The text of a file, for cutting lines out of it.
struct Source<'t> {
    file: &'t str,
    text: &'t str,
    /// Where each line begins.
    lines: Vec<usize>,
}

impl<'t> Source<'t> {
    fn new(file: &'t str, text: &'t str) -> Self {
        let lines =
            std::iter::once(0).chain(text.match_indices('\n').map(|(newline, _)| newline + 1)).collect();
        Self { file, text, lines }
    }

    /// The number (from 1) and the beginning of the line that `offset` is in.
    fn line_of(&self, offset: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= offset);
        (line, self.lines[line - 1])
    }

    fn complaint(
        &self,
        span: &Range<usize>,
        field: String,
        what: String,
        help: String,
        note: Option<String>,
    ) -> Complaint {
        let start = floor_char_boundary(self.text, span.start);
        let (line, line_start) = self.line_of(start);
        let text = self.text[line_start..].lines().next().unwrap_or_default();
        let before = self.text[line_start..start].chars().count();
        let marked = self.text[start..floor_char_boundary(self.text, span.end)].chars().count();
        let (source_line, underline) = excerpt(text, before, marked);
        Complaint {
            file: self.file.to_owned(),
            line,
            column: before + 1,
            field,
            what,
            help,
            note,
            source_line,
            underline,
        }
    }
}

fn floor_char_boundary(text: &str, offset: usize) -> usize {
    (0..=offset.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// A piece of a line that is short, harmless and has the fault in it; and what to underline there.
fn excerpt(line: &str, before: usize, marked: usize) -> (String, (usize, usize)) {
    let skipped = before.saturating_sub(MAX_LINE_CHARS / 2);
    let shown: String = line
        .chars()
        .skip(skipped)
        .take(MAX_LINE_CHARS)
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect();
    let before = before - skipped;
    let room = shown.chars().count().saturating_sub(before);
    (shown, (before, marked.min(room).max(1)))
}

/// A path and the names on the way: `tenant[2].listener[0].port (tenant "bank-a", listener "upi")`.
fn described(path: &FieldPath, root: &DeTable<'_>) -> String {
    let names = names_on(path, root);
    if names.is_empty() { path.to_string() } else { format!("{path} ({})", names.join(", ")) }
}

fn names_on(path: &FieldPath, root: &DeTable<'_>) -> Vec<String> {
    let mut names = Vec::new();
    let mut above = Cow::default();
    let mut value: Option<&DeValue<'_>> = None;
    for step in path.steps() {
        value = match (&step, value) {
            (StepTo::Key(key), None) => root.get(&**key).map(toml::Spanned::get_ref),
            (StepTo::Key(key), Some(value)) => value.get(&**key).map(toml::Spanned::get_ref),
            (StepTo::Index(index), value) => {
                value.and_then(|value| value.get(*index)).map(toml::Spanned::get_ref)
            }
        };
        match (step, value) {
            (_, None) => break,
            (StepTo::Key(key), Some(_)) => above = key,
            (StepTo::Index(_), Some(element)) => {
                let name = element.get("name").and_then(|name| name.get_ref().as_str());
                names.extend(name.map(|name| format!("{above} {}", Quoted(name))));
            }
        }
    }
    names
}

/// What is wrong with a file as a whole.
#[derive(Clone, Copy)]
enum FileFault {
    Missing,
    Directory,
    Unreadable,
    TooLarge,
}

/// A file, and what is wrong with it as a whole.
struct AboutFile<'a>(&'a Path, FileFault);

impl fmt::Display for AboutFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(path, fault) = self;
        let (what, help) = match fault {
            FileFault::Missing => {
                ("there is no such file", "`gateway-daemon config example` prints a file to start from")
            }
            FileFault::Directory => ("this is a directory", "give the path of the file in it"),
            FileFault::Unreadable => {
                ("the file can't be read", "make it readable for the user of the daemon")
            }
            FileFault::TooLarge => ("the file is larger than 64 MiB", "is it a configuration file?"),
        };
        write!(f, "error: {what}\n --> {}\n  = field: the whole file\n  = help: {help}", path.display())
    }
}

/// The complaints, one block each, and how many more there are.
struct Blocks<'a>(&'a [Complaint], usize);

impl fmt::Display for Blocks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, complaint) in self.0.iter().enumerate() {
            write!(f, "{}{complaint}", if i == 0 { "" } else { "\n\n" })?;
        }
        match self.1 {
            0 => Ok(()),
            hidden => write!(f, "\n\nerror: {hidden} more faults are not shown"),
        }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gutter = self.line.to_string().len();
        let (before, marked) = self.underline;
        writeln!(f, "error: {}", self.what)?;
        writeln!(f, "{:gutter$}--> {}:{}:{}", "", self.file, self.line, self.column)?;
        writeln!(f, "{:gutter$} |", "")?;
        writeln!(f, "{} | {}", self.line, self.source_line.trim_end())?;
        writeln!(f, "{:gutter$} | {:before$}{}", "", "", "^".repeat(marked))?;
        writeln!(f, "{:gutter$} = field: {}", "", self.field)?;
        if let Some(note) = &self.note {
            writeln!(f, "{:gutter$} = note: {note}", "")?;
        }
        write!(f, "{:gutter$} = help: {}", "", self.help)
    }
}
