//! Differential test: the same random conversations through our gateway and through one made of nftables, in twin labs.
//! What both ends see must be equal but for a list of justified differences.
//!
//! | file | holds |
//! |---|---|
//! | [`conversation`] | what a conversation is |
//! | [`generate`] | from seed and number to a conversation; pure |
//! | [`places`] | addresses and ports of conversations |
//! | [`twin`], [`nftables`] | the two labs, and the rules that do with nftables what our gateway does |
//! | [`ends`], [`script`], [`frame`] | scripted ends: frames out, frames in, by packet sockets |
//! | [`stream`] | ends with real TCP stacks |
//! | [`sight`] | what an end saw, in a form that can be compared |
//! | [`compare`] | two records to discrepancies; pure |
//! | [`differences`] | the list of differences that are justified |
//! | [`run`], [`report`] | a whole run, and what is said about it |

pub mod compare;
pub mod conversation;
pub mod differences;
pub mod ends;
pub mod frame;
pub mod generate;
pub mod nftables;
pub mod places;
pub mod report;
pub mod run;
pub mod script;
pub mod sight;
pub mod stream;
pub mod twin;
