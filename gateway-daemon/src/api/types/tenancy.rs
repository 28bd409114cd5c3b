//! What is asked of, and told about, tenants and versions.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::controller::BackendHealth;
use crate::store::{HistoryEntry, Version};
use crate::tenancy::diff::FieldChange;
use crate::tenancy::spec::{Document, PeerGroupSpec, TenantSpec};

/// All tenants: `GET /v1/tenants`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TenantList {
    /// The version in force.
    pub version: Version,
    /// The tenants, in the order of their names.
    pub tenants: Vec<TenantSpec>,
}

/// All peer groups: `GET /v1/peer-groups`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerGroupList {
    /// The version in force.
    pub version: Version,
    /// The peer groups, in the order of their names.
    pub peer_groups: Vec<PeerGroupSpec>,
}

/// What is known about the backends: `GET /v1/health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Every backend.
    pub backends: Vec<BackendHealth>,
}

/// What changed, newest first: `GET /v1/history`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// The entries.
    pub entries: Vec<HistoryEntry>,
}

/// A version: `GET /v1/history/{version}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryVersion {
    /// Its number.
    pub version: Version,
    /// Who made it, when, why, and what was changed; absent for version 0, which nobody made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<HistoryEntry>,
    /// What it held.
    pub document: Document,
}

/// What differs between two versions: `GET /v1/diff`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionDiff {
    /// The first version.
    pub from: Version,
    /// The second.
    pub to: Version,
    /// What differs.
    pub changes: Vec<FieldChange>,
}

/// How long flows may go on: `POST .../drain`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainRequest {
    /// Seconds until the flows that remain are reset, at most a year. Absent: they are never reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>, maximum = 31_536_000)]
    pub deadline_secs: Option<Deadline>,
}

/// Seconds, at most a year: more is a slip of the hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Deadline(u64);

impl Deadline {
    /// A year.
    pub const MAX: Self = Self(31_536_000);

    /// The number.
    pub fn secs(self) -> u64 {
        self.0
    }
}

impl From<Deadline> for u64 {
    fn from(deadline: Deadline) -> Self {
        deadline.0
    }
}

impl TryFrom<u64> for Deadline {
    type Error = String;

    fn try_from(secs: u64) -> Result<Self, String> {
        if secs <= Self::MAX.0 {
            Ok(Self(secs))
        } else {
            Err(format!("{secs} seconds are more than a year ({})", Self::MAX.0))
        }
    }
}

/// A backend's share of new flows: `PATCH .../backends/{backend}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightRequest {
    /// The share.
    pub weight: u16,
}

/// Which version is to come back: `POST /v1/rollback`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// Its number.
    pub version: Version,
}
