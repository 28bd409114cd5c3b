//! Packets through the packet engine, with an oracle after each.
//!
//! An input is a program: a header of eight bytes (the gateway's `plan`), then instructions of eight bytes each (see
//! `program`). Instructions of equal length keep their meaning when the fuzzer inserts or removes one. The three
//! targets differ in which instructions a first byte selects, nothing else: each may open flows, let time go on, expire
//! flows, and change the configuration under the packets.
//!
//! | module | holds |
//! |---|---|
//! | `plan` | the gateway, and what is right about it |
//! | `program` | bytes to instructions |
//! | `act` | what an instruction does |
//! | `errors`, `trains`, `floods` | the packets of the instructions about ICMP errors, fragments and floods |
//! | `expiry` | flows that are looked at for expiry |
//! | `frame`, `read` | frames as neighbours build and read them |
//! | `world` | the tables, the clock, and what the oracles remember |
//! | `oracle` | what holds after every packet; `oracle/` has a file for each kind of promise |

mod act;
mod errors;
mod expiry;
mod floods;
mod frame;
mod oracle;
mod plan;
pub(crate) mod program;
mod read;
#[cfg(test)]
mod tests;
mod trains;
mod world;

use program::{Instruction, Op, Record};
use world::World;

/// Every instruction.
pub fn process(input: &[u8]) {
    run(input, &Op::ALL);
}

/// Mostly flows, and ICMP errors that quote them.
pub fn icmp_quote(input: &[u8]) {
    run(input, &program::ICMP_QUOTE);
}

/// Mostly flows, and trains of fragments.
pub fn fragments(input: &[u8]) {
    run(input, &program::FRAGMENTS);
}

/// Instructions a run: enough to fill every table, few enough for a thousand runs a second.
const MAX_INSTRUCTIONS: usize = 256;

fn run(input: &[u8], palette: &[Op]) {
    let _world = played(input, palette);
}

/// The world after a program.
fn played(input: &[u8], palette: &[Op]) -> World {
    let (header, instructions) = input.as_chunks::<8>().0.split_first().unwrap_or((&[0; 8], &[]));
    let mut world = World::new(*header);
    for record in instructions.iter().take(MAX_INSTRUCTIONS) {
        let Instruction { op, arguments } = Instruction::decode(Record(*record), palette);
        act::act(&mut world, op, arguments);
    }
    world
}
