//! What the tenant store holds: tenants and NPCI's endpoints, as people write them.
//!
//! | module | holds |
//! |---|---|
//! | [`spec`] | the objects, in the shape of the configuration file's sections; what the API and the store speak |
//! | [`address_port`] | what backends are called |
//! | [`protocol_port`] | what addressed egress is called |
//! | [`edit`] | the changes that can be asked for, each a pure function of the whole |
//! | [`diff`] | what differs between two versions, field by field |
//! | [`objects`] | the rule that an array is no object, where serde would take one |
//! | [`json_text`] | values of a difference, kept small |
//! | [`problem`] | what is wrong with an object, by its path |
//!
//! A [`Tenancy`] says nothing about being right: [`crate::config`] turns it into a [`crate::config::Config`], or says
//! what is wrong with it. All of it is pure.

pub mod address_port;
pub mod diff;
pub mod edit;
pub mod json_text;
pub mod objects;
pub(crate) mod path;
pub mod problem;
pub mod protocol_port;
pub mod spec;
pub(crate) mod walk;

#[cfg(test)]
pub(crate) mod arbitrary;

use std::collections::BTreeMap;
use std::sync::Arc;

use spec::{Document, PeerGroupSpec, TenantSpec};

/// One version of everything. Cheap to clone: the objects are shared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tenancy {
    /// The peer groups by name.
    pub peer_groups: BTreeMap<String, Arc<PeerGroupSpec>>,
    /// The tenants by name.
    pub tenants: BTreeMap<String, Arc<TenantSpec>>,
}

impl Tenancy {
    /// As one document, in the order of names.
    pub fn document(&self) -> Document {
        Document {
            peer_group: self.peer_groups.values().map(|group| PeerGroupSpec::clone(group)).collect(),
            tenant: self.tenants.values().map(|tenant| TenantSpec::clone(tenant)).collect(),
        }
    }
}
