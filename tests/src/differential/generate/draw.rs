//! Drawing lots.

use crate::seed::Random;

/// Spreads numbers of conversations over all seeds, so that neighbours share nothing (an odd constant of PCG's family).
const SPREAD: u64 = 0xd134_2543_de82_ef95;

/// The lots of one conversation.
pub struct Draw(Random);

impl Draw {
    /// Of conversation `index` in the run with this seed.
    pub fn of(seed: u64, index: u64) -> Self {
        let start = Random::with_seed(seed.wrapping_add(index.wrapping_mul(SPREAD))).next_u64();
        Self(Random::with_seed(start))
    }

    /// A number below the bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    /// A number from a range, ends included.
    pub fn between(&mut self, least: usize, most: usize) -> usize {
        least + usize::try_from(self.below((most - least + 1) as u64)).expect("less than a length")
    }

    /// True so often of a hundred times.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.between(0, choices.len() - 1)]
    }

    /// A number of 32 bits.
    pub fn word(&mut self) -> u32 {
        u32::try_from(self.below(1 << 32)).expect("32 bits")
    }

    /// A length of data that fits a packet: small ones, large ones and the edges.
    pub fn length(&mut self) -> usize {
        match self.below(4) {
            0 => self.one_of(&[4, 5, 1400]),
            1 => self.between(4, 32),
            _ => self.between(4, 1400),
        }
    }
}
