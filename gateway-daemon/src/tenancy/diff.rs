//! What differs between two versions, field by field.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
