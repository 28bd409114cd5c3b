//! What objects are called in paths: `backend[198.51.100.18:8080]`.

use std::fmt;

/// Longest piece of a user's text in a path, in characters. Names of legal objects are shorter.
const MAX_CHARS: usize = 80;

/// What an element of a list is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Label<'a> {
    first: &'a str,
    second: Option<&'a str>,
    port: Option<u16>,
}

impl<'a> Label<'a> {
    /// Tenants, pools, listeners and peer groups: `bank-a`.
    pub(crate) fn name(name: &'a str) -> Self {
        Self { first: name, second: None, port: None }
    }

    /// Backends: `198.51.100.18:8080`.
    pub(crate) fn backend(address: &'a str, port: u16) -> Self {
        Self { first: address, second: None, port: Some(port) }
    }

    /// Addressed egress: `tcp:9001`.
    pub(crate) fn egress(protocol: &'a str, port: u16) -> Self {
        Self { first: protocol, second: None, port: Some(port) }
    }

    /// Endpoints: `tcp:192.0.2.100:443`, `icmp:192.0.2.96/28`.
    pub(crate) fn endpoint(protocol: &'a str, address: &'a str, port: Option<u16>) -> Self {
        Self { first: protocol, second: Some(address), port }
    }
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        harmless(f, self.first)?;
        if let Some(second) = self.second {
            f.write_str(":")?;
            harmless(f, second)?;
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Writes a user's text, control characters escaped, shortened.
fn harmless(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let mut chars = text.chars();
    for c in chars.by_ref().take(MAX_CHARS) {
        write!(f, "{}", c.escape_debug())?;
    }
    if chars.next().is_some() { f.write_str("...") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_short_and_harmless() {
        assert_eq!(Label::name("bank-a").to_string(), "bank-a");
        assert_eq!(Label::backend("198.51.100.18", 8080).to_string(), "198.51.100.18:8080");
        assert_eq!(Label::egress("tcp", 9001).to_string(), "tcp:9001");
        assert_eq!(Label::endpoint("tcp", "192.0.2.100", Some(443)).to_string(), "tcp:192.0.2.100:443");
        assert_eq!(Label::endpoint("icmp", "192.0.2.96/28", None).to_string(), "icmp:192.0.2.96/28");
        assert_eq!(Label::name("a\u{1b}[31m\n").to_string(), "a\\u{1b}[31m\\n");
        assert_eq!(Label::name(&"x".repeat(81)).to_string(), format!("{}...", "x".repeat(80)));
    }
}
