//! The figures, as a table for people and as JSON for programs.

use std::fmt;

use serde::Serialize;

use super::cases::{EMPTY, NULL_FORWARDER};
use super::machine::Machine;
use super::rig::{Hook, Rig, Role};
use super::rounds::{Effort, Series};
use super::stats::Summary;

/// Of one instruction (`struct bpf_insn` of `linux/bpf.h`).
const INSTRUCTION_BYTES: u32 = 8;

/// All of it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Which suite.
    pub suite: &'static str,
    /// Where.
    pub machine: Machine,
    /// How often everything was loaded.
    pub loads: usize,
    /// How often every case had its turn with each load.
    pub rounds_per_load: usize,
    /// Packets a turn.
    pub runs_per_round: usize,
    /// The figures.
    pub cases: Vec<Row>,
    /// What the kernel made of the programs.
    pub programs: Vec<ProgramRow>,
}

/// One case at one hook. Times are nanoseconds a packet; the values of rounds are compared round by round.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The case.
    pub id: &'static str,
    /// The case, in words.
    pub title: &'static str,
    /// Where.
    pub hook: Hook,
    /// As accounted by the kernel, median of the rounds.
    pub ns_median: f64,
    /// The least of the rounds.
    pub ns_min: f64,
    /// The greatest of the rounds.
    pub ns_max: f64,
    /// With the empty program of the same round subtracted; none for that itself.
    pub ns_net: Option<f64>,
    /// `ns_net` over that of the null forwarder in the same round; none for the references.
    pub ratio_to_forward: Option<f64>,
    /// A tenth of the rounds had a smaller ratio.
    pub ratio_low: Option<f64>,
    /// A tenth of the rounds had a greater ratio.
    pub ratio_high: Option<f64>,
    /// From `ratio_low` to `ratio_high`.
    pub ratio_spread: Option<f64>,
    /// Is the ratio further from 1 than it is wide? If not, it says nothing.
    pub ratio_is_clear: Option<bool>,
    /// Packets that were counted.
    pub runs: usize,
}

/// One program.
#[derive(Debug, Clone, Serialize)]
pub struct ProgramRow {
    /// In the object.
    pub name: &'static str,
    /// Instructions after the verifier.
    pub instructions: u32,
    /// Instructions that the verifier looked at, over all paths.
    pub verified_instructions: u32,
    /// Bytes of machine code.
    pub jited_bytes: u32,
}

impl Report {
    /// Puts the rounds together.
    pub fn new(machine: Machine, effort: Effort, series: &[Series], programs: Vec<ProgramRow>) -> Self {
        Self {
            suite: "kernel",
            machine,
            loads: effort.loads,
            rounds_per_load: effort.rounds,
            runs_per_round: effort.runs,
            cases: series.iter().map(|turn| Row::new(turn, series, effort.runs)).collect(),
            programs,
        }
    }
}

impl Row {
    fn new(turn: &Series, all: &[Series], runs_per_round: usize) -> Self {
        let reference = |id| values_of(all, turn.hook, id);
        let net = difference(&turn.nanoseconds, reference(EMPTY));
        let forwarder = difference(reference(NULL_FORWARDER), reference(EMPTY));
        let ratio = (!is_reference(turn.id)).then(|| Summary::of(&quotient(&net, &forwarder)));
        let ns = Summary::of(&turn.nanoseconds);
        Self {
            id: turn.id,
            title: turn.title,
            hook: turn.hook,
            ns_median: ns.median,
            ns_min: ns.min,
            ns_max: ns.max,
            ns_net: (turn.id != EMPTY).then(|| Summary::of(&net).median),
            ratio_to_forward: ratio.map(|ratio| ratio.median),
            ratio_low: ratio.map(|ratio| ratio.low),
            ratio_high: ratio.map(|ratio| ratio.high),
            ratio_spread: ratio.map(|ratio| ratio.spread()),
            ratio_is_clear: ratio.map(|ratio| ratio.differs_from_one()),
            runs: turn.nanoseconds.len() * runs_per_round,
        }
    }
}

impl ProgramRow {
    /// Every program of a rig.
    pub fn all(rig: &Rig) -> Vec<Self> {
        let roles = |hook: &Hook| Role::ALL.map(|role| Self::new(rig, *hook, role));
        Hook::ALL.iter().flat_map(roles).collect()
    }

    fn new(rig: &Rig, hook: Hook, role: Role) -> Self {
        let info = rig.info(hook, role);
        Self {
            name: role.program(hook),
            instructions: info.size_translated().unwrap_or(0) / INSTRUCTION_BYTES,
            verified_instructions: info.verified_instruction_count().unwrap_or(0),
            jited_bytes: info.size_jitted(),
        }
    }
}

