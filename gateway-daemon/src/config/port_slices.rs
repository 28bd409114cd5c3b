//! Which slices of the egress VIP's ports a node owns.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::problem::Explain;
use super::reader::from_toml_string;
use super::text::Quoted;

/// Slices of 1,024 ports: 0 to 62 cover the ports 1024 to 65535. The first 1,024 ports are never used.
const SLICES: u8 = 63;
const PORTS_PER_SLICE: u16 = 1_024;

/// A non-empty set of port slices.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortSlices(u64);

impl PortSlices {
    /// The slice numbers, ascending.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..SLICES).filter(move |slice| self.contains(*slice))
    }

    /// Whether `slice` is in the set.
    pub fn contains(self, slice: u8) -> bool {
        slice < SLICES && self.0 & (1 << slice) != 0
    }

    /// How many slices there are, 1 to 63.
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// The set as bits: bit `i` is slice `i`.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// The ports of `slice`, or `None` if there is no such slice.
    pub fn ports(slice: u8) -> Option<RangeInclusive<u16>> {
        if slice >= SLICES {
            return None;
        }
        let first = PORTS_PER_SLICE * (u16::from(slice) + 1);
        Some(first..=first + (PORTS_PER_SLICE - 1))
    }
}

/// Why a text is not a set of port slices.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortSlicesError {
    /// A part between commas is neither a number nor a range.
    #[error("{} is not a port slice or a range of slices", Quoted(part))]
    Syntax {
        /// The part.
        part: String,
    },
    /// A number beyond the last slice.
    #[error("there is no port slice {slice}")]
    NoSuchSlice {
        /// The number.
        slice: u64,
    },
    /// A range whose end is before its start.
    #[error("the range of port slices {first}-{last} runs backwards")]
    Backwards {
        /// Its start.
        first: u8,
        /// Its end.
        last: u8,
    },
    /// A slice stands twice.
    #[error("port slice {slice} stands twice")]
    Twice {
        /// The slice.
        slice: u8,
    },
}

impl Explain for PortSlicesError {
    fn help(&self) -> String {
        match self {
            Self::Syntax { .. } => {
                "write numbers and ranges with commas between, as in \"0-30,40\"".to_owned()
            }
            Self::NoSuchSlice { .. } => {
                "the slices are 0 to 62; slice i holds the ports from 1024 * (i + 1)".to_owned()
            }
            Self::Backwards { first, last } => format!("write `{last}-{first}`"),
            Self::Twice { .. } => "name every slice once".to_owned(),
        }
    }
}

impl FromStr for PortSlices {
    type Err = PortSlicesError;

    fn from_str(text: &str) -> Result<Self, PortSlicesError> {
        let mut bits = 0;
        for part in text.split(',') {
            for slice in parse_part(part)? {
                if bits & (1 << slice) != 0 {
                    return Err(PortSlicesError::Twice { slice });
                }
                bits |= 1 << slice;
            }
        }
        Ok(Self(bits))
    }
}

fn parse_part(part: &str) -> Result<RangeInclusive<u8>, PortSlicesError> {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let (first, last) = (parse_slice(part, first)?, parse_slice(part, last)?);
    if first > last {
        return Err(PortSlicesError::Backwards { first, last });
    }
    Ok(first..=last)
}

fn parse_slice(part: &str, number: &str) -> Result<u8, PortSlicesError> {
    let number = number.trim();
    let digits_only = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let slice: u64 = number
        .parse()
        .ok()
        .filter(|_| digits_only)
        .ok_or_else(|| PortSlicesError::Syntax { part: part.to_owned() })?;
    u8::try_from(slice).ok().filter(|slice| *slice < SLICES).ok_or(PortSlicesError::NoSuchSlice { slice })
}

/// As in the file, in the shortest form: `0-30,40`.
impl fmt::Display for PortSlices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        let starts = self.iter().filter(|slice| *slice == 0 || !self.contains(slice - 1));
        for first in starts {
            let last = (first..SLICES).take_while(|slice| self.contains(*slice)).last().unwrap_or(first);
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
            comma = ",";
        }
        Ok(())
    }
}

impl fmt::Debug for PortSlices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PortSlices({self})")
    }
}

from_toml_string!(PortSlices: "numbers from 0 to 62 and ranges of them");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written_in_the_shortest_form() {
        for (text, shortest) in [
            ("0-62", "0-62"),
            ("0", "0"),
            ("62", "62"),
            ("0-30,40", "0-30,40"),
            ("3, 1, 2", "1-3"),
            ("5-5", "5"),
        ] {
            assert_eq!(text.parse::<PortSlices>().unwrap().to_string(), shortest);
        }
        assert_eq!("0-62".parse::<PortSlices>().unwrap().count(), 63);
        assert_eq!("1,3".parse::<PortSlices>().unwrap().iter().collect::<Vec<_>>(), [1, 3]);
        assert_eq!("1,3".parse::<PortSlices>().unwrap().bits(), 0b1010);
    }

    #[test]
    fn the_slices_cover_the_ports_from_1024_without_gap() {
        let mut next = 1_024_u32;
        for slice in 0..63 {
            let ports = PortSlices::ports(slice).unwrap();
            assert_eq!(u32::from(*ports.start()), next);
            next = u32::from(*ports.end()) + 1;
        }
        assert_eq!(next, 65_536);
        assert_eq!(PortSlices::ports(63), None);
    }

    #[test]
    fn other_texts_are_refused() {
        let error = |text: &str| text.parse::<PortSlices>().unwrap_err();
        for text in ["", ",", "1,", "a", "1-", "-1", "1-2-3", "+1", "0x1", "99999999999999999999999"] {
            assert!(matches!(error(text), PortSlicesError::Syntax { .. }), "{text}");
        }
        assert_eq!(error("0-63"), PortSlicesError::NoSuchSlice { slice: 63 });
        assert_eq!(error("9-3"), PortSlicesError::Backwards { first: 9, last: 3 });
        assert_eq!(error("1-3,2"), PortSlicesError::Twice { slice: 2 });
    }
}
