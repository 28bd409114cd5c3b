//! What each program may cost. A change that needs more raises the number here, so that somebody decides it.

use super::{listing::Listing, stack};

/// The bounds of one program.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// The name of its entry point.
    pub program: &'static str,
    /// Instructions of the program and of all that it calls: what the kernel loads.
    pub instructions: usize,
    /// Bytes of stack of its deepest chain of calls.
    pub stack: u32,
}

impl Budget {
    /// Of the program in the place of this one while somebody watches.
    const fn telling(self) -> Self {
        Self { instructions: self.instructions + TELLING, ..self }
    }
}

/// Every program of the object.
///
/// The entry points had 3,550 to 3,750 instructions when this was written. Longer ones take longer to verify: the kernel
/// follows every way through them and gives up after a million steps. Their stack is bounded by the kernel alone.
pub const BUDGETS: [Budget; 55] = [
    Budget { program: "tc_external", instructions: 5_000, stack: stack::LIMIT },
    Budget { program: "tc_internal", instructions: 5_000, stack: stack::LIMIT },
    Budget { program: "xdp_external", instructions: 5_000, stack: stack::LIMIT },
    Budget { program: "xdp_internal", instructions: 5_000, stack: stack::LIMIT },
    Budget { program: "tc_first_part_external", instructions: 6_000, stack: stack::LIMIT },
    Budget { program: "tc_first_part_internal", instructions: 6_000, stack: stack::LIMIT },
    Budget { program: "tc_later_part_external", instructions: 3_000, stack: stack::LIMIT },
    Budget { program: "tc_later_part_internal", instructions: 3_000, stack: stack::LIMIT },
    Budget { program: "tc_quoted_external", instructions: 3_000, stack: stack::LIMIT },
    Budget { program: "tc_quoted_internal", instructions: 3_000, stack: stack::LIMIT },
    Budget { program: "tc_tell_external", instructions: 4_400, stack: stack::LIMIT },
    Budget { program: "tc_tell_internal", instructions: 4_400, stack: stack::LIMIT },
    Budget { program: "tc_challenge_external", instructions: 4_000, stack: stack::LIMIT },
    Budget { program: "tc_challenge_internal", instructions: 4_000, stack: stack::LIMIT },
    Budget { program: "tc_open_external", instructions: 6_000, stack: stack::LIMIT },
    Budget { program: "tc_open_internal", instructions: 6_000, stack: stack::LIMIT },
    Budget { program: "tc_handshake_external", instructions: 4_000, stack: stack::LIMIT },
    Budget { program: "tc_handshake_internal", instructions: 4_000, stack: stack::LIMIT },
    Budget { program: "tc_enter_external", instructions: 4_600, stack: stack::LIMIT },
    Budget { program: "tc_enter_internal", instructions: 4_600, stack: stack::LIMIT },
    Budget { program: "tc_note_external", instructions: 4_000, stack: stack::LIMIT },
    Budget { program: "tc_note_internal", instructions: 4_000, stack: stack::LIMIT },
    Budget { program: "tc_source_external", instructions: 3_000, stack: stack::LIMIT },
    Budget { program: "tc_source_internal", instructions: 3_000, stack: stack::LIMIT },
    Budget { program: "tc_again_external", instructions: 4_000, stack: stack::LIMIT },
    Budget { program: "tc_again_internal", instructions: 4_000, stack: stack::LIMIT },
    Budget { program: "xdp_first_part_external", instructions: 6_000, stack: stack::LIMIT },
    Budget { program: "xdp_first_part_internal", instructions: 6_000, stack: stack::LIMIT },
    Budget { program: "xdp_later_part_external", instructions: 3_000, stack: stack::LIMIT },
    Budget { program: "xdp_later_part_internal", instructions: 3_000, stack: stack::LIMIT },
    Budget { program: "xdp_quoted_external", instructions: 3_000, stack: stack::LIMIT },
    Budget { program: "xdp_quoted_internal", instructions: 3_000, stack: stack::LIMIT },
    Budget { program: "xdp_tell_external", instructions: 4_000, stack: stack::LIMIT },
    Budget { program: "xdp_tell_internal", instructions: 4_000, stack: stack::LIMIT },
    Budget { program: "xdp_challenge_external", instructions: 4_000, stack: stack::LIMIT },
    Budget { program: "xdp_challenge_internal", instructions: 4_000, stack: stack::LIMIT },
    Budget { program: "xdp_open_external", instructions: 6_000, stack: stack::LIMIT },
    Budget { program: "xdp_open_internal", instructions: 6_000, stack: stack::LIMIT },
    Budget { program: "xdp_handshake_external", instructions: 4_000, stack: stack::LIMIT },
    Budget { program: "xdp_handshake_internal", instructions: 4_000, stack: stack::LIMIT },
    Budget { program: "xdp_enter_external", instructions: 4_600, stack: stack::LIMIT },
    Budget { program: "xdp_enter_internal", instructions: 4_600, stack: stack::LIMIT },
    Budget { program: "xdp_note_external", instructions: 4_000, stack: stack::LIMIT },
    Budget { program: "xdp_note_internal", instructions: 4_000, stack: stack::LIMIT },
    Budget { program: "xdp_source_external", instructions: 3_000, stack: stack::LIMIT },
    Budget { program: "xdp_source_internal", instructions: 3_000, stack: stack::LIMIT },
    Budget { program: "xdp_again_external", instructions: 4_000, stack: stack::LIMIT },
    Budget { program: "xdp_again_internal", instructions: 4_000, stack: stack::LIMIT },
    Budget { program: "resume_external", instructions: 2_000, stack: stack::LIMIT },
    Budget { program: "resume_internal", instructions: 2_000, stack: stack::LIMIT },
    Budget { program: "expire", instructions: 600, stack: 256 },
    Budget { program: "bench_empty_tc", instructions: 2, stack: 32 },
    Budget { program: "bench_empty_xdp", instructions: 2, stack: 32 },
    Budget { program: "bench_forward_tc", instructions: 350, stack: 256 },
    Budget { program: "bench_forward_xdp", instructions: 350, stack: 256 },
];

