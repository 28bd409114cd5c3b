use super::{Segment, believed, derive, is_expired, is_promoted, is_steady, lifetime_ns, step};
use crate::abi::{
    Acked, Addr, CtEntry, EntryFlags, EntryView, FlowKey, Port, Protocol, Seen, Side, State, TenantId,
    Timeouts,
};
use crate::tables::FlowTable;
use proptest::prelude::*;

const SYN: Segment = Segment::tcp(Seen::SYN);
const SYN_ACK: Segment = Segment::tcp(Seen(Seen::SYN.0 | Seen::ACK.0));
const ACK: Segment = Segment::tcp(Seen::ACK);
const FIN: Segment = Segment::tcp(Seen(Seen::FIN.0 | Seen::ACK.0));
const RST: Segment = Segment::tcp(Seen(Seen::RST.0 | Seen::ACK.0));

/// Both records of a flow, as the two entries hold them.
#[derive(Clone, Copy, Default)]
struct Flow {
    original: Seen,
    reply: Seen,
}

impl Flow {
    fn original(&mut self, segment: Segment) -> State {
        let step = step(self.original, self.reply, true, segment);
        (self.original, self.reply) = (step.own, step.pair);
        step.state
    }

    fn reply(&mut self, segment: Segment) -> State {
        let step = step(self.reply, self.original, false, segment);
        (self.reply, self.original) = (step.own, step.pair);
        step.state
    }

    fn established() -> Self {
        let mut flow = Self::default();
        flow.original(SYN);
        flow.reply(SYN_ACK);
        assert_eq!(flow.original(ACK), State::Established);
        flow
    }
}

#[test]
fn handshake_is_promoted_by_the_third_packet() {
    let mut flow = Flow::default();
    assert_eq!(flow.original(SYN), State::HalfOpen);
    assert_eq!(flow.original(SYN), State::HalfOpen);
    assert_eq!(flow.reply(SYN_ACK), State::Answered);
    assert!(!is_promoted(State::Answered));
    assert_eq!(flow.original(ACK), State::Established);
    assert!(is_promoted(State::Established));
}

#[test]
fn an_ack_without_an_answer_establishes_nothing() {
    let mut flow = Flow::default();
    flow.original(SYN);
    assert_eq!(flow.original(ACK), State::HalfOpen);
}

#[test]
fn close_from_either_side_passes_half_closed() {
    for original_first in [true, false] {
        let mut flow = Flow::established();
        let (first, second) = if original_first {
            (flow.original(FIN), flow.reply(FIN))
        } else {
            (flow.reply(FIN), flow.original(FIN))
        };
        assert_eq!((first, second), (State::HalfClosed, State::Closing));
        assert_eq!(flow.original(ACK), State::Closing);
    }
}

#[test]
fn a_reset_shortens_and_traffic_restores() {
    let mut flow = Flow::established();
    assert_eq!(flow.reply(RST), State::Reset);
    assert_eq!(flow.reply(RST), State::Reset);
    assert_eq!(flow.original(ACK), State::Established);
    assert_eq!(flow.original(RST), State::Reset);
    assert_eq!(flow.reply(ACK), State::Established);
}

#[test]
fn a_refused_connection_is_never_promoted() {
    let mut flow = Flow::default();
    flow.original(SYN);
    assert_eq!(flow.reply(RST), State::Reset);
    assert!(!is_promoted(State::Reset));
    // The client goes on all the same: nobody has answered it.
    for segment in [ACK, FIN, ACK] {
        assert!(!is_promoted(flow.original(segment)));
    }
}

#[test]
fn a_syn_on_a_closed_tuple_starts_anew() {
    let mut closing = Flow::established();
    closing.original(FIN);
    closing.reply(FIN);
    let mut reset = Flow::established();
    reset.reply(RST);
    for mut flow in [closing, reset] {
        assert_eq!(flow.original(SYN), State::HalfOpen);
        assert_eq!(flow.reply(SYN_ACK), State::Answered);
        assert_eq!(flow.original(ACK), State::Established);
    }
}

#[test]
fn a_syn_on_an_established_flow_changes_nothing() {
    let mut flow = Flow::established();
    assert_eq!(flow.original(SYN), State::Established);
    assert_eq!(flow.reply(ACK), State::Established);
}

#[test]
fn datagrams_are_established_by_an_answer() {
    for segment in [Segment::DATAGRAM, Segment::ECHO_REQUEST] {
        let mut flow = Flow::default();
        assert_eq!(flow.original(segment), State::HalfOpen);
        assert_eq!(flow.original(segment), State::HalfOpen);
        assert_eq!(flow.reply(segment), State::Established);
    }
}

#[test]
fn only_a_bare_syn_a_datagram_or_a_request_opens() {
    for bits in 0..16 {
        assert_eq!(Segment::tcp(Seen(bits)).opens(), Seen(bits) == Seen::SYN, "{bits:#b}");
    }
    assert!(Segment::DATAGRAM.opens());
    assert!(Segment::ECHO_REQUEST.opens());
    assert!(!Segment::ECHO_REPLY.opens());
}

fn entry(protocol: Protocol, state: State, last_seen_ns: u64) -> EntryView {
    let end = |octet| (Addr::new([192, 0, 2, octet]), Port::new(1));
    let key = FlowKey::v4(Side::External, protocol, end(1), end(2));
    let mut entry = CtEntry::open(key, key, TenantId(1), EntryFlags::ORIGINAL, last_seen_ns);
    entry.set_state(state);
    EntryView::from(&entry)
}

