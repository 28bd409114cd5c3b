//! The gateway's packet engine, as pure code: the same source runs in the kernel and in host tests.
//!
//! Nothing here makes a system call, reads a clock or draws a random number. Time is an argument, packets are
//! behind [`packet::Packet`], tables behind [`tables::Tables`]. From the outside in:
//!
//! | module | holds |
//! |---|---|
//! | [`forward`] | [`forward::process`]: one packet in, one [`verdict::Verdict`] out; [`forward::expire`] |
//! | [`conntrack`] | the state machine of a tracked flow |
//! | [`port_slice`], [`maglev`], [`hash`] | choice of a port and of a backend |
//! | [`rewrite`] | the only place that changes packet bytes |
//! | [`wire`] | header views and checksums |
//! | [`abi`] | the types of the BPF maps, shared with the kernel side |
//! | [`layout`] | since which version each map is as it is now |
//! | [`memory`] | in-memory packet and tables for the host (feature `user`) |

#![no_std]
#![forbid(unsafe_op_in_unsafe_fn)]

#[cfg(any(test, feature = "user"))]
extern crate std;

pub mod abi;
pub mod conntrack;
pub mod drop_reason;
pub mod forward;
pub mod hash;
pub mod layout;
pub mod limits;
pub mod maglev;
#[cfg(any(test, feature = "user"))]
pub mod memory;
pub mod names;
pub mod packet;
pub mod port_slice;
pub mod rewrite;
pub mod tables;
pub mod verdict;
pub mod wire;
