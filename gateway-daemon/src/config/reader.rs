//! From TOML values to typed fields, collecting every fault on the way.

use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::File;
use super::problem::{At, Explain, FieldPath, Located, Problems, Reported};
use super::schema::Schema;
use super::text::{Quoted, closest, listed};

/// A table of the file with known fields; written by the `section!` macro.
pub(super) trait Section: Sized {
    const SCHEMA: &'static Schema;

    /// Where the section's header stands.
    fn at(&self) -> &At;

    /// Reads all fields.
    fn read(reader: &mut Reader<'_, '_>) -> Result<Self, Reported>;
}

/// A type that a field can have.
pub(super) trait FromToml: Sized {
    /// What can be written, for the reference: "integer, 1 to 65,535".
    fn form() -> String;

    fn from_toml(node: &Node<'_>, problems: &mut Problems) -> Result<Self, Reported>;
}

/// Reads a whole text: a [`File`], or a document of objects.
pub(super) fn read_root<S: Section>(
    root: &Spanned<DeTable<'_>>,
    problems: &mut Problems,
) -> Result<S, Reported> {
    read_section(root.get_ref(), At::default(), problems)
}

fn read_section<S: Section>(table: &DeTable<'_>, at: At, problems: &mut Problems) -> Result<S, Reported> {
    let mut reader = Reader { table, at, problems };
    reader.refuse_unknown(S::SCHEMA);
    S::read(&mut reader)
}

/// Reads the fields of one table.
pub(super) struct Reader<'t, 'p> {
    table: &'t DeTable<'t>,
    at: At,
    problems: &'p mut Problems,
}

impl<'t> Reader<'t, '_> {
    /// Where the table's header stands.
    pub(super) fn at(&self) -> &At {
        &self.at
    }

    pub(super) fn required<T: FromToml>(
        &mut self,
        name: &'static str,
        example: &'static str,
    ) -> Result<Located<T>, Reported> {
        if let Some(node) = self.node(name) {
            return node.located(self.problems);
        }
        let fault =
            ShapeError::MissingField { name: name.to_owned(), header: self.at.path.header(), example };
        Err(self.problems.add(&self.at.field(name), &fault))
    }

    pub(super) fn optional<T: FromToml>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<Located<T>>, Reported> {
        self.node(name).map(|node| node.located(self.problems)).transpose()
    }

    pub(super) fn defaulted<T: FromToml>(
        &mut self,
        name: &'static str,
        default: &str,
    ) -> Result<Located<T>, Reported> {
        if let Some(node) = self.node(name) {
            return node.located(self.problems);
        }
        // The text is a literal of `file`; a test reads every one of them.
        let value = DeValue::parse(default).expect("a default of the schema is a TOML value");
        Node { value: value.get_ref(), at: self.at.field(name) }.located(self.problems)
    }

    pub(super) fn table<S: Section>(&mut self, name: &'static str) -> Result<S, Reported> {
        let Some(node) = self.node(name) else {
            return self.absent_table(name);
        };
        let Some(table) = node.value.as_table() else {
            let help = format!("write it as a section that begins with {}", node.at.path.header());
            let fault = ShapeError::wrong_type("a table", node.value, help);
            return Err(self.problems.add(&node.at, &fault));
        };
        read_section(table, node.at, self.problems)
    }

    pub(super) fn optional_table<S: Section>(&mut self, name: &'static str) -> Result<Option<S>, Reported> {
        if self.node(name).is_none() { Ok(None) } else { self.table(name).map(Some) }
    }

    fn absent_table<S: Section>(&mut self, name: &'static str) -> Result<S, Reported> {
        let at = self.at.field(name);
        if S::SCHEMA.required().next().is_none() {
            return read_section(&DeTable::new(), at, self.problems);
        }
        let fields = S::SCHEMA.required().map(|(name, example)| format!("{name} = {example}")).collect();
        Err(self.problems.add(&at, &ShapeError::MissingSection { name: name.to_owned(), fields }))
    }

