//! Reading what `llvm-objdump -d -r -z -C` prints of an eBPF object.

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail};

use super::instruction::{Callee, Instruction};

/// An object, as far as it is code.
#[derive(Debug)]
pub struct Listing {
    /// In the order they were printed.
    pub functions: Vec<Function>,
}

/// A function: a program's entry, or what is called.
#[derive(Debug)]
pub struct Function {
    /// Without type arguments and the crate's name.
    pub name: String,
    /// Entry points are in the section of their program type.
    pub section: String,
    /// Its code.
    pub lines: Vec<Line>,
}

/// An instruction in its place.
#[derive(Debug)]
pub struct Line {
    /// Its place in the section, in units of eight bytes.
    pub index: usize,
    /// What it does.
    pub instruction: Instruction,
    /// The same for people.
    pub text: String,
    /// The function of the object that it calls, or whose address it loads.
    pub calls: Option<usize>,
}

/// The section of functions that are called.
const SHARED: &str = ".text";

impl Function {
    /// Is it where a program starts?
    pub fn is_entry(&self) -> bool {
        self.section != SHARED
    }

    /// How many instructions the kernel counts: a wide load is two.
    pub fn instructions(&self) -> usize {
        self.lines.iter().map(|line| line.instruction.width()).sum()
    }

    /// The line that stands at a place of the section.
    pub fn position(&self, index: usize) -> Option<usize> {
        self.lines.binary_search_by_key(&index, |line| line.index).ok()
    }
}

impl Listing {
    /// Reads the listing.
    ///
    /// # Errors
    ///
    /// At a line of another form, and when a call leads to no function: a check that overlooks code is none.
    pub fn parse(text: &str) -> Result<Self> {
        let mut reader = Reader::default();
        for (number, line) in text.lines().enumerate() {
            reader.line(line).with_context(|| {
                format!("line {} of the disassembly is not understood: {line:?}", number + 1)
            })?;
        }
        reader.finish()
    }

    /// The programs' entries.
    pub fn entries(&self) -> impl Iterator<Item = usize> {
        (0..self.functions.len()).filter(|at| self.functions[*at].is_entry())
    }

    /// The functions that one calls, each once.
    pub fn callees(&self, function: usize) -> Vec<usize> {
        let mut callees: Vec<_> =
            self.functions[function].lines.iter().filter_map(|line| line.calls).collect();
        callees.sort_unstable();
        callees.dedup();
        callees
    }

    /// Everything that a program brings into the kernel, itself first.
    pub fn reachable(&self, entry: usize) -> Vec<usize> {
        let mut found = vec![entry];
        let mut next = 0;
        while let Some(function) = found.get(next) {
            let news: Vec<_> =
                self.callees(*function).into_iter().filter(|callee| !found.contains(callee)).collect();
            found.extend(news);
            next += 1;
        }
        found
    }
}

/// What a relocation says of the line before it: a symbol or section.
type Symbol = String;

#[derive(Default)]
struct Reader {
    section: String,
    functions: Vec<Function>,
    /// By function and line.
    relocations: HashMap<(usize, usize), Symbol>,
    /// The full name of each function.
    symbols: Vec<String>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<()> {
        if line.is_empty() || line.contains("file format elf64-bpf") {
            return Ok(());
        }
        if let Some(section) = line.strip_prefix("Disassembly of section ") {
            section.trim_end_matches(':').clone_into(&mut self.section);
        } else if let Some((_, name)) = line.strip_suffix(">:").and_then(|line| line.split_once(" <")) {
            self.function(name);
        } else if let Some(relocation) = line.strip_prefix("\t\t") {
            self.relocation(relocation)?;
        } else {
            let line = instruction(line).context("no instruction")?;
            self.functions.last_mut().context("an instruction of no function")?.lines.push(line);
        }
        Ok(())
    }

    fn function(&mut self, name: &str) {
        self.symbols.push(name.to_owned());
        let (name, section) = (short(name), self.section.clone());
        self.functions.push(Function { name, section, lines: Vec::new() });
    }

    /// `0000000000000048:  R_BPF_64_32\tmemset`
    fn relocation(&mut self, text: &str) -> Result<()> {
        let symbol = text.split('\t').nth(1).context("a relocation without a symbol")?;
        let function = self.functions.len().checked_sub(1).context("a relocation of no function")?;
        let line = self.functions[function].lines.len().checked_sub(1).context("a relocation of no line")?;
        self.relocations.insert((function, line), symbol.to_owned());
        Ok(())
    }

    fn finish(mut self) -> Result<Listing> {
        for function in 0..self.functions.len() {
            for line in 0..self.functions[function].lines.len() {
                self.functions[function].lines[line].calls = self.called(function, line)?;
            }
        }
        if self.functions.is_empty() {
            bail!("the disassembly has no functions");
        }
        Ok(Listing { functions: self.functions })
    }

