//! The segment size that a SYN offers: as it was, or lowered to what tenant and interfaces allow.

use super::Passage;
use crate::engine::{
    read::{Ip, TCP},
    world::World,
};

const SYN: u8 = 0x02;
/// Options that are walked over before the size.
const OPTIONS_MAX: usize = 10;

/// A whole SYN leaves with the largest size that is allowed, if it offered more.
pub fn check(world: &World, passage: &Passage<'_>, tenant: u8, came: &Ip<'_>, sent: &Ip<'_>) {
    let Some(at) = place(came).filter(|_| came.is_whole()) else { return };
    let size = |ip: &Ip<'_>| u16::from_be_bytes([ip.payload[at], ip.payload[at + 1]]);
    let most = world.plan.rights.mss(tenant, passage.side, passage.leaves_by(came)).unwrap_or(u16::MAX);
    assert_eq!(size(sent), size(came).min(most), "the segment size, of at most {most}");
}

/// Where the value of a SYN's maximum segment size stands (RFC 9293 section 3.7.1).
pub fn place(ip: &Ip<'_>) -> Option<usize> {
    if ip.protocol() != TCP || ip.tcp_flags() & SYN == 0 {
        return None;
    }
    let end = (usize::from(ip.payload[12] >> 4) * 4).min(ip.payload.len());
    let mut at = 20;
    for _ in 0..OPTIONS_MAX {
        if at + 4 > end {
            return None;
        }
        match (ip.payload[at], ip.payload[at + 1]) {
            (0, _) => return None,
            (1, _) => at += 1,
            (2, 4) => return Some(at + 2),
            (_, len @ 2..) => at += usize::from(len),
            _ => return None,
        }
    }
    None
}
