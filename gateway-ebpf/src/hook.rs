//! The hooks that programs run at, as parameters of types: what differs between them stands in [`crate::tap::Frame`].

/// XDP: one packet is one frame.
pub struct Xdp;

/// TC: a packet may be many frames (GSO).
pub struct Tc;

/// TC in a run of the daemon's, on a packet that was kept.
pub struct Kept;
