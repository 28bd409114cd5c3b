//! Every 16-bit value of each operand, the others at their edges: against arithmetic modulo 65,535, which is what the
//! one's-complement sum is (RFC 1071 section 2). Zero has two forms there, 0x0000 and 0xffff, and which of them the
//! field holds matters for UDP alone.

use super::{Difference, Sum, compute, fold};

/// Carries begin and end here.
const EDGES: [u16; 12] = [0, 1, 2, 0x00ff, 0x0100, 0x7ffe, 0x7fff, 0x8000, 0x8001, 0xff00, 0xfffe, 0xffff];

/// The edges that differ in what they do to a carry: for the third operand, when two others are run through.
const FEW: [u16; 4] = [0, 1, 0x8000, 0xffff];

fn all() -> impl Iterator<Item = u16> {
    0..=u16::MAX
}

/// Every pair in which one of the two is anything and the other an edge.
fn pairs() -> impl Iterator<Item = (u16, u16)> {
    all().flat_map(|any| EDGES.into_iter().flat_map(move |edge| [(any, edge), (edge, any)]))
}

#[test]
fn fold_keeps_the_remainder_and_only_zero_becomes_zero() {
    for (high, low) in pairs() {
        let sum = u32::from(high) << 16 | u32::from(low);
        assert_eq!(u32::from(fold(sum)) % 0xffff, sum % 0xffff, "{sum:#x}");
        assert_eq!(fold(sum) == 0, sum == 0, "{sum:#x}");
    }
}

#[test]
fn an_exchanged_word_changes_the_sum_by_the_difference() {
    for (old, new) in pairs() {
        let change = i64::from(new) - i64::from(old);
        for checksum in FEW {
            let updated = Difference::NONE.word(old, new).apply(checksum);
            let expected = (i64::from(!checksum) + change).rem_euclid(0xffff);
            assert_eq!(i64::from(!updated) % 0xffff, expected, "{old:#x} > {new:#x}, {checksum:#x}");
        }
    }
}

#[test]
fn every_checksum_follows_every_kind_of_change() {
    for checksum in all() {
        for (old, new) in EDGES.into_iter().flat_map(|old| FEW.map(|new| (old, new))) {
            let updated = Difference::NONE.word(old, new).apply(checksum);
            let expected = (u32::from(!checksum) + u32::from(new) + u32::from(!old)) % 0xffff;
            assert_eq!(u32::from(!updated) % 0xffff, expected, "{old:#x} > {new:#x}, {checksum:#x}");
        }
    }
}

/// What a receiver computes over a two-word datagram, checksum included, is all ones before and after.
#[test]
fn a_receiver_accepts_what_was_updated() {
    for (old, new) in pairs() {
        for other in [0_u16, 0xffff] {
            let before = compute(&[old.to_ne_bytes(), other.to_ne_bytes()].concat(), 0);
            let updated = Difference::NONE.word(old, new).apply(before);
            let received = Sum::NONE.word(new).word(other).word(updated).fold();
            // All words zero is the one sum that is not all ones and right nevertheless.
            assert!(
                received == 0xffff || (new, other, updated) == (0, 0, 0),
                "{old:#x} > {new:#x}, {other:#x}"
            );
        }
    }
}

#[test]
fn udp_without_a_checksum_never_gets_one_and_with_one_never_loses_it() {
    for (old, new) in pairs() {
        let difference = Difference::NONE.word(old, new);
        assert_eq!(difference.apply_udp(0), 0, "{old:#x} > {new:#x}");
        for checksum in FEW.into_iter().filter(|checksum| *checksum != 0) {
            let updated = difference.apply_udp(checksum);
            assert_ne!(updated, 0, "{old:#x} > {new:#x}, {checksum:#x}");
            assert_eq!(
                updated % 0xffff,
                difference.apply(checksum) % 0xffff,
                "{old:#x} > {new:#x}, {checksum:#x}"
            );
        }
    }
}

#[test]
fn a_change_and_its_undoing_are_no_change() {
    for (old, new) in pairs() {
        let there = Difference::NONE.word(old, new);
        let back = Difference::NONE.word(new, old);
        for checksum in FEW {
            assert_eq!(back.apply(there.apply(checksum)) % 0xffff, checksum % 0xffff, "{old:#x} > {new:#x}");
            assert_eq!(there.and(back).apply(checksum) % 0xffff, checksum % 0xffff, "{old:#x} > {new:#x}");
        }
    }
}

#[test]
fn four_bytes_are_two_words() {
    for (high, low) in pairs() {
        let long = u32::from_ne_bytes([high.to_ne_bytes(), low.to_ne_bytes()].concat().try_into().unwrap());
        assert_eq!(Sum::NONE.long(long).fold() % 0xffff, Sum::NONE.word(high).word(low).fold() % 0xffff);
        let (longs, words) =
            (Difference::NONE.long(long, !long), Difference::NONE.word(high, !high).word(low, !low));
        assert_eq!(longs.apply(0x1234), words.apply(0x1234), "{long:#x}");
    }
}
