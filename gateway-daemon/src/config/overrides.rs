//! Settings that the environment or the command line gives instead of the file.
//!
//! Every field of a section that stands once can be given: `GATEWAY_DAEMON_SOCKET=/run/x.sock` in the environment,
//! `--set daemon.socket=/run/x.sock` on the command line, which wins. They are put into the table that was read from
//! the file, and are checked with it.

use std::borrow::Cow;
use std::ffi::OsString;
use std::ops::Range;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::File;
use super::reader::Section as _;
use super::schema::{Field, FieldKind, Schema};
use super::text::{Quoted, closest, listed};

/// What variables of the daemon begin with.
const VARIABLE_PREFIX: &str = "GATEWAY_";

/// Settings that are given beside the file; later ones win.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    settings: Vec<Setting>,
    unknown: Vec<String>,
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    section: &'static str,
    field: &'static str,
    value: String,
    /// The variable or the option that gives it.
    origin: String,
}

/// Why a setting can't be given like that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverrideError {
    /// Not of the form `section.field=value`.
    #[error(
        "{} is no setting: write section.field=value, as in daemon.socket=/run/gateway.sock",
        Quoted(text)
    )]
    Syntax {
        /// What was given.
        text: String,
    },
    /// No such setting.
    #[error("there is no setting {}: {help}", Quoted(name))]
    Unknown {
        /// What was given.
        name: String,
        /// What may have been meant.
        help: String,
    },
    /// The value is not text.
    #[error("the value of {variable} is not UTF-8 text: set it anew, or unset it")]
    NotUtf8 {
        /// Whose.
        variable: String,
    },
}

impl Overrides {
    /// Takes the settings among the variables of an environment.
    ///
    /// # Errors
    ///
    /// A setting whose value is not text.
    pub fn from_environment(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, OverrideError> {
        let mut overrides = Self::default();
        for (variable, value) in variables {
            let Some(variable) = variable.to_str().filter(|name| name.starts_with(VARIABLE_PREFIX)) else {
                continue;
            };
            overrides.add_variable(variable, value)?;
        }
        Ok(overrides)
    }

    fn add_variable(&mut self, variable: &str, value: OsString) -> Result<(), OverrideError> {
        let Some((section, field)) =
            settings().find(|(section, field)| self::variable(section, field.name) == variable)
        else {
            if is_of_a_section(variable) {
                self.unknown.push(variable.to_owned());
            }
            return Ok(());
        };
        let not_text = |_| OverrideError::NotUtf8 { variable: variable.to_owned() };
        let value = value.into_string().map_err(not_text)?;
        self.settings.push(Setting { section, field: field.name, value, origin: variable.to_owned() });
        Ok(())
    }

    /// These settings, and those of the command line on top.
    #[must_use]
    pub fn and(mut self, flags: &[Setting]) -> Self {
        self.settings.extend_from_slice(flags);
        self
    }

    /// Variables that look like settings and are none: misspelt, or of Kubernetes, which makes such names from those of
    /// services.
    pub fn unknown_variables(&self) -> &[String] {
        &self.unknown
    }

    /// Puts the settings into what was read from a text of `text_bytes` bytes. Returns them as further texts, each with
    /// its place behind the first one: spans of their values point there.
    pub(super) fn put_into<'t>(&'t self, root: &mut DeTable<'t>, text_bytes: usize) -> Vec<OverrideText<'t>> {
        let mut start = text_bytes;
        let mut texts = Vec::with_capacity(self.settings.len());
        for setting in &self.settings {
            // One between the texts: an empty value has a place of its own as well.
            start += 1;
            let span = start..start + setting.value.len();
            start = span.end;
            texts.push(OverrideText { origin: &setting.origin, text: &setting.value, start: span.start });
            setting.put_into(root, span);
        }
        texts
    }
}

/// A setting as a text that was read.
pub(super) struct OverrideText<'t> {
    pub(super) origin: &'t str,
    pub(super) text: &'t str,
    pub(super) start: usize,
}

impl Setting {
    fn put_into<'t>(&'t self, root: &mut DeTable<'t>, span: Range<usize>) {
        let key = |name: &'static str| Spanned::new(span.clone(), Cow::Borrowed(name));
        let empty = || Spanned::new(span.clone(), DeValue::Table(DeTable::new()));
        let section = root.entry(key(self.section)).or_insert_with(empty);
        // A file that has something else there is refused for that.
        if let DeValue::Table(table) = section.get_mut() {
            table.remove(self.field);
            table.insert(key(self.field), Spanned::new(span.clone(), self.toml(&span)));
        }
    }

    /// The value in the form that the field has in the file; text in any other form, which is then refused.
    fn toml(&self, span: &Range<usize>) -> DeValue<'_> {
        let text = || DeValue::String(Cow::Borrowed(self.value.as_str()));
        match default_of(self.section, self.field).chars().next() {
            Some('[') => DeValue::Array(list(&self.value, span).into_iter().collect()),
            Some('"') => text(),
            _ => DeValue::parse(self.value.trim()).map_or_else(|_| text(), Spanned::into_inner),
        }
    }
}

