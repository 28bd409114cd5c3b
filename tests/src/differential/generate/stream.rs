//! Conversations of real TCP stacks.

use super::draw::Draw;
use crate::differential::stream::{Ending, StreamScript, Turn};

/// Most bytes of a turn.
const LARGEST: usize = 60_000;

/// Some turns, and one of the endings.
pub fn script(draw: &mut Draw) -> StreamScript {
    if draw.percent(10) {
        return StreamScript { turns: Vec::new(), ending: Ending::Refused };
    }
    let turns = (0..draw.between(0, 4)).map(|_| turn(draw)).collect();
    let ending = draw.one_of(&[
        Ending::ClientCloses,
        Ending::ServerCloses,
        Ending::ClientHalfCloses,
        Ending::ServerHalfCloses,
        Ending::ClientAborts,
        Ending::ServerAborts,
    ]);
    StreamScript { turns, ending }
}

fn turn(draw: &mut Draw) -> Turn {
    let length = match draw.below(3) {
        0 => draw.between(1, 100),
        1 => draw.between(100, 3000),
        _ => draw.between(3000, LARGEST),
    };
    Turn { by_client: draw.percent(50), length }
}
