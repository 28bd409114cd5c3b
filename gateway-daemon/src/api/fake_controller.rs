//! A controller that keeps its versions in memory and believes everything, for the tests of both ends.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::Barrier;

use super::controller::{
    BackendHealth, ChangeError, ChangeOutcome, ChangeRequest, Controller, FieldProblem, ReloadOutcome,
};
use crate::store::{Author, HistoryEntry, Snapshot, StoreError, Version};
use crate::tenancy::Tenancy;
use crate::tenancy::diff::diff;
use crate::tenancy::edit::{Edit, EditError};
use crate::tenancy::spec::{BackendSpec, PoolSpec, TenantSpec};

/// When the fake's versions are made.
pub(crate) const AT_UNIX_MS: u64 = 1_700_000_000_000;

/// Every version there was, and the errors that a test wants.
#[derive(Default)]
pub(crate) struct FakeController {
    versions: Mutex<Vec<(HistoryEntry, Tenancy)>>,
    /// The next change fails like this.
    pub(crate) next_error: Mutex<Option<ChangeError>>,
    /// The next change panics.
    pub(crate) defect: Mutex<bool>,
    /// The next change meets the test here when it begins, and once more before it goes on.
    pub(crate) meeting: Mutex<Option<Arc<Barrier>>>,
}

impl FakeController {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    fn current(&self) -> Snapshot {
        let versions = self.versions.lock().unwrap();
        versions
            .last()
            .map(|(entry, tenancy)| Snapshot { version: entry.version, tenancy: tenancy.clone() })
            .unwrap_or_default()
    }

    fn put(
        &self,
        after: Tenancy,
        author: Author,
        if_version: Option<Version>,
        dry_run: bool,
    ) -> Result<ChangeOutcome, ChangeError> {
        let Snapshot { version: current, tenancy: before } = self.current();
        if let Some(from) = if_version.filter(|from| *from != current) {
            return Err(StoreError::Conflict { from, current }.into());
        }
        let changes = diff(&before, &after);
        let mut version = current;
        if !dry_run && !changes.is_empty() {
            version.0 += 1;
            let entry = HistoryEntry { version, at_unix_ms: AT_UNIX_MS, author, changes: changes.clone() };
            self.versions.lock().unwrap().push((entry, after));
        }
        let table_writes = if dry_run { 0 } else { changes.len() as u64 };
        Ok(ChangeOutcome { version, dry_run, changes, table_writes, took_us: 1_234 })
    }

    fn told_error(&self) -> Result<(), ChangeError> {
        let defect = std::mem::take(&mut *self.defect.lock().unwrap());
        assert!(!defect, "the fake was told to panic");
        self.next_error.lock().unwrap().take().map_or(Ok(()), Err)
    }

    fn snapshot(&self, version: Version) -> Result<Snapshot, StoreError> {
        if version == Version(0) {
            return Ok(Snapshot::default());
        }
        let versions = self.versions.lock().unwrap();
        let found = versions.iter().find(|(entry, _)| entry.version == version);
        let found = found.map(|(_, tenancy)| Snapshot { version, tenancy: tenancy.clone() });
        found.ok_or(StoreError::NoSuchVersion { version })
    }
}

impl Controller for FakeController {
    fn tenancy(&self) -> Snapshot {
        self.current()
    }