/// `a,b` or `["a", "b"]`.
fn list<'t>(value: &'t str, span: &Range<usize>) -> Vec<Spanned<DeValue<'t>>> {
    let at = |element| Spanned::new(span.clone(), element);
    if let Ok(parsed) = DeValue::parse(value)
        && let DeValue::Array(elements) = parsed.into_inner()
    {
        return elements.into_iter().map(|element| at(element.into_inner())).collect();
    }
    let parts = value.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| at(DeValue::String(Cow::Borrowed(part)))).collect()
}

/// The default, or the sample's value: the form of the field.
fn default_of(section: &str, field: &str) -> &'static str {
    let found = settings().find(|(other, one)| *other == section && one.name == field);
    match found.map(|(_, field)| &field.kind) {
        Some(FieldKind::Required(text) | FieldKind::Optional(text) | FieldKind::Defaulted(text)) => text,
        _ => "",
    }
}

/// All settings with their sections: the fields of sections that stand once.
pub(super) fn settings() -> impl Iterator<Item = (&'static str, &'static Field)> {
    sections().flat_map(|(name, schema)| schema.fields.iter().map(move |field| (name, field)))
}

fn sections() -> impl Iterator<Item = (&'static str, &'static Schema)> {
    File::SCHEMA.fields.iter().filter_map(|field| match field.kind {
        FieldKind::Table(schema) => Some((field.name, schema)),
        _ => None,
    })
}

/// The variable that gives a setting.
pub(super) fn variable(section: &str, field: &str) -> String {
    format!("{VARIABLE_PREFIX}{}_{}", section.to_uppercase(), field.to_uppercase())
}

fn is_of_a_section(name: &str) -> bool {
    sections().any(|(section, _)| name.starts_with(&variable(section, "")))
}

/// As on the command line: `section.field=value`.
impl FromStr for Setting {
    type Err = OverrideError;

    fn from_str(text: &str) -> Result<Self, OverrideError> {
        let parts = text.split_once('=').and_then(|(name, value)| Some((name.split_once('.')?, value)));
        let Some(((section, field), value)) = parts else {
            return Err(OverrideError::Syntax { text: text.to_owned() });
        };
        let name = format!("{section}.{field}");
        let Some((section, field)) = settings().find(|(other, one)| *other == section && one.name == field)
        else {
            return Err(OverrideError::Unknown { help: unknown_help(&name), name });
        };
        let origin = format!("--set {name}");
        Ok(Self { section, field: field.name, value: value.to_owned(), origin })
    }
}

