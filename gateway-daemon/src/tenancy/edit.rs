//! The changes that can be asked for. Each is a pure function of the whole.

mod apply;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::apply::apply;
use super::objects::object;
use super::spec::{
    AdminState, BackendSpec, Document, EgressSpec, ListenerSpec, PeerGroupSpec, PoolSpec, TenantSpec,
};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "edit")]
pub enum Edit {
    /// Adds a tenant, or replaces the one of this name.
    PutTenant {
        /// The tenant as it is to be.
        #[serde(deserialize_with = "object")]
        tenant: TenantSpec,
        /// Refuse if there is one already.
        #[serde(default)]
        only_new: bool,
    },
    /// Removes a tenant.
    RemoveTenant {
        /// Which.
        tenant: String,
    },
    /// Drains a tenant, resumes it, or takes it out for maintenance.
    SetTenantState {
        /// Which.
        tenant: String,
        /// What it is to be.
        state: AdminState,
        /// When the remaining flows of a draining one are reset: Unix time in seconds.
        #[serde(default)]
        drain_until: Option<u64>,
    },
    /// Adds a listener, or replaces the one of this name.
    PutListener {
        /// Whose.
        tenant: String,
        /// The listener as it is to be.
        #[serde(deserialize_with = "object")]
        listener: ListenerSpec,
    },
    /// Removes a listener.
    RemoveListener {
        /// Whose.
        tenant: String,
        /// Its name.
        listener: String,
    },
    /// Adds addressed egress, or replaces the one of this protocol and port.
    PutEgress {
        /// Whose.
        tenant: String,
        /// The egress as it is to be.
        #[serde(deserialize_with = "object")]
        egress: EgressSpec,
    },
    /// Removes addressed egress.
    RemoveEgress {
        /// Whose.
        tenant: String,
        /// Its protocol and port, as protocol:port.
        egress: String,
    },
    /// Adds a pool, or replaces the one of this name.
    PutPool {
        /// Whose.
        tenant: String,
        /// The pool as it is to be.
        #[serde(deserialize_with = "object")]
        pool: PoolSpec,
    },
    /// Removes a pool.
    RemovePool {
        /// Whose.
        tenant: String,
        /// Its name.
        pool: String,
    },
    /// Adds a backend, or replaces the one of this address and port.
    PutBackend {
        /// Whose.
        tenant: String,
        /// In which pool.
        pool: String,
        /// The backend as it is to be.
        #[serde(deserialize_with = "object")]
        backend: BackendSpec,
    },
    /// Removes a backend.
    RemoveBackend {
        /// Whose.
        tenant: String,
        /// From which pool.
        pool: String,
        /// Its address and port, as address:port.
        backend: String,
    },
    /// Changes a backend's share of new flows.
    SetBackendWeight {
        /// Whose.
        tenant: String,
        /// In which pool.
        pool: String,
        /// Its address and port, as address:port.
        backend: String,
        /// The share.
        weight: u16,
    },
    /// Drains a backend, resumes it, or takes it out for maintenance.
    SetBackendState {
        /// Whose.
        tenant: String,
        /// In which pool.
        pool: String,
        /// Its address and port, as address:port.
        backend: String,
        /// What it is to be.
        state: AdminState,
        /// When the remaining flows of a draining one are reset: Unix time in seconds.
        #[serde(default)]
        drain_until: Option<u64>,
    },
    /// Adds a peer group, or replaces the one of this name.
    PutPeerGroup {
        /// The peer group as it is to be.
        #[serde(deserialize_with = "object")]
        peer_group: PeerGroupSpec,
        /// Refuse if there is one already.
        #[serde(default)]
        only_new: bool,
    },
    /// Removes a peer group.
    RemovePeerGroup {
        /// Which.
        peer_group: String,
    },
    /// Puts every object of a document.
    Apply {
        /// The objects as they are to be.
        #[serde(deserialize_with = "object")]
        document: Document,
        /// Remove what the document does not have.
        #[serde(default)]
        prune: bool,
    },
}

/// Why a change can't be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// What is to be changed does not exist.
    #[error("there is no {what} `{name}`")]
    Missing {
        /// "tenant", "pool of tenant `a`".
        what: String,
        /// Its name.
        name: String,
    },
    /// What is to be added exists.
    #[error("there is a {what} `{name}` already")]
    Exists {
        /// "tenant".
        what: String,
        /// Its name.
        name: String,
    },
    /// The document names an object twice.
    #[error("the document has two {what}s `{name}`")]
    Twice {
        /// "tenant".
        what: String,
        /// Its name.
        name: String,
    },
}
