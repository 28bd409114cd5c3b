//! What is wrong with objects that somebody asked for.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One thing that is wrong with what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct FieldProblem {
    /// Where, by names: `tenant[bank-a].listener[upi].port`.
    pub path: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}
