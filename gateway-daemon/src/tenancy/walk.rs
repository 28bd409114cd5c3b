//! Looking names up in a sorted list, when they are asked for in their order as well.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::sync::Arc;

/// A sorted list of names and what they stand for, walked once from its beginning to its end. For large lists that is
/// several times faster than looking each name up.
pub(crate) struct Walk<'a, V, I: Iterator<Item = (&'a str, V)>> {
    rest: Peekable<I>,
}

impl<'a, V, I: Iterator<Item = (&'a str, V)>> Walk<'a, V, I> {
    /// Begins a walk over a sorted list.
    pub(crate) fn new(sorted: impl IntoIterator<IntoIter = I>) -> Self {
        Self { rest: sorted.into_iter().peekable() }
    }

    /// What `name` stands for. Names are to be asked for in ascending order.
    pub(crate) fn find(&mut self, name: &str) -> Option<V> {
        while self.rest.next_if(|(other, _)| *other < name).is_some() {}
        self.rest.next_if(|(other, _)| *other == name).map(|(_, found)| found)
    }
}

/// The entries of a map as a [`Walk`] takes them.
pub(crate) fn entries<T>(map: &BTreeMap<String, Arc<T>>) -> impl Iterator<Item = (&str, &Arc<T>)> {
    map.iter().map(|(name, object)| (name.as_str(), object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_their_order() {
        let map: BTreeMap<String, Arc<u8>> =
            [("a", 1), ("c", 3), ("d", 4)].map(|(name, number)| (name.to_owned(), Arc::new(number))).into();
        let mut walk = Walk::new(entries(&map));
        let found: Vec<Option<u8>> = ["a", "b", "d", "e"].map(|name| walk.find(name).map(|n| **n)).into();
        assert_eq!(found, [Some(1), None, Some(4), None]);
    }
}