    pub(super) fn tables<S: Section>(&mut self, name: &'static str) -> Result<Vec<S>, Reported> {
        let Some(node) = self.node(name) else {
            return Ok(Vec::new());
        };
        let header = node.at.path.index(0).header();
        let Some(array) = node.value.as_array() else {
            let help =
                format!("it can stand several times: begin each one with {header}, in double brackets");
            let fault = ShapeError::wrong_type("a list of tables", node.value, help);
            return Err(self.problems.add(&node.at, &fault));
        };
        let sections: Vec<Result<S, Reported>> = array
            .iter()
            .enumerate()
            .map(|(index, element)| {
                let at = At { span: element.span(), path: node.at.path.index(index) };
                let Some(table) = element.get_ref().as_table() else {
                    let help = format!("begin each one with {header}, in double brackets");
                    let fault = ShapeError::wrong_type("a table", element.get_ref(), help);
                    return Err(self.problems.add(&at, &fault));
                };
                read_section(table, at, self.problems)
            })
            .collect();
        sections.into_iter().collect()
    }

    fn node(&self, name: &'static str) -> Option<Node<'t>> {
        let value = self.table.get(name)?;
        Some(Node { value: value.get_ref(), at: At { span: value.span(), path: self.at.path.key(name) } })
    }

    fn refuse_unknown(&mut self, schema: &Schema) {
        for (key, value) in self.table {
            let name = key.get_ref().as_ref();
            if schema.field(name).is_none() {
                let at = At { span: key.span(), path: self.at.path.key(name.to_owned()) };
                let fault = ShapeError::unknown(name, value.get_ref(), schema, &self.at.path);
                self.problems.add(&at, &fault);
            }
        }
    }
}

/// A value of the file and its place.
pub(super) struct Node<'t> {
    pub(super) value: &'t DeValue<'t>,
    pub(super) at: At,
}

impl Node<'_> {
    fn located<T: FromToml>(self, problems: &mut Problems) -> Result<Located<T>, Reported> {
        let value = T::from_toml(&self, problems)?;
        Ok(Located { value, at: self.at })
    }

    /// The value as a string that `T` is made from.
    pub(super) fn text<T: FromStr<Err: Explain>>(&self, problems: &mut Problems) -> Result<T, Reported> {
        let Some(text) = self.value.as_str() else {
            let help = match self.value {
                DeValue::Array(_) | DeValue::Table(_) => "write one string in double quotes".to_owned(),
                scalar => {
                    format!("put it in double quotes: {}", Quoted(&format!("\"{}\"", scalar_text(scalar))))
                }
            };
            return Err(problems.add(&self.at, &ShapeError::wrong_type("a string", self.value, help)));
        };
        text.parse().map_err(|error| problems.add(&self.at, &error))
    }

    /// The value as a yes or no.
    fn boolean(&self, problems: &mut Problems) -> Result<bool, Reported> {
        let help = || "write `true` or `false`, without quotes".to_owned();
        let wrong = || ShapeError::wrong_type("a boolean", self.value, help());
        self.value.as_bool().ok_or_else(|| problems.add(&self.at, &wrong()))
    }

    /// The value as an integer that `T` is made from.
    pub(super) fn integer<T: TryFrom<i64, Error: Explain>>(
        &self,
        problems: &mut Problems,
    ) -> Result<T, Reported> {
        let Some(integer) = self.value.as_integer() else {
            let help = match self.value.as_str() {
                Some(text) if text.parse::<i64>().is_ok() => format!("write it without the quotes: `{text}`"),
                _ => "write a whole number, without quotes and without a point".to_owned(),
            };
            return Err(problems.add(&self.at, &ShapeError::wrong_type("an integer", self.value, help)));
        };
        let Ok(number) = i64::from_str_radix(integer.as_str(), integer.radix()) else {
            return Err(problems.add(&self.at, &ShapeError::HugeInteger { text: integer.to_string() }));
        };
        T::try_from(number).map_err(|error| problems.add(&self.at, &error))
    }
}

fn scalar_text(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Integer(integer) => integer.to_string(),
        DeValue::Float(float) => float.to_string(),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Datetime(datetime) => datetime.to_string(),
        DeValue::String(_) | DeValue::Array(_) | DeValue::Table(_) => "...".to_owned(),
    }
}

impl FromToml for bool {
    fn form() -> String {
        "true or false".to_owned()
    }

