//! What the data path tells those who watch it: flows that begin and end, packets that are dropped, and the frames of
//! one tenant's packets before and after translation.

use super::{FlowKey, Side, TenantId};
use crate::limits::TAP_FRAME_MAX;
use bytemuck::{Pod, Zeroable};

/// Value of the map of what is watched. All zeroes: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Tap {
    /// Frames are copied until then; `CLOCK_MONOTONIC` nanoseconds.
    pub capture_until_ns: u64,
    /// Bytes copied of each frame, at most [`TAP_FRAME_MAX`].
    pub snap_len: u32,
    /// Whose packets are copied.
    pub capture_tenant: TenantId,
    /// Are drops and flows reported? 0 or 1.
    pub events: u8,
    /// Explicit padding.
    pub pad: u8,
}

/// What a record of the ring buffer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TapKind {
    /// A flow was opened: a [`TapFlow`].
    Opened = 1,
    /// A flow ended: a [`TapFlow`].
    Ended = 2,
    /// A packet was dropped: the start of its frame, as it came in.
    Dropped = 3,
    /// A packet of the captured tenant, as it came in.
    Before = 4,
    /// The same, as it goes out.
    After = 5,
}

/// Why a flow ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FlowEnd {
    /// It was idle for too long.
    Expired = 1,
    /// Its ports are used again by a connection that leads elsewhere.
    Replaced = 2,
    /// It was half-open, and gave its place to a new one.
    Evicted = 3,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TapFate {
    /// It was left to the kernel.
    Passed = 1,
    /// It was dropped.
    Dropped = 2,
    /// It is sent out of another interface.
    Sent = 3,
    /// It was turned into an answer, and goes back.
    Answered = 4,
    /// It waits for the first part of its datagram.
    Held = 5,
}

impl TapFate {
    /// Is there a frame that goes out?
    pub const fn leaves(self) -> bool {
        matches!(self, Self::Sent | Self::Answered)
    }
}

/// What every record of the ring buffer starts with. In a flow's record no four fields in a row are zero: the compiler would
/// call a function to clear them, and programs that open flows have no stack left for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct TapHead {
    /// When the packet came in; `CLOCK_MONOTONIC` nanoseconds.
    pub time_ns: u64,
    /// Interface that the packet came in by; 0 where no packet is to blame.
    pub ifindex: u32,
    /// Interface that it goes out by, as far as it does.
    pub egress_ifindex: u32,
    /// Whose it is.
    pub tenant: TenantId,
    /// Bytes of the frame in the record.
    pub captured: u16,
    /// Length of the whole frame in bytes.
    pub frame_len: u32,
    kind: u8,
    /// A [`crate::drop_reason::DropReason`] or a [`FlowEnd`]; 0 for none.
    pub why: u8,
    fate: u8,
    side: u8,
    /// Tag that the kernel keeps beside the frame; 0 for none.
    pub vlan_tag: u16,
    /// Explicit padding.
    pub pad: u16,
}

impl TapHead {
    /// Of a packet that came in on this side, of which nothing else is known yet.
    #[inline(always)]
    pub const fn new(time_ns: u64, side: Side) -> Self {
        Self {
            time_ns,
            ifindex: 0,
            egress_ifindex: 0,
            tenant: TenantId::NONE,
            captured: 0,
            frame_len: 0,
            kind: 0,
            why: 0,
            fate: 0,
            side: side as u8,
            vlan_tag: 0,
            pad: 0,
        }
    }

    /// What the record is about; `None` for a number that this version does not know.
    pub const fn kind(&self) -> Option<TapKind> {
        match self.kind {
            1 => Some(TapKind::Opened),
            2 => Some(TapKind::Ended),
            3 => Some(TapKind::Dropped),
            4 => Some(TapKind::Before),
            5 => Some(TapKind::After),
            _ => None,
        }
    }

    /// What became of the packet.
    pub const fn fate(&self) -> Option<TapFate> {
        match self.fate {
            1 => Some(TapFate::Passed),
            2 => Some(TapFate::Dropped),
            3 => Some(TapFate::Sent),
            4 => Some(TapFate::Answered),
            5 => Some(TapFate::Held),
            _ => None,
        }
    }

    /// Why a flow ended.
    pub const fn flow_end(&self) -> Option<FlowEnd> {
        match self.why {
            1 => Some(FlowEnd::Expired),
            2 => Some(FlowEnd::Replaced),
            3 => Some(FlowEnd::Evicted),
            _ => None,
        }
    }

    /// The side that the packet came in on.
    pub const fn side(&self) -> Side {
        if self.side == Side::External as u8 { Side::External } else { Side::Internal }
    }

    /// The same record about something else.
    #[must_use]
    pub const fn about(mut self, kind: TapKind, fate: TapFate) -> Self {
        (self.kind, self.fate) = (kind as u8, fate as u8);
        self
    }
}

/// Record of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct TapFlow {
    /// Which, when, whose.
    pub head: TapHead,
    /// Key of its opener's packets.
    pub original: FlowKey,
    /// Key of the answers.
    pub reply: FlowKey,
}

/// Record of a packet. In the ring buffer it ends with the last captured byte.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct TapFrame {
    /// Which, when, whose.
    pub head: TapHead,
    /// The frame; what lies beyond [`TapHead::captured`] means nothing.
    pub bytes: [u8; TAP_FRAME_MAX],
}

/// What was told, and what was not. One for each CPU, never set back while the daemon lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct TapCounts {
    /// When this second began; `CLOCK_MONOTONIC` nanoseconds.
    pub second_ns: u64,
    /// Drops reported in this second.
    pub drops: u32,
    /// Flows reported in this second.
    pub flows: u32,
    /// Drops left out, since there were too many in their second.
    pub drops_left_out: u64,
    /// Flows left out.
    pub flows_left_out: u64,
    /// Reports that the ring buffer had no room for.
    pub events_lost: u64,
    /// Frames that it had no room for.
    pub frames_lost: u64,
}
