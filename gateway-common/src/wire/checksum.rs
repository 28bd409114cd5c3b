//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624, equation 3).
//!
//! All words are taken as they stand in memory. The one's-complement sum does not depend on byte order as long as
//! input and output use the same one (RFC 1071 section 2 (B)), so nothing is ever swapped.

/// Adds the carries back in until the sum has 16 bits.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "two folds leave 16 bits of a 32-bit sum")]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// A change to checksummed data: the one's-complement sum of `~old + new` over its words, not yet folded.
///
/// Each exchanged word adds at most `0x1_fffe`, so 32,768 words fit before the sum overflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Difference(u32);

impl Difference {
    /// No change.
    pub const NONE: Self = Self(0);

    /// And one word (as it stands in memory) became another.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, old: u16, new: u16) -> Self {
        Self(self.0 + (!old) as u32 + new as u32)
    }

    /// And four bytes (as they stand in memory) became others.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a 32-bit word")]
    #[must_use]
    pub const fn long(self, old: u32, new: u32) -> Self {
        self.word(old as u16, new as u16).word((old >> 16) as u16, (new >> 16) as u16)
    }

    /// Both changes.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The unfolded sum, as the kernel's `bpf_l4_csum_replace` takes it.
    #[inline(always)]
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// The checksum field (as it stands in memory) after this change.
    #[inline(always)]
    pub const fn apply(self, checksum: u16) -> u16 {
        !fold(fold(self.0) as u32 + (!checksum) as u32)
    }

    /// The same for UDP over IPv4: zero means "no checksum" and stays, and a computed zero is sent as all ones
    /// (RFC 768).
    #[inline(always)]
    pub const fn apply_udp(self, checksum: u16) -> u16 {
        if checksum == 0 {
            return 0;
        }
        match self.apply(checksum) {
            0 => 0xffff,
            checksum => checksum,
        }
    }
}

/// The one's-complement sum of words as they stand in memory, not yet folded. 65,537 words fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Sum(u32);

impl Sum {
    /// Of no words.
    pub const NONE: Self = Self(0);

    /// And one more word.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, word: u16) -> Self {
        Self(self.0 + word as u32)
    }

    /// And four more bytes.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a 32-bit word")]
    #[must_use]
    pub const fn long(self, long: u32) -> Self {
        self.word(long as u16).word((long >> 16) as u16)
    }

    /// In 16 bits; its complement is the checksum.
    #[inline(always)]
    pub const fn fold(self) -> u16 {
        fold(self.0)
    }
}

/// Words that are added to what was zero before.
impl From<Sum> for Difference {
    #[inline(always)]
    fn from(sum: Sum) -> Self {
        Self(sum.0)
    }
}

/// The checksum field of `bytes`, computed from scratch; for tests and for packets that are built whole.
pub fn compute(bytes: &[u8], initial: u32) -> u16 {
    let mut sum = u64::from(initial);
    for pair in bytes.chunks(2) {
        sum += u64::from(u16::from_ne_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod exhaustive;

#[cfg(test)]
mod tests {
    use super::{Difference, compute, fold};
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn known_answer_from_rfc_1071_section_3() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!((!compute(&bytes, 0)).to_ne_bytes(), [0xdd, 0xf2]);
    }

    #[test]
    fn echo_type_change_is_right_for_every_checksum() {
        // katran adds 0x0008 without the end-around carry and is wrong for 8 of 65,536 values.
        let (request, reply) = (u16::from_ne_bytes([8, 0]), u16::from_ne_bytes([0, 0]));
        for rest in 0..=u16::MAX {
            let body = |kind: u16| compute(&[kind.to_ne_bytes(), rest.to_ne_bytes()].concat(), 0);
            let updated = Difference::NONE.word(request, reply).apply(body(request));
            // 0x0000 and 0xffff are the same number in one's complement; a receiver's sum accepts both.
            assert_eq!(fold(u32::from(updated)) % 0xffff, body(reply) % 0xffff, "{rest:#x}");
        }
    }

    #[test]
    fn udp_zero_stays_zero_and_computed_zero_becomes_ones() {
        assert_eq!(Difference::NONE.long(1, 2).apply_udp(0), 0);
        for checksum in 1..=u16::MAX {
            assert_ne!(Difference::NONE.word(0, checksum).apply_udp(checksum), 0);
        }
    }

    /// What a receiver does: the sum over everything, checksum included, must be all ones.
    fn verifies(bytes: &[u8], checksum: u16) -> bool {
        let all: Vec<u8> = bytes.iter().copied().chain(checksum.to_ne_bytes()).collect();
        compute(&all, 0) == 0
    }

    proptest! {
        #[test]
        fn incremental_equals_from_scratch(words in prop::collection::vec(any::<u32>(), 1..8), new: u32, at: prop::sample::Index) {
            let bytes = |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>();
            let at = at.index(words.len());
            let before = compute(&bytes(&words), 0);
            let mut changed = words.clone();
            changed[at] = new;
            let updated = Difference::NONE.long(words[at], new).apply(before);
            prop_assert!(verifies(&bytes(&changed), updated));
        }
    }
}
