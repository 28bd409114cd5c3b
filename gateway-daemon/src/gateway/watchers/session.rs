//! One capture: its bounds, and the file that comes of it.

use std::time::Duration;

use gateway_common::{
    abi::{TapFate, TapHead, TapKind, TenantId},
    limits::{TAP_FRAME_MAX, TAP_HEADERS_LEN},
};

use super::news::{WallClock, reason};
use crate::{
    api::{source::SourceError, types::CaptureQuery},
    datapath::{explain::Names, tap::headers::Headers},
    pcapng::{Frame, Way, Writer},
};

/// What a capture without a limit gets.
const PACKETS_DEFAULT: u32 = 1_000;
/// More packets are not captured at once.
const PACKETS_MAX: u32 = 1_000_000;
/// How long a capture goes on that says nothing about it.
const SECONDS_DEFAULT: u32 = 60;
/// No capture goes on for longer.
const SECONDS_MAX: u32 = 3_600;
/// A file ends when it is larger than this, whatever its limit of packets.
const BYTES_MAX: u64 = 256 << 20;
/// A frame's link header.
const SNAPLEN_MIN: u32 = 14;
#[expect(clippy::cast_possible_truncation, reason = "a frame's length fits 16 bits")]
const SNAPLEN_MAX: u32 = TAP_FRAME_MAX as u32;

/// How much of a frame is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Its headers, and nothing that anybody sends in it.
    Headers,
    /// So many bytes, whatever they are.
    Bytes(u32),
}

/// Where a capture ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// After so many packets.
    pub packets: u32,
    /// After this time.
    pub time: Duration,
    /// Each frame after so much of it.
    pub extent: Extent,
}

impl Bounds {
    /// As the caller wants them.
    ///
    /// # Errors
    ///
    /// When it wants more than it can have.
    pub fn of(query: &CaptureQuery) -> Result<Self, SourceError> {
        let extent = match (query.snaplen, query.payload) {
            (Some(_), true) => return Err(wrong("snaplen", "it goes without `payload`", "use one of them")),
            (Some(bytes), false) => Extent::Bytes(within("snaplen", bytes, SNAPLEN_MIN, SNAPLEN_MAX)?),
            (None, true) => Extent::Bytes(SNAPLEN_MAX),
            (None, false) => Extent::Headers,
        };
        let packets = within("limit", query.limit.unwrap_or(PACKETS_DEFAULT), 1, PACKETS_MAX)?;
        let seconds = within("seconds", query.seconds.unwrap_or(SECONDS_DEFAULT), 1, SECONDS_MAX)?;
        Ok(Self { packets, time: Duration::from_secs(seconds.into()), extent })
    }

    /// The bytes of each frame that the data path is to copy.
    pub const fn snap_len(&self) -> u32 {
        match self.extent {
            Extent::Headers => TAP_HEADERS_LEN,
            Extent::Bytes(bytes) => bytes,
        }
    }
}

fn within(field: &'static str, value: u32, min: u32, max: u32) -> Result<u32, SourceError> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(wrong(field, &format!("{value} is not a number from {min} to {max}"), "choose one of these"))
}

fn wrong(field: &'static str, problem: &str, remedy: &str) -> SourceError {
    SourceError::Wrong { field, problem: problem.to_owned(), remedy: remedy.to_owned() }
}

/// Is a frame one of this capture?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Take {
    /// It is: the piece of the file for it.
    Wanted(Vec<u8>),
    /// It is another's, or comes after the end.
    Left,
}

/// A capture that is going on.
#[derive(Debug)]
pub struct Session {
    tenant: String,
    id: TenantId,
    bounds: Bounds,
    /// What was captured before is of an earlier one.
    since_ns: u64,
    writer: Writer,
    packets: u64,
    bytes: u64,
    /// Frames that go out, of packets that were captured as they came in.
    owed: u64,
}

impl Session {
    /// Of this tenant, from now on (`CLOCK_MONOTONIC`).
    pub fn new(tenant: &str, id: TenantId, bounds: Bounds, since_ns: u64) -> Self {
        let writer = Writer::default();
        Self { tenant: tenant.to_owned(), id, bounds, since_ns, writer, packets: 0, bytes: 0, owed: 0 }
    }

