//! Two records of one conversation, and where they differ. Pure.

use std::{collections::BTreeSet, fmt};

use super::sight::{Place, Seen, Sight};

/// Something that only one of the gateways let be seen, or that looks different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discrepancy {
    /// In which round of the script.
    pub round: usize,
    /// Where.
    pub place: Place,
    /// Through our gateway.
    pub ours: Option<Seen>,
    /// Through the other one.
    pub theirs: Option<Seen>,
}

impl fmt::Display for Discrepancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (whose, seen) in [("ours    ", &self.ours), ("nftables", &self.theirs)] {
            match seen {
                Some(seen) => {
                    let sight = Sight { round: self.round, place: self.place, seen: seen.clone() };
                    writeln!(f, "    {whose}  {sight}")?;
                }
                None => writeln!(f, "    {whose}  round {} at {:?}: nothing", self.round, self.place)?,
            }
        }
        Ok(())
    }
}

/// All discrepancies, in the order of rounds.
pub fn discrepancies(ours: &[Sight], theirs: &[Sight]) -> Vec<Discrepancy> {
    let moment = |sight: &Sight| (sight.round, sight.place);
    let moments: BTreeSet<_> = ours.iter().chain(theirs).map(moment).collect();
    let at = |sights: &[Sight], when| -> Vec<Seen> {
        sights.iter().filter(|sight| moment(sight) == when).map(|sight| sight.seen.clone()).collect()
    };
    moments.into_iter().flat_map(|when| of_a_moment(when, at(ours, when), at(theirs, when))).collect()
}

fn of_a_moment((round, place): (usize, Place), ours: Vec<Seen>, theirs: Vec<Seen>) -> Vec<Discrepancy> {
    if ours == theirs {
        return Vec::new();
    }
    let (mut only_ours, mut only_theirs) = (without(&ours, &theirs), without(&theirs, &ours));
    if only_ours.is_empty() && only_theirs.is_empty() {
        // The same in another order.
        (only_ours, only_theirs) = (ours, theirs);
    }
    let count = only_ours.len().max(only_theirs.len());
    let (mut ours, mut theirs) = (only_ours.into_iter(), only_theirs.into_iter());
    (0..count).map(|_| Discrepancy { round, place, ours: ours.next(), theirs: theirs.next() }).collect()
}

/// What is left of one list when each of the other's has taken away its like.
fn without(list: &[Seen], other: &[Seen]) -> Vec<Seen> {
    let mut left = list.to_vec();
    for seen in other {
        if let Some(at) = left.iter().position(|own| own == seen) {
            left.remove(at);
        }
    }
    left
}

#[cfg(test)]
mod tests;
