//! The configuration file: from TOML text to a [`Config`] that can be trusted.
//!
//! Three passes, each of which sees only what the one before let through:
//!
//! 1. *syntax*: the `toml` crate, first error only;
//! 2. *values* (`file`): known fields, right types, legal addresses, names and ranges. Every fault of the file
//!    is reported, not only the first;
//! 3. *meaning* (`resolve`): values against each other (overlaps, duplicates, references, isolation of
//!    tenants). Again every fault is reported, in the order of the file.
//!
//! [`Config`] is what comes out: addresses, ports, names and durations in types of their own, references
//! resolved. It depends on nothing else of the daemon, does no IO except reading the file, and is cheap to
//! clone.
//!
//! The documentation of the fields lives in `file` and nowhere else: [`example`] prints it as the sample
//! file.

mod address;
mod api;
mod bounded;
mod choice;
mod error;
mod example;
mod file;
mod from_specs;
mod health;
mod hex;
mod http;
mod interfaces;
mod limits;
mod model;
mod name;
mod named;
mod overrides;
mod path;
mod port;
mod port_slices;
mod prefix;
mod problem;
mod reader;
mod reference;
pub mod reload;
mod resolve;
mod schema;
mod status_ranges;
mod store;
mod tenant_limits;
mod text;
mod to_specs;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

pub use address::{AddressError, BackendAddr, NatAddr, PeerAddr, RouterAddr, VipAddr};
pub use api::{ApiConfig, ApiListen, Principal, PrincipalError, TlsIdentity};
pub use choice::{
    ChoiceError, HookChoice, OnBackendDown, Protocol, Side, SourceMode, Transport, WhenAllDown, XdpMode,
};
pub use error::{Complaint, ConfigError};
pub use example::example;
pub use health::{CheckKind, HealthCheck};
pub use interfaces::Interfaces;
pub use limits::{
    MAX_BACKENDS, MAX_BACKENDS_PER_POOL, MAX_DESTINATIONS, MAX_ENDPOINTS, MAX_ENDPOINTS_PER_GROUP,
    MAX_FILE_BYTES, MAX_HAIRPINS, MAX_INTERFACES, MAX_LISTENERS, MAX_PREFIXES, MAX_PREFIXES_PER_LISTENER,
    MAX_ROUTES, MAX_TENANTS,
};
pub use model::{
    Backend, Config, Daemon, Egress, EgressTarget, Endpoint, Gateway, Interface, Limits, Listener, Node,
    PeerGroup, PeerGroupIndex, Pool, PoolIndex, Reconcile, Route, Tenant, Timeouts,
};
pub use name::{InterfaceName, ListenerName, NameError, NodeName, PeerGroupName, PoolName, TenantName};
pub use overrides::{OverrideError, Overrides, Setting};
pub use port::{Port, PortError};
pub use port_slices::{PortSlices, PortSlicesError};
pub use prefix::PrefixError;
pub use reference::reference;
pub use status_ranges::{StatusRanges, StatusRangesError};
pub use store::{EtcdConfig, StoreConfig, StoreKind};
pub use tenant_limits::{NewFlows, PLACES, PLACES_RESERVED_MAX, TenantLimits, TenantPorts, TenantTimeouts};

pub use bounded::{BoundError, NodeId, Weight};

use problem::{Problems, Reported};

impl Config {
    /// Reads, checks and resolves the file at `path`, with `overrides` on top.
    ///
    /// `interfaces` says which network interfaces exist here; [`Interfaces::Unchecked`] accepts every name.
    pub fn load(path: &Path, interfaces: &Interfaces, overrides: &Overrides) -> Result<Self, ConfigError> {
        let bytes = read_bounded(path)?;
        let name = path.display().to_string();
        let text = String::from_utf8(bytes).map_err(|error| ConfigError::not_utf8(path, &error))?;
        Self::parse_with(&name, &text, interfaces, overrides)
    }

    /// Checks and resolves `text`; errors call it `name`.
    pub fn parse(name: &str, text: &str, interfaces: &Interfaces) -> Result<Self, ConfigError> {
        Self::parse_with(name, text, interfaces, &Overrides::default())
    }

    /// As [`Config::parse`], with `overrides` on top.
    pub fn parse_with(
        name: &str,
        text: &str,
        interfaces: &Interfaces,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        let mut root =
            toml::de::DeTable::parse(text).map_err(|error| ConfigError::syntax(name, text, &error))?;
        let others = overrides.put_into(root.get_mut(), text.len());
        let mut problems = Problems::default();
        let file = reader::read_root::<file::File>(&root, &mut problems);
        let config = file.and_then(|file| resolve::resolve(&file, interfaces, &mut problems));
        config.map_err(|Reported| ConfigError::rejected(name, text, &others, root.get_ref(), problems))
    }
}

/// The bytes of the file, at most [`MAX_FILE_BYTES`] of them.
fn read_bounded(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let unreadable = |source: io::Error| ConfigError::unreadable(path, source);
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(unreadable)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(ConfigError::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}
