//! Where each target's corpus begins, and the words of its language. All of it is made from the code, so it follows it.

pub mod packets;
#[cfg(feature = "daemon")]
pub mod texts;
