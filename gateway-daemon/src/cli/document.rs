//! Reads the documents that `apply` and `diff` take: TOML or JSON, from a file or standard input.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::tenancy::spec::Document;

/// A document can't be read or understood.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// There is no text.
    #[error("cannot read {}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no TOML, or not of the right shape. The source shows line and column.
    #[error("{} is wrong", .path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// It is no JSON, or not of the right shape. The source shows line and column.
    #[error("{} is wrong at `{field}`", .path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// Where and why.
        source: serde_json::Error,
    },
}

impl DocumentError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "name a file that you may read, or `-` for standard input",
            Self::Toml { .. } | Self::Json { .. } => {
                "`gateway-daemon export` prints a document of the right shape; nothing was changed"
            }
        }
    }
}

/// The document of a file; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<Document, DocumentError> {
    let text = text_of(path).map_err(|source| DocumentError::Unreadable { path: path.to_owned(), source })?;
    parse(path, &text)
}

fn text_of(path: &Path) -> io::Result<String> {
    if path != Path::new("-") {
        return fs::read_to_string(path);
    }
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text)?;
    Ok(text)
}

fn parse(path: &Path, text: &str) -> Result<Document, DocumentError> {
    if is_json(path, text) {
        return parse_json(text).map_err(|(field, source)| {
            let path = path.to_owned();
            DocumentError::Json { path, field, source }
        });
    }
    toml::from_str(text)
        .map_err(|source| DocumentError::Toml { path: path.to_owned(), source: Box::new(source) })
}

/// The document, or the field that is wrong and why.
fn parse_json(text: &str) -> Result<Document, (String, serde_json::Error)> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let document = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| (error.path().to_string(), error.into_inner()))?;
    reader.end().map_err(|error| (".".to_owned(), error))?;
    Ok(document)
}

/// By the name; else by its first character, which opens an object in JSON and never stands first in TOML.
fn is_json(path: &Path, text: &str) -> bool {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => true,
        Some("toml") => false,
        _ => text.trim_start().starts_with('{'),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    const TOML: &str = "[[tenant]]\nname = \"a\"\nnat_ip = \"198.51.100.30\"\nsources = [\"10.0.0.0/24\"]\n";

    fn error(path: &str, text: &str) -> String {
        let error = parse(Path::new(path), text).unwrap_err();
        format!("{error}: {}", error.source().unwrap())
    }

    #[test]
    fn both_forms_say_the_same() {
        let toml = parse(Path::new("-"), TOML).unwrap();
        let json = serde_json::to_string(&toml).unwrap();
        assert_eq!(parse(Path::new("-"), &json).unwrap(), toml);
        assert_eq!(parse(Path::new("a.json"), &format!(" \n{json}")).unwrap(), toml);
        assert_eq!(toml.tenant[0].name, "a");
    }

    #[test]
    fn faults_have_a_line_and_a_column() {
        let text = error("a.toml", &TOML.replace("[\"10.0.0.0/24\"]", "7"));
        assert!(text.starts_with("a.toml is wrong: TOML parse error at line 4, column 11"), "{text}");
        let text = error("a.toml", &TOML.replace("nat_ip", "natip"));
        assert!(text.contains("line 3, column 1") && text.contains("unknown field `natip`"), "{text}");
        let text = error("a.json", "{\"tenant\": [\n {\"name\": 7}]}");
        assert!(text.starts_with("a.json is wrong at `tenant[0].name`: invalid type"), "{text}");
        assert!(text.contains("line 2 column 11"), "{text}");
        assert!(error("a.json", "{} x").contains("trailing characters at line 1 column 4"));
    }
}
