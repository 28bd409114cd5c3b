//! Where the kernel's network switches are.

use std::path::PathBuf;

/// The variable that names another place.
const ENV: &str = "GATEWAY_SYSCTL_NET";

/// `/proc/sys/net`, or what `GATEWAY_SYSCTL_NET` names: in a pod that is not privileged `/proc/sys` is read-only and
/// nothing may be mounted there, so the host's directory is mounted elsewhere.
pub fn net() -> PathBuf {
    chosen(std::env::var_os(ENV).map(PathBuf::from))
}

fn chosen(named: Option<PathBuf>) -> PathBuf {
    named.filter(|path| path.is_absolute()).unwrap_or_else(|| PathBuf::from("/proc/sys/net"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_place_counts_if_it_is_an_absolute_path() {
        let named = |path: &str| chosen(Some(PathBuf::from(path)));
        assert_eq!(named("/host/proc/sys/net"), PathBuf::from("/host/proc/sys/net"));
        for nothing in ["", "proc/sys/net"] {
            assert_eq!(named(nothing), PathBuf::from("/proc/sys/net"));
        }
        assert_eq!(chosen(None), PathBuf::from("/proc/sys/net"));
    }
}
