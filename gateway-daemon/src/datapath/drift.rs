//! What the data path counts against what the tables hold.
//!
//! Both change all the time, and a count of the tables takes a while, so a difference means little. Two that are the same in
//! a row, with nothing gone up or down in between, are a mistake: a count that was lost when a program or the daemon died.

use std::collections::{HashMap, HashSet};

use gateway_common::abi::{TenantId, TenantUse};

/// Flows of one tenant, by both ways of counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sighting {
    recorded: i64,
    counted: i64,
}

/// The differences of the last comparison.
#[derive(Debug, Default)]
pub struct Drift(HashMap<TenantId, Sighting>);

/// What a comparison says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The sum of all differences, whichever way they go.
    pub total: u64,
    /// What is to be added to the recorded numbers.
    pub corrections: Vec<(TenantId, i64)>,
}

impl Drift {
    /// Compares once more. `recorded` is by number of the tenant.
    pub fn compare(&mut self, recorded: &[TenantUse], counted: &HashMap<TenantId, i64>) -> Found {
        let before = std::mem::take(&mut self.0);
        let mut found = Found::default();
        let numbers = (0..).zip(recorded).filter(|(_, usage)| usage.flows != 0).map(|(id, _)| TenantId(id));
        let tenants: HashSet<TenantId> = numbers.chain(counted.keys().copied()).collect();
        for tenant in tenants {
            let recorded = recorded.get(usize::from(tenant.0)).map_or(0, |usage| usage.flows);
            let sighting = Sighting { recorded, counted: counted.get(&tenant).copied().unwrap_or(0) };
            let difference = sighting.counted - sighting.recorded;
            found.total += difference.unsigned_abs();
            if difference == 0 {
                continue;
            }
            if before.get(&tenant) == Some(&sighting) {
                found.corrections.push((tenant, difference));
            } else {
                self.0.insert(tenant, sighting);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BANK: TenantId = TenantId(2);

    fn compare(drift: &mut Drift, recorded: i64, counted: i64) -> Found {
        let mut uses = vec![TenantUse::default(); 4];
        uses[2].flows = recorded;
        drift.compare(&uses, &HashMap::from([(BANK, counted)]))
    }

    #[test]
    fn a_difference_that_stays_is_corrected_once() {
        let mut drift = Drift::default();
        assert_eq!(compare(&mut drift, 7, 5), Found { total: 2, corrections: Vec::new() });
        assert_eq!(compare(&mut drift, 7, 5), Found { total: 2, corrections: vec![(BANK, -2)] });
        assert_eq!(compare(&mut drift, 5, 5), Found::default());
        assert_eq!(compare(&mut drift, 7, 5).corrections, [], "it counts anew");
    }

    #[test]
    fn a_difference_while_things_change_means_nothing() {
        let mut drift = Drift::default();
        for step in 0..5 {
            assert_eq!(compare(&mut drift, 7 + step, 5 + step), Found { total: 2, corrections: Vec::new() });
        }
    }

    #[test]
    fn a_tenant_without_flows_is_compared_too() {
        let mut drift = Drift::default();
        let mut uses = vec![TenantUse::default(); 4];
        uses[3].flows = -4;
        let nothing = HashMap::new();
        assert_eq!(drift.compare(&uses, &nothing).total, 4);
        assert_eq!(drift.compare(&uses, &nothing).corrections, [(TenantId(3), 4)]);
    }
}
