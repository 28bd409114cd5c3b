//! What differs between two versions, field by field.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Tenancy;

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldChange {
    /// Where, by names: `tenant[bank-a].pool[web].backend[198.51.100.18:8080].weight`.
    pub path: String,
    /// What stood there; absent when the field or object is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<serde_json::Value>,
    /// What stands there; absent when it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<serde_json::Value>,
}

/// What has to change for `before` to become `after`, in the order of the names.
pub fn diff(before: &Tenancy, after: &Tenancy) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    compare("peer_group", &before.peer_groups, &after.peer_groups, &mut changes);
    compare("tenant", &before.tenants, &after.tenants, &mut changes);
    changes
}

fn compare<T: Serialize + PartialEq>(
    what: &str,
    before: &BTreeMap<String, Arc<T>>,
    after: &BTreeMap<String, Arc<T>>,
    changes: &mut Vec<FieldChange>,
) {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let (old, new) = (before.get(name), after.get(name));
        if old != new {
            let json = |one: &Arc<T>| serde_json::to_value(&**one).expect("a specification is JSON");
            fields(&format!("{what}[{name}]"), old.map(json), new.map(json), changes);
        }
    }
}

fn fields(path: &str, before: Option<Value>, after: Option<Value>, changes: &mut Vec<FieldChange>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            for name in names {
                let (old, new) = (before.get(name).cloned(), after.get(name).cloned());
                fields(&format!("{path}.{name}"), old, new, changes);
            }
        }
        (before, after) => changes.push(FieldChange { path: path.to_owned(), before, after }),
    }
}
