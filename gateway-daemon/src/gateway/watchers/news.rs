//! What the data path told, in the words of the API.

use std::time::{SystemTime, UNIX_EPOCH};

use gateway_common::{
    abi::{FlowEnd, FlowKey, Side, TapFate, TapFlow, TapHead, TapKind, TenantId},
    drop_reason::DropReason,
};

use crate::{
    api::types::{Direction, DroppedPacket, EndOfFlow, Endpoints, FlowEnded, FlowNews, Happening, Missed},
    datapath::{
        explain::Names,
        monotonic_ns,
        tap::{
            self, Record,
            headers::{Ends, Headers},
        },
    },
};

/// Turns times of the kernel's monotonic clock into those on the wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallClock {
    /// Unix time when the monotonic clock was at zero.
    pub started_unix_ns: u64,
}

impl WallClock {
    /// As the clocks stand now.
    pub fn now() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ns = u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX);
        Self { started_unix_ns: unix_ns.saturating_sub(monotonic_ns()) }
    }

    /// Unix time in nanoseconds.
    pub const fn unix_ns(self, monotonic_ns: u64) -> u64 {
        self.started_unix_ns.saturating_add(monotonic_ns)
    }

    const fn unix_ms(self, monotonic_ns: u64) -> u64 {
        self.unix_ns(monotonic_ns) / 1_000_000
    }
}

/// The reason with this number, if there is one.
pub fn reason(number: u8) -> Option<DropReason> {
    DropReason::ALL.iter().copied().find(|reason| *reason as u8 == number)
}

/// What the record tells; none when it is of a kind that is not told, or of another version.
pub fn happening(record: &Record, names: &Names, clock: WallClock) -> Option<Happening> {
    match record {
        Record::Flow(flow) => flow_news(flow, names, clock),
        Record::Packet(head, frame) => dropped(head, frame, names, clock),
    }
}

fn flow_news(record: &TapFlow, names: &Names, clock: WallClock) -> Option<Happening> {
    let (original, reply) = (&record.original, &record.reply);
    let flow = FlowNews {
        at_unix_ms: clock.unix_ms(record.head.time_ns),
        tenant: names.tenant(record.head.tenant),
        // Whoever opens a flow is on the side that its key is of.
        direction: match original.side() {
            Side::External => Direction::Ingress,
            Side::Internal => Direction::Egress,
        },
        protocol: original.protocol()?.into(),
        original: ends_of(original),
        translated: ends_of(&reversed(reply)),
    };
    match record.head.kind()? {
        TapKind::Opened => Some(Happening::Opened(flow)),
        TapKind::Ended => {
            let why = match record.head.flow_end()? {
                FlowEnd::Expired => EndOfFlow::Expired,
                FlowEnd::Replaced => EndOfFlow::Replaced,
                FlowEnd::Evicted => EndOfFlow::Evicted,
            };
            Some(Happening::Ended(FlowEnded { flow, why }))
        }
        TapKind::Dropped | TapKind::Before | TapKind::After => None,
    }
}

fn dropped(head: &TapHead, frame: &[u8], names: &Names, clock: WallClock) -> Option<Happening> {
    if head.kind() != Some(TapKind::Dropped) {
        return None;
    }
    let ends = Headers::of(frame).ends;
    Some(Happening::Dropped(DroppedPacket {
        at_unix_ms: clock.unix_ms(head.time_ns),
        tenant: (head.tenant != TenantId::NONE).then(|| names.tenant(head.tenant)),
        interface: names.interface(head.ifindex),
        side: head.side().into(),
        reason: reason(head.why)?.name().to_owned(),
        answered: head.fate() == Some(TapFate::Answered),
        protocol_number: ends.map(|ends| ends.protocol),
        packet: ends.map(endpoints),
        bytes: head.frame_len,
    }))
}

const fn endpoints(ends: Ends) -> Endpoints {
    Endpoints {
        source: ends.source.0,
        source_port: ends.source.1,
        destination: ends.destination.0,
        destination_port: ends.destination.1,
    }
}

