//! How many ICMP errors of the gateway's own one host gets (RFC 1812 section 4.3.2.8, RFC 5508 REQ-10f). Who sends many
//! packets that all deserve one learns nothing by the thousandth, and in the name of another it would be a flood to that one.
//! What path MTU discovery needs is not limited, as in Linux (`icmpv4_mask_allow`).

use crate::{
    abi::{Addr, Counter},
    hash::{address_hash, reduce},
    limits::{ERROR_CREDIT_NS, ERROR_INTERVAL_NS, ERROR_PACES},
    tables::{Pace, Tables},
};

/// May `receiver` get one more ICMP error? Counted if not.
///
/// Hosts share a number of buckets, by a hash that only this node can tell: who would empty another's has to use its address.
#[inline(never)]
pub fn admits<T: Tables>(tables: &T, receiver: Addr, now_ns: u64) -> bool {
    let Some(settings) = tables.settings() else {
        return false;
    };
    let [seed, _] = settings.cookie_key;
    let bucket = reduce(address_hash(seed, receiver), ERROR_PACES);
    let pace = Pace { interval_ns: ERROR_INTERVAL_NS, credit_ns: ERROR_CREDIT_NS, now_ns };
    let admits = tables.take_error_turn(bucket, &pace);
    if !admits {
        tables.count(Counter::ErrorsLimited, 1);
    }
    admits
}
