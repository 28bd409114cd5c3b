//! From what people write to typed objects: the store's half of what [`Config::parse`] does for the file, by the same
//! code.

mod steps;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::mem;
use std::sync::Arc;

use serde::Serialize;
use toml::Spanned;
use toml::de::DeTable;

use super::file;
use super::model::{Config, PeerGroup, Tenant};
use super::named::field_problem;
use super::problem::{At, Located, Problems, Reported};
use super::reader::read_root;
use super::resolve::{Objects, PeerGroupPiece, Piece, Resolved, TenantPiece, resolve_objects};
use crate::tenancy::Tenancy;
use crate::tenancy::problem::FieldProblem;
use crate::tenancy::spec::{BackendSpec, PeerGroupSpec, TenantSpec};
use crate::tenancy::walk::{Walk, entries};

impl Config {
    /// This configuration with other tenants and peer groups, in the order of their names.
    ///
    /// `made_from` is what the present ones were made from, if that is known: objects that are the same there keep
    /// their typed form, so that a small change of a large configuration takes little time. The result is the same
    /// without.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the objects.
    pub fn with_tenancy(
        &self,
        tenancy: &Tenancy,
        made_from: Option<&Tenancy>,
    ) -> Result<Self, Vec<FieldProblem>> {
        self.with_tenancy_in_steps(tenancy, made_from, TENANTS_A_STEP)
    }

    fn with_tenancy_in_steps(
        &self,
        tenancy: &Tenancy,
        made_from: Option<&Tenancy>,
        tenants_a_step: usize,
    ) -> Result<Self, Vec<FieldProblem>> {
        let plan = made_from.map_or_else(|| Plan::all(tenancy), |from| Plan::changes(self, tenancy, from));
        match plan.carry_out_in_steps(self, tenants_a_step) {
            // A fault that concerns a kept object has no place in a text, and there may be more of them.
            Err(Refusal::Meaning(_)) => Plan::all(tenancy).carry_out(self),
            result => result,
        }
        .map_err(Refusal::into_problems)
    }
}

/// How many tenants are read at once.
const TENANTS_A_STEP: usize = 512;

/// Why objects were refused.
#[derive(Debug)]
enum Refusal {
    /// Values that are illegal in themselves.
    Values(Vec<FieldProblem>),
    /// Values that contradict each other.
    Meaning(Vec<FieldProblem>),
}

impl Refusal {
    fn into_problems(self) -> Vec<FieldProblem> {
        match self {
            Self::Values(problems) | Self::Meaning(problems) => problems,
        }
    }
}

/// Which objects are read and which are kept, in the order of names.
#[derive(Default)]
struct Plan<'a> {
    peer_groups: Vec<Planned<'a, PeerGroupSpec, PeerGroup>>,
    tenants: Vec<Planned<'a, TenantSpec, Tenant>>,
    /// Names of the tenants that a later step will read.
    later: Vec<&'a str>,
}

#[derive(Clone)]
enum Planned<'a, S, T> {
    /// Is read; what it was before, if it was.
    Read(&'a S, Option<&'a Arc<T>>),
    /// Is as it was.
    Kept(Arc<T>),
}

impl<'a> Plan<'a> {
    fn all(tenancy: &'a Tenancy) -> Self {
        Self {
            peer_groups: tenancy.peer_groups.values().map(|spec| Planned::Read(&**spec, None)).collect(),
            tenants: tenancy.tenants.values().map(|spec| Planned::Read(&**spec, None)).collect(),
            later: Vec::new(),
        }
    }

    fn changes(config: &'a Config, tenancy: &'a Tenancy, from: &'a Tenancy) -> Self {
        let groups = by_name(&config.peer_groups, |group| group.name.as_str());
        let tenants = by_name(&config.tenants, |tenant| tenant.name.as_str());
        Self {
            peer_groups: planned(entries(&tenancy.peer_groups), entries(&from.peer_groups), groups),
            tenants: planned(entries(&tenancy.tenants), entries(&from.tenants), tenants),
            later: Vec::new(),
        }
    }

    fn carry_out(&self, config: &Config) -> Result<Config, Refusal> {
        let text = self.text();
        let root = parse(&text)?;
        let mut problems = Problems::default();
        let document = read(&root, &mut problems)
            .map_err(|Reported| Refusal::Values(explained(mem::take(&mut problems), &root)))?;
        let resolved = self.resolve(&document, config, &mut problems);
        let (peer_groups, tenants) =
            resolved.map_err(|Reported| Refusal::Meaning(explained(problems, &root)))?;
        Ok(Config { peer_groups: peer_groups.into(), tenants: tenants.into(), ..config.clone() })
    }

