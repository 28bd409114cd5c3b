//! Challenges: who was sent one, who has answered, and who is let in without.

use std::collections::HashMap;

use gateway_common::{
    abi::{Addr, FlowKey, Port, Side},
    drop_reason::DropReason,
    limits::HALF_OPEN_PLACES,
    verdict::Verdict,
};

use super::{Passage, translation::key_of};
use crate::engine::{
    act::SECOND_NS,
    read::{Ip, TCP},
    world::World,
};

const SYN_ACK: u8 = 0x12;
const RST: u8 = 0x04;

/// A cookie is good for two slots of 2^33 ns at most.
const COOKIE_NS: u64 = 2 << 33;
/// How long an answer counts.
const ANSWER_NS: u64 = 300 * SECOND_NS;
/// Bytes of an IP and a TCP header without options.
const BARE: usize = 40;

/// A challenge that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Challenge {
    /// The connection's key.
    pub key: FlowKey,
    pub cookie: u32,
    pub sent_ns: u64,
}

/// Clients that were challenged, and those that have answered.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    pub challenges: Vec<Challenge>,
    /// Until when the answer of an address (without a port) or of a connection counts.
    answered: HashMap<(Addr, Port), u64>,
}

/// After a packet that was answered or dropped: was it a challenge, or the answer to one?
pub fn check(world: &mut World, passage: &Passage<'_>) {
    let Some(came) = Ip::of_frame(passage.before).filter(|ip| ip.protocol() == TCP) else { return };
    match passage.verdict {
        Verdict::Reply => {
            let sent = Ip::of_frame(passage.after).expect("an answer");
            if sent.protocol() == TCP && sent.tcp_flags() & SYN_ACK == SYN_ACK {
                check_challenge(world, passage, &came, &sent);
            }
        }
        Verdict::Drop(DropReason::ChallengeAnswered) => check_answer(world, passage, &came),
        _ => {}
    }
}

/// It is no longer than what it answers, says nothing but the cookie, and goes to who wants to connect.
fn check_challenge(world: &mut World, passage: &Passage<'_>, came: &Ip<'_>, sent: &Ip<'_>) {
    assert_eq!(passage.side, Side::External, "a tenant was challenged");
    assert!(world.plan.rights.challenge_above != 0, "challenges are switched off");
    assert_eq!(came.tcp_flags() & 0x17, 0x02, "what was challenged wants no connection");
    assert!(passage.after.len() <= passage.before.len(), "a challenge that amplifies");
    assert_eq!((sent.total_len(), sent.tcp_flags()), (BARE, SYN_ACK), "a bare SYN-ACK");
    assert_eq!(sent.src(), came.dst(), "from the listener");
    let (src, dst) = came.ports().expect("TCP has ports");
    assert_eq!(sent.ports(), Some((dst, src)), "to the client's port");
    let (_, cookie) = sent.tcp_numbers().expect("TCP has numbers");
    let challenge = Challenge { key: key_of(passage.side, came), cookie, sent_ns: world.now_ns };
    world.clients.challenges.push(challenge);
}

/// Only who got a challenge knows its cookie.
fn check_answer(world: &mut World, passage: &Passage<'_>, came: &Ip<'_>) {
    let (key, numbers) = (key_of(passage.side, came), came.tcp_numbers());
    assert!(came.tcp_flags() & RST != 0, "{key:?} answered with something else than a reset");
    let is_its = |challenge: &Challenge| {
        challenge.key == key
            && numbers.is_some_and(|(number, _)| number == challenge.cookie)
            && world.now_ns - challenge.sent_ns <= COOKIE_NS
    };
    assert!(world.clients.challenges.iter().any(is_its), "{key:?} answered what it was not asked");
    for port in [Port::NONE, key.src_port] {
        world.clients.answered.insert((key.src, port), world.now_ns + ANSWER_NS);
    }
}

/// A connection to a tenant's listener was opened: while there are many that nobody has answered yet, only clients that
/// have shown where they are may.
pub fn assert_answered(world: &World, tenant: u8, key: &FlowKey) {
    let above = u32::from(world.plan.rights.challenge_above);
    if above == 0 {
        return;
    }
    let is_crowded = |above: u32| {
        let recent = world.openings.recent(tenant, above as usize).filter(|recent| recent != key);
        recent.is_some_and(|recent| world.tables.half_open.entry(&recent).is_some())
    };
    let has_answered = |port: Port| {
        world.clients.answered.get(&(key.src, port)).is_some_and(|until_ns| world.now_ns < *until_ns)
    };
    if !is_crowded(above) {
        return;
    }
    assert!(has_answered(Port::NONE), "{key:?} was let in unasked");
    let is_severe = is_crowded(u32::midpoint(above, HALF_OPEN_PLACES));
    assert!(!is_severe || has_answered(key.src_port), "{key:?} was let in by another connection's answer");
}
