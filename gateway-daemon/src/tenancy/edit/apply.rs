//! Edits as functions of the whole.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::{Edit, EditError};
use crate::tenancy::Tenancy;
use crate::tenancy::address_port::AddressPort;
use crate::tenancy::protocol_port::ProtocolPort;
use crate::tenancy::spec::{
    AdminState, BackendSpec, Document, EgressSpec, PeerGroupSpec, PoolSpec, TenantSpec,
};

/// Makes the edits, one after the other. Objects that they do not touch are shared with `tenancy`.
///
/// # Errors
///
/// The first edit that can't be made; then none is.
pub fn apply(tenancy: &Tenancy, edits: &[Edit]) -> Result<Tenancy, EditError> {
    let mut result = tenancy.clone();
    for edit in edits {
        result.edit(edit)?;
    }
    Ok(result)
}

impl Tenancy {
    fn edit(&mut self, edit: &Edit) -> Result<(), EditError> {
        match edit {
            Edit::PutTenant { tenant, only_new } => {
                refuse_existing(*only_new, &self.tenants, "tenant", &tenant.name)?;
                put(&mut self.tenants, &tenant.name, tenant);
            }
            Edit::RemoveTenant { tenant } => remove(&mut self.tenants, "tenant", tenant)?,
            Edit::SetTenantState { tenant, state, drain_until } => {
                let tenant = self.tenant(tenant)?;
                (tenant.state, tenant.drain_until) = (*state, *drain_until);
            }
            Edit::PutPeerGroup { peer_group, only_new } => {
                refuse_existing(*only_new, &self.peer_groups, "peer group", &peer_group.name)?;
                put(&mut self.peer_groups, &peer_group.name, peer_group);
            }
            Edit::RemovePeerGroup { peer_group } => remove(&mut self.peer_groups, "peer group", peer_group)?,
            Edit::Apply { document, prune } => self.apply_document(document, *prune)?,
            of_a_tenant => self.edit_inside(of_a_tenant)?,
        }
        Ok(())
    }

    /// Edits of what belongs to a tenant.
    fn edit_inside(&mut self, edit: &Edit) -> Result<(), EditError> {
        match edit {
            Edit::PutListener { tenant, listener } => {
                put_in(&mut self.tenant(tenant)?.listener, listener.clone(), |other| {
                    other.name == listener.name
                });
            }
            Edit::RemoveListener { tenant, listener } => {
                let what = || format!("listener of tenant `{tenant}`");
                remove_from(&mut self.tenant(tenant)?.listener, |one| one.name == *listener, what, listener)?;
            }
            Edit::PutEgress { tenant, egress } => {
                let same =
                    |other: &EgressSpec| other.protocol == egress.protocol && other.port == egress.port;
                put_in(&mut self.tenant(tenant)?.egress, egress.clone(), same);
            }
            Edit::RemoveEgress { tenant, egress } => {
                let what = || format!("addressed egress of tenant `{tenant}`");
                let key = egress.parse::<ProtocolPort>().ok();
                let all = &mut self.tenant(tenant)?.egress;
                remove_from(all, |one| key.is_some_and(|key| key.is(one)), what, egress)?;
            }
            Edit::PutPool { tenant, pool } => {
                put_in(&mut self.tenant(tenant)?.pool, pool.clone(), |other| other.name == pool.name);
            }
            Edit::RemovePool { tenant, pool } => {
                let what = || format!("pool of tenant `{tenant}`");
                remove_from(&mut self.tenant(tenant)?.pool, |one| one.name == *pool, what, pool)?;
            }
            Edit::PutBackend { tenant, pool, backend } => {
                let same =
                    |other: &BackendSpec| other.address == backend.address && other.port == backend.port;
                put_in(&mut self.pool(tenant, pool)?.backend, backend.clone(), same);
            }
            Edit::RemoveBackend { tenant, pool, backend } => {
                let what = || format!("backend of pool `{pool}` of tenant `{tenant}`");
                let key = backend.parse::<AddressPort>().ok();
                let backends = &mut self.pool(tenant, pool)?.backend;
                remove_from(backends, |one| key.is_some_and(|key| key.is(one)), what, backend)?;
            }
            Edit::SetBackendWeight { tenant, pool, backend, weight } => {
                self.backend(tenant, pool, backend)?.weight = Some(*weight);
            }
            Edit::SetBackendState { tenant, pool, backend, state, drain_until } => {
                set_state(self.backend(tenant, pool, backend)?, *state, *drain_until);
            }
            // Those of whole objects, which `edit` makes.
            Edit::PutTenant { .. }
            | Edit::RemoveTenant { .. }
            | Edit::SetTenantState { .. }
            | Edit::PutPeerGroup { .. }
            | Edit::RemovePeerGroup { .. }
            | Edit::Apply { .. } => {}
        }
        Ok(())
    }

