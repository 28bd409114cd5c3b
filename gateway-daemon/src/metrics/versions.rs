//! How far the kernel's tables are behind the tenant store. Pure: the time is an argument.

use std::time::{Duration, Instant};

use crate::store::Version;

/// The version that should be in force, and the one that is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Versions {
    /// The newest version of the store.
    pub(super) desired: Option<Version>,
    /// The version that the tables hold.
    pub(super) applied: Option<Version>,
    /// Since when they differ.
    behind_since: Option<Instant>,
}

impl Versions {
    /// The store has this version.
    pub(super) fn desire(&mut self, version: Version, now: Instant) {
        self.desired = Some(version);
        self.settle(now);
    }

    /// The tables hold this version.
    pub(super) fn apply(&mut self, version: Version, now: Instant) {
        self.applied = Some(version);
        self.settle(now);
    }

    /// For how long the tables have been behind; zero when they are not.
    pub(super) fn lag(&self, now: Instant) -> Duration {
        self.behind_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// The time counts from the first version that is not applied: newer ones do not start it anew.
    fn settle(&mut self, now: Instant) {
        let behind = self.desired > self.applied;
        self.behind_since = behind.then(|| self.behind_since.unwrap_or(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_counts_from_the_first_version_that_is_not_applied() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut versions = Versions::default();
        assert_eq!(versions.lag(at(0)), Duration::ZERO);
        versions.desire(Version(1), at(1));
        versions.desire(Version(2), at(3));
        assert_eq!(versions.lag(at(4)), Duration::from_secs(3));
        versions.apply(Version(1), at(5));
        assert_eq!(versions.lag(at(6)), Duration::from_secs(5), "version 2 is still missing");
        versions.apply(Version(2), at(7));
        assert_eq!(versions.lag(at(9)), Duration::ZERO);
        versions.desire(Version(3), at(10));
        assert_eq!(versions.lag(at(12)), Duration::from_secs(2));
    }

    #[test]
    fn a_store_that_went_back_is_not_ahead() {
        let now = Instant::now();
        let mut versions = Versions::default();
        versions.apply(Version(5), now);
        versions.desire(Version(4), now);
        assert_eq!(versions.lag(now + Duration::from_secs(9)), Duration::ZERO);
    }
}
