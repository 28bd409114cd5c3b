//! Header views over bytes that were bounds-checked when they were loaded, and checksum arithmetic.

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod ipv4;
pub mod quote;
pub mod transport;
