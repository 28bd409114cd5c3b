//! Random input that can be repeated: a failing test prints the seed that makes it fail again.

use std::env;
use std::hash::{BuildHasher, RandomState};
use std::thread;

/// Set it to a printed seed to repeat a failure.
pub const SEED_VARIABLE: &str = "GATEWAY_TEST_SEED";

/// A small generator (`SplitMix64`, Steele and others 2014) that prints its seed when the test panics.
#[derive(Debug)]
pub struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    /// Seeded from [`SEED_VARIABLE`], else anew in each run.
    pub fn from_env() -> Self {
        let seed = match env::var(SEED_VARIABLE) {
            Ok(text) => text.parse().unwrap_or_else(|_| panic!("{SEED_VARIABLE}={text:?} is not a number")),
            Err(_) => RandomState::new().hash_one(0_u8),
        };
        Self::with_seed(seed)
    }

    /// Always the same numbers.
    pub fn with_seed(seed: u64) -> Self {
        Self { seed, state: seed }
    }

    /// What it was seeded with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which must not be zero. The bias of at most `bound / 2^64` does not matter for
    /// tests.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.next_u64().to_le_bytes());
        words.take(count.div_ceil(8)).flatten().take(count).collect()
    }
}

impl Drop for Random {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("repeat with {SEED_VARIABLE}={}", self.seed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First outputs of the reference implementation (<https://prng.di.unimi.it/splitmix64.c>) for seed
    /// 1234567.
    #[test]
    fn known_answers() {
        let mut random = Random::with_seed(1_234_567);
        assert_eq!(random.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(random.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn bytes_have_the_length_asked_for() {
        for count in [0, 1, 7, 8, 9, 1500] {
            assert_eq!(Random::with_seed(1).bytes(count).len(), count);
        }
    }
}