/// How the names of programs begin that take the place of others while somebody watches.
const TAPPED: &str = "tapped_";

/// What telling a watcher may add to the instructions of a program; these have no rows of their own. They had 250 to 460
/// more when this was written.
const TELLING: usize = 600;

/// What a program costs.
#[derive(Debug)]
pub struct Cost {
    /// The entry point.
    pub entry: usize,
    /// The entry point and everything that it calls.
    pub functions: Vec<usize>,
    /// Instructions of all these.
    pub instructions: usize,
    /// The deepest chain of calls.
    pub chain: stack::Chain,
}

impl Cost {
    /// What the program with this entry costs.
    pub fn of(listing: &Listing, entry: usize) -> Self {
        let functions = listing.reachable(entry);
        let instructions = functions.iter().map(|at| listing.functions[*at].instructions()).sum();
        Self { entry, functions, instructions, chain: stack::deepest_chain(listing, entry) }
    }
}

/// The budget of a program, if it has one.
pub fn of(program: &str) -> Option<Budget> {
    among(&BUDGETS, program)
}

fn among(budgets: &[Budget], program: &str) -> Option<Budget> {
    let row = |program| budgets.iter().find(|budget| budget.program == program).copied();
    match program.strip_prefix(TAPPED) {
        Some(original) => row(original).map(Budget::telling),
        None => row(program),
    }
}

