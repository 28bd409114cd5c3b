//! Capture files in the pcapng form (draft-ietf-opsawg-pcapng): a writer of what a capture needs, and a reader that counts
//! whole blocks.
//!
//! A file is a sequence of blocks, each with its length at both ends. All numbers are little-endian here; the section
//! header says so.

use std::collections::HashMap;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// `LINKTYPE_ETHERNET`.
const ETHERNET: u16 = 1;
/// Length of a block's type and its two lengths.
const BLOCK_OVERHEAD: usize = 12;
/// Times are in nanoseconds: ten to the power of minus nine.
const RESOLUTION: u8 = 9;

/// Codes of options. Those below ten mean something else in each kind of block.
mod option {
    pub(super) const END: u16 = 0;
    pub(super) const COMMENT: u16 = 1;
    pub(super) const INTERFACE_NAME: u16 = 2;
    pub(super) const PACKET_FLAGS: u16 = 2;
    pub(super) const APPLICATION: u16 = 4;
    pub(super) const RECEIVED: u16 = 4;
    pub(super) const LOST: u16 = 5;
    pub(super) const TIME_RESOLUTION: u16 = 9;
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It came in.
    In = 1,
    /// It goes out.
    Out = 2,
}

/// One frame, as far as it was captured.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Where it was seen, in words.
    pub interface: &'a str,
    /// When, in nanoseconds of Unix time.
    pub at_unix_ns: u64,
    /// Which way it goes.
    pub way: Way,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// How many bytes it had.
    pub len: u32,
    /// A word about it.
    pub comment: &'a str,
}

/// Makes the blocks of one file, in order.
#[derive(Debug, Default)]
pub struct Writer {
    interfaces: HashMap<String, u32>,
}

impl Writer {
    /// The start of the file; `about` says what it is.
    pub fn start(&self, about: &str) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend(BYTE_ORDER.to_le_bytes());
        body.extend(1_u16.to_le_bytes());
        body.extend(0_u16.to_le_bytes());
        // The section's length is not known.
        body.extend(u64::MAX.to_le_bytes());
        put_option(&mut body, option::COMMENT, about.as_bytes());
        put_option(
            &mut body,
            option::APPLICATION,
            concat!("gateway-daemon ", env!("CARGO_PKG_VERSION")).as_bytes(),
        );
        put_option(&mut body, option::END, &[]);
        block(SECTION_HEADER, &body)
    }

    /// A frame, behind the description of its interface if that is new.
    pub fn frame(&mut self, frame: &Frame<'_>) -> Vec<u8> {
        let (interface, mut blocks) = self.interface(frame.interface);
        let mut body = Vec::new();
        body.extend(interface.to_le_bytes());
        put_time(&mut body, frame.at_unix_ns);
        body.extend(length(frame.bytes).to_le_bytes());
        body.extend(frame.len.to_le_bytes());
        put_padded(&mut body, frame.bytes);
        put_option(&mut body, option::COMMENT, frame.comment.as_bytes());
        put_option(&mut body, option::PACKET_FLAGS, &(frame.way as u32).to_le_bytes());
        put_option(&mut body, option::END, &[]);
        blocks.extend(block(PACKET, &body));
        blocks
    }

    /// The end of the file: how many packets were seen, and how many of them are missing. Without an interface, and so
    /// without a frame, it is empty.
    pub fn end(&self, at_unix_ns: u64, seen: u64, lost: u64) -> Vec<u8> {
        if self.interfaces.is_empty() {
            return Vec::new();
        }
        let mut body = Vec::new();
        body.extend(0_u32.to_le_bytes());
        put_time(&mut body, at_unix_ns);
        put_option(&mut body, option::RECEIVED, &seen.to_le_bytes());
        put_option(&mut body, option::LOST, &lost.to_le_bytes());
        put_option(&mut body, option::END, &[]);
        block(STATISTICS, &body)
    }

    /// The number of an interface, and its description if it has not been described yet.
    fn interface(&mut self, name: &str) -> (u32, Vec<u8>) {
        if let Some(number) = self.interfaces.get(name) {
            return (*number, Vec::new());
        }
        let number = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        self.interfaces.insert(name.to_owned(), number);
        let mut body = Vec::new();
        body.extend(ETHERNET.to_le_bytes());
        body.extend(0_u16.to_le_bytes());
        // No limit for all frames: each says how long it was.
        body.extend(0_u32.to_le_bytes());
        put_option(&mut body, option::INTERFACE_NAME, name.as_bytes());
        put_option(&mut body, option::TIME_RESOLUTION, &[RESOLUTION]);
        put_option(&mut body, option::END, &[]);
        (number, block(INTERFACE, &body))
    }
}

/// Lengths in the file have 32 bits, and nothing here is longer than a frame.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let len = (length(body) + 12).to_le_bytes();
    [&kind.to_le_bytes()[..], &len, body, &len].concat()
}

