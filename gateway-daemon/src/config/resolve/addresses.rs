//! Who owns which address: the VIPs, the tenant NAT IPs and the tenants' sources.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::conflict::{Conflict, Role};
use crate::config::address::VipAddr;
use crate::config::file::{File, Tenant};
use crate::config::name::TenantName;
use crate::config::problem::{At, Located, Problems};

/// All addresses of the file that have an owner.
pub(super) struct AddressPlan<'f> {
    vips: [&'f Located<VipAddr>; 2],
    nat_ips: HashMap<Ipv4Addr, &'f At>,
    /// The sources of all tenants by their first address. No two of them overlap.
    sources: BTreeMap<Ipv4Addr, Source<'f>>,
    /// Some sources overlap, which is reported; who owns which is open then.
    disputed: bool,
}

/// A tenant by its place among all, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position(usize);

/// One prefix of one tenant's `sources`.
#[derive(Clone, Copy)]
struct Source<'f> {
    id: Position,
    tenant: &'f Tenant,
    prefix: Ipv4Net,
    at: &'f At,
}

impl<'f> AddressPlan<'f> {
    /// Collects the addresses and reports those that two claim.
    pub(super) fn new(file: &'f File, problems: &mut Problems) -> Self {
        let gateway = &file.gateway;
        let mut plan = Self {
            vips: [&gateway.ingress_vip, &gateway.egress_vip],
            nat_ips: HashMap::new(),
            sources: BTreeMap::new(),
            disputed: false,
        };
        plan.add_sources(&file.tenant, problems);
        for (id, tenant) in numbered(&file.tenant) {
            plan.add_nat_ip(id, tenant, problems);
        }
        plan
    }

    fn add_sources(&mut self, tenants: &'f [Tenant], problems: &mut Problems) {
        let mut sources = Vec::new();
        for (id, tenant) in numbered(tenants) {
            if tenant.sources.value.is_empty() {
                let conflict = Conflict::NoSources { tenant: tenant.name.value.clone() };
                problems.add(&tenant.sources.at, &conflict);
            }
            for source in &tenant.sources.value {
                let source = Source { id, tenant, prefix: source.value.0, at: &source.at };
                self.refuse_vip_in(source, problems);
                sources.push(source);
            }
        }
        // Wider prefixes first: of two that overlap one holds the other, and then follows it.
        sources.sort_by_key(|source| (source.prefix.network(), source.prefix.prefix_len()));
        for source in sources {
            if let Some(wider) = self.source_of(source.prefix.network()) {
                report_overlap(source, wider, problems);
                self.disputed = true;
            } else {
                self.sources.insert(source.prefix.network(), source);
            }
        }
    }

    fn refuse_vip_in(&self, source: Source<'_>, problems: &mut Problems) {
        for vip in self.vips {
            if source.prefix.contains(&vip.value.get()) {
                let conflict = Conflict::SourceHoldsVip { prefix: source.prefix, vip: vip.value };
                problems.add_with(source.at, &conflict, "the VIP", &vip.at);
            }
        }
    }

    fn add_nat_ip(&mut self, id: Position, tenant: &'f Tenant, problems: &mut Problems) {
        let Located { value: address, at } = &tenant.nat_ip;
        let address = *address;
        if let Some(vip) = self.vips.iter().find(|vip| vip.value.get() == address.get()) {
            problems.add_with(at, &Conflict::NatIsVip { address }, "the VIP", &vip.at);
        } else if let Some(first) = self.nat_ips.get(&address.get()) {
            problems.add_with(at, &Conflict::NatTaken { address }, "the first one", first);
        } else if let Some(source) = self.source_of(address.get())
            && source.id != id
            && !self.disputed
        {
            let conflict = Conflict::NatInForeignSources { address };
            problems.add_with(at, &conflict, "the other tenant's source", source.at);
        }
        self.nat_ips.entry(address.get()).or_insert(at);
    }

    fn source_of(&self, address: Ipv4Addr) -> Option<Source<'f>> {
        let (_, source) = self.sources.range(..=address).next_back()?;
        source.prefix.contains(&address).then_some(*source)
    }

    /// Whether `address` is one of the tenant's sources.
    pub(super) fn is_source_of(&self, address: Ipv4Addr, id: Position) -> bool {
        self.disputed || self.source_of(address).is_some_and(|source| source.id == id)
    }

    /// Whose source `address` is, and where the file says so.
    pub(super) fn owner_of(&self, address: Ipv4Addr) -> Option<(&'f TenantName, &'f At)> {
        self.source_of(address).map(|source| (&source.tenant.name.value, source.at))
    }

    /// What `address` already is, and where the file says so.
    pub(super) fn role_of(&self, address: Ipv4Addr) -> Option<(Role, &'f At)> {
        let source = || self.source_of(address).map(|source| (Role::Source, source.at));
        self.gateway_role_of(address).or_else(source)
    }

    /// Whether `address` is a VIP or a tenant NAT IP, and where the file says so.
    pub(super) fn gateway_role_of(&self, address: Ipv4Addr) -> Option<(Role, &'f At)> {
        let vip = self.vips.iter().find(|vip| vip.value.get() == address);
        let nat_ip = || self.nat_ips.get(&address).map(|at| (Role::NatIp, *at));
        vip.map(|vip| (Role::Vip, &vip.at)).or_else(nat_ip)
    }

    /// What all of `prefix` already is. A prefix with other addresses in it as well is nothing.
    pub(super) fn role_of_prefix(&self, prefix: Ipv4Net) -> Option<(Role, &'f At)> {
        if prefix.prefix_len() == 32 {
            return self.role_of(prefix.addr());
        }
        let source = self.source_of(prefix.network())?;
        source.prefix.contains(&prefix).then_some((Role::Source, source.at))
    }
}

/// The tenants with their positions.
pub(super) fn numbered(tenants: &[Tenant]) -> impl Iterator<Item = (Position, &Tenant)> {
    (0..).map(Position).zip(tenants)
}

/// Reports it at the one that comes later in the file.
fn report_overlap(a: Source<'_>, b: Source<'_>, problems: &mut Problems) {
    let (first, second) = if a.at.span.start < b.at.span.start { (a, b) } else { (b, a) };
    let (prefix, other) = (second.prefix, first.prefix);
    let conflict = if first.id == second.id {
        Conflict::SourceRedundant { prefix, other }
    } else {
        Conflict::SourcesOverlap { prefix, other, owner: first.tenant.name.value.clone() }
    };
    problems.add_with(second.at, &conflict, "the other prefix", first.at);
}