    fn change(&self, request: ChangeRequest) -> BoxFuture<'_, Result<ChangeOutcome, ChangeError>> {
        async move {
            let meeting = self.meeting.lock().unwrap().take();
            if let Some(meeting) = meeting {
                meeting.wait().await;
                meeting.wait().await;
            }
            self.told_error()?;
            let ChangeRequest { edits, author, if_version, dry_run } = request;
            let mut after = self.current().tenancy;
            for edit in edits {
                make(&mut after, edit)?;
            }
            self.put(after, author, if_version, dry_run)
        }
        .boxed()
    }

    fn rollback(
        &self,
        to: Version,
        author: Author,
        if_version: Option<Version>,
        dry_run: bool,
    ) -> BoxFuture<'_, Result<ChangeOutcome, ChangeError>> {
        async move {
            self.told_error()?;
            let after = self.snapshot(to)?.tenancy;
            self.put(after, author, if_version, dry_run)
        }
        .boxed()
    }

    fn history(
        &self,
        limit: usize,
        before: Option<Version>,
    ) -> BoxFuture<'_, Result<Vec<HistoryEntry>, StoreError>> {
        async move {
            let versions = self.versions.lock().unwrap();
            let entries = versions.iter().rev().map(|(entry, _)| entry);
            let older = entries.filter(|entry| before.is_none_or(|before| entry.version < before));
            Ok(older.take(limit).cloned().collect())
        }
        .boxed()
    }

    fn at(&self, version: Version) -> BoxFuture<'_, Result<Snapshot, StoreError>> {
        async move { self.snapshot(version) }.boxed()
    }

    fn health(&self) -> Vec<BackendHealth> {
        let tenancy = self.current().tenancy;
        let pools =
            tenancy.tenants.values().flat_map(|tenant| tenant.pool.iter().map(move |pool| (tenant, pool)));
        pools
            .flat_map(|(tenant, pool)| pool.backend.iter().map(move |backend| health(tenant, pool, backend)))
            .collect()
    }

    fn reload(&self, _: Author) -> BoxFuture<'_, Result<ReloadOutcome, ChangeError>> {
        async move {
            self.told_error()?;
            Ok(ReloadOutcome {
                changed: vec!["daemon.metrics".to_owned()],
                needs_restart: vec!["daemon.socket".to_owned()],
            })
        }
        .boxed()
    }
}

fn health(tenant: &TenantSpec, pool: &PoolSpec, backend: &BackendSpec) -> BackendHealth {
    let weight = backend.weight.unwrap_or(1);
    BackendHealth {
        tenant: tenant.name.clone(),
        pool: pool.name.clone(),
        address: backend.address.parse().unwrap_or(Ipv4Addr::UNSPECIFIED),
        port: backend.port,
        weight,
        effective_weight: if backend.state.is_active() { weight } else { 0 },
        admin: backend.state,
        health: "up".to_owned(),
        reason: "connected in 3 ms".to_owned(),
        since_secs: 90,
    }
}

fn missing(what: &str, name: &str) -> EditError {
    EditError::Missing { what: what.to_owned(), name: name.to_owned() }
}

fn exists(what: &str, name: &str) -> EditError {
    EditError::Exists { what: what.to_owned(), name: name.to_owned() }
}

/// Makes one edit. The real one checks more, and is tested elsewhere.
fn make(tenancy: &mut Tenancy, edit: Edit) -> Result<(), ChangeError> {
    match edit {
        Edit::PutTenant { tenant, only_new } => {
            put(&mut tenancy.tenants, "tenant", tenant.name.clone(), tenant, only_new)?;
        }
        Edit::RemoveTenant { tenant } => remove(&mut tenancy.tenants, "tenant", &tenant)?,
        Edit::PutPeerGroup { peer_group, only_new } => {
            let name = peer_group.name.clone();
            put(&mut tenancy.peer_groups, "peer group", name, peer_group, only_new)?;
        }
        Edit::RemovePeerGroup { peer_group } => remove(&mut tenancy.peer_groups, "peer group", &peer_group)?,
        Edit::Apply { document, prune } => {
            reject_bad_tenants(&document.tenant)?;
            if prune {
                *tenancy = Tenancy::default();
            }
            for group in document.peer_group {
                put(&mut tenancy.peer_groups, "peer group", group.name.clone(), group, false)?;
            }
            for tenant in document.tenant {
                put(&mut tenancy.tenants, "tenant", tenant.name.clone(), tenant, false)?;
            }
        }
        Edit::SetTenantState { tenant, state, drain_until } => {
            let tenant = tenant_of(tenancy, &tenant)?;
            (tenant.state, tenant.drain_until) = (state, drain_until);
        }
        edit => return within_tenant(tenancy, edit),
    }
    Ok(())
}

fn reject_bad_tenants(tenants: &[TenantSpec]) -> Result<(), ChangeError> {
    let bad = tenants.iter().filter(|tenant| tenant.nat_ip == "wrong").map(|tenant| FieldProblem {
        path: format!("tenant[{}].nat_ip", tenant.name),
        problem: "`wrong` is not an IPv4 address".to_owned(),
        remedy: "write it as 198.51.100.7".to_owned(),
    });
    let bad: Vec<_> = bad.collect();
    if bad.is_empty() { Ok(()) } else { Err(ChangeError::Rejected(bad)) }
}

