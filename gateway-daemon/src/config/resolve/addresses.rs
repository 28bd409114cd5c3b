//! Who owns which address: the VIPs, the tenant NAT IPs and the tenants' sources.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::conflict::{Conflict, Role};
use super::objects::{Piece, TenantPiece};
use crate::config::address::VipAddr;
use crate::config::name::TenantName;
use crate::config::problem::{At, Located, Problems};

/// All addresses that have an owner.
pub(super) struct AddressPlan<'f> {
    vips: [&'f Located<VipAddr>; 2],
    nat_ips: HashMap<Ipv4Addr, &'f At>,
    /// The sources of all tenants in the order of addresses. No two of them overlap.
    sources: Vec<Source<'f>>,
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
    tenant: &'f TenantName,
    prefix: Ipv4Net,
    at: &'f At,
}

impl<'f> AddressPlan<'f> {
    /// Collects the addresses and reports those that two claim.
    pub(super) fn new(
        vips: [&'f Located<VipAddr>; 2],
        tenants: &[TenantPiece<'f>],
        problems: &mut Problems,
    ) -> Self {
        let mut plan = Self {
            vips,
            nat_ips: HashMap::with_capacity(tenants.len()),
            sources: Vec::with_capacity(tenants.len()),
            disputed: false,
        };
        plan.add_sources(tenants, problems);
        for (id, tenant) in numbered(tenants) {
            plan.add_nat_ip(id, tenant, problems);
        }
        plan
    }

    fn add_sources(&mut self, tenants: &[TenantPiece<'f>], problems: &mut Problems) {
        let mut sources = Vec::with_capacity(tenants.len());
        for (id, piece) in numbered(tenants) {
            let (tenant, _) = piece.name();
            piece.for_each_source(|prefix, at| sources.push(Source { id, tenant, prefix, at }));
            if let Piece::Read(section) = piece
                && section.sources.value.is_empty()
            {
                problems.add(&section.sources.at, &Conflict::NoSources { tenant: tenant.clone() });
            }
        }
        for source in &sources {
            self.refuse_vip_in(*source, problems);
        }
        // Wider prefixes first: of two that overlap one holds the other, and then follows it.
        sources.sort_by_key(|source| (source.prefix.network(), source.prefix.prefix_len()));
        for source in sources {
            match self.sources.last() {
                Some(wider) if wider.prefix.contains(&source.prefix) => {
                    report_overlap(source, *wider, problems);
                    self.disputed = true;
                }
                _ => self.sources.push(source),
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

    fn add_nat_ip(&mut self, id: Position, tenant: TenantPiece<'f>, problems: &mut Problems) {
        let (address, at) = tenant.nat_ip();
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
        let behind = self.sources.partition_point(|source| source.prefix.network() <= address);
        let source = self.sources.get(behind.checked_sub(1)?)?;
        source.prefix.contains(&address).then_some(*source)
    }

    /// Whether `address` is one of the tenant's sources.
    pub(super) fn is_source_of(&self, address: Ipv4Addr, id: Position) -> bool {
        self.disputed || self.source_of(address).is_some_and(|source| source.id == id)
    }

    /// Whose source `address` is, and where that stands.
    pub(super) fn owner_of(&self, address: Ipv4Addr) -> Option<(&'f TenantName, &'f At)> {
        self.source_of(address).map(|source| (source.tenant, source.at))
    }

    /// What `address` already is, and where that stands.
    pub(super) fn role_of(&self, address: Ipv4Addr) -> Option<(Role, &'f At)> {
        let source = || self.source_of(address).map(|source| (Role::Source, source.at));
        self.gateway_role_of(address).or_else(source)
    }

    /// Whether `address` is a VIP or a tenant NAT IP, and where that stands.
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
pub(super) fn numbered<'f>(tenants: &[TenantPiece<'f>]) -> impl Iterator<Item = (Position, TenantPiece<'f>)> {
    (0..).map(Position).zip(tenants.iter().copied())
}

/// Reports it at the one that comes later.
fn report_overlap(a: Source<'_>, b: Source<'_>, problems: &mut Problems) {
    let (first, second) = if a.at.span.start < b.at.span.start { (a, b) } else { (b, a) };
    let (prefix, other) = (second.prefix, first.prefix);
    let conflict = if first.id == second.id {
        Conflict::SourceRedundant { prefix, other }
    } else {
        Conflict::SourcesOverlap { prefix, other, owner: first.tenant.clone() }
    };
    problems.add_with(second.at, &conflict, "the other prefix", first.at);
}
