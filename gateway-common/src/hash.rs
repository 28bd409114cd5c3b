//! The flow hash: picks a Maglev slot and a first port. Seeded, the same on every node with the same seed.

use crate::abi::{Addr, FlowKey};

/// Multiplier and final mix of `MurmurHash3`'s 64-bit finalizer, by Austin Appleby (public domain).
const MIX_1: u64 = 0xff51_afd7_ed55_8ccd;
const MIX_2: u64 = 0xc4ce_b9fe_1a85_ec53;

#[inline(always)]
const fn mix(mut value: u64) -> u64 {
    value ^= value >> 33;
    value = value.wrapping_mul(MIX_1);
    value ^= value >> 33;
    value = value.wrapping_mul(MIX_2);
    value ^ (value >> 33)
}

/// Hash of a 5-tuple. Not cryptographic: a client can bias which backend it meets, and nothing else depends on it.
#[inline(always)]
pub const fn flow_hash(seed: u64, key: &FlowKey) -> u64 {
    let addresses = ((key.src.to_be() as u64) << 32) | key.dst.to_be() as u64;
    let protocol = match key.protocol() {
        Some(protocol) => protocol as u64,
        None => 0,
    };
    let ports = ((key.src_port.to_be() as u64) << 32) | ((key.dst_port.to_be() as u64) << 16) | protocol;
    mix(mix(addresses ^ seed) ^ ports)
}

/// Hash of an address, as good as [`flow_hash`].
#[inline(always)]
pub const fn address_hash(seed: u64, address: Addr) -> u64 {
    mix(mix(address.to_be() as u64 ^ seed))
}

/// SipHash-2-4 (Aumasson and Bernstein, 2012) of 16 bytes, given as two little-endian words. Nobody without the key can tell
/// what it gives, however many values they have seen.
#[inline(always)]
pub const fn siphash(key: [u64; 2], words: [u64; 2]) -> u64 {
    let mut state = SipState([
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ]);
    state = state.absorb(words[0]).absorb(words[1]).absorb(16 << 56);
    state.0[2] ^= 0xff;
    let [a, b, c, d] = state.round().round().round().round().0;
    a ^ b ^ c ^ d
}

/// The four words of the inner state.
#[derive(Clone, Copy)]
struct SipState([u64; 4]);

impl SipState {
    #[inline(always)]
    const fn round(self) -> Self {
        let [mut a, mut b, mut c, mut d] = self.0;
        a = a.wrapping_add(b);
        c = c.wrapping_add(d);
        b = b.rotate_left(13) ^ a;
        d = d.rotate_left(16) ^ c;
        a = a.rotate_left(32);
        c = c.wrapping_add(b);
        a = a.wrapping_add(d);
        b = b.rotate_left(17) ^ c;
        d = d.rotate_left(21) ^ a;
        c = c.rotate_left(32);
        Self([a, b, c, d])
    }

    #[inline(always)]
    const fn absorb(mut self, word: u64) -> Self {
        self.0[3] ^= word;
        self = self.round().round();
        self.0[0] ^= word;
        self
    }
}

/// Maps a hash to `0..bound` without a division; `bound` of 0 gives 0.
#[inline(always)]
pub const fn reduce(hash: u64, bound: u32) -> u32 {
    (((hash >> 32) * bound as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::{flow_hash, reduce, siphash};
    use crate::abi::{Addr, FlowKey, Port, Protocol, Side};

    #[test]
    fn spreads_ports_evenly() {
        let mut buckets = [0_u32; 16];
        for port in 1024..=65_535 {
            let source = (Addr::new([192, 0, 2, 1]), Port::new(port));
            let key = FlowKey::v4(
                Side::External,
                Protocol::Tcp,
                source,
                (Addr::new([192, 0, 2, 9]), Port::new(443)),
            );
            buckets[reduce(flow_hash(7, &key), 16) as usize] += 1;
        }
        let mean = 64_512 / 16;
        assert!(buckets.iter().all(|count| count.abs_diff(mean) < mean / 10), "{buckets:?}");
    }

    /// The standard library's own, under the name that it keeps for this purpose.
    #[test]
    #[expect(deprecated, reason = "the only one in the standard library that takes a key")]
    fn siphash_is_the_known_one() {
        use std::hash::{Hasher as _, SipHasher};
        let cases: [([u64; 2], [u64; 2]); 3] =
            [([0, 0], [0, 0]), ([1, 2], [3, 4]), ([u64::MAX, 7], [0x0123_4567_89ab_cdef, 9])];
        for (key, words) in cases {
            let mut known = SipHasher::new_with_keys(key[0], key[1]);
            known.write(&words[0].to_le_bytes());
            known.write(&words[1].to_le_bytes());
            assert_eq!(siphash(key, words), known.finish());
        }
    }

    #[test]
    fn reduce_stays_below_its_bound() {
        assert_eq!(reduce(u64::MAX, 7), 6);
        assert_eq!(reduce(u64::MAX, 0), 0);
        assert_eq!(reduce(0, 7), 0);
    }
}
