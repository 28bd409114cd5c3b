//! Random conversations, a day long, against a model that knows what was said and when, and nothing of records of bits.

use super::{
    frame::{ACK, End, FIN, Frame, Kind, RST, SYN, SYN_ACK},
    world::{INGRESS_VIP, NOW, Plan, SECOND, forward, npci, send},
};
use crate::{
    abi::{FlowKey, Port, Protocol, Side, State, Timeouts},
    drop_reason::DropReason,
    forward::{Expiry, expire},
    memory::MemoryTables,
    tables::FlowTable,
    verdict::Verdict,
};
use proptest::prelude::*;
use std::vec::Vec;

const DAY_SECS: u32 = 86_400;

/// What one end does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Syn,
    SynAck,
    Ack,
    Fin,
    Rst,
    /// Somebody else, who does not know what the numbers are.
    BlindFin,
    BlindRst,
}

impl Says {
    /// The sequence number. All that is acknowledged in these conversations is 1.
    const fn number(self) -> u32 {
        match self {
            Self::BlindFin | Self::BlindRst => 0x8000_0000,
            _ => 1,
        }
    }

    const fn is_rst(self) -> bool {
        matches!(self, Self::Rst | Self::BlindRst)
    }

    const fn flags(self) -> u8 {
        match self {
            Self::Syn => SYN,
            Self::SynAck => SYN_ACK,
            Self::Ack => ACK,
            Self::Fin | Self::BlindFin => FIN,
            Self::Rst | Self::BlindRst => RST,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// An end of a conversation sends something. (A datagram or an echo, whatever it `says`, if it is no TCP.)
    Send {
        talk: usize,
        opener: bool,
        says: Says,
    },
    Wait {
        millis: u64,
    },
    /// Every flow is looked at for expiry, by one of its keys.
    Scan {
        by_reply: bool,
    },
}

fn steps() -> impl Strategy<Value = Step> {
    let usual = [Says::Syn, Says::SynAck, Says::Ack, Says::Ack, Says::Fin, Says::Rst];
    let says = prop::sample::select([&usual[..], &[Says::BlindFin, Says::BlindRst]].concat());
    let secs = prop::sample::select(
        &[0_u64, 1, 2, 29, 30, 31, 59, 119, 239, 299, 3_600, 7_439, 7_440, 43_200, 86_399][..],
    );
    prop_oneof![
        6 => (0_usize..TALKS.len(), any::<bool>(), says).prop_map(|(talk, opener, says)| Step::Send { talk, opener, says }),
        2 => (secs, 0_u64..1_500).prop_map(|(secs, millis)| Step::Wait { millis: secs * 1_000 + millis }),
        1 => any::<bool>().prop_map(|by_reply| Step::Scan { by_reply }),
    ]
}

/// Who talks: to a listener of tenant 1 from NPCI, or from tenant 1 to NPCI.
const TALKS: [(Protocol, Side); 5] = [
    (Protocol::Tcp, Side::External),
    (Protocol::Tcp, Side::Internal),
    (Protocol::Udp, Side::External),
    (Protocol::Udp, Side::Internal),
    (Protocol::Icmp, Side::Internal),
];

/// The ends as the opener sees them.
fn ends(plan: &Plan, talk: usize) -> (End, End) {
    let port = Port::new(40_000 + u16::try_from(talk).unwrap());
    match TALKS[talk] {
        (_, Side::External) => ((npci(7), port), (INGRESS_VIP, plan.tenants[0].listener())),
        (Protocol::Icmp, _) => ((plan.tenants[0].host(9), port), (npci(7), Port::NONE)),
        _ => ((plan.tenants[0].host(9), port), (npci(7), Port::new(443))),
    }
}

fn kind(talk: usize, opener: bool, says: Says) -> Kind {
    match TALKS[talk].0 {
        Protocol::Tcp => Kind::Tcp(says.flags()),
        Protocol::Udp => Kind::Udp { checksum: true },
        Protocol::Icmp => Kind::Icmp(if opener { 8 } else { 0 }),
    }
}

/// What a flow has lived through.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "what was heard is a set of facts")]
struct Life {
    /// How the other side sees it: opener, answerer.
    shown: (End, End),
    /// Is it among the established flows?
    promoted: bool,
    answered: bool,
    confirmed: bool,
    fins: [bool; 2],
    /// Who has acknowledged anything: only then can be told what lies outside its window.
    acked: [bool; 2],
    reset: bool,
    last_ns: u64,
}

impl Life {
    const fn new(shown: (End, End), now_ns: u64) -> Self {
        Self {
            shown,
            promoted: false,
            answered: false,
            confirmed: false,
            fins: [false; 2],
            acked: [false; 2],
            reset: false,
            last_ns: now_ns,
        }
    }

    fn tcp_state(&self) -> State {
        match (self.reset, self.answered, self.fins) {
            (true, ..) => State::Reset,
            (_, false, _) => State::HalfOpen,
            (.., [true, true]) => State::Closing,
            (.., [true, false] | [false, true]) => State::HalfClosed,
            _ if self.confirmed => State::Established,
            _ => State::Answered,
        }
    }

    fn state(&self, protocol: Protocol) -> State {
        match (protocol, self.answered) {
            (Protocol::Tcp, _) => self.tcp_state(),
            (_, true) => State::Established,
            (_, false) => State::HalfOpen,
        }
    }

    /// A packet that goes through.
    fn hears(&mut self, protocol: Protocol, opener: bool, says: Says, now_ns: u64) {
        let is_believed = !self.acked[usize::from(!opener)];
        let says = match says {
            Says::BlindRst if protocol == Protocol::Tcp && !is_believed => return,
            Says::BlindFin if !is_believed => Says::Ack,
            says => says,
        };
        if says == Says::Syn {
            self.acked[usize::from(opener)] = false;
        }
        self.acked[usize::from(opener)] |= protocol == Protocol::Tcp && says != Says::Syn && !says.is_rst();
        // Resets after a reset keep nothing alive.
        if !(self.reset && says.is_rst() && protocol == Protocol::Tcp) {
            self.last_ns = now_ns;
        }
        if protocol != Protocol::Tcp {
            self.answered |= !opener;
        } else if opener && says == Says::Syn && matches!(self.tcp_state(), State::Closing | State::Reset) {
            *self = Self { promoted: self.promoted, ..Self::new(self.shown, now_ns) };
        } else {
            self.hears_segment(opener, says);
        }
        let state = self.state(protocol);
        self.promoted |= matches!(state, State::Established | State::HalfClosed | State::Closing);
    }

    const fn hears_segment(&mut self, opener: bool, says: Says) {
        self.reset = says.is_rst();
        if self.reset {
            // Whatever else it says, a reset neither answers nor confirms anything.
            return;
        }
        self.fins[opener as usize] |= matches!(says, Says::Fin | Says::BlindFin);
        if opener {
            self.confirmed |= !matches!(says, Says::Syn);
        } else {
            self.answered = true;
        }
    }

    const fn table(&self) -> FlowTable {
        if self.promoted { FlowTable::Established } else { FlowTable::HalfOpen }
    }

    /// Seconds that it may be idle.
    fn patience(&self, protocol: Protocol, timeouts: &Timeouts) -> u32 {
        match (protocol, self.promoted, self.state(protocol)) {
            (Protocol::Icmp, ..) => timeouts.icmp_secs,
            (Protocol::Udp, true, _) => timeouts.udp_secs,
            (Protocol::Udp, false, _) => timeouts.udp_secs.min(120),
            (Protocol::Tcp, false, _) => timeouts.tcp_half_open_secs,
            (Protocol::Tcp, true, State::Established | State::HalfClosed) => timeouts.tcp_established_secs,
            (Protocol::Tcp, true, _) => timeouts.tcp_transitory_secs,
        }
    }
}

struct Run {
    plan: Plan,
    tables: MemoryTables,
    now_ns: u64,
    lives: [Option<Life>; TALKS.len()],
}

impl Run {
    fn new(established_secs: u32) -> Self {
        let plan = Plan::three_tenants();
        let mut tables = plan.tables();
        tables.settings.as_mut().unwrap().timeouts.tcp_established_secs = established_secs;
        Self { plan, tables, now_ns: NOW, lives: Default::default() }
    }

    fn timeouts(&self) -> Timeouts {
        self.tables.settings.unwrap().timeouts
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Wait { millis } => self.now_ns += millis * (SECOND / 1_000),
            Step::Scan { by_reply } => (0..TALKS.len()).for_each(|talk| self.scan(talk, by_reply)),
            Step::Send { talk, opener: true, says } => self.opener_sends(talk, says),
            Step::Send { talk, opener: false, says } => self.answerer_sends(talk, says),
        }
        (0..TALKS.len()).for_each(|talk| self.check(talk));
    }

    fn opener_sends(&mut self, talk: usize, says: Says) {
        let ((protocol, side), (src, dst)) = (TALKS[talk], ends(&self.plan, talk));
        let frame = Frame::new(kind(talk, true, says), src, dst).numbers(says.number(), 1);
        let mut packet = frame.packet(self.plan.ifindex(side));
        if self.lives[talk].is_none() && protocol == Protocol::Tcp && says != Says::Syn {
            let verdict = send(&self.tables, &mut packet, side, self.now_ns);
            assert_eq!(verdict, Verdict::Drop(DropReason::NoFlow));
            return;
        }
        let (_, sent) = forward(&self.tables, packet, side, self.now_ns);
        let life = self.lives[talk].get_or_insert_with(|| Life::new((sent.src, sent.dst), self.now_ns));
        assert_eq!((sent.src, sent.dst), life.shown, "a flow keeps its translation");
        life.hears(protocol, true, says, self.now_ns);
    }

    fn answerer_sends(&mut self, talk: usize, says: Says) {
        let (protocol, side) = TALKS[talk];
        let (kind, back) = (kind(talk, false, says), side.opposite());
        let Some(life) = &mut self.lives[talk] else { return };
        let frame = Frame::new(kind, life.shown.1, life.shown.0).numbers(says.number(), 1);
        let packet = frame.packet(self.plan.ifindex(back));
        let (_, sent) = forward(&self.tables, packet, back, self.now_ns);
        assert_eq!((sent.dst, sent.src), ends(&self.plan, talk), "the answer comes from where the call went");
        life.hears(protocol, false, says, self.now_ns);
    }

    /// Both keys of a conversation.
    fn keys(&self, talk: usize, life: &Life) -> [FlowKey; 2] {
        let ((protocol, side), (src, dst)) = (TALKS[talk], ends(&self.plan, talk));
        [
            FlowKey::v4(side, protocol, src, dst),
            FlowKey::v4(side.opposite(), protocol, life.shown.1, life.shown.0),
        ]
    }

    /// Expiry is exact to the second in which the time of the last packet was noted.
    fn scan(&mut self, talk: usize, by_reply: bool) {
        let Some(life) = self.lives[talk].clone() else { return };
        let key = self.keys(talk, &life)[usize::from(by_reply)];
        let patience = u64::from(life.patience(TALKS[talk].0, &self.timeouts())) * SECOND;
        let idle = self.now_ns - life.last_ns;
        match expire(&self.tables, life.table(), &key, self.now_ns) {
            Expiry::Expired => {
                assert!(idle + SECOND > patience, "{key:?} went after {idle} of {patience} ns: {life:?}");
                self.lives[talk] = None;
            }
            Expiry::Kept => {
                assert!(idle <= patience, "{key:?} is kept after {idle} of {patience} ns: {life:?}");
            }
            Expiry::Quarantined | Expiry::Released => panic!("there is no quarantine here: {life:?}"),
            Expiry::Missing => panic!("{key:?} is not where it was: {life:?}"),
        }
    }

    /// The tables hold what the model says: both entries in one table in the same state, or none.
    fn check(&self, talk: usize) {
        let Some(life) = &self.lives[talk] else {
            let side = TALKS[talk].1;
            let (src, dst) = ends(&self.plan, talk);
            let key = FlowKey::v4(side, TALKS[talk].0, src, dst);
            assert!(
                self.tables.established.entry(&key).or_else(|| self.tables.half_open.entry(&key)).is_none()
            );
            return;
        };
        let (here, there) = if life.promoted {
            (&self.tables.established, &self.tables.half_open)
        } else {
            (&self.tables.half_open, &self.tables.established)
        };
        for key in self.keys(talk, life) {
            let entry = here.entry(&key).unwrap_or_else(|| panic!("{key:?} is missing: {life:?}"));
            assert_eq!(entry.state(), life.state(TALKS[talk].0), "{key:?}: {life:?}");
            assert!(there.entry(&key).is_none(), "{key:?} is in both tables");
        }
    }
}

fn entries(tables: &MemoryTables) -> usize {
    tables.established.entries().len() + tables.half_open.entries().len()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn conversations_do_what_the_model_says(day: bool, steps in prop::collection::vec(steps(), 1..120)) {
        let mut run = Run::new(if day { DAY_SECS } else { Timeouts::DEFAULT.tcp_established_secs });
        for step in &steps {
            run.take(step);
        }
        // In the end all is idle for longer than anything may be: nothing is left.
        run.now_ns += u64::from(DAY_SECS) * SECOND + 1;
        run.take(&Step::Scan { by_reply: day });
        prop_assert_eq!(entries(&run.tables), 0);
    }
}

#[test]
fn an_established_connection_is_idle_for_a_day() {
    let mut run = Run::new(DAY_SECS);
    let says = |opener, says| Step::Send { talk: 0, opener, says };
    let handshake = [says(true, Says::Syn), says(false, Says::SynAck), says(true, Says::Ack)];
    let days = [86_400_000, 86_400_000, 86_400_000]
        .map(|millis| [Step::Wait { millis }, Step::Scan { by_reply: true }, says(false, Says::Ack)]);
    let steps: Vec<Step> = handshake.into_iter().chain(days.into_iter().flatten()).collect();
    for step in &steps {
        run.take(step);
    }
    assert!(run.lives[0].is_some(), "three days with one packet each");
    run.take(&Step::Wait { millis: 86_401_000 });
    run.take(&Step::Scan { by_reply: false });
    assert!(run.lives[0].is_none(), "a second more than a day");
}
