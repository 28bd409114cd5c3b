//! The namespace lab: real daemons, real veths and hand-built packets around the gateway.
//!
//! A [`Lab`] is one external namespace (NPCI), one gateway namespace and some tenant namespaces, joined by
//! veth pairs. Everything it makes is a guard: namespaces, processes, mounts and files vanish when the guard
//! drops, also when a test panics, and whatever a killed test run left behind is removed by the next one
//! ([`leftovers`]).
//!
//! Rules of the house:
//! - Everything here panics with what, where and why; nothing returns `Result` unless the failure is itself a
//!   finding.
//! - [`poll`] is the only place that sleeps.
//! - A failing test keeps the lab's directory (captures, logs, configuration, `ip` dumps) and prints its
//!   path.
//! - The lab needs root and only ever touches namespaces, mounts and processes that it made itself.

pub mod bench;
pub mod bpffs;
pub mod capture;
pub mod clients;
pub mod compliance;
pub mod differential;
pub mod fence;
pub mod gateway;
pub mod lab;
pub mod leftovers;
pub mod netns;
pub mod owner;
pub mod packet;
pub mod pcap;
pub mod poll;
pub mod process;
pub mod raw;
pub mod scenarios;
pub mod seed;
pub mod servers;
pub mod session;
pub mod stop;
pub mod tcp;
pub mod tool;
pub mod topology;
pub mod usage;
pub mod world;

pub use lab::Lab;
pub use poll::{poll_result, poll_until};
pub use topology::Mode;