fn is_reference(id: &str) -> bool {
    [EMPTY, NULL_FORWARDER].contains(&id)
}

fn values_of<'a>(series: &'a [Series], hook: Hook, id: &str) -> &'a [f64] {
    let found = series.iter().find(|turn| turn.hook == hook && turn.id == id);
    &found.expect("every case has its turn at every hook").nanoseconds
}

/// Round by round.
fn difference(values: &[f64], subtracted: &[f64]) -> Vec<f64> {
    values.iter().zip(subtracted).map(|(value, less)| value - less).collect()
}

/// Round by round.
fn quotient(values: &[f64], divisors: &[f64]) -> Vec<f64> {
    values.iter().zip(divisors).map(|(value, divisor)| value / divisor).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { kernel, cpu, cpus, used_cpu, spectre_v2, bpf_jit } = &self.machine;
        let Self { loads, rounds_per_load, runs_per_round, .. } = self;
        write!(f, "kernel: nanoseconds a packet, loaded {loads} times, {rounds_per_load} rounds each, ")?;
        writeln!(f, "{runs_per_round} runs a round")?;
        writeln!(f, "{kernel}, {cpu}, CPU {used_cpu} of {cpus}")?;
        writeln!(f, "BPF JIT: {bpf_jit}; spectre_v2: {spectre_v2}")?;
        for hook in Hook::ALL {
            let [median, range, net, ratio] = ["median", "min..max", "net", "to the null forwarder"];
            writeln!(f, "\n{:<40} {median:>7} {range:>11} {net:>7}   {ratio}", hook.name())?;
            self.cases.iter().filter(|row| row.hook == hook).try_for_each(|row| writeln!(f, "{row}"))?;
        }
        writeln!(
            f,
            "\nmin..max: of the rounds. net: less the empty program of the same round. Ratios: of net"
        )?;
        writeln!(f, "times, round by round, with the range of the middle four fifths of the rounds.")?;
        if self.cases.iter().any(|row| row.ratio_is_clear == Some(false)) {
            writeln!(f, "unclear: that range is wider than the ratio is far from 1, so it says nothing.")?;
        }
        writeln!(f, "\n{:<40} {:>12} {:>12} {:>14}", "program", "instructions", "verified", "machine code")?;
        self.programs.iter().try_for_each(|program| writeln!(f, "{program}"))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = format!("{:.0}..{:.0}", self.ns_min, self.ns_max);
        write!(f, "  {:<38} {:>7.1} {range:>11}", self.title, self.ns_median)?;
        match self.ns_net {
            Some(net) => write!(f, " {net:>7.1}")?,
            None => write!(f, " {:>7}", "-")?,
        }
        match (self.ratio_to_forward, self.ratio_low, self.ratio_high) {
            (Some(ratio), Some(low), Some(high)) => write!(f, "   {ratio:.2} ({low:.2}..{high:.2})")?,
            _ => write!(f, "   -")?,
        }
        if self.ratio_is_clear == Some(false) { write!(f, " unclear") } else { Ok(()) }
    }
}

impl fmt::Display for ProgramRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, instructions, verified_instructions, jited_bytes } = self;
        write!(f, "  {name:<38} {instructions:>12} {verified_instructions:>12} {jited_bytes:>12} B")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row with this ratio in every round but the first and the last.
    fn row(ratios: &[f64]) -> String {
        let ratio = Summary::of(ratios);
        let row = Row {
            id: "a",
            title: "a case",
            hook: Hook::Tc,
            ns_median: 150.25,
            ns_min: 140.0,
            ns_max: 190.0,
            ns_net: Some(120.0),
            ratio_to_forward: Some(ratio.median),
            ratio_low: Some(ratio.low),
            ratio_high: Some(ratio.high),
            ratio_spread: Some(ratio.spread()),
            ratio_is_clear: Some(ratio.differs_from_one()),
            runs: 1,
        };
        row.to_string()
    }

    #[test]
    fn a_ratio_that_says_nothing_is_marked() {
        assert!(row(&[1.6, 1.6, 1.7]).ends_with("150.2    140..190   120.0   1.60 (1.60..1.68)"));
        assert!(row(&[0.9, 1.05, 1.1]).ends_with(" unclear"));
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        assert_eq!(difference(&[5.0, 8.0], &[1.0, 2.0]), [4.0, 6.0]);
        assert_eq!(quotient(&[4.0, 6.0], &[2.0, 6.0]), [2.0, 1.0]);
    }
}
