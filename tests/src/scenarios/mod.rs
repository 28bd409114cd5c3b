//! What is promised, as scenarios that are run and measured: the end-to-end tests and `prove` judge the same figures.
//!
//! Each makes its own lab, lets real programs talk through the gateway, and returns what it saw. A scenario panics only
//! when it cannot measure; a broken promise is a figure in its result.

pub mod addresses;
pub mod broken_configs;
pub mod bulk;
pub mod continuity;
pub mod control;
pub mod expiry;
pub mod layouts;
pub mod lifecycle;
pub mod nat;
pub mod paths;
pub mod requests;
pub mod reset;
pub mod routes;
pub mod system_state;
pub mod traffic;
pub mod unload;
pub mod wires;

mod background;
mod conversation;
mod digest;
mod paced;
mod targets;

pub use digest::Digest;
