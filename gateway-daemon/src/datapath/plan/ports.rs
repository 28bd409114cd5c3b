//! Which ports of the egress VIP each tenant's calls may take: places in a slice, the same in every slice.
//!
//! Reserved shares lie at the beginning of a slice, each in the first gap that it fits; what is behind the last of them is
//! shared by all other tenants. A share stays where it is for as long as its tenant reserves as much, over changes of other
//! tenants and over restarts, so that a port keeps telling whose it is. Only where the gaps are too small for a new share
//! are all moved together; flows that are open keep their ports even then.

use std::collections::BTreeMap;

use gateway_common::{abi::TenantId, port_slice::PortShare};

use super::placed::hash_of;
use crate::config::{PLACES, PLACES_RESERVED_MAX, TenantPorts};

/// A tenant that reserves ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which.
    pub tenant: TenantId,
    /// How many places of a slice.
    pub places: u16,
}

/// The reserved shares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reserved(BTreeMap<TenantId, PortShare>);

impl Reserved {
    /// The shares that may be reserved ones, as the tables say.
    ///
    /// Windows of tenants that reserve nothing are among it: they are forgotten with the first claims.
    pub fn found(shares: impl Iterator<Item = (TenantId, PortShare)>) -> Self {
        Self(shares.filter(|(_, share)| share.len > 0 && end(*share) <= PLACES_RESERVED_MAX).collect())
    }

    /// The shares for these claims, which are no more than may be reserved; as many as can stay where they are.
    #[must_use]
    pub fn settle(&self, claims: &[Claim]) -> Self {
        let mut settled = Self::default();
        for claim in claims {
            if let Some(share) = self.0.get(&claim.tenant)
                && share.len == claim.places
                && settled.is_free(*share)
            {
                settled.0.insert(claim.tenant, *share);
            }
        }
        for claim in claims {
            if settled.0.contains_key(&claim.tenant) {
                continue;
            }
            let Some(first) = settled.gap(claim.places) else { return self.moved_together(claims) };
            settled.0.insert(claim.tenant, PortShare { first, len: claim.places });
        }
        settled
    }

    /// One behind the other, in the order that they had.
    fn moved_together(&self, claims: &[Claim]) -> Self {
        let mut claims = claims.to_vec();
        claims.sort_by_key(|claim| self.0.get(&claim.tenant).map_or(u16::MAX, |share| share.first));
        let mut first = 0;
        let row = |claim: Claim| {
            let share = PortShare { first, len: claim.places };
            first += claim.places;
            (claim.tenant, share)
        };
        Self(claims.into_iter().map(row).collect())
    }

    fn is_free(&self, share: PortShare) -> bool {
        self.0.values().all(|other| end(*other) <= share.first || end(share) <= other.first)
    }

    /// The first place from which so many are free.
    fn gap(&self, places: u16) -> Option<u16> {
        let mut ends: Vec<u16> = self.0.values().map(|share| end(*share)).chain([0]).collect();
        ends.sort_unstable();
        let fits = |first: &u16| {
            let share = PortShare { first: *first, len: places };
            end(share) <= PLACES_RESERVED_MAX && self.is_free(share)
        };
        ends.into_iter().find(fits)
    }

    /// What is left for tenants that reserve nothing.
    fn shared(&self) -> PortShare {
        let first = self.0.values().map(|share| end(*share)).max().unwrap_or(0);
        PortShare { first, len: PLACES - first }
    }

    /// The share of a tenant.
    pub fn share_of(&self, tenant: TenantId, ports: TenantPorts) -> PortShare {
        let shared = self.shared();
        match (self.0.get(&tenant), ports.window_places()) {
            (Some(own), _) => *own,
            (None, None) => shared,
            (None, Some(places)) => window(tenant, places.min(shared.len), shared),
        }
    }
}

/// So many places among those that are shared. Where it begins is left to chance, so that the windows of all tenants are
/// spread evenly.
fn window(tenant: TenantId, len: u16, shared: PortShare) -> PortShare {
    let starts = u64::from(shared.len - len) + 1;
    let start = hash_of([tenant.0].into_iter()) % starts;
    PortShare { first: shared.first + u16::try_from(start).unwrap_or(0), len }
}

