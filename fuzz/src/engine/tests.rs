use gateway_common::abi::{CtEntry, State};

use super::{
    played,
    program::{FRAGMENTS, ICMP_QUOTE, Op},
    world::World,
};
use crate::seeds::packets as seeds;

fn states(world: &World) -> Vec<State> {
    world.tables.established.entries().iter().map(CtEntry::state).collect()
}

/// A generator whose packets are all refused would find nothing.
#[test]
fn seeds_open_flows_and_carry_them_on() {
    for (palette, seeds) in [
        (&Op::ALL[..], seeds::process()),
        (&ICMP_QUOTE, seeds::icmp_quote()),
        (&FRAGMENTS, seeds::fragments()),
    ] {
        let world = played(&seeds[0], palette);
        assert!(world.flows.len() >= 4, "{:?}", world.flows);
        assert!(world.translated >= 9, "{}", world.translated);
        assert!(states(&world).contains(&State::Established), "{:?}", states(&world));
    }
}

#[test]
fn an_input_is_a_program_whatever_its_bytes() {
    for byte in 0..=u8::MAX {
        for palette in [&Op::ALL[..], &ICMP_QUOTE, &FRAGMENTS] {
            let input: Vec<u8> =
                (0..=u8::MAX).map(|at| byte.wrapping_mul(at % 251).wrapping_add(at)).collect();
            drop(played(&input[..usize::from(byte) % input.len()], palette));
        }
    }
}
