//! What is decided about a packet before anything is changed for it.
//!
//! It stands in a room of its own, not on the stack, where what carries it out finds it. That keeps the kernel's stack short,
//! and its verifier quick: it follows every way that leads to a plan only as far as to the plan, and what comes after it once.
//!
//! While a daemon takes over from another of the same [`crate::limits::ABI_VERSION`], a program of the one may carry out what one
//! of the other has planned. So another field, or another meaning of one, needs another number; no test can see that.

use super::{Flow, Frame, Hop};
use crate::{abi::Side, wire::transport::Transport};

/// A plan.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The packet's headers.
    pub(super) frame: Frame,
    /// Its transport header.
    pub(super) transport: Transport,
    /// The flow that it belongs to, or is to open.
    pub(super) flow: Flow,
    /// Where it goes.
    pub(super) hop: Hop,
    /// Was there an entry under its key?
    pub(super) is_known: bool,
    /// Does it wait to be carried out? Nothing is done by one that does not.
    pub(super) is_made: bool,
}

impl Plan {
    /// Takes the plan to be carried out, once; false when there is none.
    #[inline(always)]
    #[must_use]
    pub(super) const fn take(&mut self) -> bool {
        core::mem::replace(&mut self.is_made, false)
    }

    /// Nothing of a meaning, as room for a plan.
    #[must_use]
    pub const fn room() -> Self {
        Self {
            frame: Frame::NONE,
            transport: Transport::NONE,
            flow: Flow::unknown(Side::External),
            hop: Hop::NONE,
            is_known: false,
            is_made: false,
        }
    }
}
