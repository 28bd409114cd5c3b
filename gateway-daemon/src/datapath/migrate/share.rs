//! Which maps of an earlier version are used as they are.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use gateway_common::layout::{LAYOUTS, Layout};

use crate::datapath::{
    pins::Pins,
    programs,
    shape::{Shape, Shapes},
    table::open,
};

/// Pins for this version, too, what it can use of `earlier`; returns the maps that both have now.
pub fn share(earlier: &Pins, pins: &Pins) -> Result<BTreeSet<&'static str>> {
    remove_unused_maps(pins)?;
    let mut shapes = Shapes::new();
    for name in earlier.map_names()? {
        shapes.insert(name.clone(), Shape::of(&open(earlier, &name)?)?);
    }
    let mut shared = BTreeSet::new();
    for name in unchanged(earlier.version(), &shapes, &programs::shapes()?) {
        if is_shared(earlier, pins, name)? {
            shared.insert(name);
        }
    }
    Ok(shared)
}

/// Maps of version `version` and these shapes that are as `wanted`, by their groups.
fn unchanged(version: u32, shapes: &Shapes, wanted: &Shapes) -> Vec<&'static str> {
    let fits = |layout: &Layout| {
        let pair = shapes.get(layout.map).zip(wanted.get(layout.map));
        layout.since <= version && pair.is_some_and(|(shape, wanted)| shape.fits(*wanted, layout))
    };
    let whole_group = |layout: &&Layout| LAYOUTS.iter().filter(|other| layout.goes_with(other)).all(fits);
    LAYOUTS.iter().filter(whole_group).map(|layout| layout.map).collect()
}

/// Pins the map for this version unless one is pinned already; is it the same? An interrupted migration of an earlier
/// build has made its own ones, and its programs use them.
fn is_shared(earlier: &Pins, pins: &Pins, name: &str) -> Result<bool> {
    let map = open(earlier, name)?;
    let path = pins.map(name);
    if path.exists() {
        return Ok(id(&open(pins, name)?)? == id(&map)?);
    }
    map.pin(&path).with_context(|| format!("cannot pin the map {}", path.display()))?;
    Ok(true)
}

fn id(map: &MapData) -> Result<u32> {
    Ok(map.info().context("cannot look at a map")?.id())
}

/// Removes all of this version that a failed or killed start has made, if no link was taken: no program runs on it.
pub fn remove_unused(pins: &Pins) -> Result<()> {
    if remove_unused_maps(pins)? { pins.remove_directories() } else { Ok(()) }
}

fn remove_unused_maps(pins: &Pins) -> Result<bool> {
    let unused = pins.link_names()?.is_empty();
    if unused {
        pins.remove_maps()?;
    }
    Ok(unused)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use gateway_common::{
        layout::{Group, LAYOUTS},
        limits::ABI_VERSION,
        names,
    };

    use super::unchanged;
    use crate::datapath::shape::{Shape, Shapes};

    fn shapes() -> Shapes {
        let shape = Shape { kind: 1, key: 4, value: 8, entries: 16, flags: 0 };
        LAYOUTS.iter().map(|layout| (layout.map.to_owned(), shape)).collect()
    }

    fn with(name: &str, change: impl FnOnce(&mut Shape)) -> BTreeSet<&'static str> {
        let mut earlier = shapes();
        change(earlier.get_mut(name).unwrap());
        unchanged(ABI_VERSION, &earlier, &shapes()).into_iter().collect()
    }

    fn all_but(group: Group) -> BTreeSet<&'static str> {
        LAYOUTS.iter().filter(|layout| layout.group != group).map(|layout| layout.map).collect()
    }

    #[test]
    fn what_has_not_changed_is_shared() {
        assert_eq!(with(names::FLOWS, |_| {}), LAYOUTS.iter().map(|layout| layout.map).collect());
    }

    #[test]
    fn another_shape_is_not_shared_nor_what_goes_with_it() {
        let changes: [fn(&mut Shape); 5] = [
            |shape| shape.kind += 1,
            |shape| shape.key += 4,
            |shape| shape.value += 4,
            |shape| shape.entries += 1,
            |shape| shape.flags += 1,
        ];
        for change in changes {
            assert_eq!(with(names::POOLS, change), all_but(Group::Configuration));
        }
        assert_eq!(with(names::HALF_OPEN, |shape| shape.value += 8), all_but(Group::Flows));
        let others = with(names::DROPS, |shape| shape.entries += 1);
        assert!(others.len() == LAYOUTS.len() - 1 && !others.contains(names::DROPS));
    }

    #[test]
    fn the_room_of_flow_tables_is_the_operators() {
        assert!(with(names::FLOWS, |shape| shape.entries *= 2).contains(names::FLOWS));
    }

    #[test]
    fn a_map_of_the_same_shape_with_another_meaning_is_not_shared() {
        let of_the_first: BTreeSet<_> = unchanged(1, &shapes(), &shapes()).into_iter().collect();
        assert!(of_the_first.contains(names::FLOWS) && of_the_first.contains(names::HALF_OPEN));
        assert!(!of_the_first.contains(names::TENANT_SOURCES), "it has had another meaning");
        assert!(!of_the_first.contains(names::SETTINGS), "it goes with the others of the configuration");
    }

    #[test]
    fn a_map_that_is_missing_is_not_shared() {
        let mut earlier = shapes();
        earlier.remove(names::EVENTS);
        assert!(!unchanged(ABI_VERSION, &earlier, &shapes()).contains(&names::EVENTS));
    }
}
