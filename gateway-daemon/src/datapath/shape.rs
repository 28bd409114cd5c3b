//! What a map is to the kernel: kind, sizes and flags.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use aya::maps::{MapData, MapType};
use aya_obj::maps::PinningType;
use gateway_common::layout::{Group, Layout};

/// One map's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Its number in `enum bpf_map_type`.
    pub kind: u32,
    /// Bytes of a key.
    pub key: u32,
    /// Bytes of a value.
    pub value: u32,
    /// Room, in entries.
    pub entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
}

/// Shapes by the maps' names.
pub type Shapes = HashMap<String, Shape>;

impl Shape {
    /// That of a map in the kernel.
    pub fn of(map: &MapData) -> Result<Self> {
        let info = map.info().context("cannot look at a map")?;
        let kind: MapType = info.map_type().context("a map of an unknown kind")?;
        Ok(Self {
            kind: kind as u32,
            key: info.key_size(),
            value: info.value_size(),
            entries: info.max_entries(),
            flags: info.map_flags(),
        })
    }

    /// May a map of this shape be used where `wanted` is declared? The room of the flow tables is the operator's choice
    /// and stays as it is for as long as they live, so it is not compared.
    pub fn fits(self, wanted: Self, layout: &Layout) -> bool {
        let entries = if layout.group == Group::Flows { wanted.entries } else { self.entries };
        Self { entries, ..self } == wanted
    }
}

/// Those of the maps that an eBPF object wants pinned.
pub fn declared(object: &[u8]) -> Result<Shapes> {
    let object = aya_obj::Object::parse(object).context("cannot read the eBPF object")?;
    let shape = |map: &aya_obj::Map| Shape {
        kind: map.map_type(),
        key: map.key_size(),
        value: map.value_size(),
        entries: map.max_entries(),
        flags: map.map_flags(),
    };
    let pinned = object.maps.iter().filter(|(_, map)| map.pinning() == PinningType::ByName);
    Ok(pinned.map(|(name, map)| (name.clone(), shape(map))).collect())
}

#[cfg(test)]
mod tests;
