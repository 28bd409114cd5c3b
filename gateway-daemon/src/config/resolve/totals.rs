//! How many of everything.

use super::conflict::Conflict;
use crate::config::file::File;
use crate::config::limits::{
    MAX_BACKENDS, MAX_BACKENDS_PER_POOL, MAX_ENDPOINTS, MAX_ENDPOINTS_PER_GROUP, MAX_INTERFACES,
    MAX_LISTENERS, MAX_PREFIXES, MAX_PREFIXES_PER_LISTENER, MAX_TENANTS,
};
use crate::config::problem::{At, Problems, Reported};
use crate::config::reader::Section;

/// Reports the first entry beyond each limit; an error if there is one.
pub(super) fn check(file: &File, problems: &mut Problems) -> Result<(), Reported> {
    let interfaces = file.interface.iter().map(Section::at);
    at_most(MAX_INTERFACES, "interfaces", interfaces, problems);
    let tenants = file.tenant.iter().map(Section::at);
    at_most(MAX_TENANTS, "tenants", tenants, problems);

    check_endpoints(file, problems);
    check_backends(file, problems);
    check_listeners(file, problems);
    check_prefixes(file, problems);
    problems.none_reported()
}

fn check_endpoints(file: &File, problems: &mut Problems) {
    for group in &file.peer_group {
        let endpoints = group.endpoint.iter().map(Section::at);
        at_most(MAX_ENDPOINTS_PER_GROUP, "endpoints in one peer group", endpoints, problems);
    }
    let endpoints = file.peer_group.iter().flat_map(|group| &group.endpoint).map(Section::at);
    at_most(MAX_ENDPOINTS, "endpoints", endpoints, problems);
}

fn check_backends(file: &File, problems: &mut Problems) {
    let pools = || file.tenant.iter().flat_map(|tenant| &tenant.pool);
    for pool in pools() {
        let backends = pool.backend.iter().map(Section::at);
        at_most(MAX_BACKENDS_PER_POOL, "backends in one pool", backends, problems);
    }
    let backends = pools().flat_map(|pool| &pool.backend).map(Section::at);
    at_most(MAX_BACKENDS, "backends", backends, problems);
}

fn check_listeners(file: &File, problems: &mut Problems) {
    let entries = file.tenant.iter().flat_map(|tenant| {
        let listeners = tenant.listener.iter().map(Section::at);
        listeners.chain(tenant.egress.iter().map(Section::at))
    });
    at_most(MAX_LISTENERS, "listeners and egress entries", entries, problems);
}

fn check_prefixes(file: &File, problems: &mut Problems) {
    for listener in file.tenant.iter().flat_map(|tenant| &tenant.listener) {
        let allow = listener.allow.value.iter().map(|prefix| &prefix.at);
        at_most(MAX_PREFIXES_PER_LISTENER, "prefixes in one allow list", allow, problems);
    }
    let prefixes = file.tenant.iter().flat_map(|tenant| {
        let allow = tenant.listener.iter().flat_map(|listener| &listener.allow.value);
        tenant.sources.value.iter().chain(allow).map(|prefix| &prefix.at)
    });
    at_most(MAX_PREFIXES, "prefixes in `sources` and `allow`", prefixes, problems);
}

fn at_most<'f>(
    max: usize,
    what: &'static str,
    mut places: impl Iterator<Item = &'f At>,
    problems: &mut Problems,
) {
    if let Some(beyond) = places.nth(max) {
        problems.add(beyond, &Conflict::TooMany { what, max });
    }
}
