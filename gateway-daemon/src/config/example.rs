//! The sample file: every field with its documentation, made from the [`Schema`].

use super::file::File;
use super::reader::Section;
use super::schema::{Field, FieldKind, Schema};

/// More sections behind the first one of a kind, without which the sample would be no valid configuration.
const FURTHER: &[(&str, &str)] = &[("[[interface]]", "name = \"int0\"\nside = \"internal\"")];

/// A complete configuration that explains each of its fields.
///
/// Required fields have the sample's values, those with a default are commented out and show it. The
/// committed copy is `docs/config.example.toml`.
pub fn example() -> String {
    let mut lines = comment(File::SCHEMA.doc);
    push_fields(&mut lines, File::SCHEMA, "");
    lines.join("\n") + "\n"
}

/// The fields of a section, then the sections in it, whose paths begin with `above`.
fn push_fields(lines: &mut Vec<String>, schema: &Schema, above: &str) {
    for field in schema.fields {
        let path = format!("{above}{}", field.name);
        match &field.kind {
            FieldKind::Required(value) | FieldKind::Optional(value) => push_value(lines, field, "", value),
            FieldKind::Defaulted(value) => push_value(lines, field, "#", value),
            FieldKind::Table(inner) | FieldKind::OptionalTable(inner) => {
                push_section(lines, field, inner, &path, &format!("[{path}]"));
            }
            FieldKind::Tables(inner) => push_section(lines, field, inner, &path, &format!("[[{path}]]")),
        }
    }
}

fn push_value(lines: &mut Vec<String>, field: &Field, mark: &str, value: &str) {
    lines.extend(comment(field.doc));
    lines.push(format!("{mark}{} = {value}", field.name));
}

fn push_section(lines: &mut Vec<String>, field: &Field, inner: &Schema, path: &str, header: &str) {
    lines.push(String::new());
    lines.extend(comment(field.doc));
    lines.push(header.to_owned());
    push_fields(lines, inner, &format!("{path}."));
    for (_, fields) in FURTHER.iter().filter(|(of, _)| *of == header) {
        lines.extend([String::new(), header.to_owned(), (*fields).to_owned()]);
    }
}

/// Doc comments come with the space that follows `///`.
fn comment(doc: &[&str]) -> Vec<String> {
    doc.iter().map(|line| format!("#{line}").trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use toml::de::{DeTable, DeValue};

    use super::*;
    use crate::config::{Config, Interfaces};

    /// The sample with the defaults in force: `#field = value` uncommented. Prose has a space behind the `#`.
    fn uncommented() -> String {
        example()
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => rest,
                _ => line,
            })
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn the_sample_is_a_valid_configuration() {
        let config = Config::parse("sample", &example(), &Interfaces::present(["ext0", "int0"]));
        assert_eq!(config.unwrap_or_else(|error| panic!("{error}")).tenants.len(), 1);
    }

    #[test]
    fn the_defaults_that_the_sample_shows_are_those_in_force() {
        let parse = |text: &str| Config::parse("sample", text, &Interfaces::Unchecked).unwrap();
        assert_ne!(uncommented(), example());
        assert_eq!(parse(&uncommented()), parse(&example()));
    }

    #[test]
    fn every_field_of_the_schema_is_in_the_sample_and_documented() {
        let text = uncommented();
        let root = DeTable::parse(&text).unwrap();
        assert_all_fields(File::SCHEMA, root.get_ref(), "");
    }

    fn assert_all_fields(schema: &Schema, table: &DeTable<'_>, path: &str) {
        for field in schema.fields {
            let path = format!("{path}.{}", field.name);
            assert!(!field.doc.is_empty(), "{path} has no documentation");
            let value =
                table.get(field.name).unwrap_or_else(|| panic!("{path} is not in the sample")).get_ref();
            match (&field.kind, value) {
                (FieldKind::Table(inner) | FieldKind::OptionalTable(inner), DeValue::Table(table)) => {
                    assert_all_fields(inner, table, &path);
                }
                (FieldKind::Tables(inner), DeValue::Array(tables)) => {
                    assert_all_fields(inner, tables[0].get_ref().as_table().unwrap(), &path);
                }
                _ => {}
            }
        }
    }
}
