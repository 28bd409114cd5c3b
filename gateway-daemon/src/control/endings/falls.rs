//! Whose flows are to be ended because it has fallen. Pure: the configuration and who has fallen are arguments.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::{
    config::{Config, OnBackendDown},
    gateway::Ending,
    health::BackendId,
};

/// Remembers whose fall it has seen to. A daemon that starts remembers none: who is down by its first checks may have
/// fallen while the last daemon was killed, before it ended those flows.
#[derive(Debug, Default)]
pub(super) struct Falls {
    /// Fallen ones for which nothing is left to do.
    seen: HashSet<BackendId>,
    /// Fallen ones whose flows are being ended, and by which attempt.
    under_way: HashMap<BackendId, u64>,
    attempts: u64,
}

/// Whose flows are to be ended now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    attempt: u64,
    backends: BTreeMap<BackendId, Ending>,
}

impl Due {
    pub(super) fn is_empty(&self) -> bool {
        self.backends.is_empty()
    }

    /// Each flow is ended once, however many pools have its backend.
    pub(super) fn endings(&self) -> Vec<Ending> {
        let mut endings: Vec<_> = self.backends.values().cloned().collect();
        endings.sort_unstable();
        endings.dedup();
        endings
    }
}

impl Falls {
    /// Looks who has fallen. What a pool wants counts as it is at the fall.
    pub(super) fn look(&mut self, config: &Config, fallen: &HashSet<BackendId>) -> Due {
        // Whoever is back has new flows, and may fall anew.
        self.seen.retain(|id| fallen.contains(id));
        self.under_way.retain(|id, _| fallen.contains(id));
        let is_new = |id: &&BackendId| !self.seen.contains(*id) && !self.under_way.contains_key(*id);
        let mut new: HashSet<BackendId> = fallen.iter().filter(is_new).cloned().collect();
        let mut due = Due { attempt: self.attempts, backends: BTreeMap::new() };
        if new.is_empty() {
            return due;
        }
        for tenant in config.tenants.iter() {
            for pool in tenant.pools.iter().filter(|pool| pool.on_backend_down == OnBackendDown::Reset) {
                for id in pool.backends.iter().map(|backend| BackendId::new(tenant, pool, backend)) {
                    if new.remove(&id) {
                        due.backends.insert(id.clone(), Ending::backend(&id));
                    }
                }
            }
        }
        // Their pools want nothing, or are gone.
        self.seen.extend(new);
        due
    }

    /// What is due is being done.
    pub(super) fn begun(&mut self, due: &Due) {
        self.under_way.extend(due.backends.keys().map(|id| (id.clone(), due.attempt)));
        self.attempts += 1;
    }

    /// What was due is done, or else due again. One that has come back meanwhile, and may have fallen anew, is not.
    pub(super) fn settled(&mut self, due: Due, done: bool) {
        for id in due.backends.into_keys() {
            if self.under_way.get(&id) == Some(&due.attempt) {
                self.under_way.remove(&id);
                if done {
                    self.seen.insert(id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Interfaces;

    /// Two pools that want their flows ended, with a backend in common, and one that does not.
    fn config() -> Config {
        let text = "
            gateway = { ingress_vip = '192.0.2.10', egress_vip = '192.0.2.20' }
            interface = [{ name = 'ext0', side = 'external' }, { name = 'int0', side = 'internal' }]
            [[tenant]]
            name = 'bank-a'
            nat_ip = '198.51.100.1'
            sources = ['10.1.0.0/24']
            [[tenant.pool]]
            name = 'web'
            on_backend_down = 'reset'
            backend = [{ address = '10.1.0.1', port = 80 }, { address = '10.1.0.2', port = 80 }]
            [[tenant.pool]]
            name = 'app'
            on_backend_down = 'reset'
            backend = [{ address = '10.1.0.1', port = 80 }]
            [[tenant.pool]]
            name = 'kept'
            backend = [{ address = '10.1.0.3', port = 80 }]
        ";
        Config::parse("test", text, &Interfaces::Unchecked).unwrap()
    }

    fn id(pool: &str, host: u8) -> BackendId {
        let address = [10, 1, 0, host].into();
        BackendId { tenant: "bank-a".into(), pool: pool.into(), address, port: 80 }
    }

    fn flows_of(host: u8) -> Ending {
        Ending::Backend { tenant: "bank-a".to_owned(), address: [10, 1, 0, host].into(), port: 80 }
    }

    /// Looks, and begins what is due.
    fn begin(falls: &mut Falls, fallen: &[BackendId]) -> Due {
        let due = falls.look(&config(), &fallen.iter().cloned().collect());
        falls.begun(&due);
        due
    }

    #[test]
    fn a_fall_ends_flows_once_and_the_next_one_again() {
        let mut falls = Falls::default();
        let due = begin(&mut falls, &[id("web", 1), id("app", 1), id("kept", 3)]);
        assert_eq!(due.endings(), [flows_of(1)]);
        assert!(
            begin(&mut falls, &[id("web", 1), id("app", 1), id("kept", 3)]).is_empty(),
            "it is under way"
        );
        falls.settled(due, true);
        assert!(begin(&mut falls, &[id("web", 1), id("app", 1)]).is_empty());
        assert_eq!(begin(&mut falls, &[id("web", 1), id("web", 2)]).endings(), [flows_of(2)]);
        assert!(begin(&mut falls, &[]).is_empty());
        assert_eq!(begin(&mut falls, &[id("web", 1)]).endings(), [flows_of(1)]);
    }

    #[test]
    fn what_could_not_be_ended_is_due_until_it_is_or_the_backend_is_back() {
        let mut falls = Falls::default();
        for _ in 0..3 {
            let due = begin(&mut falls, &[id("web", 1)]);
            assert_eq!(due.endings(), [flows_of(1)]);
            falls.settled(due, false);
        }
        assert!(begin(&mut falls, &[]).is_empty());
        let due = begin(&mut falls, &[id("web", 1)]);
        falls.settled(due, true);
        assert!(begin(&mut falls, &[id("web", 1)]).is_empty());
    }

    #[test]
    fn an_ending_that_outlives_its_fall_does_not_count_for_the_next_one() {
        let mut falls = Falls::default();
        let first = begin(&mut falls, &[id("web", 1)]);
        begin(&mut falls, &[]);
        let second = begin(&mut falls, &[id("web", 1)]);
        assert_eq!(second.endings(), [flows_of(1)]);
        falls.settled(first, true);
        falls.settled(second, false);
        assert_eq!(begin(&mut falls, &[id("web", 1)]).endings(), [flows_of(1)]);
    }

    #[test]
    fn pools_that_keep_their_flows_do_so_also_when_they_change_their_mind_after_the_fall() {
        let (mut falls, mut config) = (Falls::default(), config());
        let fallen = HashSet::from([id("kept", 3)]);
        assert!(falls.look(&config, &fallen).is_empty());
        let mut tenant = crate::config::Tenant::clone(&config.tenants[0]);
        tenant.pools[2].on_backend_down = OnBackendDown::Reset;
        config.tenants = [std::sync::Arc::new(tenant)].into();
        assert!(falls.look(&config, &fallen).is_empty());
    }
}
