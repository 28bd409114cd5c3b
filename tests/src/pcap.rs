//! Capture files that tcpdump and Wireshark read: the classic format with nanoseconds
//! (<https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcap/>).

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

/// Marks nanosecond timestamps in the writer's byte order.
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
/// `LINKTYPE_ETHERNET`.
const LINK_TYPE: u32 = 1;
/// Longer than any frame.
const SNAP_LENGTH: u32 = 0x0004_0000;

/// A capture file being written.
#[derive(Debug)]
pub struct PcapWriter<W: Write> {
    out: W,
}

impl PcapWriter<BufWriter<File>> {
    /// Makes the file.
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::new(BufWriter::new(File::create(path)?))
    }
}

impl<W: Write> PcapWriter<W> {
    /// Writes the file header.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&MAGIC_NANOSECONDS.to_le_bytes())?;
        out.write_all(&[2, 0, 4, 0])?;
        out.write_all(&[0; 8])?;
        out.write_all(&SNAP_LENGTH.to_le_bytes())?;
        out.write_all(&LINK_TYPE.to_le_bytes())?;
        Ok(Self { out })
    }

    /// Writes one frame, of which `bytes` may be only the front.
    pub fn write(&mut self, time: Duration, bytes: &[u8], original_length: usize) -> io::Result<()> {
        // The format's seconds are 32 bits, unsigned: enough until 2106.
        self.out.write_all(&u32::try_from(time.as_secs()).unwrap_or(u32::MAX).to_le_bytes())?;
        self.out.write_all(&time.subsec_nanos().to_le_bytes())?;
        self.out.write_all(&length_bytes(bytes.len()))?;
        self.out.write_all(&length_bytes(original_length))?;
        self.out.write_all(bytes)
    }

    /// Hands everything to the operating system.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn length_bytes(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("frames are short").to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_that_of_the_draft() {
        let mut writer = PcapWriter::new(Vec::new()).expect("writes to memory");
        writer.write(Duration::new(1, 2), &[0xaa, 0xbb], 60).expect("writes to memory");
        let expected = [
            &[0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0][..],
            &[1, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 60, 0, 0, 0, 0xaa, 0xbb][..],
        ];
        assert_eq!(writer.out, expected.concat());
    }
}
