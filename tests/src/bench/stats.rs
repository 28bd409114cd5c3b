//! Medians and spreads: a machine that others use as well has outliers in one direction, so nothing here is a mean.

use serde::Serialize;

/// A set of measurements in brief.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// Half of them are below.
    pub median: f64,
    /// A tenth of them are below.
    pub low: f64,
    /// A tenth of them are above.
    pub high: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Summary {
    /// Of at least one measurement.
    #[track_caller]
    pub fn of(values: &[f64]) -> Self {
        let sorted = sorted(values);
        let at = |share| quantile(&sorted, share);
        Self { median: at(0.5), low: at(0.1), high: at(0.9), min: at(0.0), max: at(1.0) }
    }

    /// Width of the middle four fifths: one disturbed round in ten does not widen it.
    pub fn spread(&self) -> f64 {
        self.high - self.low
    }

    /// For a ratio: is it further from 1 than it is wide?
    pub fn differs_from_one(&self) -> bool {
        (self.median - 1.0).abs() > self.spread()
    }
}

/// The median of at least one measurement.
#[track_caller]
pub fn median(values: &[f64]) -> f64 {
    quantile(&sorted(values), 0.5)
}

#[track_caller]
fn sorted(values: &[f64]) -> Vec<f64> {
    assert!(!values.is_empty(), "nothing was measured");
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Between the two nearest ranks, in proportion.
#[expect(clippy::cast_precision_loss, reason = "there are thousands of measurements, not 2^52")]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank is a small positive number"
)]
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
    below + (above - below) * rank.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, wanted: f64) -> bool {
        (found - wanted).abs() < 1e-9
    }

    #[test]
    fn quantiles_lie_between_ranks() {
        let summary = Summary::of(&[5.0, 1.0, 3.0, 2.0, 4.0]);
        assert!(close(summary.median, 3.0) && close(summary.min, 1.0) && close(summary.max, 5.0));
        assert!(close(summary.low, 1.4) && close(summary.high, 4.6), "{summary:?}");
        assert!(close(median(&[1.0, 2.0]), 1.5) && close(median(&[7.0]), 7.0));
    }

    #[test]
    fn one_outlier_in_eleven_does_not_widen_the_spread() {
        let mut values = vec![2.0; 11];
        values[4] = 90.0;
        let summary = Summary::of(&values);
        assert!(close(summary.spread(), 0.0) && close(summary.max, 90.0));
    }

    #[test]
    fn a_ratio_is_only_told_when_it_is_further_from_one_than_it_is_wide() {
        assert!(Summary::of(&[1.5, 1.6, 1.7]).differs_from_one());
        assert!(!Summary::of(&[0.9, 1.02, 1.1]).differs_from_one());
    }

    #[test]
    #[should_panic(expected = "nothing was measured")]
    fn nothing_has_no_median() {
        median(&[]);
    }
}