    /// Its bounds.
    pub const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Packets so far.
    pub const fn packets(&self) -> u64 {
        self.packets
    }

    /// The start of the file.
    pub fn start(&self) -> Vec<u8> {
        let extent = match self.bounds.extent {
            Extent::Headers => "headers only".to_owned(),
            Extent::Bytes(bytes) => format!("the first {bytes} bytes of each frame"),
        };
        self.writer.start(&format!("packets of {} before and after translation, {extent}", self.tenant))
    }

    /// The end of the file.
    pub fn end(&self, at_unix_ns: u64, lost: u64) -> Vec<u8> {
        self.writer.end(at_unix_ns, self.packets, lost)
    }

    /// Are there as many packets as were wanted?
    pub fn is_full(&self) -> bool {
        self.packets >= u64::from(self.bounds.packets) || self.bytes >= BYTES_MAX
    }

    /// And is it known what became of all of them?
    pub fn is_over(&self) -> bool {
        self.is_full() && self.owed == 0
    }

    /// The next frame of the data path.
    pub fn take(&mut self, head: &TapHead, frame: &[u8], names: &Names, clock: WallClock) -> Take {
        if head.tenant != self.id || head.tenant == TenantId::NONE || head.time_ns < self.since_ns {
            return Take::Left;
        }
        let (way, ifindex, place) = match head.kind() {
            Some(TapKind::Before) if !self.is_full() => (Way::In, head.ifindex, "before"),
            // Its packet may have been lost, or have come when the capture was full.
            Some(TapKind::After) if self.owed > 0 => (Way::Out, head.egress_ifindex, "after"),
            _ => return Take::Left,
        };
        self.count(way, head.fate());
        let end = match self.bounds.extent {
            Extent::Headers => Headers::of(frame).end,
            Extent::Bytes(bytes) => frame.len().min(bytes as usize),
        };
        let piece = self.writer.frame(&Frame {
            interface: &format!("{} ({place})", names.interface(ifindex)),
            at_unix_ns: clock.unix_ns(head.time_ns),
            way,
            bytes: &frame[..end],
            len: head.frame_len.max(u32::try_from(frame.len()).unwrap_or(u32::MAX)),
            comment: &fate(head),
        });
        self.bytes += piece.len() as u64;
        Take::Wanted(piece)
    }

    fn count(&mut self, way: Way, fate: Option<TapFate>) {
        match way {
            Way::In => {
                self.packets += 1;
                self.owed += u64::from(fate.is_some_and(TapFate::leaves));
            }
            Way::Out => self.owed -= 1,
        }
    }
}

