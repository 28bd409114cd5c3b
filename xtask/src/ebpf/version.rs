//! Version numbers as compilers and linkers print them.

use std::fmt;

/// `major.minor.patch`; a suffix such as `-nightly` is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Incompatible changes (for LLVM: the bitcode's generation).
    pub major: u32,
    /// Compatible additions.
    pub minor: u32,
    /// Fixes.
    pub patch: u32,
}

impl Version {
    /// A version from its three numbers.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Parses `1.96.0`, `22.1` or `1.97.0-nightly`; a missing patch number is 0.
    pub fn parse(text: &str) -> Option<Self> {
        let numbers = text.trim().split(['-', '+', ' ']).next()?;
        let mut parts = numbers.split('.').map(|part| part.parse().ok());
        let version = Self::new(parts.next()??, parts.next()??, parts.next().unwrap_or(Some(0))?);
        parts.next().is_none().then_some(version)
    }

    /// The version behind `label` on a line of its own, as in `LLVM version: 22.1.8`.
    pub fn labelled(text: &str, label: &str) -> Option<Self> {
        text.lines().find_map(|line| line.strip_prefix(label)).and_then(Self::parse)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn parses_what_tools_print() {
        assert_eq!(Version::parse("1.96.0"), Some(Version::new(1, 96, 0)));
        assert_eq!(Version::parse(" 1.97.0-nightly\n"), Some(Version::new(1, 97, 0)));
        assert_eq!(Version::parse("1.96.0 (ac68faa20 2026-05-25)"), Some(Version::new(1, 96, 0)));
        assert_eq!(Version::parse("22.1"), Some(Version::new(22, 1, 0)));
    }

    #[test]
    fn refuses_what_is_no_version() {
        for text in ["", "22", "1.x.0", "1.2.3.4", "nightly", "1..2"] {
            assert_eq!(Version::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn finds_a_labelled_version() {
        let text = "rustc 1.96.0 (ac68faa20 2026-05-25)\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(Version::labelled(text, "LLVM version: "), Some(Version::new(22, 1, 8)));
        assert_eq!(Version::labelled(text, "release: "), Some(Version::new(1, 96, 0)));
        assert_eq!(Version::labelled(text, "bpf-linker "), None);
    }

    #[test]
    fn orders_by_number_not_by_text() {
        assert!(Version::new(0, 9, 0) < Version::new(0, 13, 0));
    }
}