fn within_tenant(tenancy: &mut Tenancy, edit: Edit) -> Result<(), ChangeError> {
    match edit {
        Edit::PutListener { tenant, listener } => {
            let listeners = &mut tenant_of(tenancy, &tenant)?.listener;
            listeners.retain(|one| one.name != listener.name);
            listeners.push(listener);
        }
        Edit::RemoveListener { tenant, listener } => {
            let listeners = &mut tenant_of(tenancy, &tenant)?.listener;
            let index = listeners.iter().position(|one| one.name == listener);
            listeners.remove(index.ok_or_else(|| missing("listener", &listener))?);
        }
        Edit::PutEgress { tenant, egress } => {
            let all = &mut tenant_of(tenancy, &tenant)?.egress;
            all.retain(|one| (&one.protocol, one.port) != (&egress.protocol, egress.port));
            all.push(egress);
        }
        Edit::RemoveEgress { tenant, egress } => {
            let all = &mut tenant_of(tenancy, &tenant)?.egress;
            let index = all.iter().position(|one| format!("{}:{}", one.protocol, one.port) == egress);
            all.remove(index.ok_or_else(|| missing("egress", &egress))?);
        }
        Edit::PutPool { tenant, pool } => {
            let pools = &mut tenant_of(tenancy, &tenant)?.pool;
            pools.retain(|one| one.name != pool.name);
            pools.push(pool);
        }
        Edit::RemovePool { tenant, pool } => {
            let pools = &mut tenant_of(tenancy, &tenant)?.pool;
            let index = pools.iter().position(|one| one.name == pool);
            pools.remove(index.ok_or_else(|| missing("pool", &pool))?);
        }
        Edit::PutBackend { tenant, pool, backend } => {
            let pool = pool_of(tenancy, &tenant, &pool)?;
            pool.backend.retain(|one| (&one.address, one.port) != (&backend.address, backend.port));
            pool.backend.push(backend);
        }
        Edit::RemoveBackend { tenant, pool, backend } => {
            let pool = pool_of(tenancy, &tenant, &pool)?;
            let index = index_of(pool, &backend)?;
            pool.backend.remove(index);
        }
        Edit::SetBackendWeight { tenant, pool, backend, weight } => {
            let pool = pool_of(tenancy, &tenant, &pool)?;
            let index = index_of(pool, &backend)?;
            pool.backend[index].weight = Some(weight);
        }
        Edit::SetBackendState { tenant, pool, backend, state, drain_until } => {
            let pool = pool_of(tenancy, &tenant, &pool)?;
            let index = index_of(pool, &backend)?;
            (pool.backend[index].state, pool.backend[index].drain_until) = (state, drain_until);
        }
        other => unreachable!("{other:?} is not within a tenant"),
    }
    Ok(())
}

fn put<T>(
    all: &mut BTreeMap<String, Arc<T>>,
    what: &str,
    name: String,
    one: T,
    only_new: bool,
) -> Result<(), EditError> {
    if only_new && all.contains_key(&name) {
        return Err(exists(what, &name));
    }
    all.insert(name, Arc::new(one));
    Ok(())
}

fn remove<T>(all: &mut BTreeMap<String, T>, what: &str, name: &str) -> Result<(), EditError> {
    all.remove(name).map(drop).ok_or_else(|| missing(what, name))
}

fn tenant_of<'a>(tenancy: &'a mut Tenancy, name: &str) -> Result<&'a mut TenantSpec, EditError> {
    tenancy.tenants.get_mut(name).map(Arc::make_mut).ok_or_else(|| missing("tenant", name))
}

fn pool_of<'a>(tenancy: &'a mut Tenancy, tenant: &str, pool: &str) -> Result<&'a mut PoolSpec, EditError> {
    let pools = &mut tenant_of(tenancy, tenant)?.pool;
    pools.iter_mut().find(|one| one.name == pool).ok_or_else(|| missing("pool", pool))
}

fn index_of(pool: &PoolSpec, backend: &str) -> Result<usize, EditError> {
    let found = pool.backend.iter().position(|one| format!("{}:{}", one.address, one.port) == backend);
    found.ok_or_else(|| missing("backend", backend))
}
