//! How many of everything.

use super::conflict::Conflict;
use super::objects::{Objects, PeerGroupPiece, Piece, TenantPiece};
use crate::config::file;
use crate::config::limits::{
    MAX_BACKENDS, MAX_BACKENDS_PER_POOL, MAX_ENDPOINTS, MAX_ENDPOINTS_PER_GROUP, MAX_INTERFACES,
    MAX_LISTENERS, MAX_PREFIXES, MAX_PREFIXES_PER_LISTENER, MAX_ROUTES, MAX_TENANTS,
};
use crate::config::model::Tenant;
use crate::config::problem::{At, Problems};
use crate::config::reader::Section;

pub(super) fn check_interfaces(sections: &[file::Interface], problems: &mut Problems) {
    Total::new(MAX_INTERFACES, "interfaces").add_all(sections.iter().map(Section::at), problems);
}

pub(super) fn check_routes(sections: &[file::Route], problems: &mut Problems) {
    Total::new(MAX_ROUTES, "routes").add_all(sections.iter().map(Section::at), problems);
}

/// Reports the first entry beyond each limit.
pub(super) fn check(objects: &Objects<'_>, problems: &mut Problems) {
    let mut totals = Totals::default();
    for group in &objects.peer_groups {
        totals.add_group(*group, problems);
    }
    for tenant in &objects.tenants {
        totals.add_tenant(*tenant, problems);
    }
}

/// What is limited over all objects.
struct Totals {
    endpoints: Total,
    tenants: Total,
    backends: Total,
    listeners: Total,
    prefixes: Total,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            endpoints: Total::new(MAX_ENDPOINTS, "endpoints"),
            tenants: Total::new(MAX_TENANTS, "tenants"),
            backends: Total::new(MAX_BACKENDS, "backends"),
            listeners: Total::new(MAX_LISTENERS, "listeners and egress entries"),
            prefixes: Total::new(MAX_PREFIXES, "prefixes in `sources` and `allow`"),
        }
    }
}

impl Totals {
    fn add_group(&mut self, group: PeerGroupPiece<'_>, problems: &mut Problems) {
        match group {
            Piece::Read(section) => {
                let places = || section.endpoint.iter().map(Section::at);
                Total::new(MAX_ENDPOINTS_PER_GROUP, "endpoints in one peer group")
                    .add_all(places(), problems);
                self.endpoints.add_all(places(), problems);
            }
            Piece::Kept(group) => self.endpoints.add_kept(group.endpoints.len(), problems),
        }
    }

    fn add_tenant(&mut self, tenant: TenantPiece<'_>, problems: &mut Problems) {
        match tenant {
            Piece::Read(section) => self.add_read_tenant(section, problems),
            Piece::Kept(tenant) => self.add_kept_tenant(tenant, problems),
        }
    }

    fn add_read_tenant(&mut self, section: &file::Tenant, problems: &mut Problems) {
        self.tenants.add(section.at(), problems);
        self.prefixes.add_all(section.sources.value.iter().map(|prefix| &prefix.at), problems);
        for pool in &section.pool {
            let places = || pool.backend.iter().map(Section::at);
            Total::new(MAX_BACKENDS_PER_POOL, "backends in one pool").add_all(places(), problems);
            self.backends.add_all(places(), problems);
        }
        for listener in &section.listener {
            let places = || listener.allow.value.iter().map(|prefix| &prefix.at);
            Total::new(MAX_PREFIXES_PER_LISTENER, "prefixes in one allow list").add_all(places(), problems);
            self.prefixes.add_all(places(), problems);
            self.listeners.add(listener.at(), problems);
        }
        self.listeners.add_all(section.egress.iter().map(Section::at), problems);
    }

    fn add_kept_tenant(&mut self, tenant: &Tenant, problems: &mut Problems) {
        let backends = tenant.pools.iter().map(|pool| pool.backends.len()).sum();
        let allowed: usize = tenant.listeners.iter().map(|listener| listener.allow.len()).sum();
        self.tenants.add_kept(1, problems);
        self.backends.add_kept(backends, problems);
        self.listeners.add_kept(tenant.listeners.len() + tenant.egress.len(), problems);
        self.prefixes.add_kept(tenant.sources.len() + allowed, problems);
    }
}

/// A number that has a limit.
struct Total {
    max: usize,
    what: &'static str,
    count: usize,
}

impl Total {
    fn new(max: usize, what: &'static str) -> Self {
        Self { max, what, count: 0 }
    }

    /// Counts the entry at `place`, and reports it if it is the first beyond the limit.
    fn add(&mut self, place: &At, problems: &mut Problems) {
        self.count += 1;
        if self.count == self.max + 1 {
            problems.add(place, &Conflict::TooMany { what: self.what, max: self.max });
        }
    }

    fn add_all<'f>(&mut self, places: impl Iterator<Item = &'f At>, problems: &mut Problems) {
        places.for_each(|place| self.add(place, problems));
    }

    fn add_kept(&mut self, more: usize, problems: &mut Problems) {
        for _ in 0..more {
            self.add(&At::NOWHERE, problems);
        }
    }
}
