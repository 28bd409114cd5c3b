//! A check for one miscompilation.
//!
//! With `-C target-cpu=v3`, LLVM 22 compiles a relaxed atomic add whose result is used to `lock +=`, which has no
//! result: the program goes on with the addend (seen with 22.1.4 and 22.1.8, llvm-project#210280). Acquire-release and
//! sequentially consistent ones become `atomic_fetch_add`. The object does not tell whether a result was wanted, the
//! linker's final IR does.

use std::{fmt, path::Path};

use anyhow::{Context as _, Result, bail};

/// What `bpf-linker --dump-module` calls the IR it generates code from.
const FINAL_IR: &str = "post-opt.ll";

/// Read-modify-write operations that have a form without a result on BPF.
const AFFECTED: [&str; 5] = ["add", "sub", "and", "or", "xor"];

/// Refuses a program that uses the result of a relaxed atomic.
///
/// `dump` is the directory given to `--dump-module`.
///
/// # Errors
///
/// When the IR cannot be read, or has such an operation.
pub fn check(dump: &Path) -> Result<()> {
    let path = dump.join(FINAL_IR);
    let ir = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read the linker's IR dump {}", path.display()))?;
    let found = relaxed_results(&ir);
    if !found.is_empty() {
        let list = found.iter().map(|lost| format!("  {lost}")).collect::<Vec<_>>().join("\n");
        bail!(
            "the result of a relaxed atomic operation is used, which LLVM miscompiles for BPF:\n{list}\n\
             Order it AcqRel or SeqCst, or leave its result unused."
        );
    }
    Ok(())
}

/// A relaxed atomic operation whose result is used.
#[derive(Debug, PartialEq, Eq)]
struct LostResult<'a> {
    function: &'a str,
    instruction: &'a str,
}

impl fmt::Display for LostResult<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in {}: {}", self.function, self.instruction)
    }
}

fn relaxed_results(ir: &str) -> Vec<LostResult<'_>> {
    let mut found = Vec::new();
    let mut lines = ir.lines();
    while let Some(header) = lines.by_ref().find(|line| line.starts_with("define ")) {
        let body: Vec<_> = lines.by_ref().take_while(|line| *line != "}").collect();
        let lost = body.iter().filter(|line| relaxed_result(line).is_some_and(|name| is_used(name, &body)));
        found.extend(
            lost.map(|line| LostResult { function: function_name(header), instruction: line.trim() }),
        );
    }
    found
}

/// `%7` of `%7 = atomicrmw add ptr %p, i64 1 monotonic, align 8`.
fn relaxed_result(line: &str) -> Option<&str> {
    let (name, instruction) = line.trim().split_once(" = ")?;
    let mut words = instruction.split([' ', ',']).filter(|word| *word != "volatile");
    let affected = words.next() == Some("atomicrmw") && AFFECTED.contains(&words.next()?);
    (affected && words.any(|word| word == "monotonic")).then_some(name)
}

/// An operand somewhere, debug records aside.
fn is_used(name: &str, body: &[&str]) -> bool {
    body.iter().filter(|line| !line.trim_start().starts_with("#dbg_")).any(|line| {
        let operands = line.split_once(" = ").map_or(*line, |(_, instruction)| instruction);
        operands.split([' ', ',', '(', ')', '[', ']', '{', '}']).any(|word| word == name)
    })
}

fn function_name(header: &str) -> &str {
    let name = header.split_once('@').map_or(header, |(_, rest)| rest);
    name.split_once('(').map_or(name, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(body: &str) -> String {
        format!("declare void @x()\n\ndefine dso_local i32 @count(ptr %0) #0 {{\n{body}\n}}\n\n!0 = !{{}}\n")
    }

    #[test]
    fn reports_a_used_relaxed_result() {
        let ir = function(
            "  %10 = atomicrmw add ptr %4, i64 1 monotonic, align 8, !dbg !2579
               %12 = and i64 %10, 1, !dbg !2582",
        );
        let found = relaxed_results(&ir);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].function, "count");
        assert!(found[0].to_string().starts_with("in count: %10 = atomicrmw add"));
    }

    #[test]
    fn finds_uses_in_calls_and_phis() {
        for used_by in ["  call void @f(i64 %1)", "  %9 = phi i64 [ 0, %6 ], [ %1, %5 ]", "  ret i64 %1"] {
            let ir = function(&format!("  %1 = atomicrmw volatile sub ptr %0, i32 1 monotonic\n{used_by}"));
            assert_eq!(relaxed_results(&ir).len(), 1, "{used_by}");
        }
    }

    #[test]
    fn allows_a_relaxed_counter() {
        let ir = function(
            "  %1 = atomicrmw add ptr %10, i64 1 monotonic, align 8
                 #dbg_value(i64 %1, !24, !DIExpression(), !25)
               %11 = and i64 %12, 1",
        );
        assert_eq!(relaxed_results(&ir), []);
    }

    #[test]
    fn allows_stronger_orders_and_exchanges() {
        for operation in
            ["add ptr %0, i64 1 acq_rel", "add ptr %0, i64 1 seq_cst", "xchg ptr %0, i64 1 monotonic"]
        {
            let ir = function(&format!("  %1 = atomicrmw {operation}, align 8\n  ret i64 %1"));
            assert_eq!(relaxed_results(&ir), [], "{operation}");
        }
    }

    #[test]
    fn a_name_of_another_function_is_no_use() {
        let ir = function("  %1 = atomicrmw add ptr %0, i64 1 monotonic") + &function("  ret i64 %1");
        assert_eq!(relaxed_results(&ir), []);
    }
}
