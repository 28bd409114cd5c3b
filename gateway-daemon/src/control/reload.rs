//! The daemon's own settings, read again while it runs.

use std::sync::Arc;

use tracing::info;

use super::{
    Control, OnReload, PutInForce, Source,
    change::{blocking, fits, reconfigure, touched},
};
use crate::{
    api::controller::{ChangeError, FieldProblem, ReloadOutcome},
    config::{
        Config,
        reload::{self, ReloadPlan},
    },
    gateway::Gateway,
    metrics::labels::Outcome,
    store::{Author, Snapshot, Version},
};

/// A reload that was checked in every respect. Nothing has changed yet, and nothing can be refused any more.
struct Prepared {
    plan: ReloadPlan,
    config: Config,
    /// Puts the settings into force that are others' business.
    ready: Option<PutInForce>,
}

impl Prepared {
    fn new(old: &Config, new: &Config, on_reload: Option<&OnReload>) -> Result<Self, ChangeError> {
        let plan = reload::compare(old, new);
        let config = ReloadPlan::in_force(old, new);
        let mut problems = fits(&config).err().into_iter().collect::<Vec<_>>();
        let ready = match on_reload.map(|prepare| prepare(&config)).transpose() {
            Ok(ready) => ready,
            Err(problem) => {
                problems.push(problem);
                None
            }
        };
        if problems.is_empty() {
            Ok(Self { plan, config, ready })
        } else {
            Err(ChangeError::Rejected(problems))
        }
    }
}

impl Control {
    /// Reads the settings again, puts into force what can be, and names what needs a restart.
    pub(super) async fn reload_settings(&self, author: Author) -> Result<ReloadOutcome, ChangeError> {
        let _one_at_a_time = self.writing.lock().await;
        let old = self.gateway.config();
        let new = (self.read_settings)().map_err(|error| {
            ChangeError::Rejected(vec![FieldProblem {
                path: "configuration file".to_owned(),
                problem: error.to_string(),
                remedy: "mend the file; `gateway-daemon config check` shows the place".to_owned(),
            }])
        })?;
        self.refuse_routes(&new).await?;
        let Prepared { plan, config, ready } = Prepared::new(&old, &new, self.on_reload.get())?;
        if let Source::File(store) = &self.source {
            let tenancy = config.tenancy();
            let version = store.replace(tenancy.clone());
            self.current.store(Arc::new(Snapshot { version, tenancy }));
        }
        if let Some(put_in_force) = ready {
            put_in_force();
        }
        let touched = touched(&old, &config);
        let (gateway, health) = (self.gateway.clone(), self.health.clone());
        let written = blocking(move || {
            let written = reconfigure(&gateway, &health, config, touched);
            written.and(gateway.follow_routes())
        });
        let version = self.current.load().version;
        written.await.map_err(|error| ChangeError::NotApplied { version, source: error.into() })?;
        info!(who = author.who, changed = ?plan.changed, needs_restart = ?plan.needs_restart, "settings read again");
        Ok(ReloadOutcome { changed: plan.changed, needs_restart: plan.needs_restart })
    }

    /// Refuses routes that others' are in the way of.
    async fn refuse_routes(&self, new: &Config) -> Result<(), ChangeError> {
        let config = new.clone();
        let refused = blocking(move || Gateway::refuse_routes(&config)).await;
        refused.map_err(|error| {
            ChangeError::Rejected(vec![FieldProblem {
                path: "route".to_owned(),
                remedy: error.remedy().unwrap_or_else(|| "see the daemon's log".to_owned()),
                problem: format!("{:#}", anyhow::Error::from(error)),
            }])
        })
    }

    /// Reads the settings again and tells the metrics how it went.
    pub(super) async fn reload_and_note(&self, author: Author) -> Result<ReloadOutcome, ChangeError> {
        let outcome = self.reload_settings(author).await;
        let done = if outcome.is_ok() { Outcome::Done } else { Outcome::Failed };
        self.metrics.config_reloaded(done);
        self.metrics.config_stale(outcome.as_ref().map_or(true, |done| !done.needs_restart.is_empty()));
        outcome
    }

    /// The version in force.
    pub fn version(&self) -> Version {
        self.current.load().version
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::*;
    use crate::config::{Interfaces, Tenant, example};

    fn config(text: &str) -> Config {
        Config::parse("test", text, &Interfaces::Unchecked).unwrap()
    }

    /// More pools than there are slots for.
    fn too_large() -> Config {
        let mut config = config(&example());
        let mut tenant = Tenant::clone(&config.tenants[0]);
        let mut pool = tenant.pools[0].clone();
        pool.backends = vec![pool.backends[0]; 21];
        tenant.pools = vec![pool; 10_000];
        config.tenants = [Arc::new(tenant)].into();
        config
    }

    /// Counts whether it was put into force.
    fn told(put: &Arc<AtomicBool>) -> OnReload {
        let put = put.clone();
        Box::new(move |_| {
            let put = put.clone();
            Ok(Box::new(move || put.store(true, Relaxed)))
        })
    }

    fn refused(new: &Config, on_reload: &OnReload) -> Vec<FieldProblem> {
        match Prepared::new(&config(&example()), new, Some(on_reload)) {
            Err(ChangeError::Rejected(problems)) => problems,
            Err(error) => panic!("{error}"),
            Ok(prepared) => panic!("{:?}", prepared.plan),
        }
    }

    #[test]
    fn a_reload_that_does_not_fit_is_refused_before_anything_is_in_force() {
        let put = Arc::new(AtomicBool::new(false));
        let problems = refused(&too_large(), &told(&put));
        assert_eq!(problems[0].path, "tenant");
        assert!(!put.load(Relaxed));
    }

    #[test]
    fn what_others_refuse_is_refused_as_a_whole() {
        let nobody = || FieldProblem {
            path: "api".to_owned(),
            problem: "this host has no user `x`".to_owned(),
            remedy: String::new(),
        };
        let refuses: OnReload = Box::new(move |_| Err(nobody()));
        assert_eq!(refused(&config(&example()), &refuses), [nobody()]);
        assert_eq!(refused(&too_large(), &refuses).len(), 2, "all faults are told");
    }

    #[test]
    fn what_is_refused_by_nobody_is_put_into_force_at_the_end() {
        let put = Arc::new(AtomicBool::new(false));
        let old = config(&example());
        let new = config(&example().replace("#weight = 1", "weight = 2"));
        let prepared = Prepared::new(&old, &new, Some(&told(&put))).unwrap();
        assert!(!put.load(Relaxed));
        assert_eq!((prepared.plan.changed.len(), &prepared.config), (1, &new));
        prepared.ready.unwrap()();
        assert!(put.load(Relaxed));
    }

    #[test]
    fn a_file_that_is_to_be_another_store_keeps_its_tenants_until_the_restart() {
        let old = config(&example());
        let text = "
            gateway = { ingress_vip = '192.0.2.10', egress_vip = '192.0.2.20' }
            interface = [{ name = 'ext0', side = 'external' }, { name = 'int0', side = 'internal' }]
            store = { kind = 'embedded' }
        ";
        let prepared = Prepared::new(&old, &config(text), None).unwrap();
        assert_eq!(prepared.config.tenancy(), old.tenancy());
    }
}
