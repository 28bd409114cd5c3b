//! The routes that the daemon looks after: what is to be done so that the kernel has them. Pure; `kernel` does it.
//!
//! Ours are told from others by their protocol. Others are never touched, so there may be several routes to one prefix:
//! the kernel takes the one with the least metric and, of those, the one that stands in front. Ours have metric 0 and
//! are put in front.

pub mod kernel;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, net::Ipv4Addr};

use ipnet::Ipv4Net;

/// What tells the gateway's routes from others (`rtm_protocol`, `ip route show proto 221`). Free: rtnetlink.h and
/// iproute2's `rt_protos` have 2 to 18, 42, 84 and 99; FRR has 186 to 197.
pub const PROTOCOL: u8 = 221;

/// A route that the configuration has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where it leads to.
    pub to: Ipv4Net,
    /// The router.
    pub via: Ipv4Addr,
    /// The interface that the router is on; any if absent.
    pub ifindex: Option<u32>,
}

/// A route in the kernel's main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it leads to.
    pub to: Ipv4Net,
    /// The kernel prefers less.
    pub metric: u32,
    /// Who made it.
    pub protocol: u8,
    /// How it leads there.
    pub way: Way,
}

/// How a route leads to its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By one router.
    Router {
        /// Its address.
        via: Ipv4Addr,
        /// The interface that it is on.
        ifindex: u32,
    },
    /// Directly, by several routers, or to nowhere.
    Other,
}

/// What brings the kernel's routes to those wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What is to be done, in this order: a step a prefix.
    pub steps: Vec<Step>,
    /// Routes of others that lead elsewhere, at most one a prefix.
    pub rivals: Vec<Rival>,
}

/// What is to be done about one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The prefix.
    pub to: Ipv4Net,
    /// In this order.
    pub changes: Vec<Change>,
}

/// One change of the kernel's main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Puts a route of ours in front of all with metric 0.
    Put(Wanted),
    /// Removes one of ours.
    Remove(Found),
}

/// Somebody else's route to a prefix of ours, by another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rival {
    /// What the configuration has.
    pub wanted: Wanted,
    /// What somebody else has made.
    pub found: Found,
    /// Is there no route of ours to this prefix?
    pub is_alone: bool,
}

/// Compares what is wanted with what was found; those found are in the order of the kernel's table.
pub fn plan(wanted: &[Wanted], found: &[Found]) -> Plan {
    let mut there: BTreeMap<Ipv4Net, Vec<Found>> = BTreeMap::new();
    for route in found {
        there.entry(route.to).or_default().push(*route);
    }
    let mut plan = Plan::default();
    for wanted in wanted {
        let mut there = there.remove(&wanted.to).unwrap_or_default();
        there.sort_by_key(|route| route.metric);
        plan.rivals.extend(rival(wanted, &there));
        plan.add(wanted.to, changes(wanted, &there));
    }
    for (to, there) in there {
        let ours = there.into_iter().filter(Found::is_ours);
        plan.add(to, ours.map(Change::Remove).collect());
    }
    plan
}

/// Those that lead to one prefix, the preferred one first.
fn changes(wanted: &Wanted, there: &[Found]) -> Vec<Change> {
    let remove = |route: &&Found| Change::Remove(**route);
    let ours = there.iter().filter(|route| route.is_ours());
    let (right, wrong): (Vec<_>, Vec<_>) = ours.partition(|route| wanted.is_met_by(route));
    if there.first().is_some_and(|first| wanted.is_met_by(first)) {
        let spare = right.iter().skip(1);
        return spare.chain(&wrong).map(remove).collect();
    }
    // The kernel takes no second one of the same kind, so one that stands behind another's is removed first. One that
    // leads elsewhere goes last: until then it is better than none.
    let behind = right.iter().map(remove);
    behind.chain([Change::Put(*wanted)]).chain(wrong.iter().map(remove)).collect()
}

fn rival(wanted: &Wanted, there: &[Found]) -> Option<Rival> {
    let first = there.first()?;
    if !first.is_ours() && wanted.is_met_by(first) {
        return None;
    }
    let found = there.iter().find(|route| !route.is_ours() && !wanted.is_met_by(route))?;
    Some(Rival { wanted: *wanted, found: *found, is_alone: !there.iter().any(Found::is_ours) })
}

impl Plan {
    fn add(&mut self, to: Ipv4Net, changes: Vec<Change>) {
        if !changes.is_empty() {
            self.steps.push(Step { to, changes });
        }
    }
}

impl Wanted {
    fn is_met_by(&self, found: &Found) -> bool {
        match found.way {
            Way::Router { via, ifindex } => {
                via == self.via && self.ifindex.is_none_or(|wanted| wanted == ifindex)
            }
            Way::Other => false,
        }
    }
}

impl Found {
    /// Is it one that this daemon, or one before it, has made?
    pub fn is_ours(&self) -> bool {
        self.protocol == PROTOCOL
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} via {}", self.to, self.via)
    }
}

/// As `ip route` writes it.
impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to.fmt(f)?;
        if let Way::Router { via, .. } = self.way {
            write!(f, " via {via}")?;
        }
        write!(f, " proto {}", self.protocol)?;
        if self.metric > 0 { write!(f, " metric {}", self.metric) } else { Ok(()) }
    }
}

impl fmt::Display for Rival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wanted, found, .. } = self;
        write!(f, "somebody else's route to {} leads elsewhere than via {}: {found}", wanted.to, wanted.via)
    }
}

impl Rival {
    /// What an operator should do about it.
    pub fn remedy(&self) -> String {
        format!("remove it (`ip route del {}`), or change the route in the configuration", self.found)
    }
}
