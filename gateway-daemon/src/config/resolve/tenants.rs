//! Tenants: pools, listeners and addressed egress.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::addresses::{AddressPlan, Position, numbered};
use super::conflict::Conflict;
use super::peers::PeerGroups;
use super::unique::Unique;
use crate::config::address::BackendAddr;
use crate::config::choice::{OnBackendDown, Protocol, Transport, WhenAllDown};
use crate::config::file;
use crate::config::limits::MAX_DESTINATIONS;
use crate::config::model::{Backend, Egress, Listener, PeerGroupIndex, Pool, PoolIndex, Tenant};
use crate::config::name::PoolName;
use crate::config::port::Port;
use crate::config::problem::{At, Located, Problems};
use crate::config::reader::Section;
use crate::tenancy::spec::AdminState;

/// The ports that are taken, and where.
type Ports<'f> = HashMap<(Transport, Port), &'f At>;

pub(super) fn resolve(
    sections: &[file::Tenant],
    plan: &AddressPlan<'_>,
    peers: &PeerGroups,
    problems: &mut Problems,
) -> Vec<Tenant> {
    let mut names = Unique::new("tenant");
    let mut resolver = Resolver { plan, peers, ports: Ports::new(), destinations: 0, problems };
    let mut tenants = Vec::with_capacity(sections.len());
    for (id, section) in numbered(sections) {
        names.claim(&section.name, resolver.problems);
        tenants.push(resolver.tenant(id, section));
    }
    tenants
}

/// What tenants are resolved with.
struct Resolver<'a, 'f> {
    plan: &'a AddressPlan<'f>,
    peers: &'a PeerGroups,
    /// The ports of the ingress VIP that are taken, by any tenant.
    ports: Ports<'a>,
    /// Pairs of a tenant and an endpoint that it may call.
    destinations: usize,
    problems: &'a mut Problems,
}

