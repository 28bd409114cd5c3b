//! Whole numbers with a smallest and a largest legal value.

use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU8;

use super::limits::{NodeIds, Weights};
use super::problem::{Explain, Problems, Reported};
use super::reader::{FromToml, Node};
use super::text::grouped;

/// A range of legal values; the implementations are in `limits`.
pub(super) trait Bounds {
    const MIN: u32;
    const MAX: u32;
    /// Why not less or more, for the error message.
    const BECAUSE: &str;
}

/// A number within `B`.
pub(super) struct Bounded<B> {
    value: u32,
    bounds: PhantomData<B>,
}

impl<B> Bounded<B> {
    pub(super) fn get(&self) -> u32 {
        self.value
    }
}

impl<B> fmt::Debug for Bounded<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<B: Bounds> TryFrom<i64> for Bounded<B> {
    type Error = BoundError;

    fn try_from(value: i64) -> Result<Self, BoundError> {
        let error = BoundError { value, min: B::MIN, max: B::MAX, because: B::BECAUSE };
        let value = u32::try_from(value).map_err(|_| error.clone())?;
        if (B::MIN..=B::MAX).contains(&value) { Ok(Self { value, bounds: PhantomData }) } else { Err(error) }
    }
}

impl<B: Bounds> FromToml for Bounded<B> {
    fn form() -> String {
        format!("integer, {} to {}", grouped(B::MIN.into()), grouped(B::MAX.into()))
    }

    fn from_toml(node: &Node<'_>, problems: &mut Problems) -> Result<Self, Reported> {
        node.integer(problems)
    }
}

/// A number within `B`, or none, which is written as 0.
pub(super) struct OrNone<B> {
    value: Option<u32>,
    bounds: PhantomData<B>,
}

impl<B> OrNone<B> {
    pub(super) fn get(&self) -> Option<u32> {
        self.value
    }
}

impl<B> fmt::Debug for OrNone<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<B: Bounds> TryFrom<i64> for OrNone<B> {
    type Error = BoundError;

    fn try_from(value: i64) -> Result<Self, BoundError> {
        let value = if value == 0 { None } else { Some(Bounded::<B>::try_from(value)?.get()) };
        Ok(Self { value, bounds: PhantomData })
    }
}

impl<B: Bounds> FromToml for OrNone<B> {
    fn form() -> String {
        let (min, max) = (grouped(B::MIN.into()), grouped(B::MAX.into()));
        if B::MIN == 1 { format!("integer, 0 to {max}") } else { format!("integer, 0 or {min} to {max}") }
    }

    fn from_toml(node: &Node<'_>, problems: &mut Problems) -> Result<Self, Reported> {
        node.integer(problems)
    }
}

/// A number is outside its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value} is not between {} and {}", grouped((*min).into()), grouped((*max).into()))]
pub struct BoundError {
    value: i64,
    min: u32,
    max: u32,
    because: &'static str,
}

impl Explain for BoundError {
    fn help(&self) -> String {
        let nearest = if self.value < i64::from(self.min) { self.min } else { self.max };
        format!("the nearest legal value is {nearest} ({})", self.because)
    }
}

/// A node of the cluster, 1 to 63.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(NonZeroU8);

impl NodeId {
    /// The id as a number.
    pub fn get(self) -> u8 {
        self.0.get()
    }
}

impl TryFrom<i64> for NodeId {
    type Error = BoundError;

    fn try_from(value: i64) -> Result<Self, BoundError> {
        let value = Bounded::<NodeIds>::try_from(value)?.get();
        Ok(u8::try_from(value).ok().and_then(NonZeroU8::new).map(Self).expect("1 to 63 fits"))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A backend's share of new flows relative to the others of its pool, 0 to 1,000. 0 gets none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Weight(u16);

impl Weight {
    /// The weight as a number.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<i64> for Weight {
    type Error = BoundError;

    fn try_from(value: i64) -> Result<Self, BoundError> {
        let value = Bounded::<Weights>::try_from(value)?.get();
        Ok(Self(u16::try_from(value).expect("0 to 1,000 fits")))
    }
}

impl FromToml for NodeId {
    fn form() -> String {
        Bounded::<NodeIds>::form()
    }

    fn from_toml(node: &Node<'_>, problems: &mut Problems) -> Result<Self, Reported> {
        node.integer(problems)
    }
}

impl FromToml for Weight {
    fn form() -> String {
        Bounded::<Weights>::form()
    }

    fn from_toml(node: &Node<'_>, problems: &mut Problems) -> Result<Self, Reported> {
        node.integer(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::limits::{SegmentBytes, TenantIdleSecs};

    #[test]
    fn both_ends_are_legal_and_their_neighbours_are_not() {
        for value in [1, 63] {
            assert_eq!(i64::from(NodeId::try_from(value).unwrap().get()), value);
        }
        for value in [i64::MIN, -1, 0, 64, i64::MAX] {
            assert!(NodeId::try_from(value).is_err(), "{value}");
        }
        for value in [0, 1_000] {
            assert_eq!(i64::from(Weight::try_from(value).unwrap().get()), value);
        }
        assert!(Weight::try_from(-1).is_err());
        assert!(Weight::try_from(1_001).is_err());
    }

    #[test]
    fn none_is_zero_and_lies_outside_of_the_range() {
        let read = |value| OrNone::<SegmentBytes>::try_from(value).map(|read| read.get());
        assert_eq!(read(0), Ok(None));
        assert_eq!((read(536), read(9_140)), (Ok(Some(536)), Ok(Some(9_140))));
        for value in [-1, 1, 535, 9_141] {
            assert!(read(value).is_err(), "{value}");
        }
        assert_eq!(OrNone::<SegmentBytes>::form(), "integer, 0 or 536 to 9,140");
        assert_eq!(OrNone::<TenantIdleSecs>::form(), "integer, 0 to 86,400");
    }

    #[test]
    fn the_error_names_the_range_and_the_nearest_value() {
        let error = Weight::try_from(1_001).unwrap_err();
        assert_eq!(error.to_string(), "1001 is not between 0 and 1,000");
        assert!(error.help().starts_with("the nearest legal value is 1000 ("), "{}", error.help());
    }
}
