//! Replaces addresses by numbers: the same address by the same number, so that a report still makes sense.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

/// The addresses seen so far.
#[derive(Default)]
pub(super) struct Redactor(HashMap<String, usize>);

impl Redactor {
    /// A text without its addresses.
    pub(super) fn text(&mut self, text: &str) -> String {
        let (mut result, mut word) = (String::with_capacity(text.len()), String::new());
        for letter in text.chars() {
            if letter.is_ascii_hexdigit() || letter == '.' || letter == ':' {
                word.push(letter);
                continue;
            }
            result.push_str(&self.word(&word));
            word.clear();
            result.push(letter);
        }
        result + &self.word(&word)
    }

    fn word(&mut self, word: &str) -> String {
        // The colon of a sentence, or its full stop, is no part of an address.
        let address = word.trim_end_matches('.');
        let address = if address.ends_with("::") { address } else { address.trim_end_matches(':') };
        let rest = &word[address.len()..];
        if let Ok(socket) = address.parse::<SocketAddrV4>() {
            return format!("{}:{}{rest}", self.stand_in("ip", &socket.ip().to_string()), socket.port());
        }
        match kind(address) {
            Some(kind) => format!("{}{rest}", self.stand_in(kind, address)),
            None => word.to_owned(),
        }
    }

    fn stand_in(&mut self, kind: &str, address: &str) -> String {
        let next = self.0.len() + 1;
        let number = self.0.entry(address.to_ascii_lowercase()).or_insert(next);
        format!("{kind}-{number}")
    }
}

fn kind(word: &str) -> Option<&'static str> {
    if word.parse::<Ipv4Addr>().is_ok() || word.parse::<Ipv6Addr>().is_ok() {
        return Some("ip");
    }
    let bytes: Vec<_> = word.split(':').collect();
    (bytes.len() == 6 && bytes.iter().all(|byte| byte.len() == 2)).then_some("mac")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_address_is_the_same_number_throughout() {
        let mut redactor = Redactor::default();
        assert_eq!(
            redactor.text(r#"{"a": "192.0.2.10", "b": "192.0.2.10:443", "c": "203.0.113.0/24"}"#),
            r#"{"a": "ip-1", "b": "ip-1:443", "c": "ip-2/24"}"#
        );
        assert_eq!(redactor.text("203.0.113.0->192.0.2.10:80."), "ip-2->ip-1:80.");
        assert_eq!(redactor.text("fe80::1 and 02:00:00:00:00:0A"), "ip-3 and mac-4");
        assert_eq!(redactor.text("02:00:00:00:00:0a"), "mac-4");
    }

    #[test]
    fn what_is_no_address_stays() {
        let text = "version 0.1.0 at 12:30:59: 1.5 MiB, deadbeef, a: b";
        assert_eq!(Redactor::default().text(text), text);
    }
}
