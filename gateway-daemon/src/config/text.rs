//! Text of users in error messages: quoted, made harmless and short; and what they may have meant.

use std::fmt;

/// Longest piece of a user's text that a message repeats, in characters.
const QUOTED_CHARS: usize = 60;

/// A piece of the file in backticks, control characters escaped, shortened.
pub(super) struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`")?;
        for c in self.0.chars().take(QUOTED_CHARS) {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        f.write_str(if self.0.chars().nth(QUOTED_CHARS).is_some() { "...`" } else { "`" })
    }
}

/// The candidate that `word` is most likely a misspelling of, if any is near enough.
pub(super) fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A hostile word of megabytes is not compared: the distance is quadratic.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase();
    let tolerated = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= 64)
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= tolerated)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many names an error lists before it says how many are left.
const LISTED: usize = 12;

/// `` `a`, `b` and 3 more ``
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let shown: Vec<String> = names.iter().take(LISTED).map(|name| Quoted(name).to_string()).collect();
    match names.len() {
        0 => "none".to_owned(),
        n if n > LISTED => format!("{} and {} more", shown.join(", "), n - LISTED),
        _ => shown.join(", "),
    }
}

/// "did you mean `x`?", else what there is: "fields of `[node]`: `name`, `id`".
pub(super) fn suggestion<'a>(
    word: &str,
    what: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    match closest(word, candidates.clone()) {
        Some(candidate) => format!("did you mean {}?", Quoted(candidate)),
        None => format!("{what}: {}", listed(candidates)),
    }
}

/// 65536 as "65,536".
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_is_short_and_harmless() {
        assert_eq!(Quoted("a\u{1b}[31mb").to_string(), "`a\\u{1b}[31mb`");
        assert_eq!(Quoted(&"x".repeat(61)).to_string(), format!("`{}...`", "x".repeat(60)));
    }

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        assert_eq!(closest("prot", ["port", "pool"]), Some("port"));
        assert_eq!(closest("INGRESS_vip", ["ingress_vip"]), Some("ingress_vip"));
        assert_eq!(closest("color", ["port", "pool"]), None);
        assert_eq!(closest(&"x".repeat(1 << 20), ["port"]), None);
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_024), "1,024");
        assert_eq!(grouped(16_777_216), "16,777,216");
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..14).map(|i| format!("n{i}")).collect();
        assert!(listed(names.iter().map(String::as_str)).ends_with("`n11` and 2 more"));
        assert_eq!(listed([]), "none");
    }
}
