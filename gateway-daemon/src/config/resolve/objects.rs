//! Peer groups and tenants, whether read just now or known to be right from an earlier configuration.
//!
//! What is kept was legal among what stood there before. So only that is checked again which new objects can have
//! broken: claims that must be unique among all, and references to what has changed. When a kept object turns out to
//! be in conflict, the fault has no place in a text; then the caller reads all objects, and gets all faults with
//! their places.

use std::sync::Arc;

use super::addresses::AddressPlan;
use super::{peers, tenants, totals};
use crate::config::address::NatAddr;
use crate::config::address::VipAddr;
use crate::config::file::{self, File};
use crate::config::model::{PeerGroup, Tenant};
use crate::config::name::TenantName;
use crate::config::problem::{At, Located, Problems, Reported};
use ipnet::Ipv4Net;

/// One object.
pub(in crate::config) enum Piece<'f, S, T> {
    /// Read just now.
    Read(&'f S),
    /// Of an earlier configuration.
    Kept(&'f Arc<T>),
}

impl<S, T> Clone for Piece<'_, S, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, T> Copy for Piece<'_, S, T> {}

/// A tenant.
pub(in crate::config) type TenantPiece<'f> = Piece<'f, file::Tenant, Tenant>;
/// A peer group.
pub(in crate::config) type PeerGroupPiece<'f> = Piece<'f, file::PeerGroup, PeerGroup>;

/// All peer groups and tenants, in their order.
pub(in crate::config) struct Objects<'f> {
    /// Ingress and egress VIP.
    pub(in crate::config) vips: [&'f Located<VipAddr>; 2],
    pub(in crate::config) peer_groups: Vec<PeerGroupPiece<'f>>,
    pub(in crate::config) tenants: Vec<TenantPiece<'f>>,
    /// The peer groups that kept tenants point to.
    pub(in crate::config) earlier_groups: &'f [Arc<PeerGroup>],
    /// Names of the tenants that are yet to be read.
    pub(in crate::config) later_tenants: &'f [&'f str],
    /// Has a tenant that was read addresses that it did not have before?
    pub(in crate::config) new_addresses: bool,
}

impl<'f> Objects<'f> {
    /// Those of a file, all of them read just now.
    pub(super) fn read(file: &'f File) -> Self {
        Self {
            vips: [&file.gateway.ingress_vip, &file.gateway.egress_vip],
            peer_groups: file.peer_group.iter().map(Piece::Read).collect(),
            tenants: file.tenant.iter().map(Piece::Read).collect(),
            earlier_groups: &[],
            later_tenants: &[],
            new_addresses: true,
        }
    }
}

/// What comes out.
pub(in crate::config) type Resolved = (Vec<Arc<PeerGroup>>, Vec<Arc<Tenant>>);

/// Resolves the objects.
pub(in crate::config) fn resolve(
    objects: &Objects<'_>,
    problems: &mut Problems,
) -> Result<Resolved, Reported> {
    totals::check(objects, problems);
    problems.none_reported()?;
    let resolved = resolve_counted(objects, problems);
    problems.none_reported()?;
    Ok(resolved)
}

/// Resolves the objects, of which there are not too many. Faults are reported.
pub(super) fn resolve_counted(objects: &Objects<'_>, problems: &mut Problems) -> Resolved {
    let plan = AddressPlan::new(objects.vips, &objects.tenants, problems);
    let peer_groups = peers::resolve(objects, &plan, problems);
    let tenants = tenants::resolve(objects, &plan, &peer_groups, problems);
    (peer_groups.into_groups(), tenants)
}

impl<'f> TenantPiece<'f> {
    pub(super) fn name(self) -> (&'f TenantName, &'f At) {
        match self {
            Self::Read(section) => (&section.name.value, &section.name.at),
            Self::Kept(tenant) => (&tenant.name, &At::NOWHERE),
        }
    }

    pub(super) fn nat_ip(self) -> (NatAddr, &'f At) {
        match self {
            Self::Read(section) => (section.nat_ip.value, &section.nat_ip.at),
            Self::Kept(tenant) => (tenant.nat_ip, &At::NOWHERE),
        }
    }

    /// Calls `each` with every tenant that it may call.
    pub(super) fn for_each_hairpin(self, mut each: impl FnMut(&'f TenantName, &'f At)) {
        match self {
            Self::Read(section) => {
                section.hairpin_to.value.iter().for_each(|name| each(&name.value, &name.at));
            }
            Self::Kept(tenant) => tenant.hairpin_to.iter().for_each(|name| each(name, &At::NOWHERE)),
        }
    }

    /// Calls `each` with every source.
    pub(super) fn for_each_source(self, mut each: impl FnMut(Ipv4Net, &'f At)) {
        match self {
            Self::Read(section) => {
                section.sources.value.iter().for_each(|source| each(source.value.0, &source.at));
            }
            Self::Kept(tenant) => tenant.sources.iter().for_each(|source| each(*source, &At::NOWHERE)),
        }
    }
}
