//! What a process, and the kernel for it, takes of the machine (proc(5)).

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
    time::{Duration, Instant},
};

use aya::maps::MapData;
use gateway_daemon::datapath::pins::Pins;
use nix::unistd::{SysconfVar, sysconf};

use crate::poll::poll_until;

/// Memory that a process has in RAM, in bytes.
#[track_caller]
pub fn resident_bytes(pid: u32) -> u64 {
    let status = read(pid, "status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib =
        line.and_then(|rest| rest.trim().strip_suffix(" kB")).and_then(|number| number.parse::<u64>().ok());
    1024 * kib.unwrap_or_else(|| panic!("no resident size of process {pid}: {status}"))
}

/// Memory that the kernel accounts to pinned maps, in bytes: what is allocated with the first entry counts when it is.
#[track_caller]
pub fn map_bytes(pins: &Pins) -> u64 {
    let names = pins.map_names().expect("the pins can be listed");
    names.iter().map(|name| bytes_of_map(&pins.map(name))).sum()
}

/// Frames that the kernel has dropped since it started because a CPU's backlog was full, on all interfaces of all
/// namespaces: the second column of `softnet_stat`.
#[track_caller]
pub fn backlog_drops() -> u64 {
    const STAT: &str = "/proc/net/softnet_stat";
    let stat = fs::read_to_string(STAT).unwrap_or_else(|error| panic!("read {STAT}: {error}"));
    let dropped = |line: &str| u64::from_str_radix(line.split_ascii_whitespace().nth(1)?, 16).ok();
    stat.lines().map(|line| dropped(line).unwrap_or_else(|| panic!("no drops in {STAT}: {line}"))).sum()
}

#[track_caller]
fn bytes_of_map(pin: &Path) -> u64 {
    let map = MapData::from_pin(pin).unwrap_or_else(|error| panic!("open {}: {error}", pin.display()));
    let about = read(std::process::id(), &format!("fdinfo/{}", map.fd().as_fd().as_raw_fd()));
    let line = about.lines().find_map(|line| line.strip_prefix("memlock:"));
    let bytes = line.and_then(|number| number.trim().parse().ok());
    bytes.unwrap_or_else(|| panic!("no size of the map {}: {about}", pin.display()))
}

/// Share of one CPU that a process takes in a stretch of time from now on.
#[track_caller]
pub fn cpu_share(pid: u32, stretch: Duration) -> f64 {
    let (before, begin) = (cpu_time(pid), Instant::now());
    let lasted = poll_until(2 * stretch, "time to pass", || {
        Some(begin.elapsed()).filter(|elapsed| *elapsed >= stretch)
    });
    cpu_time(pid).saturating_sub(before).as_secs_f64() / lasted.as_secs_f64()
}

/// Fields 14 and 15: in user mode and in the kernel.
fn cpu_time(pid: u32) -> Duration {
    let stat = read(pid, "stat");
    // The name in field 2 may hold anything, a closing bracket too.
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace());
    let ticks: u64 =
        fields.into_iter().flatten().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / ticks_a_second())
}

fn ticks_a_second() -> u64 {
    let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten();
    ticks.and_then(|ticks| u64::try_from(ticks).ok()).unwrap_or(100)
}

#[track_caller]
fn read(pid: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}"))
        .unwrap_or_else(|error| panic!("read {file} of process {pid}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_takes_something() {
        let own = std::process::id();
        assert!(resident_bytes(own) > 1 << 20);
        let begin = Instant::now();
        let before = cpu_time(own);
        let mut sum = 0_u64;
        while begin.elapsed() < Duration::from_millis(200) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(cpu_time(own) > before, "busy for 200 ms");
    }
}
