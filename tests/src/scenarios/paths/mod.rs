//! Ways of several hops: real tools and real transfers between hosts that have routers between them and the gateway.
//!
//! ```text
//!   NPCI's host .10 --- .9 router .2 --- .1 npci .100 --- gateway --- .18 tenant1 .33 --- .34 router .41 --- .42 bank's host
//!              203.0.113.8/29    203.0.113.0/29   192.0.2.0/24  198.51.100.16/28   203.0.113.32/29    203.0.113.40/29
//! ```
//!
//! Every host believes in an MTU of 1500. Each of the four links that no host is on may be smaller ([`Narrow`]).

pub mod clamp;
pub mod trace;
pub mod transfers;

mod narrow;
mod stage;

pub use narrow::{MTU, Narrow};

use stage::Stage;