    /// Resolves the call in a line.
    fn called(&self, function: usize, at: usize) -> Result<Option<usize>> {
        let line = &self.functions[function].lines[at];
        let symbol = self.relocations.get(&(function, at));
        let distance = match line.instruction.callee() {
            Some(Callee::Function(distance)) => distance,
            None if line.instruction.loads_function() => line.instruction.imm,
            Some(Callee::Helper(_)) | None => return Ok(None),
        };
        let target = match symbol.map(String::as_str) {
            None => self.at(&self.functions[function].section, line.index, distance),
            Some(SHARED) => self.at(SHARED, 0, distance),
            Some(symbol) => self.symbols.iter().position(|name| name == symbol),
        };
        let context = || format!("{}: {} leads to no function", self.functions[function].name, line.text);
        target.with_context(context).map(Some)
    }

    /// The function that starts `distance` behind the instruction after `index`. (With a relocation against a section
    /// the distance counts from that section's first instruction, by the same rule.)
    fn at(&self, section: &str, index: usize, distance: i32) -> Option<usize> {
        let place = i64::try_from(index).ok()? + 1 + i64::from(distance);
        let starts = |function: &Function| {
            function.section == section
                && function.lines.first().is_some_and(|line| i64::try_from(line.index) == Ok(place))
        };
        self.functions.iter().position(starts)
    }
}

/// `       9:\t85 10 00 00 ff ff ff ff\tcall -0x1`
fn instruction(line: &str) -> Option<Line> {
    let mut fields = line.split('\t');
    let index = fields.next()?.trim().strip_suffix(':')?.parse().ok()?;
    let bytes: Vec<u8> = fields
        .next()?
        .split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect::<Option<_>>()?;
    let instruction = Instruction::decode(*bytes.first_chunk()?);
    let text = fields.next()?.to_owned();
    (bytes.len() == 8 * instruction.width()).then_some(Line { index, instruction, text, calls: None })
}

/// `forward::open::enter` of `gateway_common::forward::open::enter::<gateway_ebpf::maps::KernelTables<…>>`.
fn short(name: &str) -> String {
    let (mut kept, mut depth) = (String::new(), 0_u32);
    for character in name.chars() {
        match character {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            _ if depth == 0 => kept.push(character),
            _ => {}
        }
    }
    let kept = kept.replace("::::", "::");
    let kept = kept.trim_end_matches("::");
    ["gateway_common::", "gateway_ebpf::"]
        .iter()
        .find_map(|own| kept.strip_prefix(own))
        .unwrap_or(kept)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two programs, what they call through relocations of both kinds and without, and wide loads.
    const CALLS: &str = include_str!("snippets/calls.txt");

    fn names(listing: &Listing, functions: &[usize]) -> Vec<String> {
        functions.iter().map(|function| listing.functions[*function].name.clone()).collect()
    }

    #[test]
    fn reads_functions_and_whom_they_call() {
        let listing = Listing::parse(CALLS).unwrap();
        let all: Vec<_> = (0..listing.functions.len()).collect();
        assert_eq!(
            names(&listing, &all),
            ["forward::known::find_pair", "forward::open::enter", "memset", "tc_external", "xdp_external"]
        );
        let callees: Vec<_> = all.iter().map(|at| names(&listing, &listing.callees(*at))).collect();
        let expected: [&[&str]; 5] =
            [&[], &["forward::known::find_pair", "memset"], &[], &["forward::open::enter"], &[]];
        assert_eq!(callees, expected);
    }

    #[test]
    fn a_program_is_what_it_reaches() {
        let listing = Listing::parse(CALLS).unwrap();
        let entries: Vec<_> = listing.entries().collect();
        assert_eq!(names(&listing, &entries), ["tc_external", "xdp_external"]);
        let reached = listing.reachable(entries[0]);
        assert_eq!(
            names(&listing, &reached),
            ["tc_external", "forward::open::enter", "forward::known::find_pair", "memset"]
        );
        assert_eq!(listing.functions[entries[1]].instructions(), 4, "the wide load counts twice");
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for (text, what) in [
            ("", "no functions"),
            ("Disassembly of section xdp:\n       0:\t95 00 00 00 00 00 00 00\texit\n", "line 2"),
            ("Disassembly of section xdp:\n0000000000000000 <a>:\n       0:\tnonsense\texit\n", "line 3"),
            (
                "Disassembly of section xdp:\n0000000000000000 <a>:\n       0:\t85 10 00 00 05 00 00 00\tcall 0x5\n",
                "leads to no function",
            ),
        ] {
            let error = format!("{:#}", Listing::parse(text).unwrap_err());
            assert!(error.contains(what), "{error}");
        }
    }

    #[test]
    fn names_lose_type_arguments() {
        for (long, name) in [
            (
                "gateway_common::forward::is_ours::<gateway_ebpf::maps::KernelTables<gateway_ebpf::route::Tc>>",
                "forward::is_ours",
            ),
            (
                "gateway_ebpf::log::warn_if_broken::<aya_ebpf::programs::tc::TcContext>::{closure#0}",
                "log::warn_if_broken::{closure#0}",
            ),
            ("memset", "memset"),
        ] {
            assert_eq!(short(long), name);
        }
    }
}
