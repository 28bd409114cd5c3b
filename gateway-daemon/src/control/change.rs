//! One change, from the request to the tables.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Instant, SystemTime},
};

use anyhow::anyhow;

use super::Control;
use crate::{
    api::controller::{ChangeError, ChangeOutcome, ChangeRequest, FieldProblem},
    config::{Config, PeerGroup, Tenant},
    datapath::plan::{Touched, check_slots},
    gateway::Gateway,
    health::{BackendId, driver::Health, from_config},
    memory,
    store::{Author, Commit, Snapshot, StoreError, Version},
    tenancy::{Tenancy, diff::diff, edit},
};

/// From so many changed fields on, the memory that it took to work them out is given back at once.
const MANY_CHANGES: usize = 1_000;

impl Control {
    /// Makes a change.
    pub(super) async fn make(&self, request: ChangeRequest) -> Result<ChangeOutcome, ChangeError> {
        let started = Instant::now();
        let _one_at_a_time = self.writing.lock().await;
        let base = self.base(request.if_version)?;
        let edited = blocking({
            let base = base.clone();
            move || edit::apply(&base.tenancy, &request.edits)
        });
        self.establish(&base, edited.await?, request.author, request.dry_run, started).await
    }

    /// Makes what an earlier version held the newest.
    pub(super) async fn go_back(
        &self,
        to: Version,
        author: Author,
        if_version: Option<Version>,
        dry_run: bool,
    ) -> Result<ChangeOutcome, ChangeError> {
        let started = Instant::now();
        let _one_at_a_time = self.writing.lock().await;
        let base = self.base(if_version)?;
        let then = self.source.store().at(to).await?;
        self.establish(&base, then.tenancy, author, dry_run, started).await
    }

    fn base(&self, if_version: Option<Version>) -> Result<Arc<Snapshot>, ChangeError> {
        let base = self.current.load_full();
        match if_version {
            Some(from) if from != base.version => {
                Err(StoreError::Conflict { from, current: base.version }.into())
            }
            _ => Ok(base),
        }
    }

    async fn establish(
        &self,
        base: &Arc<Snapshot>,
        after: Tenancy,
        author: Author,
        dry_run: bool,
        started: Instant,
    ) -> Result<ChangeOutcome, ChangeError> {
        let config = self.gateway.config();
        let before = base.clone();
        let (changes, after, config) = blocking(move || {
            let changes = diff(&before.tenancy, &after);
            let config = checked(&config, &after, Some(&before.tenancy));
            (changes, after, config)
        })
        .await;
        let config = config.map_err(ChangeError::Rejected)?;
        let mut outcome =
            ChangeOutcome { version: base.version, dry_run, changes, table_writes: 0, took_us: 0 };
        if !dry_run && !outcome.changes.is_empty() {
            let commit = Commit {
                from: base.version,
                before: base.tenancy.clone(),
                after: after.clone(),
                author,
                at: SystemTime::now(),
            };
            outcome.version = self.source.store().commit(commit).await?;
            let snapshot = Snapshot { version: outcome.version, tenancy: after };
            outcome.table_writes = self.put_in_force(snapshot, config).await?;
        }
        if outcome.changes.len() >= MANY_CHANGES {
            blocking(memory::give_back).await;
        }
        outcome.took_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        Ok(outcome)
    }

    /// Brings the tables to a version that is stored.
    pub(super) async fn put_in_force(&self, snapshot: Snapshot, config: Config) -> Result<u64, ChangeError> {
        let version = snapshot.version;
        self.current.store(Arc::new(snapshot));
        self.metrics.desired_version(version);
        let old = self.gateway.config();
        let gateway = self.gateway.clone();
        let health = self.health.clone();
        let written = blocking(move || {
            let touched = touched(&old, &config);
            drop(old);
            reconfigure(&gateway, &health, config, touched)
        });
        let not_applied = |error: anyhow::Error| ChangeError::NotApplied { version, source: error.into() };
        let written = written.await.map_err(not_applied)?;
        self.metrics.applied_version(version);
        Ok(written as u64)
    }
}

/// Brings another configuration into force, with its backends as health knows them or finds them.
pub(super) fn reconfigure(
    gateway: &Gateway,
    health: &Health,
    config: Config,
    touched: BTreeSet<String>,
) -> anyhow::Result<usize> {
    let carrying = gateway.carrying(&touched);
    let carries = |id: &BackendId| carrying.contains(&(id.tenant.clone(), id.address, id.port));
    health.update_targets(&from_config::targets(&config, carries));
    let standings = health.standings();
    gateway.reconfigure(Arc::new(config), &Touched::These(touched), || standings.borrow().clone())
}

/// The configuration with these tenants, if it is legal and fits the tables.
pub(super) fn checked(
    config: &Config,
    tenancy: &Tenancy,
    made_from: Option<&Tenancy>,
) -> Result<Config, Vec<FieldProblem>> {
    let config = config.with_tenancy(tenancy, made_from)?;
    fits(&config).map_err(|problem| vec![problem])?;
    Ok(config)
}

/// Do the tables have room for a configuration?
pub(super) fn fits(config: &Config) -> Result<(), FieldProblem> {
    check_slots(config).map_err(|error| FieldProblem {
        path: "tenant".to_owned(),
        problem: error.to_string(),
        remedy: "use fewer or smaller pools".to_owned(),
    })
}

/// Names of the tenants that differ, or that name a peer group which differs.
pub(super) fn touched(old: &Config, new: &Config) -> BTreeSet<String> {
    let before: HashMap<&str, &Arc<Tenant>> =
        old.tenants.iter().map(|tenant| (tenant.name.as_str(), tenant)).collect();
    let same = |tenant: &&Arc<Tenant>| {
        before.get(tenant.name.as_str()).is_some_and(|before| {
            (Arc::ptr_eq(before, tenant) || before == tenant) && groups(old, before) == groups(new, tenant)
        })
    };
    let kept: BTreeSet<&str> = new.tenants.iter().filter(same).map(|tenant| tenant.name.as_str()).collect();
    let all = before.keys().copied().chain(new.tenants.iter().map(|tenant| tenant.name.as_str()));
    all.filter(|name| !kept.contains(name)).map(str::to_owned).collect()
}

fn groups<'a>(config: &'a Config, tenant: &Tenant) -> Vec<&'a PeerGroup> {
    tenant.peer_groups.iter().map(|index| config.peer_group(*index)).collect()
}

/// Runs work that takes long, or that waits for the kernel, away from the event loop.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => {
            std::panic::resume_unwind(error.try_into_panic().unwrap_or_else(|error| Box::new(anyhow!(error))))
        }
    }
}