fn unknown_help(name: &str) -> String {
    let names: Vec<String> = settings().map(|(section, field)| format!("{section}.{}", field.name)).collect();
    match closest(name, names.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("the sections are {}", listed(sections().map(|(name, _)| name))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;
    use std::time::Duration;

    use super::*;
    use crate::config::{Config, ConfigError, Interfaces, Principal, example};

    fn environment(variables: &[(&str, &str)]) -> Overrides {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Overrides::from_environment(variables).unwrap()
    }

    fn flags(settings: &[&str]) -> Vec<Setting> {
        settings.iter().map(|setting| setting.parse().unwrap()).collect()
    }

    fn parse(overrides: &Overrides) -> Result<Config, ConfigError> {
        Config::parse_with("sample", &example(), &Interfaces::Unchecked, overrides)
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let overrides = environment(&[
            ("GATEWAY_GATEWAY_INGRESS_VIP", "192.0.2.11"),
            ("GATEWAY_TIMEOUTS_UDP_SECS", "200"),
            ("GATEWAY_NODE_NAME", "of-the-environment"),
        ]);
        let config = parse(&overrides.clone().and(&flags(&["node.name=of-the-flag"]))).unwrap();
        assert_eq!(config.gateway.ingress_vip.to_string(), "192.0.2.11");
        assert_eq!(config.timeouts.udp, Duration::from_secs(200));
        assert_eq!(config.node.name.as_str(), "of-the-flag");
        assert_eq!(parse(&overrides).unwrap().node.name.as_str(), "of-the-environment");
    }

    #[test]
    fn lists_are_words_with_commas_or_toml() {
        let bob = Principal::User("bob".to_owned());
        for value in ["bob, @ops", "[\"bob\", \"@ops\"]"] {
            let config = parse(&environment(&[("GATEWAY_API_ADMINS", value)])).unwrap();
            assert_eq!(config.api.admins, [bob.clone(), Principal::Group("ops".to_owned())], "{value}");
        }
        let config = parse(&environment(&[("GATEWAY_API_ADMINS", "")])).unwrap();
        assert_eq!(config.api.admins, []);
    }

    #[test]
    fn texts_need_no_quotes_even_if_they_look_like_numbers() {
        let config = parse(&Overrides::default().and(&flags(&["node.name=7", "daemon.metrics="]))).unwrap();
        assert_eq!((config.node.name.as_str(), config.daemon.metrics), ("7", None));
    }

    /// Every setting can be given, and its default given like that is the default.
    #[test]
    fn every_setting_takes_its_own_default() {
        let config = parse(&Overrides::default()).unwrap();
        for (section, field) in settings() {
            let value = default_of(section, field.name).trim_matches('"');
            let overrides = environment(&[(&variable(section, field.name), value)]);
            assert_eq!(overrides.settings.len(), 1, "{section}.{}", field.name);
            let given = parse(&overrides).unwrap_or_else(|error| panic!("{section}.{}: {error}", field.name));
            assert_eq!(given, config, "{section}.{}", field.name);
        }
    }

    #[test]
    fn errors_name_the_variable_or_the_flag() {
        let error = parse(&environment(&[("GATEWAY_DAEMON_SOCKET", "run/x")])).unwrap_err().to_string();
        assert_eq!(
            error,
            "error: the path `run/x` is not absolute\n --> GATEWAY_DAEMON_SOCKET:1:1\n  |\n1 | run/x\n  | ^^^^^\n  = \
             field: daemon.socket\n  = help: begin it with a slash, as in `\"/run/run/x\"`"
        );
        for (setting, what) in [
            ("timeouts.udp_secs=many", "expected an integer, found a string"),
            ("timeouts.udp_secs=", "expected an integer, found a string"),
            ("node.id=64", "64 is not between 1 and 63"),
            ("api.admins=a b", "`a b` names nobody who could use the API"),
            ("api.admins=[7]", "expected a string, found an integer"),
            ("store.kind=embedded", "the store is `embedded`, and this file has tenants or peer groups"),
        ] {
            let error = parse(&Overrides::default().and(&flags(&[setting]))).unwrap_err().to_string();
            let (name, _) = setting.split_once('=').unwrap();
            assert!(error.starts_with(&format!("error: {what}\n --> --set {name}:1:1\n")), "{error}");
        }
    }

    #[test]
    fn faults_of_the_file_keep_their_place_beside_those_of_flags() {
        let text = format!("{}[node]\nid = 64", "\n".repeat(3));
        let overrides = Overrides::default().and(&flags(&["node.name=A"]));
        let error = Config::parse_with("file", &text, &Interfaces::Unchecked, &overrides).unwrap_err();
        let ConfigError::Rejected { complaints, .. } = error else { panic!("{error}") };
        let places: Vec<_> = complaints.iter().map(|one| (one.file.as_str(), one.line)).collect();
        assert!(places.contains(&("file", 5)) && places.contains(&("--set node.name", 1)), "{places:?}");
    }

    #[test]
    fn unknown_settings_are_refused_and_unknown_variables_are_told() {
        for (text, expected) in [
            ("daemon.soket=x", "there is no setting `daemon.soket`: did you mean `daemon.socket`?"),
            ("tenant.name=x", "there is no setting `tenant.name`: the sections are `gateway`, `node`, "),
            ("daemon=x", "`daemon=x` is no setting: write section.field=value"),
            ("daemon.socket", "`daemon.socket` is no setting: write section.field=value"),
        ] {
            let error = text.parse::<Setting>().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        let overrides = environment(&[
            ("GATEWAY_DAEMON_PORT", "tcp://10.0.0.1:1"),
            ("GATEWAY_SOCKET", "/x"),
            ("HOME", "/"),
        ]);
        assert_eq!(overrides.unknown_variables(), ["GATEWAY_DAEMON_PORT"]);
        assert_eq!(parse(&overrides).unwrap(), parse(&Overrides::default()).unwrap());
    }

    #[test]
    fn values_that_are_not_text_are_refused() {
        let value = OsString::from_vec(vec![0xff]);
        let error = Overrides::from_environment([("GATEWAY_NODE_NAME".into(), value.clone())]).unwrap_err();
        assert!(error.to_string().contains("GATEWAY_NODE_NAME"), "{error}");
        assert!(Overrides::from_environment([("OTHER".into(), value)]).is_ok());
    }
}
