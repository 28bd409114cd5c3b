//! Is this node ready? The answer of `/readyz`, check by check.

use std::fmt::Write as _;

/// One thing that has to be so before this node counts as ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// A word: `programs`, `tables`, `config`, `store`.
    pub name: &'static str,
    /// Is it so?
    pub ok: bool,
    /// What was found, in words.
    pub detail: String,
}

impl Check {
    /// It is so.
    pub fn passed(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, ok: true, detail: detail.into() }
    }

    /// It is not.
    pub fn failed(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, ok: false, detail: detail.into() }
    }

    /// It is so if nothing is wrong with it.
    pub fn from_result(name: &'static str, found: Result<String, String>) -> Self {
        match found {
            Ok(detail) => Self::passed(name, detail),
            Err(detail) => Self::failed(name, detail),
        }
    }
}

/// Knows whether the node can do its work. Asked every few seconds, so it looks at a handful of things and never reads
/// a table of flows. It may block.
///
/// To be not ready stops no packet: the data path does not depend on it.
pub trait Readiness: Send + Sync + 'static {
    /// Every check, also those that pass, always in the same order.
    fn checks(&self) -> Vec<Check>;
}

/// Do all checks pass? No check at all proves nothing.
pub(super) fn is_ready(checks: &[Check]) -> bool {
    !checks.is_empty() && checks.iter().all(|check| check.ok)
}

/// One line for each check, in the form that kube-apiserver made known.
pub(super) fn verbose(checks: &[Check]) -> String {
    let mut text = String::new();
    for Check { name, ok, detail } in checks {
        let _ = match ok {
            true => writeln!(text, "[+]{name} ok: {detail}"),
            false => writeln!(text, "[-]{name} failed: {detail}"),
        };
    }
    let verdict = if is_ready(checks) { "passed" } else { "failed" };
    text + "readyz check " + verdict + "\n"
}

/// One line for each check that failed; `ok` when none has.
pub(super) fn brief(checks: &[Check]) -> String {
    if is_ready(checks) {
        return "ok\n".to_owned();
    }
    checks.iter().filter(|check| !check.ok).fold(String::new(), |mut text, Check { name, detail, .. }| {
        let _ = writeln!(text, "{name}: {detail}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_has_a_line() {
        let passed = Check::passed("programs", "2 of 2 interfaces");
        let failed = Check::failed("store", "etcd does not answer");
        let both = [passed.clone(), failed];
        assert_eq!(
            verbose(&both),
            "[+]programs ok: 2 of 2 interfaces\n[-]store failed: etcd does not answer\nreadyz check failed\n"
        );
        assert_eq!(brief(&both), "store: etcd does not answer\n");
        assert!(!is_ready(&both));

        let all_is_well = [passed];
        assert_eq!(verbose(&all_is_well), "[+]programs ok: 2 of 2 interfaces\nreadyz check passed\n");
        assert_eq!(brief(&all_is_well), "ok\n");
        assert!(is_ready(&all_is_well));
    }

    #[test]
    fn nothing_checked_is_not_ready() {
        assert!(!is_ready(&[]));
        assert_eq!(verbose(&[]), "readyz check failed\n");
    }
}
