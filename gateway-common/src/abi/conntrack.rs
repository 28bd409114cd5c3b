//! The tracked flow.

use super::{Arrival, FlowKey, Protocol, TenantId};
use bytemuck::{Pod, Zeroable};

/// Segments that one direction of a flow has sent so far, as bits. Merging two observations is a bitwise or.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct Seen(pub u8);

impl Seen {
    /// Nothing yet.
    pub const NOTHING: Self = Self(0);
    /// TCP SYN.
    pub const SYN: Self = Self(1);
    /// TCP ACK.
    pub const ACK: Self = Self(2);
    /// TCP FIN.
    pub const FIN: Self = Self(4);
    /// TCP RST.
    pub const RST: Self = Self(8);
    /// Any UDP datagram or ICMP echo message.
    pub const DATAGRAM: Self = Self(16);

    /// Both.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This without the other.
    #[inline(always)]
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Does it contain all of the other?
    #[inline(always)]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Do they share a bit?
    #[inline(always)]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// How far one direction of a TCP connection has acknowledged what the other has sent, in host byte order: the next sequence
/// number that it expects (RCV.NXT of RFC 9293, as far as that was seen on the way).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct Acked(u32);

impl Acked {
    /// Nothing was acknowledged yet. One number of four billion is taken for this.
    pub const UNKNOWN: Self = Self(0);

    /// Up to this sequence number, not included.
    #[inline(always)]
    pub const fn up_to(sequence_number: u32) -> Self {
        Self(sequence_number)
    }

    /// Has anything been acknowledged?
    #[inline(always)]
    pub const fn is_known(self) -> bool {
        self.0 != Self::UNKNOWN.0
    }

    /// Can a segment with this sequence number be meant for whoever acknowledged so far? It may lie at most `behind` before
    /// what is expected next, and less than `ahead` after that. All can while nothing is known.
    #[inline(always)]
    pub const fn expects(self, sequence_number: u32, behind: u32, ahead: u32) -> bool {
        !self.is_known() || sequence_number.wrapping_sub(self.0).wrapping_add(behind) < behind + ahead
    }
}

/// State of a tracked flow. See [`crate::conntrack`] for the transitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// One direction has spoken: TCP SYN sent, a datagram sent.
    HalfOpen = 1,
    /// TCP: SYN-ACK seen, the third packet not yet.
    Answered = 2,
    /// Both directions have spoken (TCP: three packets).
    Established = 3,
    /// TCP: one direction has sent FIN.
    HalfClosed = 4,
    /// TCP: both directions have sent FIN.
    Closing = 5,
    /// TCP: a RST was seen. Later traffic revives the flow (RFC 7857 section 2.2).
    Reset = 6,
}

impl State {
    /// From the byte in an entry; unknown numbers read as the state with the shortest life.
    pub const fn from_number(number: u8) -> Self {
        match number {
            2 => Self::Answered,
            3 => Self::Established,
            4 => Self::HalfClosed,
            5 => Self::Closing,
            6 => Self::Reset,
            _ => Self::HalfOpen,
        }
    }

    /// The word used in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HalfOpen => "half_open",
            Self::Answered => "answered",
            Self::Established => "established",
            Self::HalfClosed => "half_closed",
            Self::Closing => "closing",
            Self::Reset => "reset",
        }
    }
}

/// What an entry is, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct EntryFlags(pub u8);

impl EntryFlags {
    /// The direction of the packet that opened the flow. The other entry is the reply.
    pub const ORIGINAL: Self = Self(1);
    /// NPCI opened the flow; without it the tenant did.
    pub const INGRESS: Self = Self(2);
    /// The daemon ends the flow: none of its packets is translated, TCP gets a reset for an answer. Set on both entries.
    pub const RESET: Self = Self(4);
    /// The flow was idle for too long. None of its packets is translated any more, but its ports stay taken for as long as
    /// [`super::Timeouts::quarantine_secs`] says. Set on both entries.
    pub const EXPIRED: Self = Self(8);

    /// Both.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Does it contain the flag?
    #[inline(always)]
    pub const fn contains(self, flag: Self) -> bool {
        self.0 & flag.0 == flag.0
    }

