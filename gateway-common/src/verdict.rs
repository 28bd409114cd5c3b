//! What happens to a packet.

use crate::drop_reason::DropReason;

/// The outcome of [`crate::forward::process`]. Hook adapters map it to an XDP or TC action and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a verdict that is thrown away leaks the packet"]
pub enum Verdict {
    /// Not the gateway's packet: the kernel goes on with it, not one byte was changed.
    Pass,
    /// Dropped, and already counted under this reason.
    Drop(DropReason),
    /// Translated; link addresses are written; send it out of this interface.
    Redirect {
        /// Interface index to transmit on.
        ifindex: u32,
    },
    /// Translated; the kernel resolves the next hop and writes the link addresses (TC only).
    RedirectNeighbour {
        /// Interface index to transmit on.
        ifindex: u32,
    },
    /// A part of a datagram whose first part has not come yet: the daemon keeps it for a moment and sends it on then.
    Held,
    /// Turned into an answer; send it back out of the interface it came from.
    Reply,
}
