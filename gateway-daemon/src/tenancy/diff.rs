//! What differs between two versions, field by field.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Tenancy;
use super::json_text::JsonText;
use super::path::Label;
use super::walk::{Walk, entries};

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldChange {
    /// Where, by names: `tenant[bank-a].pool[web].backend[198.51.100.18:8080].weight`.
    pub path: String,
    /// What stood there; absent when the field or object is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub before: Option<JsonText>,
    /// What stands there; absent when it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub after: Option<JsonText>,
}

/// What differs between two versions. Empty exactly if they are equal.
///
/// An object that is new or gone is one change. Objects that both versions share in memory cost next to nothing.
pub fn diff(before: &Tenancy, after: &Tenancy) -> Vec<FieldChange> {
    let mut changes = Changes(Vec::new());
    changes.maps("peer_group", &before.peer_groups, &after.peer_groups);
    changes.maps("tenant", &before.tenants, &after.tenants);
    changes.0
}

/// The differences that were found.
struct Changes(Vec<FieldChange>);

impl Changes {
    fn maps<T: PartialEq + Serialize>(
        &mut self,
        kind: &str,
        before: &BTreeMap<String, Arc<T>>,
        after: &BTreeMap<String, Arc<T>>,
    ) {
        let names: BTreeSet<&str> = before.keys().chain(after.keys()).map(String::as_str).collect();
        let (mut before, mut after) = (Walk::new(entries(before)), Walk::new(entries(after)));
        for name in names {
            let (old, new) = (before.find(name), after.find(name));
            let same = old.zip(new).is_some_and(|(old, new)| Arc::ptr_eq(old, new) || old == new);
            if !same {
                let path = format!("{kind}[{}]", Label::name(name));
                self.values(&path, "", old.map(json).as_ref(), new.map(json).as_ref());
            }
        }
    }

    /// Compares the values of the field `name`, whose path is `path`.
    fn values(&mut self, path: &str, name: &str, before: Option<&Value>, after: Option<&Value>) {
        match (before, after) {
            (before, after) if before == after => {}
            (before, after)
                if is_list_of_objects(name) && [before, after].into_iter().flatten().all(Value::is_array) =>
            {
                self.lists(path, name, before, after);
            }
            (Some(Value::Object(before)), Some(Value::Object(after))) => self.objects(path, before, after),
            (before, after) => self.add(path, before, after),
        }
    }

    fn objects(&mut self, path: &str, before: &Map<String, Value>, after: &Map<String, Value>) {
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for name in names {
            self.values(&format!("{path}.{name}"), name, before.get(name), after.get(name));
        }
    }

    /// Compares two lists of objects, which are known by their labels. An absent list is an empty one.
    fn lists(&mut self, path: &str, name: &str, before: Option<&Value>, after: Option<&Value>) {
        let (old, new) = (Labelled::new(name, before), Labelled::new(name, after));
        for (key, element) in &old.elements {
            self.values(&format!("{path}[{}]", key.0), "", Some(element), new.find(key));
        }
        for (key, element) in new.elements.iter().filter(|(key, _)| old.find(key).is_none()) {
            self.values(&format!("{path}[{}]", key.0), "", None, Some(element));
        }
        let (old_order, new_order) = (old.order_of_common(&new), new.order_of_common(&old));
        if old_order != new_order {
            self.add(path, Some(&old_order.into()), Some(&new_order.into()));
        }
    }

    fn add(&mut self, path: &str, before: Option<&Value>, after: Option<&Value>) {
        let (before, after) = (before.map(JsonText::from), after.map(JsonText::from));
        self.0.push(FieldChange { path: path.to_owned(), before, after });
    }
}

/// Structs with string keys, strings, lists and numbers are all that there is.
fn json<T: Serialize>(object: &Arc<T>) -> Value {
    serde_json::to_value(&**object).expect("every object can be written as JSON")
}

/// By its name, which is not enough: a listener's `pool` is the name of one.
fn is_list_of_objects(name: &str) -> bool {
    matches!(name, "pool" | "backend" | "listener" | "egress" | "endpoint")
}

/// The label of an element, and how many elements before it have the same: in an illegal document some may.
type Key = (String, usize);

/// The elements of a list by their labels.
struct Labelled<'v> {
    elements: Vec<(Key, &'v Value)>,
    by_key: HashMap<Key, &'v Value>,
}

impl<'v> Labelled<'v> {
    fn new(list: &str, value: Option<&'v Value>) -> Self {
        let mut seen = HashMap::new();
        let values = value.and_then(Value::as_array).into_iter().flatten();
        let key = |element: &Value| {
            let label = label(list, element);
            let count: &mut usize = seen.entry(label.clone()).or_default();
            *count += 1;
            (label, *count - 1)
        };
        let keys: Vec<Key> = values.clone().map(key).collect();
        let elements: Vec<(Key, &Value)> = keys.into_iter().zip(values).collect();
        let by_key = elements.iter().cloned().collect();
        Self { elements, by_key }
    }

    fn find(&self, key: &Key) -> Option<&'v Value> {
        self.by_key.get(key).copied()
    }

    /// The labels of those that `other` has as well, in their order here.
    fn order_of_common(&self, other: &Self) -> Vec<String> {
        let common = self.elements.iter().filter(|(key, _)| other.find(key).is_some());
        common.map(|(key, _)| key.0.clone()).collect()
    }
}

fn label(list: &str, element: &Value) -> String {
    let text = |field: &str| element.get(field).and_then(Value::as_str).unwrap_or_default();
    let port = element.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
    match list {
        "backend" => Label::backend(text("address"), port.unwrap_or(0)),
        "egress" => Label::egress(text("protocol"), port.unwrap_or(0)),
        "endpoint" => Label::endpoint(text("protocol"), text("address"), port),
        _ => Label::name(text("name")),
    }
    .to_string()
}