    /// Is the flow over, for whatever reason?
    #[inline(always)]
    pub const fn is_ended(self) -> bool {
        self.0 & (Self::RESET.0 | Self::EXPIRED.0) != 0
    }
}

/// One direction of a tracked flow. A flow has two entries, each stored under its own key and naming the other.
///
/// The translation needs no fields of its own: a packet that matches `key` leaves as the reverse of `pair`. Each
/// entry records what its own direction has sent (`seen`) and when; the flow's one state is a pure function of the
/// two (`conntrack::derive`), and `state` is its cached result, so that a packet of an established flow needs
/// this entry alone. `key` comes first and is compared after the other fields were read: a preallocated element can
/// be recycled for another flow while a reader still holds it.
///
/// 64 bytes: one cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct CtEntry {
    /// The key that this entry is stored under.
    pub key: FlowKey,
    /// The key of the other direction.
    pub pair: FlowKey,
    /// When this direction last sent a packet; `CLOCK_MONOTONIC` nanoseconds, written at most once a second.
    pub last_seen_ns: u64,
    /// When the flow was opened; `CLOCK_MONOTONIC` nanoseconds.
    pub birth_ns: u64,
    /// How far this direction has acknowledged the other; TCP only.
    pub acked: Acked,
    /// Ownership epoch: raised when another node adopts the flow.
    pub epoch: u32,
    /// The tenant that the flow belongs to.
    pub tenant: TenantId,
    /// Node that owns the flow (1..=63): the only one that may expire it.
    pub owner: u8,
    state: u8,
    /// What this direction has sent.
    pub seen: Seen,
    /// Original or reply; ingress or egress.
    pub flags: EntryFlags,
    /// Where this direction's packets come in, as far as is known; counts on the internal side, where a packet that comes
    /// in elsewhere may be another tenant's.
    pub arrival: Arrival,
}

impl CtEntry {
    /// The entry of one direction of a flow that is being opened.
    #[inline(always)]
    pub const fn open(key: FlowKey, pair: FlowKey, tenant: TenantId, flags: EntryFlags, now_ns: u64) -> Self {
        Self {
            key,
            pair,
            last_seen_ns: now_ns,
            birth_ns: now_ns,
            acked: Acked::UNKNOWN,
            epoch: 0,
            tenant,
            owner: 0,
            state: State::HalfOpen as u8,
            seen: Seen::NOTHING,
            flags,
            arrival: Arrival::UNKNOWN,
        }
    }

    /// The cached state of the flow.
    #[inline(always)]
    pub const fn state(&self) -> State {
        State::from_number(self.state)
    }

    /// Changes the cached state.
    #[inline(always)]
    pub const fn set_state(&mut self, state: State) {
        self.state = state as u8;
    }

    /// The same flow, ended by the daemon at this moment: it expires soon unless both ends were told before.
    #[must_use]
    pub const fn ended(mut self, now_ns: u64) -> Self {
        self.flags = self.flags.with(EntryFlags::RESET);
        self.state = State::Reset as u8;
        self.last_seen_ns = now_ns;
        self
    }

    /// The transport protocol.
    pub const fn protocol(&self) -> Option<Protocol> {
        self.key.protocol()
    }
}

/// What a packet needs to know of the entry that it met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryView {
    /// See [`CtEntry::pair`].
    pub pair: FlowKey,
    /// See [`CtEntry::last_seen_ns`].
    pub last_seen_ns: u64,
    /// See [`CtEntry::tenant`].
    pub tenant: TenantId,
    /// See [`CtEntry::owner`].
    pub owner: u8,
    /// The cached state.
    pub state: State,
    /// See [`CtEntry::seen`].
    pub seen: Seen,
    /// See [`CtEntry::flags`].
    pub flags: EntryFlags,
    /// See [`CtEntry::arrival`].
    pub arrival: Arrival,
    /// See [`CtEntry::acked`].
    pub acked: Acked,
}

impl From<&CtEntry> for EntryView {
    #[inline(always)]
    fn from(entry: &CtEntry) -> Self {
        Self {
            pair: entry.pair,
            last_seen_ns: entry.last_seen_ns,
            tenant: entry.tenant,
            owner: entry.owner,
            state: entry.state(),
            seen: entry.seen,
            flags: entry.flags,
            arrival: entry.arrival,
            acked: entry.acked,
        }
    }
}
