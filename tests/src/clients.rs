//! Programs that talk to the servers through the gateway.

pub mod flood;
pub mod open_loop;
pub mod pooled;

mod curl;
mod exchange;
mod load;
mod ping;
mod tracepath;
mod traceroute;

pub use curl::{Curl, Download, HttpReply};
pub use exchange::Aim;
pub use load::{Load, LoadReport};
pub use ping::PingReport;
pub use tracepath::PathReport;
pub use traceroute::Probe;
