//! HTTP statuses that count as success: `200-299,304`.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::problem::Explain;
use super::reader::from_toml_string;
use super::text::Quoted;

/// The statuses of RFC 9110, section 15.
const STATUSES: RangeInclusive<u16> = 100..=599;

/// A non-empty set of HTTP statuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusRanges(Vec<RangeInclusive<u16>>);

impl StatusRanges {
    /// Is this status one of them?
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

/// A part between commas is no status and no range of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is not an HTTP status or a range of them", Quoted(part))]
pub struct StatusRangesError {
    part: String,
}

impl Explain for StatusRangesError {
    fn help(&self) -> String {
        "write numbers from 100 to 599 and ranges with commas between, as in \"200-299,304\"".to_owned()
    }
}

impl FromStr for StatusRanges {
    type Err = StatusRangesError;

    fn from_str(text: &str) -> Result<Self, StatusRangesError> {
        let range = |part: &str| range(part).ok_or_else(|| StatusRangesError { part: part.to_owned() });
        text.split(',').map(range).collect::<Result<_, _>>().map(Self)
    }
}

fn range(part: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let (first, last) = (status(first)?, status(last)?);
    (first <= last).then_some(first..=last)
}

fn status(text: &str) -> Option<u16> {
    let digits = text.trim();
    let number = digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    STATUSES.contains(&number).then_some(number)
}

impl fmt::Display for StatusRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, range) in self.0.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { "," })?;
            match (range.start(), range.end()) {
                (only, end) if only == end => write!(f, "{only}")?,
                (first, last) => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

from_toml_string!(StatusRanges: "HTTP statuses and ranges of them");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ranges_are_read() {
        let ranges: StatusRanges = "200-299, 304".parse().unwrap();
        for (status, expected) in [(199, false), (200, true), (299, true), (300, false), (304, true)] {
            assert_eq!(ranges.contains(status), expected, "{status}");
        }
        assert_eq!(ranges.to_string(), "200-299,304");
        assert_eq!(ranges.to_string().parse(), Ok(ranges));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", ",", "99", "600", "+200", "2xx", "299-200", "200-", "200,,204", "65536"] {
            assert!(text.parse::<StatusRanges>().is_err(), "{text:?}");
        }
    }
}
