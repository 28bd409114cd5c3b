//! Scripted TCP.

use super::{
    dialogue::{ACK, Dialogue, FIN, PSH, RST, SYN},
    draw::Draw,
};
use crate::{
    differential::conversation::{Flow, Role, Round},
    packet::TcpFlags,
};

const ENDS: [Role; 2] = [Role::Client, Role::Server];
/// Beyond every window: windows of scripts are 65,535 bytes, unscaled.
const FAR_AHEAD: u32 = 1 << 30;
const FAR_BEHIND: u32 = u32::MAX - FAR_AHEAD;

/// A dialogue with initial sequence numbers, one in four of which wraps round soon.
fn dialogue(draw: &mut Draw) -> Dialogue {
    let mut number = || if draw.percent(25) { u32::MAX - 5 } else { draw.word() };
    let numbers = (number(), number());
    Dialogue::new(Flow::FIRST, numbers)
}

fn other(end: Role) -> Role {
    if end == Role::Client { Role::Server } else { Role::Client }
}

/// Data from either end, acknowledged by the other.
fn exchange(draw: &mut Draw, dialogue: &mut Dialogue) {
    let speaker = draw.one_of(&ENDS);
    dialogue.say(speaker, PSH | ACK, draw.length());
    if draw.percent(60) {
        dialogue.say(other(speaker), ACK, 0);
    }
}

/// Handshake, data, and one of the ways to end.
pub fn orderly(draw: &mut Draw) -> Vec<Round> {
    let mut dialogue = dialogue(draw).opened();
    for _ in 0..draw.between(0, 3) {
        exchange(draw, &mut dialogue);
    }
    let first = draw.one_of(&ENDS);
    match draw.below(4) {
        0 => dialogue.close(first, other(first)),
        1 => half_closed(draw, &mut dialogue, first),
        2 => dialogue.say(first, RST | ACK, 0),
        _ => {}
    }
    dialogue.rounds
}

/// One end closes, the other goes on for a while.
fn half_closed(draw: &mut Draw, dialogue: &mut Dialogue, first: Role) {
    dialogue.say(first, FIN | ACK, 0);
    for _ in 0..draw.between(1, 3) {
        dialogue.say(other(first), PSH | ACK, draw.length());
        dialogue.say(first, ACK, 0);
    }
    dialogue.say(other(first), FIN | ACK, 0);
    dialogue.say(first, ACK, 0);
}

/// An established connection in which one end sends any combination of control bits.
pub fn odd(draw: &mut Draw) -> Vec<Round> {
    let mut dialogue = dialogue(draw).opened();
    exchange(draw, &mut dialogue);
    let flags = TcpFlags(u8::try_from(draw.below(64)).expect("six bits"));
    let offset = draw.one_of(&[0, 0, 1, 1000]);
    let length = if draw.percent(50) { 0 } else { draw.length() };
    dialogue.interject(draw.one_of(&ENDS), flags, offset, length);
    dialogue.rounds
}

/// A reset at some place, then more data of either end.
pub fn reset(draw: &mut Draw) -> Vec<Round> {
    let mut dialogue = dialogue(draw);
    if draw.percent(20) {
        dialogue.say(Role::Client, SYN, 0);
        dialogue.say(Role::Server, RST | ACK, 0);
    } else {
        dialogue = dialogue.opened();
        exchange(draw, &mut dialogue);
        let flags = draw.one_of(&[RST, RST | ACK]);
        let offset = draw.one_of(&[0, 0, 1, 1000, FAR_AHEAD, FAR_BEHIND]);
        dialogue.interject(draw.one_of(&ENDS), flags, offset, 0);
    }
    for _ in 0..draw.between(0, 2) {
        dialogue.say(draw.one_of(&ENDS), PSH | ACK, draw.length());
    }
    dialogue.rounds
}

/// Both ends send a SYN before either has the other's (RFC 9293 section 3.5, figure 8). The server's needs the hole that
/// the client's has made.
pub fn simultaneous(draw: &mut Draw) -> Vec<Round> {
    let mut dialogue = dialogue(draw);
    if draw.percent(15) {
        dialogue.interject(Role::Server, SYN, 0, 0);
        return dialogue.rounds;
    }
    dialogue.interject(Role::Client, SYN, 0, 0);
    dialogue.interject(Role::Server, SYN, 0, 0);
    dialogue.say(Role::Client, SYN | ACK, 0);
    dialogue.say(Role::Server, SYN | ACK, 0);
    dialogue.say(Role::Client, ACK, 0);
    exchange(draw, &mut dialogue);
    dialogue.rounds
}

/// A connection ends, and the client uses the tuple again.
pub fn reopened(draw: &mut Draw) -> Vec<Round> {
    let mut dialogue = dialogue(draw).opened();
    exchange(draw, &mut dialogue);
    let first = draw.one_of(&ENDS);
    match draw.below(3) {
        0 => dialogue.close(first, other(first)),
        1 => {
            dialogue.say(first, FIN | ACK, 0);
            dialogue.say(other(first), FIN | ACK, 0);
        }
        _ => dialogue.say(first, RST | ACK, 0),
    }
    let mut again = Dialogue::new(Flow::FIRST, (draw.word(), draw.word())).opened();
    exchange(draw, &mut again);
    dialogue.rounds.into_iter().chain(again.rounds).collect()
}

/// A connection in which some segments come twice.
pub fn repeated(draw: &mut Draw) -> Vec<Round> {
    let mut dialogue = dialogue(draw);
    let opening = [(Role::Client, SYN), (Role::Server, SYN | ACK), (Role::Client, ACK)];
    for (end, flags) in opening {
        dialogue.say(end, flags, 0);
        repeat_by_chance(draw, &mut dialogue);
    }
    for _ in 0..draw.between(1, 2) {
        dialogue.say(draw.one_of(&ENDS), PSH | ACK, draw.length());
        repeat_by_chance(draw, &mut dialogue);
    }
    let first = draw.one_of(&ENDS);
    dialogue.say(first, FIN | ACK, 0);
    repeat_by_chance(draw, &mut dialogue);
    dialogue.say(other(first), FIN | ACK, 0);
    repeat_by_chance(draw, &mut dialogue);
    dialogue.rounds
}

fn repeat_by_chance(draw: &mut Draw, dialogue: &mut Dialogue) {
    if draw.percent(50) {
        dialogue.repeat();
    }
}

/// The first segment is anything but a SYN; then, sometimes, an ordinary connection.
pub fn midstream(draw: &mut Draw) -> Vec<Round> {
    let mut dialogue = dialogue(draw);
    let flags = draw.one_of(&[ACK, PSH | ACK, SYN | ACK, RST, RST | ACK, FIN | ACK, FIN, TcpFlags(0)]);
    let length = if draw.percent(50) { 0 } else { draw.length() };
    dialogue.interject(draw.one_of(&ENDS), flags, 0, length);
    if draw.percent(50) {
        dialogue = dialogue.renumbered((draw.word(), draw.word())).opened();
    }
    dialogue.rounds
}