#[test]
fn either_direction_keeps_a_flow_alive() {
    let timeouts = Timeouts::DEFAULT;
    let lifetime = lifetime_ns(FlowTable::Established, Protocol::Tcp, State::Established, &timeouts);
    let old = entry(Protocol::Tcp, State::Established, 0);
    let fresh = entry(Protocol::Tcp, State::Established, lifetime);
    assert!(!is_expired(FlowTable::Established, Protocol::Tcp, &old, None, &timeouts, lifetime));
    assert!(is_expired(FlowTable::Established, Protocol::Tcp, &old, None, &timeouts, lifetime + 1));
    assert!(!is_expired(FlowTable::Established, Protocol::Tcp, &old, Some(&fresh), &timeouts, lifetime + 1));
    assert!(!is_expired(FlowTable::Established, Protocol::Tcp, &fresh, Some(&old), &timeouts, lifetime + 1));
    // A clock that seems to run backwards (another CPU's) expires nothing.
    assert!(!is_expired(FlowTable::Established, Protocol::Tcp, &fresh, None, &timeouts, 0));
}

#[test]
fn lifetimes_meet_the_rfcs() {
    let timeouts = Timeouts::DEFAULT;
    let secs =
        |protocol, state| lifetime_ns(FlowTable::Established, protocol, state, &timeouts) / 1_000_000_000;
    assert!(secs(Protocol::Tcp, State::Established) >= 7_440, "RFC 5382 REQ-5");
    assert!(secs(Protocol::Tcp, State::HalfClosed) >= 7_440, "RFC 5382 REQ-5");
    assert!(secs(Protocol::Tcp, State::Closing) >= 240, "RFC 5382 REQ-5");
    assert!(secs(Protocol::Tcp, State::Reset) >= 240, "RFC 7857 section 2.2");
    assert!(secs(Protocol::Udp, State::HalfOpen) >= 120, "RFC 4787 REQ-5");
    assert!(secs(Protocol::Icmp, State::Established) >= 60, "RFC 5508 REQ-1");
}

#[test]
fn a_reset_counts_within_its_receivers_window_alone() {
    for acked in [1, 0x7fff_ffff, u32::MAX, 0xffff_0001] {
        let believed = |number: u32| believed(RST, acked.wrapping_add(number), Acked::up_to(acked));
        for (number, counts) in [
            (0, true),
            (65_535, true),
            (65_536, false),
            (u32::MAX, true),
            (u32::MAX - 1, false),
            (1 << 31, false),
        ] {
            assert_eq!(believed(number), counts.then_some(RST), "{number} after {acked}");
        }
    }
    assert_eq!(believed(RST, 12_345, Acked::UNKNOWN), Some(RST), "nothing is known yet");
}

#[test]
fn a_fin_counts_near_its_receivers_window_and_else_is_an_acknowledgment() {
    let acked = 1_000_000;
    let cases = [(acked, FIN), (acked - 65_536, FIN), (acked - 65_537, ACK), (acked + (1 << 30) - 1, FIN)];
    for (number, counts_as) in cases.into_iter().chain([(acked + (1 << 30), ACK)]) {
        assert_eq!(believed(FIN, number, Acked::up_to(acked)), Some(counts_as), "{number}");
    }
    assert_eq!(
        believed(ACK, 7, Acked::up_to(acked)),
        Some(ACK),
        "whatever else is sent is no matter of its number"
    );
}

fn tcp_segment() -> impl Strategy<Value = Segment> {
    (0_u8..16).prop_map(|bits| Segment::tcp(Seen(bits)))
}

proptest! {
    /// The shortcut for established packets is right: where it says "steady", the full step changes nothing.
    #[test]
    fn steady_means_nothing_changes(own in 0_u8..16, pair in 0_u8..16, original: bool, segment in tcp_segment()) {
        let (own, pair) = (Seen(own), Seen(pair));
        let state = if original { derive(own, pair) } else { derive(pair, own) };
        if is_steady(state, own, segment) {
            let after = step(own, pair, original, segment);
            prop_assert_eq!((after.own, after.pair, after.state), (own, pair, state));
        }
    }

    /// Two observers that each missed what the other saw agree after merging their records.
    #[test]
    fn derive_of_a_merge_is_order_free(a in 0_u8..16, b in 0_u8..16, c in 0_u8..16, d in 0_u8..16) {
        let (a, b, c, d) = (Seen(a), Seen(b), Seen(c), Seen(d));
        prop_assert_eq!(derive(a.with(c), b.with(d)), derive(c.with(a), d.with(b)));
    }

    /// Whatever is sent, nothing but an RST or two FINs brings an established flow a short timeout.
    #[test]
    fn only_rst_or_two_fins_shorten(segments in prop::collection::vec((any::<bool>(), tcp_segment()), 0..40)) {
        let mut flow = Flow::established();
        for (original, segment) in segments {
            let state = if original { flow.original(segment) } else { flow.reply(segment) };
            let fins = flow.original.contains(Seen::FIN) && flow.reply.contains(Seen::FIN);
            let rst = flow.original.with(flow.reply).contains(Seen::RST);
            let anew = state == State::HalfOpen || state == State::Answered || !flow.reply.contains(Seen::SYN);
            prop_assert!(matches!(state, State::Established | State::HalfClosed) || fins || rst || anew);
        }
    }
}
