//! The kernel's own account of a program.
//!
//! While accounting is on, the kernel takes the time before and after every run of a program (`__bpf_prog_run` in
//! `include/linux/filter.h`), test runs included. The figure holds the program and one reading of the clock, so the
//! empty program is not free; nothing else of `BPF_PROG_TEST_RUN` is in it.

use std::os::fd::OwnedFd;

use aya::programs::ProgramInfo;
use aya::sys::{Stats, enable_stats};

/// Keeps the kernel's accounting of run times on. It ends with this value, or with the process, and unlike the switch
/// `kernel.bpf_stats_enabled` it leaves others' wishes alone.
#[derive(Debug)]
pub struct Accounting(#[expect(dead_code, reason = "closing the descriptor is what ends it")] OwnedFd);

impl Accounting {
    /// Kernel 5.8 or later.
    #[track_caller]
    pub fn on() -> Self {
        Self(enable_stats(Stats::RunTime).expect("the kernel accounts for BPF programs since 5.8"))
    }
}

/// Runs of a program so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    runs: u64,
    nanoseconds: u128,
}

impl Account {
    /// From what the kernel says about a program.
    pub fn of(info: &ProgramInfo) -> Self {
        Self { runs: info.run_count(), nanoseconds: info.run_time().as_nanos() }
    }

    /// Nanoseconds a run since an earlier account, or `None` unless there were exactly so many runs: another packet
    /// came by (the empty XDP program is attached to an interface).
    #[expect(clippy::cast_precision_loss, reason = "run times are nanoseconds, not 2^52 of them")]
    pub fn per_run_since(&self, before: &Self, runs: usize) -> Option<f64> {
        let is_exact = self.runs - before.runs == runs as u64;
        is_exact.then(|| (self.nanoseconds - before.nanoseconds) as f64 / runs as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_runs_spoil_the_figure() {
        let before = Account { runs: 10, nanoseconds: 1_000 };
        let after = Account { runs: 14, nanoseconds: 1_400 };
        assert_eq!(after.per_run_since(&before, 4), Some(100.0));
        assert_eq!(after.per_run_since(&before, 3), None);
    }
}
