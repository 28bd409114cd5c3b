//! Weighted Maglev consistent hashing (Eisenbud et al., NSDI 2016, section 3.4).
//!
//! The data path only reads one slot; building a table needs memory and happens in the daemon. Each backend fills
//! slots along its own permutation of the table, taking turns in proportion to its weight, so that a change of the
//! set moves few flows.

use crate::hash::reduce;

/// Slots a unit of the smallest useful share: with 100 slots a backend, shares are exact to about 1 %.
const SLOTS_PER_BACKEND: u32 = 100;

/// Table sizes, all prime as the algorithm demands, each about double the one before.
const SIZES: [u32; 12] =
    [251, 509, 1021, 2039, 4093, 8191, 16_381, 32_749, 65_537, 131_071, 262_139, 524_287];

/// The slot that a flow falls on.
#[inline(always)]
pub const fn slot(hash: u64, table_len: u32) -> u32 {
    reduce(hash, table_len)
}

/// Slots for a pool of this many backends: 100 each, rounded up to a prime from a short list. Nodes must agree on it.
///
/// A single backend needs no choice, so one slot.
pub const fn table_size(backends: usize) -> u32 {
    if backends <= 1 {
        return 1;
    }
    let wanted = backends as u64 * SLOTS_PER_BACKEND as u64;
    let mut index = 0;
    while index + 1 < SIZES.len() && (SIZES[index] as u64) < wanted {
        index += 1;
    }
    SIZES[index]
}

/// A backend as the table builder sees it.
#[cfg(any(test, feature = "user"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What stands in the slots.
    pub id: u32,
    /// What its permutation depends on: stable over restarts and equal on every node.
    pub identity: u64,
    /// Its share; 0 gets none.
    pub weight: u32,
}

/// Fills a table of `size` slots (a prime). Empty when no candidate has weight.
#[cfg(any(test, feature = "user"))]
pub fn build(candidates: &[Candidate], size: u32) -> std::vec::Vec<u32> {
    let mut sorted: std::vec::Vec<Candidate> = candidates.iter().copied().filter(|c| c.weight > 0).collect();
    // The order decides ties, so it must not depend on how the configuration lists the backends.
    sorted.sort_by_key(|candidate| candidate.identity);
    let Some(heaviest) = sorted.iter().map(|candidate| candidate.weight).max() else {
        return std::vec::Vec::new();
    };
    if let [only] = sorted[..] {
        return std::vec![only.id; size as usize];
    }
    let mut walks: std::vec::Vec<Walk> = sorted.iter().map(|candidate| Walk::new(candidate, size)).collect();
    let mut table = std::vec![None; size as usize];
    let mut filled = 0;
    while filled < size {
        for walk in &mut walks {
            walk.credit += walk.weight;
            if walk.credit < heaviest || filled == size {
                continue;
            }
            walk.credit -= heaviest;
            let free = walk.next_free(&table);
            table[free] = Some(walk.id);
            filled += 1;
        }
    }
    table.into_iter().flatten().collect()
}

/// One backend's walk through the table.
#[cfg(any(test, feature = "user"))]
struct Walk {
    id: u32,
    weight: u32,
    credit: u32,
    position: u64,
    skip: u64,
    size: u64,
}

#[cfg(any(test, feature = "user"))]
impl Walk {
    fn new(candidate: &Candidate, size: u32) -> Self {
        let size = u64::from(size);
        let spread = |salt: u64| {
            candidate.identity.wrapping_add(salt).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31)
        };
        let position = spread(1).wrapping_mul(0xff51_afd7_ed55_8ccd) % size;
        let skip = spread(2).wrapping_mul(0xc4ce_b9fe_1a85_ec53) % (size - 1) + 1;
        Self { id: candidate.id, weight: candidate.weight, credit: 0, position, skip, size }
    }

    fn next_free(&mut self, table: &[Option<u32>]) -> usize {
        loop {
            let here = usize::try_from(self.position).unwrap_or(0);
            self.position = (self.position + self.skip) % self.size;
            if table[here].is_none() {
                return here;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Candidate, SIZES, build, table_size};
    use proptest::prelude::*;
    use std::{collections::BTreeMap, vec::Vec};

    fn candidates(weights: &[u32]) -> Vec<Candidate> {
        let number = |index: usize| u32::try_from(index).unwrap();
        weights
            .iter()
            .enumerate()
            .map(|(index, weight)| Candidate {
                id: number(index),
                identity: u64::from(number(index)) * 7919 + 13,
                weight: *weight,
            })
            .collect()
    }

    fn shares(table: &[u32]) -> BTreeMap<u32, f64> {
        let mut shares = BTreeMap::new();
        for id in table {
            *shares.entry(*id).or_insert(0.0) += 1.0 / f64::from(u32::try_from(table.len()).unwrap());
        }
        shares
    }

    #[test]
    fn sizes_are_prime() {
        for size in SIZES {
            assert!((2..size).take_while(|d| d * d <= size).all(|d| size % d != 0), "{size}");
        }
        assert_eq!(table_size(1), 1);
        assert_eq!(table_size(2), 251);
        assert_eq!(table_size(3), 509);
        assert_eq!(table_size(1024), 131_071);
    }

    #[test]
    fn weights_are_shares() {
        let shares = shares(&build(&candidates(&[1, 2, 5]), 4093));
        for (id, share) in [(0, 1.0 / 8.0), (1, 2.0 / 8.0), (2, 5.0 / 8.0)] {
            assert!((shares[&id] - share).abs() < 0.01, "{shares:?}");
        }
    }

    #[test]
    fn no_weight_no_table() {
        assert!(build(&candidates(&[0, 0]), 251).is_empty());
        assert!(build(&[], 251).is_empty());
    }

    #[test]
    fn removing_one_of_ten_moves_few_others() {
        let all = candidates(&[1; 10]);
        let (before, after) = (build(&all, 2039), build(&all[..9], 2039));
        let moved = before.iter().zip(&after).filter(|(old, new)| **old != 9 && old != new).count();
        assert!(moved < 2039 / 10, "{moved} of 2039 slots moved without need");
    }

    proptest! {
        #[test]
        fn full_and_independent_of_order(weights in prop::collection::vec(0_u32..1000, 1..40), seed: u64) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let mut list = candidates(&weights);
            let table = build(&list, table_size(list.len()));
            prop_assert_eq!(table.len(), table_size(list.len()) as usize);
            prop_assert!(table.iter().all(|id| weights[*id as usize] > 0));
            let middle = usize::try_from(seed % list.len() as u64).unwrap();
            list.rotate_left(middle);
            prop_assert_eq!(table, build(&list, table_size(list.len())));
        }
    }
}
