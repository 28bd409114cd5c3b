//! Places by names: `tenant[bank-a].pool[web].backend[198.51.100.18:8080].weight`.
//!
//! The positions of a [`FieldPath`] mean nothing to a caller of the API, who never saw the text that they count in.

use std::fmt::Write as _;

use toml::de::{DeTable, DeValue};

use super::problem::{FieldPath, Problem, StepTo};
use crate::tenancy::path::Label;
use crate::tenancy::problem::FieldProblem;

/// A fault with its place by names.
pub(super) fn field_problem(problem: Problem, root: &DeTable<'_>) -> FieldProblem {
    let mut what = problem.what;
    if let Some((note, other)) = problem.note {
        let place = named(&other.path, root);
        // What is in force already has no place in what was asked for.
        if !place.is_empty() {
            // Writing to a String does not fail.
            _ = write!(what, " ({note}: {place})");
        }
    }
    FieldProblem { path: named(&problem.at.path, root), problem: what, remedy: problem.help }
}

fn named(path: &FieldPath, root: &DeTable<'_>) -> String {
    let mut text = String::new();
    let mut list = String::new();
    let mut value: Option<&DeValue<'_>> = None;
    for (depth, step) in path.steps().into_iter().enumerate() {
        match step {
            StepTo::Key(key) => {
                value = match value {
                    None if depth == 0 => root.get(&*key).map(toml::Spanned::get_ref),
                    value => value.and_then(|value| value.get(&*key)).map(toml::Spanned::get_ref),
                };
                _ = write!(text, "{}{key}", if depth == 0 { "" } else { "." });
                list = key.into_owned();
            }
            StepTo::Index(index) => {
                value = value.and_then(|value| value.get(index)).map(toml::Spanned::get_ref);
                match value.and_then(|element| label(&list, element)) {
                    Some(label) => _ = write!(text, "[{label}]"),
                    None => _ = write!(text, "[{index}]"),
                }
            }
        }
    }
    text
}

/// What an element of the list called `list` is known by.
fn label<'v>(list: &str, element: &'v DeValue<'_>) -> Option<Label<'v>> {
    let text = |field: &str| element.get(field).and_then(|value| value.get_ref().as_str());
    let port = element.get("port").and_then(|port| port.get_ref().as_integer()?.as_str().parse().ok());
    match list {
        "backend" => Some(Label::backend(text("address")?, port?)),
        "egress" => Some(Label::egress(text("protocol")?, port?)),
        "endpoint" => Some(Label::endpoint(text("protocol")?, text("address")?, port)),
        _ => text("name").map(Label::name),
    }
}
