//! Which hook an interface is attached to, and why.

use std::fmt;

use crate::config::{HookChoice, XdpMode};

/// A hook in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// XDP in the driver.
    XdpNative,
    /// XDP in the generic path of the kernel: works with any driver, slower.
    XdpGeneric,
    /// TCX, the ingress hook of traffic control.
    Tc,
    /// The same place by a filter, for kernels without TCX.
    TcFilter,
}

impl Hook {
    /// Every hook.
    pub const ALL: [Self; 4] = [Self::XdpNative, Self::XdpGeneric, Self::Tc, Self::TcFilter];

    /// The word used in pin names and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::XdpNative => "xdp-native",
            Self::XdpGeneric => "xdp-generic",
            Self::Tc => "tc",
            Self::TcFilter => "tc-filter",
        }
    }

    /// Is it one of XDP?
    pub const fn is_xdp(self) -> bool {
        matches!(self, Self::XdpNative | Self::XdpGeneric)
    }

    /// The hook that stands in for it where the kernel has no TCX links.
    #[must_use]
    pub const fn without_tcx(self) -> Self {
        match self {
            Self::Tc => Self::TcFilter,
            other => other,
        }
    }

    /// The reason for this hook, with what else is to be said about it.
    pub fn explained(self, why: &str) -> String {
        match self {
            Self::TcFilter => format!("{why}; by a TC filter, since this kernel has no TCX links (6.6 has)"),
            _ => why.to_owned(),
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A hook to attach to, and the reason in words for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What to try.
    pub hook: Hook,
    /// What to try when the driver refuses the first.
    pub fallback: Option<Hook>,
    /// Why.
    pub why: String,
}

impl Choice {
    /// The same where the kernel has no TCX links.
    #[must_use]
    pub fn without_tcx(self) -> Self {
        Self { hook: self.hook.without_tcx(), fallback: self.fallback.map(Hook::without_tcx), why: self.why }
    }
}

/// Chooses for one interface. `virtual_kinds` lists the kinds (`veth`, `bond` ...) of all configured interfaces that
/// are not hardware, with their names.
///
/// XDP hands packets to another interface without a socket buffer, which virtual devices take only under conditions
/// that nobody can see from here (a peer with GRO or an XDP program of its own). So `auto` uses XDP only when every
/// interface is hardware.
pub fn choose(configured: HookChoice, mode: XdpMode, virtual_kinds: &[(String, String)]) -> Choice {
    match (configured, mode) {
        (HookChoice::Tc, _) => fixed(Hook::Tc),
        (HookChoice::Xdp, XdpMode::Native) => fixed(Hook::XdpNative),
        (HookChoice::Xdp, XdpMode::Generic) => fixed(Hook::XdpGeneric),
        (HookChoice::Auto, _) => match virtual_kinds.first() {
            Some((name, kind)) => Choice {
                hook: Hook::Tc,
                fallback: None,
                why: format!(
                    "auto: {name} is virtual ({kind}), and XDP redirects to virtual devices can be lost; TC keeps GSO"
                ),
            },
            None => Choice {
                hook: Hook::XdpNative,
                fallback: Some(Hook::Tc),
                why: "auto: all interfaces are hardware".to_owned(),
            },
        },
    }
}

fn fixed(hook: Hook) -> Choice {
    Choice { hook, fallback: None, why: "as configured".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::{Hook, choose};
    use crate::config::{HookChoice, XdpMode};

    #[test]
    fn auto_takes_xdp_for_hardware_only() {
        let hardware = choose(HookChoice::Auto, XdpMode::Native, &[]);
        assert_eq!((hardware.hook, hardware.fallback), (Hook::XdpNative, Some(Hook::Tc)));
        let mixed = choose(HookChoice::Auto, XdpMode::Native, &[("int0".to_owned(), "veth".to_owned())]);
        assert_eq!((mixed.hook, mixed.fallback), (Hook::Tc, None));
        assert!(mixed.why.contains("int0 is virtual (veth)"), "{}", mixed.why);
    }

    #[test]
    fn without_tcx_a_filter_stands_in_and_says_so() {
        let choice = choose(HookChoice::Auto, XdpMode::Native, &[]).without_tcx();
        assert_eq!((choice.hook, choice.fallback), (Hook::XdpNative, Some(Hook::TcFilter)));
        let choice = choose(HookChoice::Tc, XdpMode::Native, &[]).without_tcx();
        assert_eq!((choice.hook, choice.fallback), (Hook::TcFilter, None));
        let why = choice.hook.explained(&choice.why);
        assert!(why.starts_with("as configured; by a TC filter"), "{why}");
        assert_eq!(Hook::Tc.explained("as configured"), "as configured");
    }

    #[test]
    fn what_is_configured_is_tried_alone() {
        for (mode, hook) in [(XdpMode::Native, Hook::XdpNative), (XdpMode::Generic, Hook::XdpGeneric)] {
            let choice = choose(HookChoice::Xdp, mode, &[("int0".to_owned(), "veth".to_owned())]);
            assert_eq!((choice.hook, choice.fallback), (hook, None));
        }
        assert_eq!(choose(HookChoice::Tc, XdpMode::Native, &[]).hook, Hook::Tc);
    }
}