/// The more significant half comes first.
fn put_time(body: &mut Vec<u8>, unix_ns: u64) {
    let bytes = unix_ns.to_le_bytes();
    let (less, more) = bytes.split_at(4);
    body.extend(more);
    body.extend(less);
}

/// An option whose value is too long for its length is left out.
fn put_option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let Ok(len) = u16::try_from(value.len()) else { return };
    if value.is_empty() && code != option::END {
        return;
    }
    body.extend(code.to_le_bytes());
    body.extend(len.to_le_bytes());
    put_padded(body, value);
}

fn put_padded(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend(bytes);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// Counts the blocks of a file that comes in pieces.
#[derive(Debug, Default)]
pub struct Counter {
    /// Bytes that are no whole block yet.
    rest: Vec<u8>,
    /// Frames so far.
    pub frames: u64,
    /// Has the end come? Then how many packets are missing.
    pub lost: Option<u64>,
}

impl Counter {
    /// The next piece.
    pub fn take(&mut self, piece: &[u8]) {
        self.rest.extend(piece);
        let mut at = 0;
        while let Some(block) = next_block(&self.rest[at..]) {
            match word(block, 0) {
                Some(PACKET) => self.frames += 1,
                Some(STATISTICS) => self.lost = Some(lost_of(block)),
                _ => {}
            }
            at += block.len();
        }
        self.rest.drain(..at);
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_le_bytes)
}

/// The block at the start, if it is whole.
fn next_block(bytes: &[u8]) -> Option<&[u8]> {
    let len = usize::try_from(word(bytes, 4)?).ok()?;
    bytes.get(..len.max(BLOCK_OVERHEAD))
}

/// What [`Writer::end`] has written.
fn lost_of(block: &[u8]) -> u64 {
    /// Type, length, interface, time, the option before (head and value), this one's head.
    const AT: usize = 8 + 4 + 8 + 12 + 4;
    block.get(AT..AT + 8).and_then(|value| value.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame<'a>(interface: &'a str, bytes: &'a [u8]) -> Frame<'a> {
        Frame {
            interface,
            at_unix_ns: 0x0102_0304_0506_0708,
            way: Way::Out,
            bytes,
            len: 1_500,
            comment: "sent",
        }
    }

    #[test]
    fn a_frame_stands_where_the_format_has_it() {
        let mut writer = Writer::default();
        let blocks = writer.frame(&frame("ext0 (before)", &[0xaa; 5]));
        let described = next_block(&blocks).unwrap();
        assert_eq!((word(described, 0), &described[8..10]), (Some(INTERFACE), &[1, 0][..]));
        assert!(described.windows(13).any(|bytes| bytes == b"ext0 (before)"));
        let packet = &blocks[described.len()..];
        let words: Vec<_> = (0..8).map(|at| word(packet, 4 * at).unwrap()).collect();
        let len = u32::try_from(packet.len()).unwrap();
        assert_eq!(words[..7], [PACKET, len, 0, 0x0102_0304, 0x0506_0708, 5, 1_500]);
        assert_eq!(packet[28..36], [0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0, 0, 0], "padded to words");
        assert_eq!(packet[36..44], [1, 0, 4, 0, b's', b'e', b'n', b't'], "the comment");
        assert_eq!(packet[44..56], [2, 0, 4, 0, 2, 0, 0, 0, 0, 0, 0, 0], "outbound, and the end");
        assert_eq!(packet[packet.len() - 4..], len.to_le_bytes(), "the length once more");
    }

    #[test]
    fn an_interface_is_described_once() {
        let mut writer = Writer::default();
        let lens = ["a", "b", "a"].map(|name| writer.frame(&frame(name, &[1; 60])).len());
        assert!(lens[0] == lens[1] && lens[2] < lens[0], "{lens:?}");
    }

    #[test]
    fn the_reader_counts_what_the_writer_wrote_however_it_is_cut() {
        let mut writer = Writer::default();
        let mut file = writer.start("of a test");
        for len in 0..40 {
            file.extend(writer.frame(&frame("ext0", &vec![7; len])));
        }
        file.extend(writer.end(1, 20, 3));
        for piece in [1, 7, 64, file.len()] {
            let mut counter = Counter::default();
            file.chunks(piece).for_each(|piece| counter.take(piece));
            assert_eq!(
                (counter.frames, counter.lost, counter.rest.len()),
                (40, Some(3), 0),
                "pieces of {piece}"
            );
        }
    }

    #[test]
    fn a_file_that_breaks_off_has_no_end() {
        let mut writer = Writer::default();
        let file = [writer.start(""), writer.frame(&frame("ext0", &[0; 100]))].concat();
        let mut counter = Counter::default();
        counter.take(&file[..file.len() - 1]);
        assert_eq!((counter.frames, counter.lost), (0, None));
    }
}
