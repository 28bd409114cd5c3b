//! `gateway-daemon doctor`: is this host fit for the gateway, and if not, what to do?
//!
//! | module | does |
//! |---|---|
//! | [`facts`] | what was found, as plain values |
//! | [`checks`] | from facts to findings; pure |
//! | [`gather`] | asks the kernel; changes nothing |

pub mod checks;
pub mod facts;
pub mod gather;

#[cfg(test)]
mod tests;

use serde::Serialize;

/// How good or bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, less well or less safely than it could.
    Warn,
    /// The gateway can't work like this.
    Fail,
}

impl Verdict {
    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: `kernel`, `interface ext0`.
    pub name: String,
    /// Is it good?
    pub verdict: Verdict,
    /// What was found.
    pub detail: String,
    /// What to do about it, when it is not good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    /// As it should be.
    pub(crate) fn ok(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Ok, detail: detail.into(), remedy: None }
    }

    /// Works, but.
    pub(crate) fn warn(
        name: impl Into<String>,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { verdict: Verdict::Warn, remedy: Some(remedy.into()), ..Self::ok(name, detail) }
    }

    /// Does not work.
    pub(crate) fn fail(
        name: impl Into<String>,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { verdict: Verdict::Fail, ..Self::warn(name, detail, remedy) }
    }
}

/// The worst verdict of all; `Ok` for none.
pub fn worst(findings: &[Finding]) -> Verdict {
    findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok)
}
