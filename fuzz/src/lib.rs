//! What the fuzzer runs, as ordinary functions of bytes: a function panics when a promise is broken.
//!
//! | module | holds |
//! |---|---|
//! | [`target`] | the targets by name, and the entry of their programs |
//! | [`engine`] | `process`, `icmp_quote`, `fragments`: packets through the engine, with an oracle after each |
//! | `config` | texts through the configuration's loader |
//! | `api_body` | bodies through the API's types and edits |
//! | [`seeds`] | where each target's corpus begins, and the words of its language |
//!
//! The tests of this package replay seeds and fixtures without libFuzzer. `docs/fuzzing.md` tells the rest.

#[cfg(feature = "daemon")]
pub mod api_body;
#[cfg(feature = "daemon")]
pub mod config;
pub mod engine;
pub mod seeds;
pub mod target;

#[cfg(fuzzing)]
#[doc(hidden)]
pub use libfuzzer_sys;