    fn apply_document(&mut self, document: &Document, prune: bool) -> Result<(), EditError> {
        let groups = names("peer group", &document.peer_group, |group| &group.name)?;
        let tenants = names("tenant", &document.tenant, |tenant| &tenant.name)?;
        if prune {
            self.peer_groups.retain(|name, _| groups.contains(name.as_str()));
            self.tenants.retain(|name, _| tenants.contains(name.as_str()));
        }
        document.peer_group.iter().for_each(|group| put(&mut self.peer_groups, &group.name, group));
        document.tenant.iter().for_each(|tenant| put(&mut self.tenants, &tenant.name, tenant));
        Ok(())
    }

    /// The tenant, to be changed.
    fn tenant(&mut self, name: &str) -> Result<&mut TenantSpec, EditError> {
        self.tenants.get_mut(name).map(Arc::make_mut).ok_or_else(|| missing("tenant", name))
    }

    fn pool(&mut self, tenant: &str, name: &str) -> Result<&mut PoolSpec, EditError> {
        let pools = &mut self.tenant(tenant)?.pool;
        let found = pools.iter_mut().find(|pool| pool.name == name);
        found.ok_or_else(|| missing(format!("pool of tenant `{tenant}`"), name))
    }

    fn backend(&mut self, tenant: &str, pool: &str, name: &str) -> Result<&mut BackendSpec, EditError> {
        let key = name.parse::<AddressPort>().ok();
        let backends = &mut self.pool(tenant, pool)?.backend;
        let found = backends.iter_mut().find(|backend| key.is_some_and(|key| key.is(backend)));
        found.ok_or_else(|| missing(format!("backend of pool `{pool}` of tenant `{tenant}`"), name))
    }
}

fn set_state(backend: &mut BackendSpec, state: AdminState, drain_until: Option<u64>) {
    (backend.state, backend.drain_until) = (state, drain_until);
}

fn missing(what: impl Into<String>, name: &str) -> EditError {
    EditError::Missing { what: what.into(), name: name.to_owned() }
}

fn refuse_existing<T>(
    only_new: bool,
    map: &BTreeMap<String, Arc<T>>,
    what: &str,
    name: &str,
) -> Result<(), EditError> {
    if only_new && map.contains_key(name) {
        return Err(EditError::Exists { what: what.to_owned(), name: name.to_owned() });
    }
    Ok(())
}

/// An object that is the same already stays the same in memory, so that whoever compares is done at once.
fn put<T: Clone + PartialEq>(map: &mut BTreeMap<String, Arc<T>>, name: &str, object: &T) {
    if map.get(name).is_none_or(|present| **present != *object) {
        map.insert(name.to_owned(), Arc::new(object.clone()));
    }
}

fn remove<T>(map: &mut BTreeMap<String, Arc<T>>, what: &str, name: &str) -> Result<(), EditError> {
    map.remove(name).map(drop).ok_or_else(|| missing(what, name))
}

/// Replaces the element that is the `same`, else adds one at the end.
fn put_in<T>(list: &mut Vec<T>, element: T, same: impl Fn(&T) -> bool) {
    match list.iter_mut().find(|other| same(other)) {
        Some(place) => *place = element,
        None => list.push(element),
    }
}

fn remove_from<T>(
    list: &mut Vec<T>,
    is_it: impl Fn(&T) -> bool,
    what: impl Fn() -> String,
    name: &str,
) -> Result<(), EditError> {
    let position = list.iter().position(is_it).ok_or_else(|| missing(what(), name))?;
    list.remove(position);
    Ok(())
}

/// The names of a document's objects, each of which may stand once.
fn names<'d, T>(
    what: &str,
    objects: &'d [T],
    name: impl Fn(&'d T) -> &'d String,
) -> Result<HashSet<&'d str>, EditError> {
    let mut seen = HashSet::with_capacity(objects.len());
    for object in objects {
        let name = name(object);
        if !seen.insert(name.as_str()) {
            return Err(EditError::Twice { what: what.to_owned(), name: name.clone() });
        }
    }
    Ok(seen)
}

impl From<&Document> for Tenancy {
    /// The objects of a document; of two with one name the latter.
    fn from(document: &Document) -> Self {
        let groups = document.peer_group.iter();
        let group = |group: &PeerGroupSpec| (group.name.clone(), Arc::new(group.clone()));
        let tenant = |tenant: &TenantSpec| (tenant.name.clone(), Arc::new(tenant.clone()));
        Self {
            peer_groups: groups.map(group).collect(),
            tenants: document.tenant.iter().map(tenant).collect(),
        }
    }
}
