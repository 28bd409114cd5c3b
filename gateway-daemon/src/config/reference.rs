//! The reference of the configuration: every field in tables, made from the [`Schema`].

use super::file::File;
use super::overrides::variable;
use super::reader::Section;
use super::reload::is_reloadable;
use super::schema::{Field, FieldKind, Schema};

/// What stands above the sections.
const HEAD: &str = "\
# Configuration

This page is printed by `gateway-daemon config reference`; `gateway-daemon config example` prints the same as a file
to start from, and `gateway-daemon config check FILE` checks yours.

- **Override**: a setting with a variable can be given in the environment of the daemon, or with
  `gateway-daemon run --set section.field=value`. The command line wins over the environment, that over the file. Lists
  are written with commas between.
- **Change**: *reload* comes into force with SIGHUP or the API's reload; *restart* needs a restart of the daemon, and a
  reload says so. Tenants and peer groups of a store are changed through the API, and at once.
- Paths are absolute, addresses are IPv4 unless said otherwise. Unknown fields are refused.
";

/// The reference in Markdown. The committed copy is `docs/configuration.md`.
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    push_sections(&mut text, File::SCHEMA, "");
    text
}

/// The sections in a section, whose paths begin with `above`.
fn push_sections(text: &mut String, schema: &Schema, above: &str) {
    for field in schema.fields {
        let path = format!("{above}{}", field.name);
        let (inner, header) = match field.kind {
            FieldKind::Table(inner) | FieldKind::OptionalTable(inner) => (inner, format!("[{path}]")),
            FieldKind::Tables(inner) => (inner, format!("[[{path}]]")),
            _ => continue,
        };
        text.extend(["\n## `", &header, "`\n\n", &prose(field.doc), "\n\n"]);
        push_table(text, inner, &path, has_variables(field, above));
        push_sections(text, inner, &format!("{path}."));
    }
}

/// Only sections that stand once at the top can be overridden.
fn has_variables(section: &Field, above: &str) -> bool {
    above.is_empty() && matches!(section.kind, FieldKind::Table(_))
}

fn push_table(text: &mut String, schema: &Schema, path: &str, with_variables: bool) {
    *text += "| Field | Value | Default | Change | Meaning |\n|---|---|---|---|---|\n";
    for field in schema.fields {
        let Some(form) = field.form else { continue };
        let default = match field.kind {
            FieldKind::Required(_) => "required".to_owned(),
            FieldKind::Defaulted(value) => format!("`{value}`"),
            _ => "none".to_owned(),
        };
        let full = format!("{path}.{}", field.name);
        let change = if is_reloadable(&full) { "reload" } else { "restart" };
        let name = field.name;
        let name = if with_variables {
            format!("`{name}`<br>`{}`", variable(path, name))
        } else {
            format!("`{name}`")
        };
        let cells = [name, cell(&form()), default, change.to_owned(), cell(&prose(field.doc))];
        text.extend(["| ", &cells.join(" | "), " |\n"]);
    }
}

/// Doc comments come line by line, each with the space that follows `///`.
fn prose(doc: &[&str]) -> String {
    doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// Text within a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::overrides::settings;

    #[test]
    fn every_field_has_a_row() {
        let text = reference();
        for (section, field) in settings() {
            let row = format!("| `{}`<br>`{}` | ", field.name, variable(section, field.name));
            assert_eq!(text.matches(&row).count(), 1, "{row}");
        }
        for row in [
            "| `weight` | integer, 0 to 1,000 | `1` | reload | ",
            "| `side` | \"external\", \"internal\" | required | restart | ",
        ] {
            assert!(text.contains(row), "{row}");
        }
    }

    #[test]
    fn rows_have_five_cells() {
        for line in reference().lines().filter(|line| line.starts_with("| ")) {
            assert_eq!(line.replace("\\|", "").matches('|').count(), 6, "{line}");
        }
    }
}
