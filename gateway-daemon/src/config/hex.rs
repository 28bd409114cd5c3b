//! Bytes in hex, as scripted checks send and expect them.

use std::fmt::Write as _;
use std::str::FromStr;

use super::problem::Explain;
use super::reader::from_toml_string;
use super::text::Quoted;

/// Most bytes of a script, each way: far more than an ISO 8583 echo, and one segment or two on the wire.
const MAX_BYTES: usize = 2_048;

/// Bytes to send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HexBytes(pub(super) Vec<u8>);

/// Bytes to expect; `None`, written as two dots, is any byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HexPattern(pub(super) Vec<Option<u8>>);

/// Why a text is not bytes in hex.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HexError {
    #[error("{} is not a byte in hex", Quoted(part))]
    NotAByte { part: String },
    #[error("`..` stands for any byte, and here one must be said")]
    AnyByte,
    #[error("{bytes} bytes are too many, at most {MAX_BYTES} are possible")]
    TooLong { bytes: usize },
}

impl Explain for HexError {
    fn help(&self) -> String {
        match self {
            Self::NotAByte { .. } => {
                "write two hex digits a byte, with or without spaces between, as in \"00 0c 30 38\""
                    .to_owned()
            }
            Self::AnyByte => "only what is expected can have `..`: write the byte to send".to_owned(),
            Self::TooLong { .. } => "shorten it".to_owned(),
        }
    }
}

impl FromStr for HexPattern {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        let digits: Vec<char> = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let bytes = digits.len().div_ceil(2);
        if bytes > MAX_BYTES {
            return Err(HexError::TooLong { bytes });
        }
        digits.chunks(2).map(byte).collect::<Result<_, _>>().map(Self)
    }
}

fn byte(pair: &[char]) -> Result<Option<u8>, HexError> {
    if pair == ['.', '.'] {
        return Ok(None);
    }
    let digit = |c: &char| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match pair {
        [high, low] => digit(high).zip(digit(low)).map(|(high, low)| Some(high << 4 | low)),
        _ => None,
    }
    .ok_or_else(|| HexError::NotAByte { part: pair.iter().collect() })
}

impl FromStr for HexBytes {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        let HexPattern(pattern) = text.parse()?;
        pattern.into_iter().collect::<Option<_>>().map(Self).ok_or(HexError::AnyByte)
    }
}

/// Bytes as hex, without spaces.
pub(super) fn hex(bytes: &[u8]) -> String {
    hex_pattern(bytes.iter().copied().map(Some))
}

/// A pattern as hex, without spaces.
pub(super) fn hex_pattern(pattern: impl IntoIterator<Item = Option<u8>>) -> String {
    pattern.into_iter().fold(String::new(), |mut text, byte| {
        match byte {
            // Writing to a String does not fail.
            Some(byte) => _ = write!(text, "{byte:02x}"),
            None => text.push_str(".."),
        }
        text
    })
}

from_toml_string! {
    HexBytes: "bytes in hex",
    HexPattern: "bytes in hex, \"..\" for any",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_and_written() {
        assert_eq!("00 0c\n3038".parse::<HexBytes>().unwrap().0, [0, 12, 0x30, 0x38]);
        assert_eq!("".parse(), Ok(HexBytes::default()));
        let pattern: HexPattern = "00..FF".parse().unwrap();
        assert_eq!(pattern.0, [Some(0), None, Some(255)]);
        assert_eq!(hex_pattern(pattern.0), "00..ff");
        assert_eq!(hex(&[0, 255]), "00ff");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["0", "000", "0g", "+1", "0x00", ".", ". .x", "\u{e4}\u{e4}"] {
            assert!(text.parse::<HexPattern>().is_err(), "{text}");
        }
        assert_eq!("00..".parse::<HexBytes>(), Err(HexError::AnyByte));
        assert!("00".repeat(MAX_BYTES).parse::<HexBytes>().is_ok());
        assert!("00".repeat(MAX_BYTES + 1).parse::<HexBytes>().is_err());
    }
}
