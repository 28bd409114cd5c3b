//! How much stack programs need.

use super::{
    instruction::{FRAME_POINTER, Instruction},
    listing::{Function, Listing},
};

/// The kernel's limit for the frames of a whole chain of calls (`MAX_BPF_STACK`).
pub const LIMIT: u32 = 512;

/// How deep calls may nest (`MAX_CALL_FRAMES`).
pub const FRAMES_MAX: usize = 8;

/// Kernels before 6.9 round each frame up to this, and take none for empty (`check_max_stack_depth`). Later ones, with
/// a JIT, are content with 16: what fits here fits there.
pub const ROUNDED_TO: u32 = 32;

/// The most that a function and what it calls can have on the stack at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Rounded frames, summed.
    pub bytes: u32,
    /// The functions, outermost first.
    pub functions: Vec<usize>,
}

/// The deepest chain of calls from a function.
pub fn deepest_chain(listing: &Listing, function: usize) -> Chain {
    let own = frame(&listing.functions[function]).max(1).next_multiple_of(ROUNDED_TO);
    // Functions can't call themselves: the verifier refuses that.
    let callees = listing.callees(function).into_iter().filter(|callee| *callee != function);
    let deepest = callees.map(|callee| deepest_chain(listing, callee)).max_by_key(|chain| chain.bytes);
    let (bytes, mut functions) = deepest.map_or((0, Vec::new()), |chain| (chain.bytes, chain.functions));
    functions.insert(0, function);
    Chain { bytes: own + bytes, functions }
}

/// Where registers point to below the frame pointer, as far as that is certain: 0 is the frame pointer itself.
type Pointers = [Option<i64>; 11];

/// The bytes of stack that a function touches or takes the address of, called functions aside.
pub fn frame(function: &Function) -> u32 {
    let mut before: Vec<Option<Pointers>> = vec![None; function.lines.len()];
    let mut lowest = 0;
    let mut start = [None; 11];
    start[usize::from(FRAME_POINTER)] = Some(0);
    let mut agenda = vec![(0, start)];
    while let Some((at, pointers)) = agenda.pop() {
        let Some(line) = function.lines.get(at) else { continue };
        let merged = before[at].map_or(pointers, |known| agreed(known, pointers));
        if before[at] == Some(merged) {
            continue;
        }
        before[at] = Some(merged);
        lowest = lowest.min(touched(line.instruction, &merged));
        let after = step(line.instruction, merged);
        let next = line.instruction.successors(line.index);
        agenda.extend(next.into_iter().filter_map(|index| Some((function.position(index)?, after))));
    }
    u32::try_from(-lowest).unwrap_or(u32::MAX)
}

/// Two ways meet: only what both say is certain.
fn agreed(one: Pointers, other: Pointers) -> Pointers {
    std::array::from_fn(|register| if one[register] == other[register] { one[register] } else { None })
}

/// The lowest offset that an instruction reaches.
fn touched(instruction: Instruction, pointers: &Pointers) -> i64 {
    let accessed = instruction.accesses().and_then(|(register, offset)| {
        pointers.get(usize::from(register)).copied().flatten().map(|base| base + i64::from(offset))
    });
    let made = pointed(instruction, pointers);
    accessed.into_iter().chain(made).min().unwrap_or(0).min(0)
}

/// Where the register that an instruction writes points to after it.
fn pointed(instruction: Instruction, pointers: &Pointers) -> Option<i64> {
    let of = |register: u8| pointers.get(usize::from(register)).copied().flatten();
    if instruction.is_copy() {
        return of(instruction.src);
    }
    Some(of(instruction.dst)? + instruction.adds()?)
}

fn step(instruction: Instruction, before: Pointers) -> Pointers {
    let mut after = before;
    for register in 0..FRAME_POINTER {
        if instruction.writes(register) {
            after[usize::from(register)] =
                if register == instruction.dst { pointed(instruction, &before) } else { None };
        }
    }
    after
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(text: &str) -> Listing {
        Listing::parse(text).unwrap()
    }

    fn frames(text: &str) -> Vec<u32> {
        listing(text).functions.iter().map(frame).collect()
    }

    #[test]
    fn a_frame_is_what_is_touched_or_pointed_to() {
        let of = [0, 0x28, 0, 0, 0];
        assert_eq!(frames(include_str!("snippets/calls.txt")), of);
        assert_eq!(frames(include_str!("snippets/frames.txt")), [0x48, 0x18, 0x20, 0x10]);
    }

    #[test]
    fn the_deepest_chain_has_every_frame_rounded() {
        let listing = listing(include_str!("snippets/calls.txt"));
        let [tc, xdp] = listing.entries().collect::<Vec<_>>()[..] else { panic!("two entries") };
        let chain = deepest_chain(&listing, tc);
        assert_eq!(chain.bytes, 32 + 64 + 32);
        let names: Vec<_> = chain.functions.iter().map(|at| &*listing.functions[*at].name).collect();
        assert_eq!(names[..2], ["tc_external", "forward::open::enter"]);
        assert_eq!(deepest_chain(&listing, xdp), Chain { bytes: 32, functions: vec![xdp] });
    }
}
