//! Differences as people read them: a sign, the place, the values. No colours: the signs say it.

use super::columns::Align::Left;
use super::columns::Columns;
use crate::tenancy::diff::FieldChange;
use crate::tenancy::json_text::JsonText;

/// A longer value is cut for people: `--json` has it whole.
const VALUE_CHARS: usize = 100;

/// One line a difference: `+` is new, `-` is gone, `~` is another.
pub(super) fn render_changes(changes: &[FieldChange]) -> String {
    let mut columns = Columns::new([("", Left), ("", Left), ("", Left)]);
    for change in changes {
        let (sign, values) = described(change);
        columns.row([sign.to_owned(), change.path.clone(), values]);
    }
    let text = columns.render();
    // A heading says nothing here.
    text.split_once('\n').map_or_else(String::new, |(_, rows)| rows.to_owned())
}

fn described(change: &FieldChange) -> (&'static str, String) {
    match (&change.before, &change.after) {
        (None, Some(after)) => ("+", value(after)),
        (Some(before), None) => ("-", value(before)),
        (Some(before), Some(after)) => ("~", format!("{} -> {}", value(before), value(after))),
        (None, None) => ("~", String::new()),
    }
}

fn value(value: &JsonText) -> String {
    let text = value.to_string();
    if text.chars().count() <= VALUE_CHARS {
        return text;
    }
    text.chars().take(VALUE_CHARS).chain("...".chars()).collect()
}
