//! The data path as the daemon sees it: maps, programs and links in the kernel.
//!
//! | module | does |
//! |---|---|
//! | [`host`] | reads interfaces and addresses from the kernel, switches forwarding |
//! | [`plan`] | configuration and host to table contents, and to the writes that get there; pure |
//! | [`contents`], [`changes`] | what stands in the tables; writes to them, in their order |
//! | [`tables`], [`table`] | opens the pinned maps, reads and writes them |
//! | [`hook`] | which hook to attach an interface to, and why; pure |
//! | [`programs`] | loads the programs, attaches and adopts links |
//! | [`filter`] | attaches by a TC filter where the kernel has no TCX links |
//! | [`link`] | looks at what is attached, and detaches it |
//! | [`flows`] | reads the tables of tracked flows |
//! | [`reset`] | ends flows and tells both ends |
//! | [`scan`], [`lifetimes`] | goes round the flows a part at a time; how long they may be idle |
//! | [`drift`] | compares the tenants' numbers of flows with what the tables hold; pure |
//! | [`expiry`] | hands idle flows over; the kernel decides about each |
//! | [`held`] | sends parts of datagrams on that came before the first one |
//! | [`tap`] | what the data path tells those who watch it |
//! | [`neighbours`] | keeps next hops resolved |
//! | [`routes`] | which routes to add or remove; pure. `routes::kernel` does it |
//! | [`explain`] | the way that a packet would take |
//! | [`sysctl`] | where the kernel's network switches are |
//! | [`migrate`] | takes over the maps and flows of an earlier version |
//! | [`shape`] | what a map is to the kernel |
//! | [`pins`] | where everything is pinned, and how to remove it |

pub mod batch;
pub mod changes;
pub mod contents;
pub mod drift;
pub mod element;
pub mod expiry;
pub mod explain;
pub mod filter;
pub mod flows;
pub mod held;
pub mod hook;
pub mod host;
pub mod lifetimes;
pub mod link;
pub mod migrate;
pub mod neighbours;
pub mod pins;
pub mod plan;
pub mod programs;
pub mod reset;
pub mod routes;
pub mod scan;
pub mod shape;
pub mod sysctl;
pub mod table;
pub mod tables;
pub mod tap;

mod unload;

pub use unload::unload;

use nix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC` now, in nanoseconds: the clock of every time in the tables.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |time| time.tv_sec() * 1_000_000_000 + time.tv_nsec());
    u64::try_from(now).unwrap_or(0)
}
