//! Where it was measured: figures of two machines are not to be compared.

use std::{fs, process::Command, thread};

use gateway_tests::tool;
use serde::Serialize;

/// A machine, and when.
#[derive(Debug, Serialize)]
pub struct Machine {
    kernel: String,
    cpus: usize,
    cpu_model: String,
    memory_mib: u64,
    date: String,
}

/// Of this one, now.
pub fn describe() -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    Machine {
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        cpus: thread::available_parallelism().map_or(0, usize::from),
        cpu_model: field(&read("/proc/cpuinfo"), "model name").unwrap_or("unknown").to_owned(),
        memory_mib: memory_mib(&read("/proc/meminfo")),
        date: today(),
    }
}

/// `name : value`
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim_start().strip_prefix(':')?.trim())
}

fn memory_mib(meminfo: &str) -> u64 {
    let kib = field(meminfo, "MemTotal").and_then(|value| value.strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<u64>().ok()).map_or(0, |kib| kib / 1024)
}

/// ISO 8601, in UTC.
fn today() -> String {
    let mut command = Command::new("date");
    command.args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]);
    tool::try_run(command).map_or_else(|_| "unknown".to_owned(), |date| date.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found() {
        assert_eq!(field("a\t: b\nmodel name\t: Some CPU @ 2 GHz\n", "model name"), Some("Some CPU @ 2 GHz"));
        assert_eq!(memory_mib("MemTotal:       24684808 kB\n"), 24_106);
    }
}