/// What became of the packet, in words.
fn fate(head: &TapHead) -> String {
    let why = reason(head.why).map_or("?", |reason| reason.name());
    match head.fate() {
        Some(TapFate::Sent) => "translated and sent".to_owned(),
        Some(TapFate::Dropped) => format!("dropped: {why}"),
        Some(TapFate::Answered) => format!("refused with an answer: {why}"),
        Some(TapFate::Held) => "kept until the first part of its datagram comes".to_owned(),
        Some(TapFate::Passed) => "left to the kernel".to_owned(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use gateway_common::{abi::Side, drop_reason::DropReason};

    use super::*;
    use crate::pcapng::Counter;

    const CLOCK: WallClock = WallClock { started_unix_ns: 0 };
    const BANK: TenantId = TenantId(7);

    fn query() -> CaptureQuery {
        CaptureQuery { limit: Some(2), ..CaptureQuery::default() }
    }

    fn session(query: &CaptureQuery) -> Session {
        Session::new("bank-a", BANK, Bounds::of(query).unwrap(), 100)
    }

    fn head(kind: TapKind, fate: TapFate) -> TapHead {
        let mut head = TapHead::new(1_000, Side::External).about(kind, fate);
        (head.tenant, head.ifindex, head.egress_ifindex, head.frame_len) = (BANK, 1, 2, 500);
        head
    }

    /// A TCP segment with ten bytes of data.
    fn frame() -> Vec<u8> {
        let mut frame = vec![0; 64];
        (frame[12], frame[14], frame[23], frame[46]) = (8, 0x45, 6, 0x50);
        frame[54..].copy_from_slice(b"secretdata");
        frame
    }

    fn taken(session: &mut Session, head: &TapHead) -> Option<Vec<u8>> {
        match session.take(head, &frame(), &Names::default(), CLOCK) {
            Take::Wanted(piece) => Some(piece),
            Take::Left => None,
        }
    }

    fn holds(piece: &[u8], text: &[u8]) -> bool {
        piece.windows(text.len()).any(|part| part == text)
    }

    #[test]
    fn headers_alone_are_written_unless_more_is_asked_for() {
        let before = head(TapKind::Before, TapFate::Sent);
        let piece = taken(&mut session(&query()), &before).unwrap();
        assert!(!holds(&piece, b"s"[..].repeat(2).as_slice()) && !holds(&piece, b"secret"));
        let all = CaptureQuery { payload: true, ..query() };
        assert!(holds(&taken(&mut session(&all), &before).unwrap(), b"secretdata"));
        let some = CaptureQuery { snaplen: Some(60), ..query() };
        let piece = taken(&mut session(&some), &before).unwrap();
        assert!(holds(&piece, b"secret") && !holds(&piece, b"secretd"));
    }

    #[test]
    fn other_tenants_and_earlier_captures_are_left_out() {
        let mut session = session(&query());
        let wanted = head(TapKind::Before, TapFate::Sent);
        let mut others = wanted;
        others.tenant = TenantId(8);
        let mut nobodys = wanted;
        nobodys.tenant = TenantId::NONE;
        let mut earlier = wanted;
        earlier.time_ns = 99;
        for left in [others, nobodys, earlier] {
            assert_eq!(taken(&mut session, &left), None, "{left:?}");
        }
        assert!(taken(&mut session, &wanted).is_some());
    }

    #[test]
    fn it_is_over_when_the_last_packet_has_gone_out() {
        let mut session = session(&query());
        let (before, after) = (head(TapKind::Before, TapFate::Sent), head(TapKind::After, TapFate::Sent));
        assert_eq!(taken(&mut session, &after), None, "nothing came in");
        assert!(taken(&mut session, &before).is_some());
        let mut refused = head(TapKind::Before, TapFate::Dropped);
        refused.why = DropReason::NoRoute as u8;
        assert!(holds(&taken(&mut session, &refused).unwrap(), b"dropped: no_route"));
        assert!(session.is_full() && !session.is_over());
        assert_eq!(taken(&mut session, &before), None, "it is full");
        assert!(holds(&taken(&mut session, &after).unwrap(), b"interface 2 (after)"));
        assert!(session.is_over());
        assert_eq!(session.packets(), 2);
    }

    #[test]
    fn its_file_is_whole() {
        let mut session = session(&query());
        let mut file = session.start();
        assert!(holds(&file, b"headers only"));
        for kind in [TapKind::Before, TapKind::After] {
            file.extend(taken(&mut session, &head(kind, TapFate::Sent)).unwrap());
        }
        file.extend(session.end(5, 9));
        let mut counter = Counter::default();
        counter.take(&file);
        assert_eq!((counter.frames, counter.lost), (2, Some(9)));
    }

    #[test]
    fn bounds_are_bounded() {
        let with = |change: fn(&mut CaptureQuery)| {
            let mut query = CaptureQuery::default();
            change(&mut query);
            match Bounds::of(&query) {
                Err(SourceError::Wrong { field, .. }) => Some(field),
                Err(other) => panic!("{other}"),
                Ok(_) => None,
            }
        };
        assert_eq!(with(|_| ()), None);
        assert_eq!(with(|query| query.limit = Some(0)), Some("limit"));
        assert_eq!(with(|query| query.limit = Some(1_000_001)), Some("limit"));
        assert_eq!(with(|query| query.seconds = Some(3_601)), Some("seconds"));
        assert_eq!(with(|query| query.snaplen = Some(13)), Some("snaplen"));
        assert_eq!(with(|query| query.snaplen = Some(4_065)), Some("snaplen"));
        assert_eq!(with(|query| (query.snaplen, query.payload) = (Some(100), true)), Some("snaplen"));
    }
}
