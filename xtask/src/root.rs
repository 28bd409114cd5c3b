//! Who may make network namespaces and load eBPF programs.

use std::fs;

use anyhow::{Context as _, Result, bail};

/// Refuses to go on without root.
///
/// # Errors
///
/// When the effective user is not root, with `advice` on what to do.
pub fn require(advice: &str) -> Result<()> {
    let status = fs::read_to_string("/proc/self/status").context("cannot tell who runs this")?;
    if effective_uid(&status) != Some(0) {
        bail!("this makes network namespaces and loads eBPF programs, which needs root.\n{advice}");
    }
    Ok(())
}

/// The second number of `Uid:`, after the real one (`man 5 proc_pid_status`).
fn effective_uid(status: &str) -> Option<u32> {
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::effective_uid;

    #[test]
    fn reads_the_effective_user() {
        assert_eq!(effective_uid("Name:\txtask\nUid:\t1000\t0\t0\t0\nGid:\t5\t5\t5\t5\n"), Some(0));
        assert_eq!(effective_uid("Uid:\t0\t1000\t1000\t1000\n"), Some(1000));
        assert_eq!(effective_uid("Name:\txtask\n"), None);
    }
}