    /// What is wrong with the values that are read.
    fn faults(&self) -> Vec<FieldProblem> {
        let text = self.text();
        let faults = |root: Spanned<DeTable<'_>>| {
            let mut problems = Problems::default();
            read(&root, &mut problems).map_or_else(|Reported| explained(problems, &root), |_| Vec::new())
        };
        parse(&text).map_or_else(Refusal::into_problems, faults)
    }

    /// The objects that are read, as a text in TOML.
    fn text(&self) -> String {
        let groups = self.peer_groups.iter().filter_map(Planned::spec);
        let tenants = self.tenants.iter().filter_map(Planned::spec);
        let text = Text { peer_group: groups.collect(), tenant: tenants.map(representable).collect() };
        // Structs with string keys, strings, lists and integers that fit are all that there is.
        toml::to_string(&text).expect("every object can be written as TOML")
    }

    fn resolve(
        &self,
        document: &file::Document,
        config: &Config,
        problems: &mut Problems,
    ) -> Result<Resolved, Reported> {
        let mut groups = document.peer_group.iter();
        let mut tenants = document.tenant.iter();
        let gateway = &config.gateway;
        let vips =
            [gateway.ingress_vip, gateway.egress_vip].map(|vip| Located { value: vip, at: At::NOWHERE });
        let peer_groups: Vec<PeerGroupPiece<'_>> =
            self.peer_groups.iter().filter_map(|group| group.piece(&mut groups)).collect();
        let pieces: Vec<TenantPiece<'_>> =
            self.tenants.iter().filter_map(|tenant| tenant.piece(&mut tenants)).collect();
        let objects = Objects {
            vips: [&vips[0], &vips[1]],
            peer_groups,
            new_addresses: self.has_new_addresses(&pieces),
            tenants: pieces,
            earlier_groups: &config.peer_groups,
            later_tenants: &self.later,
        };
        resolve_objects(&objects, problems)
    }

    fn has_new_addresses(&self, pieces: &[TenantPiece<'_>]) -> bool {
        self.tenants.iter().zip(pieces).any(|(planned, piece)| match (planned, piece) {
            (Planned::Read(_, Some(before)), Piece::Read(section)) => {
                let sources = section.sources.value.iter().map(|source| source.value.0);
                section.nat_ip.value != before.nat_ip || !sources.eq(before.sources.iter().copied())
            }
            (Planned::Read(_, None), _) => true,
            _ => false,
        })
    }
}

impl<'a, S, T> Planned<'a, S, T> {
    fn spec(&self) -> Option<&'a S> {
        match self {
            Self::Read(spec, _) => Some(spec),
            Self::Kept(_) => None,
        }
    }

    /// The object as it is resolved; those that are read come from `sections`, which are in the same order.
    fn piece<'f, R>(&'f self, sections: &mut impl Iterator<Item = &'f R>) -> Option<Piece<'f, R, T>> {
        match self {
            Self::Read(..) => sections.next().map(Piece::Read),
            Self::Kept(object) => Some(Piece::Kept(object)),
        }
    }
}

/// Typed objects in the order of their names, as a [`Walk`] takes them.
fn by_name<'a, T>(
    objects: &'a [Arc<T>],
    name: impl Fn(&'a T) -> &'a str,
) -> impl Iterator<Item = (&'a str, &'a Arc<T>)> {
    let mut named: Vec<(&str, &Arc<T>)> = objects.iter().map(|object| (name(object), object)).collect();
    named.sort_unstable_by_key(|(name, _)| *name);
    named.into_iter()
}

fn planned<'a, S: PartialEq, T>(
    now: impl Iterator<Item = (&'a str, &'a Arc<S>)>,
    before: impl Iterator<Item = (&'a str, &'a Arc<S>)>,
    typed: impl Iterator<Item = (&'a str, &'a Arc<T>)>,
) -> Vec<Planned<'a, S, T>> {
    let (mut before, mut typed) = (Walk::new(before), Walk::new(typed));
    let plan = |(name, spec): (&'a str, &'a Arc<S>)| {
        let same = before.find(name).is_some_and(|before| Arc::ptr_eq(before, spec) || before == spec);
        match typed.find(name) {
            Some(object) if same => Planned::Kept(Arc::clone(object)),
            object => Planned::Read(&**spec, object),
        }
    };
    now.map(plan).collect()
}

/// Objects in the form of the file.
#[derive(Serialize)]
struct Text<'a> {
    peer_group: Vec<&'a PeerGroupSpec>,
    tenant: Vec<Cow<'a, TenantSpec>>,
}

/// The tenant with numbers that TOML can't hold replaced by the largest that it can. They are out of their range
/// either way.
fn representable(tenant: &TenantSpec) -> Cow<'_, TenantSpec> {
    let fits = |until: &Option<u64>| until.is_none_or(|until| i64::try_from(until).is_ok());
    let backend_fits = |backend: &BackendSpec| fits(&backend.drain_until);
    let backends_fit = || tenant.pool.iter().flat_map(|pool| &pool.backend).all(backend_fits);
    if fits(&tenant.drain_until) && backends_fit() {
        return Cow::Borrowed(tenant);
    }
    let mut tenant = tenant.clone();
    let backends = tenant.pool.iter_mut().flat_map(|pool| &mut pool.backend);
    let deadlines = backends.map(|backend| &mut backend.drain_until).chain([&mut tenant.drain_until]);
    for until in deadlines.flatten() {
        *until = (*until).min(i64::MAX.unsigned_abs());
    }
    Cow::Owned(tenant)
}

fn parse(text: &str) -> Result<Spanned<DeTable<'_>>, Refusal> {
    DeTable::parse(text).map_err(|error| Refusal::Values(vec![unreadable(&error)]))
}

fn read(root: &Spanned<DeTable<'_>>, problems: &mut Problems) -> Result<file::Document, Reported> {
    let document = read_root(root, problems)?;
    problems.none_reported().map(|()| document)
}

fn explained(problems: Problems, root: &Spanned<DeTable<'_>>) -> Vec<FieldProblem> {
    let problems = problems.into_sorted().into_iter();
    problems.map(|problem| field_problem(problem, root.get_ref())).collect()
}

fn unreadable(error: &toml::de::Error) -> FieldProblem {
    FieldProblem {
        path: "tenant".to_owned(),
        problem: format!("the objects can't be written as TOML: {}", error.message()),
        remedy: "look for unusual characters in names and addresses".to_owned(),
    }
}
