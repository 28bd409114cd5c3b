//! Programs that talk to the servers through the gateway.

mod curl;
mod load;
mod ping;

pub use curl::{Curl, Download, HttpReply};
pub use load::{Load, LoadReport};
pub use ping::PingReport;
