//! `cargo xtask check-ebpf`: what the finished object costs, and whether a result was lost in it.
//!
//! | module | does |
//! |---|---|
//! | [`objdump`] | finds `llvm-objdump` and runs it |
//! | [`listing`] | reads what it prints: functions, instructions, calls |
//! | [`instruction`] | what one instruction reads, writes and leads to |
//! | [`lost_result`] | non-fetching atomics whose result is used |
//! | [`stack`] | frames, and the deepest chain of calls |
//! | [`budget`] | what each program may cost: the one table |

mod budget;
mod instruction;
mod listing;
mod lost_result;
mod objdump;
mod stack;

use anyhow::{Result, bail};
use clap::Args;
use xtask::ebpf::{self, Output, Tools};

use self::{budget::Cost, listing::Listing};
use crate::cargo;

/// There is nothing to choose.
#[derive(Args)]
pub struct Options {}

/// Builds the object, prints what it costs, and refuses what is wrong or too much.
pub fn run(_: &Options) -> Result<()> {
    let tools = Tools::find()?;
    let object = ebpf::build(&tools, &cargo::target_dir()?, Output::OnFailure)?;
    let listing = Listing::parse(&objdump::disassemble(&tools.toolchain, &object)?)?;
    let costs: Vec<_> = listing.entries().map(|entry| Cost::of(&listing, entry)).collect();
    for cost in &costs {
        print(&listing, cost);
    }
    let mut complaints = budget::exceeded(&listing, &costs, &budget::BUDGETS);
    complaints.extend(lost_result::lost_results(&listing).iter().map(|lost| {
        format!("the result of an atomic operation is lost {lost}\n    Order it AcqRel or SeqCst, or leave the result unused")
    }));
    if !complaints.is_empty() {
        bail!("{} is not as it should be:\n  {}", object.path.display(), complaints.join("\n  "));
    }
    Ok(())
}

/// A program, and its functions with what each needs.
fn print(listing: &Listing, cost: &Cost) {
    let program = &listing.functions[cost.entry].name;
    let allowed = budget::of(program).map(|budget| (budget.instructions, budget.stack)).unwrap_or_default();
    let chain: Vec<_> = cost.chain.functions.iter().map(|at| &*listing.functions[*at].name).collect();
    println!(
        "{program}: {} of {} instructions, {} of {} B of stack ({})",
        cost.instructions,
        allowed.0,
        cost.chain.bytes,
        allowed.1,
        chain.join(" > ")
    );
    println!("    instructions  frame  chain  atomics  function");
    for at in &cost.functions {
        let function = &listing.functions[*at];
        println!(
            "    {:>12}  {:>5}  {:>5}  {:>7}  {}",
            function.instructions(),
            stack::frame(function),
            stack::deepest_chain(listing, *at).bytes,
            function.lines.iter().filter(|line| line.instruction.atomic().is_some()).count(),
            function.name
        );
    }
}