/// Where programs and budgets do not fit.
pub fn exceeded(listing: &Listing, costs: &[Cost], budgets: &[Budget]) -> Vec<String> {
    let name = |function: usize| listing.functions[function].name.as_str();
    let mut complaints = Vec::new();
    for cost in costs {
        let program = name(cost.entry);
        match among(budgets, program) {
            Some(budget) => complaints.extend(too_much(budget, cost, &name)),
            None => complaints.push(format!("{program} has no budget: give it a row in {TABLE}")),
        }
    }
    let gone = budgets.iter().filter(|budget| costs.iter().all(|cost| name(cost.entry) != budget.program));
    complaints.extend(gone.map(|budget| {
        format!("{} has a budget, but is not in the object: take its row out of {TABLE}", budget.program)
    }));
    complaints
}

/// Named in every complaint.
const TABLE: &str = "xtask/src/check_ebpf/budget.rs";

fn too_much<'a>(budget: Budget, cost: &Cost, name: &impl Fn(usize) -> &'a str) -> Vec<String> {
    let mut complaints = Vec::new();
    let (program, Budget { instructions, stack, .. }) = (name(cost.entry), budget);
    if cost.instructions > instructions {
        complaints.push(format!(
            "{program} has {} instructions, its budget is {instructions}: make it shorter, or raise the number in {TABLE}",
            cost.instructions
        ));
    }
    if cost.chain.bytes > stack {
        let chain: Vec<_> = cost.chain.functions.iter().map(|function| name(*function)).collect();
        complaints.push(format!(
            "{program} needs {} B of stack, its budget is {stack} (the limit is {}, frames count as multiples of {} as in \
             kernels before 6.9): {}",
            cost.chain.bytes,
            stack::LIMIT,
            stack::ROUNDED_TO,
            chain.join(" > ")
        ));
    }
    if cost.chain.functions.len() > stack::FRAMES_MAX {
        complaints.push(format!(
            "{program} nests {} calls, the kernel takes {}",
            cost.chain.functions.len(),
            stack::FRAMES_MAX
        ));
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(budgets: &[Budget]) -> Vec<String> {
        let listing = Listing::parse(include_str!("snippets/calls.txt")).unwrap();
        let costs: Vec<_> = listing.entries().map(|entry| Cost::of(&listing, entry)).collect();
        exceeded(&listing, &costs, budgets)
    }

    const XDP: Budget = Budget { program: "xdp_external", instructions: 4, stack: 32 };
    const TC: Budget = Budget { program: "tc_external", instructions: 21, stack: 128 };

    #[test]
    fn what_fits_exactly_fits() {
        assert_eq!(complaints(&[XDP, TC]), [""; 0]);
    }

    #[test]
    fn one_more_is_too_much() {
        let [instructions] = &complaints(&[XDP, Budget { instructions: 20, ..TC }])[..] else {
            panic!("one")
        };
        assert!(instructions.contains("tc_external has 21 instructions, its budget is 20"), "{instructions}");
        let [stack] = &complaints(&[XDP, Budget { stack: 127, ..TC }])[..] else { panic!("one") };
        assert!(stack.contains("128 B of stack"), "{stack}");
        assert!(stack.contains("tc_external > forward::open::enter > "), "{stack}");
    }

    #[test]
    fn programs_and_budgets_belong_together() {
        let without = complaints(&[XDP]).remove(0);
        assert!(without.contains("tc_external has no budget"), "{without}");
        let gone = complaints(&[XDP, TC, Budget { program: "old", ..TC }]).remove(0);
        assert!(gone.contains("old has a budget, but is not in the object"), "{gone}");
    }

    #[test]
    fn who_tells_may_cost_a_little_more_than_the_one_in_whose_place_it_is() {
        let [plain, tapped] = ["xdp_external", "tapped_xdp_external"].map(|program| of(program).unwrap());
        assert_eq!(tapped.instructions, plain.instructions + TELLING);
        assert_eq!(tapped.stack, plain.stack);
        assert!(of("tapped_nothing").is_none());
    }

    #[test]
    fn no_budget_is_beyond_the_kernels_limit() {
        for budget in BUDGETS {
            assert!(budget.stack <= stack::LIMIT, "{budget:?}");
        }
    }
}
