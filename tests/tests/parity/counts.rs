//! Everything that the engines count, as one value.

use std::collections::BTreeMap;
use std::fmt;

use gateway_common::abi::{Event, TenantStats};

/// Counts by name; a count of zero is absent.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<String, u64>);

impl Counts {
    /// Adds to one count.
    pub fn add(&mut self, name: impl Into<String>, by: u64) {
        if by > 0 {
            *self.0.entry(name.into()).or_default() += by;
        }
    }

    /// Adds a drop.
    pub fn add_drop(&mut self, reason: &str, by: u64) {
        self.add(format!("drop {reason}"), by);
    }

    /// Adds a tenant's counters.
    pub fn add_tenant(&mut self, tenant: u16, stats: &TenantStats) {
        let fields = [
            ("from_external_packets", stats.from_external_packets),
            ("from_external_bytes", stats.from_external_bytes),
            ("to_external_packets", stats.to_external_packets),
            ("to_external_bytes", stats.to_external_bytes),
            ("flows_opened", stats.flows_opened),
            ("dropped_packets", stats.dropped_packets),
        ];
        for (name, value) in fields {
            self.add(format!("tenant {tenant} {name}"), value);
        }
    }

    /// Adds what the daemon was told.
    pub fn add_event(&mut self, event: &Event) {
        self.add(format!("event {event:?}"), 1);
    }

    /// Has this been counted at all?
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// What came on top of an earlier value.
    pub fn since(&self, before: &Self) -> Self {
        let mut delta = Self::default();
        for (name, value) in &self.0 {
            let earlier = before.0.get(name).copied().unwrap_or(0);
            delta.add(name.clone(), value.checked_sub(earlier).expect("counts only grow"));
        }
        assert!(before.0.keys().all(|name| self.0.contains_key(name)), "a count went back to zero");
        delta
    }
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
