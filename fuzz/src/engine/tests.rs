use gateway_common::{
    abi::{Counter, CtEntry, State},
    drop_reason::DropReason,
};

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

/// A seed of [`seeds::process`], by its place from the end, after it was run.
fn special(from_the_end: usize) -> World {
    let seeds = seeds::process();
    played(&seeds[seeds.len() - from_the_end], &Op::ALL)
}

fn drops(world: &World, reason: DropReason) -> u64 {
    world.tables.drops.borrow().get(&reason).copied().unwrap_or_default()
}

#[test]
fn a_seed_reaches_each_of_the_rights() {
    let quarantine = special(8);
    assert_eq!((quarantine.quarantined.len(), drops(&quarantine, DropReason::FlowExpired)), (2, 1));
    let floods = special(7);
    assert_eq!(floods.tables.counter(Counter::HalfOpenEvicted), 2 * 511 + 1 - 480);
    let hairpins = special(6);
    assert!(hairpins.flows.len() == 4 && hairpins.translated >= 8, "{hairpins:?}");
    let mixed = special(5);
    assert_eq!(mixed.tables.half_open.entries().len(), 2 * 2 * 480);
    let challenge = special(4);
    assert_eq!(
        (challenge.clients.challenges.len(), drops(&challenge, DropReason::ChallengeAnswered)),
        (2, 1)
    );
    assert_eq!(challenge.flows.len(), 3, "the one that answered was let in");
    let calls = special(3);
    assert_eq!((calls.flows.len(), drops(&calls, DropReason::TenantFlowsExceeded)), (5, 1));
    assert_eq!(special(2).flows.len(), 4);
    let spoofed = special(1);
    assert_eq!((spoofed.flows.len(), drops(&spoofed, DropReason::SourceSpoofed)), (1, 2));
}

/// As many as take about a second.
const TURNS: usize = 40;

/// Programs that nobody thought of, and always the same ones: what the fuzzer does, without its feedback.
#[test]
fn programs_by_chance_hold_every_promise() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for turn in 0..TURNS {
        let words = (0..2 + turn % 96).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_be_bytes()
        });
        let input: Vec<u8> = words.flatten().collect();
        for palette in [&Op::ALL[..], &ICMP_QUOTE, &FRAGMENTS] {
            drop(played(&input, palette));
        }
    }
}
