//! How long it takes from a request until the change is in the kernel's tables.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use aya::maps::{HashMap, Map, MapData};
use gateway_common::{
    abi::{Listener, ListenerKey, Port, Protocol},
    names,
};

use super::{made_up, stage::Stage};
use crate::{lab::Lab, topology::Mode};

/// What was seen.
#[derive(Debug, Default)]
pub struct Latencies {
    /// From the request until the change was read from the pinned map, of each change.
    pub all: Vec<Duration>,
    /// Changes that the pinned map did not show when they were answered, in words.
    pub early: Vec<String>,
    /// The daemon's own figures.
    pub by_daemon: Vec<Duration>,
}

impl Latencies {
    /// So many of a hundred are below.
    #[track_caller]
    pub fn percentile(&self, percent: usize) -> Duration {
        assert!(!self.all.is_empty(), "nothing was measured");
        let mut sorted = self.all.clone();
        sorted.sort();
        sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1]
    }
}

/// So many changes on a gateway with three tenants; half of them are removals.
#[track_caller]
pub fn run(changes: u16) -> Latencies {
    let lab = Lab::new(Mode::Tc);
    let mut stage = Stage::start(&lab, |_| ());
    let pairs = (0..changes / 2).flat_map(|number| [Change::Put(number, 2), Change::Remove(number)]);
    measure(&mut stage, lab.plan.ingress_vip, pairs)
}

/// The pinned map, read beside the daemon.
#[derive(Debug)]
struct Listeners(HashMap<MapData, ListenerKey, Listener>);

impl Listeners {
    #[track_caller]
    fn open(stage: &Stage<'_>) -> Self {
        let path = stage.gateway.pins().map(names::LISTENERS);
        let map = MapData::from_pin(&path).unwrap_or_else(|error| panic!("open {}: {error}", path.display()));
        Self(Map::HashMap(map).try_into().expect("the table of listeners is a hash map"))
    }

    fn has(&self, vip: Ipv4Addr, port: u16) -> bool {
        self.0.get(&ListenerKey::new(vip.into(), Protocol::Tcp, Port::new(port)), 0).is_ok()
    }
}

/// A change of one made-up tenant.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    /// The tenant of this number is added, with so many backends.
    Put(u16, u8),
    /// It is removed.
    Remove(u16),
}

/// Makes the changes, one after the other.
#[track_caller]
pub(super) fn measure(
    stage: &mut Stage<'_>,
    vip: Ipv4Addr,
    changes: impl IntoIterator<Item = Change>,
) -> Latencies {
    let listeners = Listeners::open(stage);
    let mut seen = Latencies::default();
    for change in changes {
        let begin = Instant::now();
        let (number, is_there, outcome) = match change {
            Change::Put(number, backends) => {
                (number, true, stage.api.put_tenant(&made_up::tenant(number, backends)))
            }
            Change::Remove(number) => (number, false, stage.api.remove_tenant(&made_up::name(number))),
        };
        let outcome = outcome.unwrap_or_else(|problem| panic!("{change:?}: {problem}"));
        let is_visible = listeners.has(vip, made_up::port(number)) == is_there;
        seen.all.push(begin.elapsed());
        seen.by_daemon.push(Duration::from_micros(outcome.took_us));
        if !is_visible {
            seen.early.push(format!("{change:?} was answered and is not in the map"));
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let all = (1..=200).rev().map(Duration::from_millis).collect();
        let seen = Latencies { all, ..Latencies::default() };
        assert_eq!(seen.percentile(50), Duration::from_millis(100));
        assert_eq!(seen.percentile(99), Duration::from_millis(198));
        assert_eq!(seen.percentile(100), Duration::from_millis(200));
    }
}
