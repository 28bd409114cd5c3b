//! One pinned map with the types of its keys and values.

use std::{collections::HashMap, hash::Hash, io, marker::PhantomData};

use anyhow::{Context as _, Result, bail};
use aya::{Pod, maps::MapData};

use super::{batch, changes::TableChanges, element, pins::Pins};

/// A hash map or a trie.
pub struct Table<K, V> {
    name: &'static str,
    map: MapData,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K: Pod + Eq + Hash, V: Pod> Table<K, V> {
    /// Opens the pinned map.
    ///
    /// # Errors
    ///
    /// When there is none, or one whose keys and values have other sizes.
    pub fn open(pins: &Pins, name: &'static str) -> Result<Self> {
        let map = open(pins, name)?;
        let info = map.info().with_context(|| format!("cannot look at the map {name}"))?;
        if (info.key_size() as usize, info.value_size() as usize) != (size_of::<K>(), size_of::<V>()) {
            bail!(
                "the pinned map {} has another layout than this daemon: run `gateway-daemon unload`, which ends all flows",
                pins.map(name).display()
            );
        }
        Ok(Self { name, map, types: PhantomData })
    }

    /// Every entry, in no order.
    pub fn all(&self) -> Result<Vec<(K, V)>> {
        let mut all = HashMap::new();
        batch::for_each::<K, V>(&self.map, |key, value| _ = all.insert(*key, *value))
            .with_context(|| format!("cannot read the table {}", self.name))?;
        Ok(all.into_iter().collect())
    }

    /// One entry. In a trie that of the longest prefix, if the key is as long as keys can be.
    pub fn find(&self, key: &K) -> Result<Option<V>> {
        element::lookup(&self.map, key).with_context(|| format!("cannot read the table {}", self.name))
    }

    /// Adds and replaces entries.
    pub fn put(&self, entries: &[(K, V)]) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let (keys, values): (Vec<K>, Vec<V>) = entries.iter().copied().unzip();
        batch::update(&self.map, &keys, &values)
            .with_context(|| format!("cannot write {} entries of the table {}", entries.len(), self.name))
    }

    /// Removes entries; those that are not there are as good as removed.
    pub fn remove(&self, keys: &[K]) -> Result<()> {
        let mut rest = keys;
        while !rest.is_empty() {
            match batch::delete(&self.map, rest) {
                Ok(()) => break,
                // Some are gone already: one by one then.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    rest = self.remove_slowly(rest)?;
                }
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("cannot remove entries of the table {}", self.name));
                }
            }
        }
        Ok(())
    }

    fn remove_slowly<'k>(&self, keys: &'k [K]) -> Result<&'k [K]> {
        for key in keys {
            match batch::delete(&self.map, std::slice::from_ref(key)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error)
                        .with_context(|| format!("cannot remove an entry of the table {}", self.name));
                }
                _ => {}
            }
        }
        Ok(&[])
    }

    /// The writes of `changes`.
    pub fn put_changes(&self, changes: &TableChanges<K, V>) -> Result<()> {
        self.put(&changes.put)
    }

    /// The removals of `changes`.
    pub fn remove_changes(&self, changes: &TableChanges<K, V>) -> Result<()> {
        self.remove(&changes.remove)
    }

    /// How many entries there are; counts them.
    pub fn count(&self) -> Result<u64> {
        let mut count = 0;
        batch::for_each::<K, V>(&self.map, |_, _| count += 1)
            .with_context(|| format!("cannot read the table {}", self.name))?;
        Ok(count)
    }

    /// How many fit.
    pub fn capacity(&self) -> Result<u64> {
        Ok(u64::from(self.map.info()?.max_entries()))
    }

    /// The map itself.
    pub fn map(&self) -> &MapData {
        &self.map
    }
}

/// Opens a pinned map without types.
pub fn open(pins: &Pins, name: &str) -> Result<MapData> {
    let path = pins.map(name);
    MapData::from_pin(&path).with_context(|| format!("cannot open the pinned map {}", path.display()))
}