impl<'a> Resolver<'a, '_> {
    fn tenant(&mut self, id: Position, section: &'a file::Tenant) -> Tenant {
        let sources = section.sources.value.iter().map(|source| source.value.0).collect();
        let peer_groups = self.peer_groups(section);
        let (pools, pool_names) = self.pools(id, section);
        Tenant {
            name: section.name.value.clone(),
            state: AdminState::Active,
            drain_until: None,
            nat_ip: section.nat_ip.value,
            sources,
            listeners: self.listeners(section, &pool_names),
            egress: self.all_egress(section, &peer_groups),
            peer_groups,
            pools,
        }
    }

    fn peer_groups(&mut self, section: &file::Tenant) -> Vec<PeerGroupIndex> {
        let mut found = BTreeSet::new();
        for name in section.peer_groups.iter().flat_map(|groups| &groups.value) {
            let Some(index) = self.peers.find(name, self.problems) else {
                continue;
            };
            if !found.insert(index) {
                self.problems.add(&name.at, &Conflict::PeerGroupTwice { name: name.value.clone() });
            }
        }
        let found: Vec<PeerGroupIndex> = found.into_iter().collect();
        self.count_destinations(section, &found);
        found
    }

    /// Reports the first tenant beyond the limit.
    fn count_destinations(&mut self, section: &file::Tenant, groups: &[PeerGroupIndex]) {
        let before = self.destinations;
        self.destinations +=
            groups.iter().map(|group| self.peers.group(*group).endpoints.len()).sum::<usize>();
        if before <= MAX_DESTINATIONS && self.destinations > MAX_DESTINATIONS {
            let conflict =
                Conflict::TooMany { what: "pairs of a tenant and an endpoint", max: MAX_DESTINATIONS };
            self.problems.add(&section.at().field("peer_groups"), &conflict);
        }
    }

    fn pools(&mut self, id: Position, section: &file::Tenant) -> (Vec<Pool>, Unique<PoolName>) {
        let mut names = Unique::new("pool");
        let mut pools = Vec::new();
        for pool in &section.pool {
            names.claim(&pool.name, self.problems);
            pools.push(self.pool(id, pool, section));
        }
        (pools, names)
    }

    fn pool(&mut self, id: Position, section: &file::Pool, tenant: &file::Tenant) -> Pool {
        let name = &section.name.value;
        if section.backend.is_empty() {
            self.problems.add(&section.at().field("backend"), &Conflict::EmptyPool { pool: name.clone() });
        } else if section.backend.iter().all(|backend| backend.weight.value.get() == 0) {
            self.problems.add(&section.backend[0].weight.at, &Conflict::NoWeight { pool: name.clone() });
        }
        let mut seen = HashMap::new();
        let mut backends = Vec::new();
        for section in &section.backend {
            let backend = self.backend(id, section, tenant);
            if let Some(first) = seen.insert((backend.address, backend.port), &section.address.at) {
                let conflict = Conflict::BackendTwice { address: backend.address, port: backend.port };
                self.problems.add_with(&section.address.at, &conflict, "the first one", first);
            }
            backends.push(backend);
        }
        Pool {
            name: name.clone(),
            when_all_down: WhenAllDown::Refuse,
            on_backend_down: OnBackendDown::Keep,
            slow_start: Duration::ZERO,
            health: None,
            backends,
        }
    }

    fn backend(&mut self, id: Position, section: &file::Backend, tenant: &file::Tenant) -> Backend {
        self.check_backend_address(id, &section.address, tenant);
        Backend {
            address: section.address.value,
            port: section.port.value,
            weight: section.weight.value,
            state: AdminState::Active,
            drain_until: None,
        }
    }

    /// A backend is one of its tenant's sources, and neither VIP nor NAT IP.
    fn check_backend_address(&mut self, id: Position, backend: &Located<BackendAddr>, tenant: &file::Tenant) {
        let Located { value: address, at } = backend;
        let address = *address;
        if let Some((role, other)) = self.plan.gateway_role_of(address.get()) {
            self.problems.add_with(at, &Conflict::BackendTaken { address, role }, "it stands here", other);
            return;
        }
        if self.plan.is_source_of(address.get(), id) {
            return;
        }
        if let Some((owner, other)) = self.plan.owner_of(address.get()) {
            let conflict = Conflict::BackendForeign { address, owner: owner.clone() };
            self.problems.add_with(at, &conflict, "its source", other);
        } else {
            let sources = tenant.sources.value.iter().map(|source| source.value.0).collect();
            let tenant = tenant.name.value.clone();
            self.problems.add(at, &Conflict::BackendOutside { address, tenant, sources });
        }
    }

    fn listeners(&mut self, section: &'a file::Tenant, pools: &Unique<PoolName>) -> Vec<Listener> {
        let mut names = Unique::new("listener");
        let mut listeners = Vec::new();
        for listener in &section.listener {
            names.claim(&listener.name, self.problems);
            listeners.extend(self.listener(listener, pools));
        }
        listeners
    }

    fn listener(&mut self, section: &'a file::Listener, pools: &Unique<PoolName>) -> Option<Listener> {
        let (protocol, port) = (section.protocol.value, section.port.value);
        if let Some(first) = self.ports.get(&(protocol, port)) {
            let conflict = Conflict::ListenerTaken { protocol, port };
            self.problems.add_with(&section.port.at, &conflict, "the first one", first);
        } else {
            self.ports.insert((protocol, port), &section.port.at);
        }
        if section.allow.value.is_empty() {
            self.problems.add(&section.allow.at, &Conflict::EmptyAllow);
        }
        Some(Listener {
            name: section.name.value.clone(),
            protocol,
            port,
            pool: self.find_pool(&section.pool, pools)?,
            source: section.source.value,
            allow: section.allow.value.iter().map(|prefix| prefix.value.0).collect(),
        })
    }

    fn find_pool(&mut self, name: &Located<PoolName>, pools: &Unique<PoolName>) -> Option<PoolIndex> {
        let position = pools.position(&name.value);
        if position.is_none() {
            let known = pools.names();
            self.problems.add(&name.at, &Conflict::UnknownPool { name: name.value.clone(), known });
        }
        position.map(PoolIndex)
    }

    fn all_egress(&mut self, section: &file::Tenant, groups: &[PeerGroupIndex]) -> Vec<Egress> {
        let mut ports = Ports::new();
        let mut all = Vec::new();
        for section in &section.egress {
            let egress = self.egress(section, groups);
            let (protocol, port) = (egress.protocol, egress.port);
            if let Some(first) = ports.insert((protocol, port), &section.port.at) {
                let conflict = Conflict::EgressTaken { protocol, port };
                self.problems.add_with(&section.port.at, &conflict, "the first one", first);
            }
            all.push(egress);
        }
        all
    }

    fn egress(&mut self, section: &file::Egress, groups: &[PeerGroupIndex]) -> Egress {
        let egress =
            Egress { protocol: section.protocol.value, port: section.port.value, to: section.to.value };
        let (to, protocol) = (egress.to, Protocol::from(egress.protocol));
        let address = to.address.get();
        if let Some((role, other)) = self.plan.role_of(address) {
            let conflict = Conflict::TargetInside { to, role };
            self.problems.add_with(&section.to.at, &conflict, "it stands here", other);
        } else if !groups.iter().any(|group| self.peers.group(*group).allows(address, protocol, to.port)) {
            self.problems.add(&section.to.at, &Conflict::TargetNotAllowed { to, protocol });
        }
        egress
    }
}
