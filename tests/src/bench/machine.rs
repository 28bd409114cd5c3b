//! Where it was measured.

use std::fs;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde::Serialize;

/// What a figure depends on beside the code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Operating system and release.
    pub kernel: String,
    /// The processor's name.
    pub cpu: String,
    /// How many of them there are.
    pub cpus: usize,
    /// The one that was used.
    pub used_cpu: usize,
    /// The defence against Spectre v2: retpolines, for instance, make every indirect call of the kernel dearer.
    pub spectre_v2: String,
    /// `net.core.bpf_jit_enable` and `net.core.bpf_jit_harden`.
    pub bpf_jit: String,
}

impl Machine {
    /// Reads it from `/proc` and `/sys`. The switches of the JIT exist in the first network namespace only.
    pub fn here(used_cpu: usize) -> Self {
        let cpuinfo = read("/proc/cpuinfo");
        let jit = |name: &str| read(&format!("/proc/sys/net/core/bpf_jit_{name}"));
        Self {
            kernel: format!("Linux {} {}", read("/proc/sys/kernel/osrelease"), std::env::consts::ARCH),
            cpu: model(&cpuinfo),
            cpus: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            used_cpu,
            spectre_v2: first_clause(&read("/sys/devices/system/cpu/vulnerabilities/spectre_v2")),
            bpf_jit: format!("enable {}, harden {}", jit("enable"), jit("harden")),
        }
    }
}

/// The last CPU that this thread may use. Not the first: that one serves most interrupts.
#[track_caller]
pub fn last_usable_cpu() -> usize {
    let usable = sched_getaffinity(Pid::from_raw(0)).expect("own affinity is readable");
    let is_usable = |cpu: &usize| usable.is_set(*cpu).unwrap_or(false);
    (0..CpuSet::count()).rev().find(is_usable).expect("this thread runs somewhere")
}

/// Moves the calling thread to a CPU for good.
#[track_caller]
pub fn stay_on(cpu: usize) {
    let mut only = CpuSet::new();
    only.set(cpu).expect("the number came from a set");
    sched_setaffinity(Pid::from_raw(0), &only).unwrap_or_else(|error| panic!("stay on CPU {cpu}: {error}"));
}

/// One line, or that it is not known.
fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "unknown".to_owned(), |text| text.trim_end().to_owned())
}

/// `Mitigation: Retpolines; STIBP: disabled; ...`
fn first_clause(text: &str) -> String {
    text.split(';').next().unwrap_or(text).trim_start_matches("Mitigation: ").to_owned()
}

fn model(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    line.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_mitigation_itself() {
        assert_eq!(first_clause("Mitigation: Retpolines; STIBP: disabled"), "Retpolines");
        assert_eq!(first_clause("Vulnerable"), "Vulnerable");
    }

    #[test]
    fn reads_the_processors_name() {
        assert_eq!(model("processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\n"), "Some CPU @ 2.00GHz");
        assert_eq!(model("processor\t: 0\n"), "unknown");
    }
}
