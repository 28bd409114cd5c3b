//! The packet engine on tables and packets in memory: frames in; verdict, bytes, entries and counters out.
//!
//! | module | promises |
//! |---|---|
//! | [`reasons`] | a test produces every drop reason, and `docs/drop-reasons.md` says so |
//! | [`refusals`] | every drop reason can be met, is counted once for its tenant, and leaves packet and tables alone |
//! | [`answers`] | what is refused aloud gets an exact reset or ICMP error, and only who may be answered |
//! | [`untouched`] | whatever fails, a packet that is passed or dropped has not been changed |
//! | [`isolation`] | no tenant meets another; NPCI sees two addresses; a round trip restores everything |
//! | [`races`] | invariants of the flow tables under every interleaving of two CPUs, on [`machine`] |
//! | [`expiry`] | what is idle goes, both entries or none |
//! | [`limits`] | a tenant's flood ends at its own limits, counted exactly |
//! | [`challenges`] | a listener has so many half-open flows and no more; who may be forged has to answer first |
//! | [`hairpins`] | a tenant calls another from inside by an explicit rule alone |
//! | [`mss`] | ends agree on segments that fit |
//! | [`quarantine`] | ports of a flow that idled out are not used again at once, and nothing of it gets through |
//! | [`quoted`] | ICMP errors find the sender of what they quote, with four right checksums, and nobody else |
//! | [`told`] | who sends what cannot go on is told so |
//! | [`fragments`] | datagrams in parts arrive whole in any order; what overlaps or comes alone does not |
//! | [`model_flows`], [`model_ports`] | random conversations and allocations do what a simple model says |
//! | [`world`], [`frame`] | a gateway with three tenants; the frames that its neighbours send |

mod answers;
mod challenges;
mod expiry;
mod fragments;
mod frame;
mod hairpins;
mod isolation;
mod limits;
mod machine;
mod model_flows;
mod model_ports;
mod mss;
mod quarantine;
mod quoted;
mod races;
mod reasons;
mod refusals;
mod sources;
mod told;
mod untouched;
mod world;