    fn from_toml(node: &Node<'_>, problems: &mut Problems) -> Result<Self, Reported> {
        node.boolean(problems)
    }
}

/// A list of values, each with its place.
pub(super) type List<T> = Vec<Located<T>>;

impl<T: FromToml> FromToml for List<T> {
    fn form() -> String {
        format!("list: {}", T::form())
    }

    fn from_toml(node: &Node<'_>, problems: &mut Problems) -> Result<Self, Reported> {
        let Some(array) = node.value.as_array() else {
            let help = match node.value.as_str() {
                Some(text) => format!("put it in brackets: {}", Quoted(&format!("[\"{text}\"]"))),
                None => "write a list of strings in brackets: `[\"...\", \"...\"]`".to_owned(),
            };
            return Err(problems.add(&node.at, &ShapeError::wrong_type("a list", node.value, help)));
        };
        let values: Vec<Result<Located<T>, Reported>> = array
            .iter()
            .enumerate()
            .map(|(index, element)| {
                let at = At { span: element.span(), path: node.at.path.index(index) };
                Node { value: element.get_ref(), at }.located(problems)
            })
            .collect();
        values.into_iter().collect()
    }
}

/// Lets fields of these types be read from a TOML string, by their `FromStr`. Each stands with its form.
macro_rules! from_toml_string {
    ($($ty:ty: $form:expr),* $(,)?) => {$(
        impl $crate::config::reader::FromToml for $ty {
            fn form() -> String {
                String::from($form)
            }

            fn from_toml(
                node: &$crate::config::reader::Node<'_>,
                problems: &mut $crate::config::problem::Problems,
            ) -> Result<Self, $crate::config::problem::Reported> {
                node.text(problems)
            }
        }
    )*};
}

pub(super) use from_toml_string;

/// The file has not the shape it should have.
#[derive(Debug, thiserror::Error)]
enum ShapeError {
    #[error("expected {expected}, found {found}")]
    WrongType { expected: &'static str, found: &'static str, help: String },
    #[error("{} is beyond every range of numbers", Quoted(text))]
    HugeInteger { text: String },
    #[error("required field `{name}` is missing in {header}")]
    MissingField { name: String, header: String, example: &'static str },
    #[error("required section `[{name}]` is missing")]
    MissingSection { name: String, fields: Vec<String> },
    #[error("unknown {what} {name}")]
    Unknown { what: &'static str, name: String, help: String },
}

impl ShapeError {
    fn wrong_type(expected: &'static str, found: &DeValue<'_>, help: String) -> Self {
        let found = match found {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a number with a point",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        Self::WrongType { expected, found, help }
    }

    fn unknown(name: &str, value: &DeValue<'_>, schema: &Schema, section: &FieldPath) -> Self {
        let what = match value {
            DeValue::Table(_) => "section",
            DeValue::Array(array) if array.iter().any(|element| element.get_ref().is_table()) => "section",
            _ => "field",
        };
        let help = unknown_help(name, schema, section);
        Self::Unknown { what, name: Quoted(name).to_string(), help }
    }
}

/// What an unknown field should have been: a misspelt neighbour, else a field of another section, else the
/// list.
fn unknown_help(name: &str, schema: &Schema, section: &FieldPath) -> String {
    if let Some(meant) = closest(name, schema.names()) {
        return format!("did you mean `{meant}`?");
    }
    match File::SCHEMA.homes_of(name).as_slice() {
        [] => format!("{} has the fields {}", section.header(), listed(schema.names())),
        homes => format!(
            "`{name}` belongs to {}; in TOML a field belongs to the last header above it",
            listed(homes.iter().map(String::as_str))
        ),
    }
}

impl Explain for ShapeError {
    fn help(&self) -> String {
        match self {
            Self::WrongType { help, .. } | Self::Unknown { help, .. } => help.clone(),
            Self::HugeInteger { .. } => {
                "see `gateway-daemon config example` for the range of each field".to_owned()
            }
            Self::MissingField { name, example, .. } => format!("add a line such as `{name} = {example}`"),
            Self::MissingSection { name, fields } => {
                format!("add the section `[{name}]` with {}", listed(fields.iter().map(String::as_str)))
            }
        }
    }
}
