//! The flow hash: picks a Maglev slot and a first port. Seeded, the same on every node with the same seed.

use crate::abi::FlowKey;

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

/// Maps a hash to `0..bound` without a division; `bound` of 0 gives 0.
#[inline(always)]
pub const fn reduce(hash: u64, bound: u32) -> u32 {
    (((hash >> 32) * bound as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::{flow_hash, reduce};
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

    #[test]
    fn reduce_stays_below_its_bound() {
        assert_eq!(reduce(u64::MAX, 7), 6);
        assert_eq!(reduce(u64::MAX, 0), 0);
        assert_eq!(reduce(0, 7), 0);
    }
}
