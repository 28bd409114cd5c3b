//! Tenants: pools, listeners and addressed egress.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::addresses::{AddressPlan, Position, numbered};
use super::conflict::Conflict;
use super::health;
use super::mismatch::Mismatch;
use super::objects::{Objects, Piece, TenantPiece};
use super::peers::PeerGroups;
use super::settings::seconds;
use super::tenant_limits;
use super::unique::Unique;
use crate::config::address::BackendAddr;
use crate::config::bounded::Bounded;
use crate::config::choice::{Protocol, StateWord, Transport};
use crate::config::file;
use crate::config::limits::{MAX_DESTINATIONS, MAX_HAIRPINS, UnixSecs};
use crate::config::model::{Backend, Egress, Listener, PeerGroupIndex, Pool, PoolIndex, Tenant};
use crate::config::name::{PoolName, TenantName};
use crate::config::port::Port;
use crate::config::problem::{At, Located, Problems};
use crate::config::reader::Section;
use crate::config::tenant_limits::{PLACES_RESERVED_MAX, TenantPorts};
use crate::tenancy::spec::AdminState;
use gateway_common::port_slice::SLICES;

/// The ports that are taken, and where.
type Ports<'f> = HashMap<(Transport, Port), &'f At>;

pub(super) fn resolve(
    objects: &Objects<'_>,
    plan: &AddressPlan<'_>,
    peers: &PeerGroups,
    problems: &mut Problems,
) -> Vec<Arc<Tenant>> {
    let count = objects.tenants.len();
    let mut names = Unique::with_capacity("tenant", count);
    let ports = Ports::with_capacity(count);
    let mut resolver = Resolver {
        plan,
        peers,
        ports,
        destinations: 0,
        hairpins: 0,
        reserved_places: 0,
        new_addresses: objects.new_addresses,
        problems,
    };
    let mut tenants = Vec::with_capacity(count);
    for (id, piece) in numbered(&objects.tenants) {
        let (name, at) = piece.name();
        names.claim(name, at, resolver.problems);
        tenants.push(match piece {
            Piece::Read(section) => Arc::new(resolver.tenant(id, section)),
            Piece::Kept(tenant) => resolver.kept(tenant),
        });
    }
    for piece in &objects.tenants {
        resolver.check_hairpins(*piece, &names, objects.later_tenants);
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
    /// Pairs of a tenant and another one that it may call.
    hairpins: usize,
    /// Places of every slice that are reserved.
    reserved_places: u16,
    /// As in [`Objects`].
    new_addresses: bool,
    problems: &'a mut Problems,
}

impl<'a> Resolver<'a, '_> {
    fn tenant(&mut self, id: Position, section: &'a file::Tenant) -> Tenant {
        let sources = section.sources.value.iter().map(|source| source.value.0).collect();
        let peer_groups = self.peer_groups(section);
        let (pools, pool_names) = self.pools(id, section);
        let (state, drain_until) = self.state(&section.state, &section.drain_until);
        let limits = tenant_limits::resolve(section, self.problems).shared();
        self.reserve(&section.name.value, limits.ports, &section.reserved_ports.at);
        Tenant {
            name: section.name.value.clone(),
            state,
            drain_until,
            nat_ip: section.nat_ip.value,
            sources,
            hairpin_to: section.hairpin_to.value.iter().map(|name| name.value.clone()).collect(),
            limits,
            listeners: self.listeners(section, &pool_names),
            egress: self.all_egress(section, &peer_groups),
            peer_groups,
            pools,
        }
    }

    /// A tenant that is as it was. Its backends need no second look: they are among its sources, where a new NAT IP of
    /// somebody else is a fault already, as is a new source.
    fn kept(&mut self, tenant: &'a Arc<Tenant>) -> Arc<Tenant> {
        for listener in &tenant.listeners {
            self.claim_port(listener.protocol, listener.port, &At::NOWHERE);
        }
        self.reserve(&tenant.name, tenant.limits.ports, &At::NOWHERE);
        let peer_groups = self.moved_groups(tenant);
        self.count_destinations(&At::NOWHERE, &peer_groups);
        let same_groups = peer_groups.iter().all(|group| self.peers.is_kept(*group));
        if self.new_addresses || !same_groups {
            for egress in &tenant.egress {
                self.check_target(*egress, &At::NOWHERE, &peer_groups);
            }
        }
        if peer_groups == tenant.peer_groups {
            return Arc::clone(tenant);
        }
        Arc::new(Tenant { peer_groups, ..Tenant::clone(tenant) })
    }

    /// Where the groups of a kept tenant are now, in the order of positions.
    fn moved_groups(&mut self, tenant: &Tenant) -> Vec<PeerGroupIndex> {
        let mut moved = Vec::with_capacity(tenant.peer_groups.len());
        for earlier in &tenant.peer_groups {
            match self.peers.moved(*earlier) {
                Some(index) => moved.push(index),
                None => _ = self.problems.add(&At::NOWHERE, &Conflict::PeerGroupGone),
            }
        }
        moved.sort_unstable();
        moved
    }

    /// Reports every tenant for which not enough ports are left.
    fn reserve(&mut self, tenant: &TenantName, ports: TenantPorts, at: &At) {
        let in_ports = |places: u16| u32::from(places) * u32::from(SLICES);
        let (wanted, left) = (ports.reserved_places(), PLACES_RESERVED_MAX - self.reserved_places);
        if wanted <= left {
            self.reserved_places += wanted;
            return;
        }
        let conflict = Conflict::NoPortsLeft {
            tenant: tenant.clone(),
            wanted: in_ports(wanted),
            left: in_ports(left),
            all: in_ports(PLACES_RESERVED_MAX),
        };
        self.problems.add(at, &conflict);
    }

    /// Whom a tenant may call exists, or will.
    fn check_hairpins(&mut self, piece: TenantPiece<'_>, known: &Unique<TenantName>, later: &[&str]) {
        let mut seen = HashSet::new();
        piece.for_each_hairpin(|name, at| {
            if known.position(name).is_none() && !later.contains(&name.as_str()) {
                let conflict = Conflict::UnknownTenant { name: name.clone(), known: known.names() };
                self.problems.add(at, &conflict);
            }
            if !seen.insert(name.clone()) {
                self.problems.add(at, &Conflict::TenantTwice { name: name.clone() });
            }
            self.hairpins += 1;
            if self.hairpins == MAX_HAIRPINS + 1 {
                let what = "pairs of a tenant and another one that it may call";
                self.problems.add(at, &Conflict::TooMany { what, max: MAX_HAIRPINS });
            }
        });
    }

    fn state(
        &mut self,
        word: &Located<StateWord>,
        until: &Located<Bounded<UnixSecs>>,
    ) -> (AdminState, Option<SystemTime>) {
        let state = AdminState::from(word.value);
        let secs = u64::from(until.value.get());
        if secs == 0 {
            return (state, None);
        }
        if state != AdminState::Draining {
            self.problems.add(&until.at, &Mismatch::NotDraining);
        }
        (state, Some(UNIX_EPOCH + Duration::from_secs(secs)))
    }

    fn peer_groups(&mut self, section: &file::Tenant) -> Vec<PeerGroupIndex> {
        let mut found = BTreeSet::new();
        for name in section.peer_groups.iter().flat_map(|groups| &groups.value) {
            let Some(index) = self.peers.find(&name.value, &name.at, self.problems) else {
                continue;
            };
            if !found.insert(index) {
                self.problems.add(&name.at, &Conflict::PeerGroupTwice { name: name.value.clone() });
            }
        }
        let found: Vec<PeerGroupIndex> = found.into_iter().collect();
        self.count_destinations(&section.at().field("peer_groups"), &found);
        found
    }

    /// Reports the first tenant beyond the limit.
    fn count_destinations(&mut self, at: &At, groups: &[PeerGroupIndex]) {
        let before = self.destinations;
        self.destinations +=
            groups.iter().map(|group| self.peers.group(*group).endpoints.len()).sum::<usize>();
        if before <= MAX_DESTINATIONS && self.destinations > MAX_DESTINATIONS {
            let conflict =
                Conflict::TooMany { what: "pairs of a tenant and an endpoint", max: MAX_DESTINATIONS };
            self.problems.add(at, &conflict);
        }
    }

    fn pools(&mut self, id: Position, section: &file::Tenant) -> (Vec<Pool>, Unique<PoolName>) {
        let mut names = Unique::new("pool");
        let mut pools = Vec::with_capacity(section.pool.len());
        for pool in &section.pool {
            names.claim(&pool.name.value, &pool.name.at, self.problems);
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
        let mut backends = Vec::with_capacity(section.backend.len());
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
            when_all_down: section.when_all_down.value,
            on_backend_down: section.on_backend_down.value,
            slow_start: seconds(&section.slow_start_secs),
            health: section.health.as_ref().map(|section| Box::new(health::resolve(section, self.problems))),
            backends,
        }
    }

    fn backend(&mut self, id: Position, section: &file::Backend, tenant: &file::Tenant) -> Backend {
        self.check_backend_address(id, &section.address, tenant);
        let (state, drain_until) = self.state(&section.state, &section.drain_until);
        Backend {
            address: section.address.value,
            port: section.port.value,
            weight: section.weight.value,
            state,
            drain_until,
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
        let mut listeners = Vec::with_capacity(section.listener.len());
        for listener in &section.listener {
            names.claim(&listener.name.value, &listener.name.at, self.problems);
            listeners.extend(self.listener(listener, pools));
        }
        listeners
    }

    fn listener(&mut self, section: &'a file::Listener, pools: &Unique<PoolName>) -> Option<Listener> {
        let (protocol, port) = (section.protocol.value, section.port.value);
        self.claim_port(protocol, port, &section.port.at);
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

    fn claim_port(&mut self, protocol: Transport, port: Port, at: &'a At) {
        match self.ports.entry((protocol, port)) {
            Entry::Vacant(free) => _ = free.insert(at),
            Entry::Occupied(first) => {
                let conflict = Conflict::ListenerTaken { protocol, port };
                self.problems.add_with(at, &conflict, "the first one", first.get());
            }
        }
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
        let mut all = Vec::with_capacity(section.egress.len());
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
        self.check_target(egress, &section.to.at, groups);
        egress
    }

    /// A target is outside, and one of the tenant's peer groups allows it.
    fn check_target(&mut self, egress: Egress, at: &At, groups: &[PeerGroupIndex]) {
        let (to, protocol) = (egress.to, Protocol::from(egress.protocol));
        let address = to.address.get();
        if let Some((role, other)) = self.plan.role_of(address) {
            let conflict = Conflict::TargetInside { to, role };
            self.problems.add_with(at, &conflict, "it stands here", other);
        } else if !groups.iter().any(|group| self.peers.group(*group).allows(address, protocol, to.port)) {
            self.problems.add(at, &Conflict::TargetNotAllowed { to, protocol });
        }
    }
}
