//! Frames and tables, made readable for a failure.

use std::fmt::Write as _;

use gateway_tests::packet::Frame;

use crate::flows::Flows;

const ROW: usize = 16;

/// The bytes and what they mean.
pub fn decoded(frame: &[u8]) -> String {
    let meaning = Frame::parse(frame).map_or_else(|error| error.to_string(), |frame| format!("{frame:?}"));
    format!("{} bytes: {}\n      {meaning}", frame.len(), hex(frame))
}

/// Where two frames differ, row by row, and what each means.
pub fn frames(wanted: &[u8], found: &[u8]) -> String {
    let rows = wanted.len().max(found.len()).div_ceil(ROW);
    let mut text = format!("wanted {} bytes, found {}\n", wanted.len(), found.len());
    for row in 0..rows {
        let (wanted, found) = (slice(wanted, row), slice(found, row));
        if wanted != found {
            let offset = row * ROW;
            writeln!(text, "    {offset:04x}  wanted {}\n          found  {}", hex(wanted), hex(found))
                .expect("writes to memory");
        }
    }
    text + &format!("    wanted {}\n    found  {}", decoded(wanted), decoded(found))
}

/// Entries that only one of two tables holds.
pub fn flows(wanted: &Flows, found: &Flows) -> String {
    let (wanted, found) = (wanted.lines(), found.lines());
    let missing = wanted.iter().filter(|line| !found.contains(line)).map(|line| format!("    - {line}"));
    let surplus = found.iter().filter(|line| !wanted.contains(line)).map(|line| format!("    + {line}"));
    missing.chain(surplus).collect::<Vec<_>>().join("\n")
}

fn slice(frame: &[u8], row: usize) -> &[u8] {
    let start = (row * ROW).min(frame.len());
    &frame[start..(start + ROW).min(frame.len())]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}