fn end(share: PortShare) -> u16 {
    share.first.saturating_add(share.len)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use gateway_common::{abi::Port, port_slice::FIRST_PORT};
    use proptest::prelude::*;

    use super::*;

    fn claims(claims: &[(u16, u16)]) -> Vec<Claim> {
        claims.iter().map(|(tenant, places)| Claim { tenant: TenantId(*tenant), places: *places }).collect()
    }

    fn shares(reserved: &Reserved) -> Vec<(u16, u16, u16)> {
        reserved.0.iter().map(|(tenant, share)| (tenant.0, share.first, share.len)).collect()
    }

    #[test]
    fn shares_lie_one_behind_the_other_and_stay_when_others_go() {
        let three = Reserved::default().settle(&claims(&[(1, 10), (2, 20), (3, 30)]));
        assert_eq!(shares(&three), [(1, 0, 10), (2, 10, 20), (3, 30, 30)]);
        let two = three.settle(&claims(&[(1, 10), (3, 30)]));
        assert_eq!(shares(&two), [(1, 0, 10), (3, 30, 30)]);
        let more = two.settle(&claims(&[(1, 10), (3, 30), (4, 5), (5, 21)]));
        assert_eq!(
            shares(&more),
            [(1, 0, 10), (3, 30, 30), (4, 10, 5), (5, 60, 21)],
            "gaps are filled first"
        );
    }

    #[test]
    fn a_share_that_grows_moves_alone() {
        let before = Reserved::default().settle(&claims(&[(1, 10), (2, 20)]));
        let after = before.settle(&claims(&[(1, 11), (2, 20)]));
        assert_eq!(shares(&after), [(1, 30, 11), (2, 10, 20)]);
    }

    #[test]
    fn all_move_together_where_the_gaps_are_too_small() {
        let full = Reserved::default().settle(&claims(&[(1, 256), (2, 256), (3, 256)]));
        let apart = full.settle(&claims(&[(1, 128), (2, 256), (3, 256)]));
        assert_eq!(shares(&apart), [(1, 0, 128), (2, 256, 256), (3, 512, 256)]);
        let fitted = Reserved(apart.0.into_iter().filter(|(tenant, _)| tenant.0 != 3).collect());
        let fitted = fitted.settle(&claims(&[(1, 128), (2, 256), (4, 384)]));
        assert_eq!(shares(&fitted), [(1, 0, 128), (2, 128, 256), (4, 384, 384)]);
    }

    #[test]
    fn others_share_the_rest() {
        let reserved = Reserved::default().settle(&claims(&[(1, 100)]));
        let of = |tenant, ports| reserved.share_of(TenantId(tenant), ports);
        assert_eq!(of(1, TenantPorts::Reserved(6_300)), PortShare { first: 0, len: 100 });
        assert_eq!(of(2, TenantPorts::Shared), PortShare { first: 100, len: 924 });
        assert_eq!(Reserved::default().share_of(TenantId(2), TenantPorts::Shared), PortShare::ALL);
        let all = of(2, TenantPorts::PerDestination(64_512));
        assert_eq!(all, PortShare { first: 100, len: 924 }, "no more than there are");
    }

    #[test]
    fn windows_are_spread_over_what_is_shared() {
        let reserved = Reserved::default().settle(&claims(&[(1, 100)]));
        let windows: Vec<PortShare> = (2..500)
            .map(|tenant| reserved.share_of(TenantId(tenant), TenantPorts::PerDestination(630)))
            .collect();
        assert!(
            windows.iter().all(|window| window.len == 10 && window.first >= 100 && end(*window) <= 1_024)
        );
        let starts: HashSet<u16> = windows.iter().map(|window| window.first).collect();
        assert!(starts.len() > 300, "{}", starts.len());
        let below_the_middle = windows.iter().filter(|window| window.first < 562).count();
        assert!((150..350).contains(&below_the_middle), "{below_the_middle}");
    }

    #[test]
    fn what_the_tables_say_is_kept() {
        let before = Reserved::default().settle(&claims(&[(1, 10), (2, 20), (3, 30)]));
        let before = before.settle(&claims(&[(2, 20), (3, 30)]));
        let rows = [2, 3].map(|tenant| {
            let share = before.share_of(TenantId(tenant), TenantPorts::Reserved(1));
            (TenantId(tenant), share)
        });
        let shared = before.share_of(TenantId(9), TenantPorts::Shared);
        let found = Reserved::found(rows.into_iter().chain([(TenantId(9), shared)]));
        assert_eq!(found.settle(&claims(&[(2, 20), (3, 30)])), before);
    }

    proptest! {
        /// Whatever is reserved and given up: no two tenants have a port in common, each has as many as it wants, and who
        /// reserves as before is not moved unless it must be.
        #[test]
        fn no_port_is_reserved_twice(steps in prop::collection::vec(prop::collection::btree_map(1_u16..12, 1_u16..64, 0..12), 1..8)) {
            let mut reserved = Reserved::default();
            for step in steps {
                let wanted: Vec<(u16, u16)> = step.into_iter().collect();
                reserved = reserved.settle(&claims(&wanted));
                let found: Vec<(u16, u16)> = reserved.0.iter().map(|(tenant, share)| (tenant.0, share.len)).collect();
                prop_assert_eq!(&found, &wanted);
                let shared = reserved.shared();
                for place in 0..PLACES {
                    let port = Port::new(FIRST_PORT + place);
                    let owners = reserved.0.values().filter(|share| share.contains(port)).count();
                    prop_assert!(owners <= 1, "place {}", place);
                    prop_assert!(owners == 0 || !shared.contains(port));
                }
                prop_assert!(shared.len >= PLACES - PLACES_RESERVED_MAX);
                prop_assert_eq!(&reserved.settle(&claims(&wanted)), &reserved);
            }
        }
    }
}