fn ends_of(key: &FlowKey) -> Endpoints {
    Endpoints {
        source: key.src.into(),
        source_port: key.src_port.number(),
        destination: key.dst.into(),
        destination_port: key.dst_port.number(),
    }
}

/// The key of packets in the other direction.
const fn reversed(key: &FlowKey) -> FlowKey {
    let mut reversed = *key;
    (reversed.src, reversed.dst) = (key.dst, key.src);
    (reversed.src_port, reversed.dst_port) = (key.dst_port, key.src_port);
    reversed
}

impl From<tap::Missed> for Missed {
    fn from(missed: tap::Missed) -> Self {
        Self { drops: missed.drops, flows: missed.flows, lost: missed.events }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use gateway_common::abi::{Addr, Port, Protocol};

    use super::*;

    const CLOCK: WallClock = WallClock { started_unix_ns: 1_700_000_000_000_000_000 };

    fn names() -> Names {
        Names {
            tenants: [(TenantId(7), "bank-a".to_owned())].into(),
            interfaces: [(3, "ext0".to_owned())].into(),
        }
    }

    fn addr(last: u8) -> Addr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    fn head(kind: TapKind, fate: TapFate, why: u8) -> TapHead {
        let mut head = TapHead::new(2_000_000, Side::External).about(kind, fate);
        (head.tenant, head.ifindex, head.why, head.frame_len) = (TenantId(7), 3, why, 60);
        head
    }

    fn flow(kind: TapKind, why: u8) -> Record {
        let (client, vip) = ((addr(1), Port::new(4_000)), (addr(2), Port::new(443)));
        let (backend, nat) = ((addr(3), Port::new(8_443)), (addr(4), Port::new(5_000)));
        Record::Flow(TapFlow {
            head: head(kind, TapFate::Sent, why),
            original: FlowKey::v4(Side::External, Protocol::Tcp, client, vip),
            reply: FlowKey::v4(Side::Internal, Protocol::Tcp, backend, nat),
        })
    }

    #[test]
    fn a_flow_is_told_by_its_openers_packets() {
        let Some(Happening::Opened(news)) = happening(&flow(TapKind::Opened, 0), &names(), CLOCK) else {
            panic!("nothing opened")
        };
        assert_eq!((news.at_unix_ms, news.tenant.as_str()), (1_700_000_000_002, "bank-a"));
        assert_eq!(news.direction, Direction::Ingress);
        assert_eq!((news.original.source_port, news.original.destination_port), (4_000, 443));
        let translated =
            (news.translated.source, news.translated.source_port, news.translated.destination_port);
        assert_eq!(translated, (Ipv4Addr::new(192, 0, 2, 4), 5_000, 8_443));
    }

    #[test]
    fn a_flow_ends_for_a_known_reason_or_is_not_told() {
        for (why, expected) in [
            (1, Some(EndOfFlow::Expired)),
            (2, Some(EndOfFlow::Replaced)),
            (3, Some(EndOfFlow::Evicted)),
            (4, None),
        ] {
            let why = match happening(&flow(TapKind::Ended, why), &names(), CLOCK) {
                Some(Happening::Ended(ended)) => Some(ended.why),
                other => other.map(|what| panic!("{what:?}")),
            };
            assert_eq!(why, expected);
        }
    }

    #[test]
    fn every_reason_can_be_told() {
        for reason in DropReason::ALL {
            let record = Record::Packet(head(TapKind::Dropped, TapFate::Dropped, *reason as u8), vec![0; 60]);
            let Some(Happening::Dropped(drop)) = happening(&record, &names(), CLOCK) else {
                panic!("{reason:?}")
            };
            assert_eq!(
                (drop.reason.as_str(), drop.packet, drop.interface.as_str()),
                (reason.name(), None, "ext0")
            );
        }
        let unknown = Record::Packet(head(TapKind::Dropped, TapFate::Dropped, 255), Vec::new());
        assert_eq!(happening(&unknown, &names(), CLOCK), None);
    }

    #[test]
    fn captured_frames_are_no_news() {
        let record = Record::Packet(head(TapKind::Before, TapFate::Sent, 0), vec![0; 60]);
        assert_eq!(happening(&record, &names(), CLOCK), None);
    }
}
