//! The search for results that LLVM lost: a non-fetching atomic whose register is read afterwards.
//!
//! `lock *(u64 *)(r1 + 0) += r0` leaves the addend in r0. If r0 is read before it is written anew, somebody most likely
//! wanted the old value (`xtask::ebpf::atomics` says how that comes about, and checks the linker's IR before code is
//! made of it). Here the finished object is checked, whoever made it.
//!
//! It could also be that the addend itself is used twice. The object does not tell these two apart, so both are
//! refused.

use std::fmt;

use super::{
    instruction::{ARGUMENTS, Callee},
    listing::{Function, Line, Listing},
};

/// An atomic operation whose operand is read as if it were the result.
#[derive(Debug, PartialEq, Eq)]
pub struct LostResult {
    function: String,
    operation: String,
    reader: String,
}

impl fmt::Display for LostResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in {}: `{}`, then `{}`", self.function, self.operation, self.reader)
    }
}

/// Finds them in all functions.
pub fn lost_results(listing: &Listing) -> Vec<LostResult> {
    listing.functions.iter().flat_map(|function| lost_in(listing, function)).collect()
}

fn lost_in(listing: &Listing, function: &Function) -> Vec<LostResult> {
    let without_result =
        |line: &&Line| line.instruction.atomic().is_some_and(|atomic| atomic.result.is_none());
    let lost = |line: &Line| {
        let from = line.instruction.successors(line.index);
        let reader = reader(listing, function, from, line.instruction.src)?;
        let described = |line: &Line| format!("{} at {}", line.text, line.index);
        Some(LostResult {
            function: function.name.clone(),
            operation: described(line),
            reader: described(reader),
        })
    };
    function.lines.iter().filter(without_result).filter_map(lost).collect()
}

/// The first instruction, on any way from `from`, that reads a register before something else is put into it.
fn reader<'a>(listing: &Listing, function: &'a Function, from: Vec<usize>, register: u8) -> Option<&'a Line> {
    let (mut agenda, mut seen) = (from, vec![false; function.lines.len()]);
    while let Some(index) = agenda.pop() {
        let Some(at) = function.position(index) else { continue };
        if std::mem::replace(&mut seen[at], true) {
            continue;
        }
        let line = &function.lines[at];
        if line.instruction.reads(register) || is_passed(listing, line, register) {
            return Some(line);
        }
        if !line.instruction.writes(register) {
            agenda.extend(line.instruction.successors(index));
        }
    }
    None
}

/// Is the register an argument of the call in this line?
fn is_passed(listing: &Listing, line: &Line, register: u8) -> bool {
    if !ARGUMENTS.contains(&register) {
        return false;
    }
    match (line.instruction.callee(), line.calls) {
        (Some(Callee::Helper(number)), _) => register <= helper_arguments(number),
        (Some(Callee::Function(_)), Some(callee)) => {
            let callee = &listing.functions[callee];
            let start = callee.lines.first().map(|line| line.index);
            reader(listing, callee, start.into_iter().collect(), register).is_some()
        }
        _ => false,
    }
}

/// How many arguments a helper takes (Linux `include/uapi/linux/bpf.h`); five for those that are not listed, which
/// may refuse a program that is right, but passes none that is wrong.
const fn helper_arguments(number: i32) -> u8 {
    match number {
        // ktime_get_ns, get_prandom_u32, get_smp_processor_id, ktime_get_boot_ns, ktime_get_coarse_ns, jiffies64
        5 | 7 | 8 | 125 | 160 | 118 => 0,
        // map_lookup_elem, map_delete_elem, redirect, skb_pull_data, xdp_adjust_head, xdp_adjust_tail, redirect_peer,
        // ringbuf_submit, ringbuf_discard
        1 | 3 | 23 | 39 | 44 | 65 | 155 | 132 | 133 => 2,
        // ringbuf_reserve
        131 => 3,
        // map_update_elem, skb_load_bytes, fib_lookup, redirect_neigh, ringbuf_output
        2 | 26 | 69 | 152 | 130 => 4,
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Vec<(String, String)> {
        let listing = Listing::parse(include_str!("snippets/atomics.txt")).unwrap();
        lost_results(&listing).into_iter().map(|lost| (lost.function, lost.reader)).collect()
    }

    /// What `llc -march=bpfel -mcpu=v3` of LLVM 22.1.8 makes of relaxed additions whose result is used, and of what is
    /// right beside them.
    #[test]
    fn finds_every_read_and_nothing_else() {
        let expected = [
            ("wrong", "r0 &= 0x7 at 2"),
            ("wrong_behind_a_branch", "w0 += 0x9 at 7"),
            ("wrong_as_an_argument", "r1 = r2 at 13"),
            ("wrong_as_an_argument_of_ours", "call -0x1 at 21"),
        ];
        assert_eq!(found(), expected.map(|(function, reader)| (function.to_owned(), reader.to_owned())));
    }

    #[test]
    fn says_where() {
        let listing = Listing::parse(include_str!("snippets/atomics.txt")).unwrap();
        let first = lost_results(&listing).remove(0).to_string();
        assert_eq!(first, "in wrong: `lock *(u64 *)(r1 + 0x0) += r0 at 1`, then `r0 &= 0x7 at 2`");
    }
}
